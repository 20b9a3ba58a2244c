//! A pull runs by itself: Docker cancels one whose caller goes away, and others may wait for it.
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::watch;

use super::DockerEngine;
use super::failure::Trouble;
use super::image::parts;
use super::images::ids;
use super::plain::{Plain, escaped};
use super::registry::Login;

/// A pull that says nothing for this long is dead. One layer of many gigabytes still reports its bytes.
const PULL_SILENCE: Duration = Duration::from_secs(600);

/// A pull under way: what it does now, or how it ended.
pub(super) type Pull = watch::Receiver<Progress>;

#[derive(Clone, Debug, Default)]
pub(super) struct Progress {
    note: String,
    /// With the images that were there before, if that is known.
    done: Option<Result<Before, Trouble>>,
}

type Before = Option<Arc<BTreeSet<String>>>;

impl DockerEngine {
    pub(super) async fn pull(&self, name: &str, note: &(dyn Fn(String) + Send + Sync)) -> Result<Before, Trouble> {
        let login = self.login(name).await?;
        let mut pull = self.pull_under_way(name, login);
        loop {
            let now = pull.borrow_and_update().clone();
            if let Some(done) = now.done {
                return done;
            }
            if !now.note.is_empty() {
                note(now.note);
            }
            if pull.changed().await.is_err() {
                return Err(Trouble::Strange("the pull was dropped".to_owned()));
            }
        }
    }

    /// Joins the pull of this image, or begins it.
    fn pull_under_way(&self, name: &str, login: Option<Login>) -> Pull {
        let mut pulls = self.pulls.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(pull) = pulls.get(name) {
            return pull.clone();
        }
        let (sender, receiver) = watch::channel(Progress::default());
        pulls.insert(name.to_owned(), receiver.clone());
        tokio::spawn(run_pull(self.plain.clone(), name.to_owned(), login, sender, self.pulls.clone()));
        receiver
    }

    async fn login(&self, name: &str) -> Result<Option<Login>, Trouble> {
        let (registries, name) = (self.registries.clone(), name.to_owned());
        let read = tokio::task::spawn_blocking(move || registries.login(&name)).await;
        let read = read.map_err(|error| error.to_string()).flatten();
        read.map_err(|message| Trouble::Refused { status: 0, message })
    }
}

async fn run_pull(
    plain: Plain,
    name: String,
    login: Option<Login>,
    sender: watch::Sender<Progress>,
    pulls: Arc<Mutex<HashMap<String, Pull>>>,
) {
    let before = ids(&plain).await.map(Arc::new);
    let done = follow_pull(&plain, &name, login, &sender).await.map(|()| before);
    // First out of the list, so that whoever comes after the end begins a new one.
    pulls.lock().unwrap_or_else(PoisonError::into_inner).remove(&name);
    sender.send_modify(|progress| progress.done = Some(done));
}

/// Not bollard's: it writes the credentials in another alphabet than engines read, so that some passwords would not arrive.
async fn follow_pull(
    plain: &Plain,
    name: &str,
    login: Option<Login>,
    sender: &watch::Sender<Progress>,
) -> Result<(), Trouble> {
    let (repository, tag) = parts(name);
    let path = format!("/images/create?fromImage={}&tag={}", escaped(repository), escaped(tag));
    let header = login.as_ref().map(|login| ("x-registry-auth", login.header.as_str()));
    let mut lines = within(plain.lines(&path, header)).await?;
    let mut layers = Layers::default();
    while let Some(line) = within(lines.next()).await? {
        let error = line["errorDetail"]["message"].as_str().or_else(|| line["error"].as_str());
        if let Some(message) = error {
            return Err(Trouble::Refused { status: 200, message: message.trim().to_owned() });
        }
        let detail = &line["progressDetail"];
        let bytes = detail.is_object().then(|| (detail["current"].as_i64(), detail["total"].as_i64()));
        if layers.learn(line["id"].as_str(), line["status"].as_str().unwrap_or_default(), bytes) {
            sender.send_modify(|progress| progress.note = layers.note(name));
        }
    }
    Ok(())
}

async fn within<T>(step: impl Future<Output = Result<T, Trouble>>) -> Result<T, Trouble> {
    let silent = |_| {
        let message = format!("timed out: no progress for {} s", PULL_SILENCE.as_secs());
        Err(Trouble::Refused { status: 0, message })
    };
    tokio::time::timeout(PULL_SILENCE, step).await.unwrap_or_else(silent)
}

/// How far the layers are, as far as the engine tells.
#[derive(Default)]
struct Layers {
    all: BTreeMap<String, Layer>,
}

#[derive(Default)]
struct Layer {
    done: bool,
    current: u64,
    total: u64,
}

impl Layers {
    /// Takes in one line of progress; whether it told anything new.
    fn learn(&mut self, id: Option<&str>, status: &str, bytes: Option<(Option<i64>, Option<i64>)>) -> bool {
        let Some(id) = id.filter(|id| !id.is_empty() && !status.starts_with("Pulling from")) else { return false };
        let layer = self.all.entry(id.to_owned()).or_default();
        layer.done |= matches!(status, "Pull complete" | "Already exists");
        if status == "Downloading"
            && let Some((current, total)) = bytes
        {
            let number = |value: Option<i64>| value.and_then(|value| u64::try_from(value).ok()).unwrap_or(0);
            (layer.current, layer.total) = (number(current), number(total));
        } else if status == "Download complete" {
            layer.current = layer.total;
        }
        true
    }

    fn note(&self, name: &str) -> String {
        let done = self.all.values().filter(|layer| layer.done).count();
        let total: u64 = self.all.values().map(|layer| layer.total).sum();
        let current: u64 = self.all.values().map(|layer| layer.current).sum();
        let mebibytes = |bytes: u64| bytes >> 20;
        let bytes = match total {
            0 => String::new(),
            _ => format!(", {} of {} MiB", mebibytes(current), mebibytes(total)),
        };
        format!("pulling {name}: {done} of {} layers{bytes}", self.all.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn progress_counts_layers_and_bytes() {
        let mut layers = Layers::default();
        assert!(!layers.learn(Some("1.36"), "Pulling from library/busybox", None));
        assert!(layers.learn(Some("a"), "Downloading", Some((Some(1 << 20), Some(4 << 20)))));
        assert!(layers.learn(Some("b"), "Already exists", None));
        assert_eq!(layers.note("x"), "pulling x: 1 of 2 layers, 1 of 4 MiB");
        assert!(layers.learn(Some("a"), "Pull complete", None));
        assert_eq!(layers.note("x"), "pulling x: 2 of 2 layers, 1 of 4 MiB");
    }
}
