//! Making an image present. A pull runs by itself: Docker cancels one whose caller goes away, and others may wait for it.
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bollard::Docker;
use bollard::models::BuildInfo;
use bollard::query_parameters::{
    CreateImageOptionsBuilder, ImportImageOptions, ImportImageOptionsBuilder, TagImageOptionsBuilder,
};
use bollard::{body_full, body_try_stream};
use dsg_schemas::reason::EndReason;
use dsg_schemas::spec::PullPolicy;
use futures_util::{Stream, StreamExt};
use serde_json::Value;
use tokio::sync::watch;
use tokio_util::io::ReaderStream;

use super::DockerEngine;
use super::failure::{Trouble, pull_reason};
use super::plain::escaped_path;
use crate::container::Failure;

/// A pull that says nothing for this long is dead. One layer of many gigabytes still reports its bytes.
const PULL_SILENCE: Duration = Duration::from_secs(600);
const LOAD: Duration = Duration::from_secs(600);
/// For tens of gigabytes on a slow disk.
const LOAD_FILE: Duration = Duration::from_secs(3 * 3600);
const PIECE: usize = 256 << 10;

/// A pull under way: what it does now, or how it ended.
pub(super) type Pull = watch::Receiver<Progress>;

#[derive(Clone, Debug, Default)]
pub(super) struct Progress {
    note: String,
    done: Option<Result<(), Trouble>>,
}

/// Images that are remembered; more are asked about again.
const IMAGES: usize = 1000;

/// What an image says, where nobody says otherwise.
pub(super) struct ImageDefaults {
    /// Empty is root.
    pub user: String,
    /// Names of its environment variables.
    pub env: BTreeSet<String>,
}

impl DockerEngine {
    pub(super) async fn make_present(
        &self,
        image: &str,
        policy: PullPolicy,
        note: &(dyn Fn(String) + Send + Sync),
    ) -> Result<String, Failure> {
        let name = full_name(image);
        if policy != PullPolicy::Always {
            for name in [image, name.as_str()] {
                match self.image_id(name).await {
                    Ok(id) => return Ok(id),
                    Err(trouble) if trouble.missing() || trouble.says(&["no such image"]) => {}
                    Err(trouble) => return Err(trouble.failed(&format!("look for image {image}"))),
                }
            }
        }
        if policy == PullPolicy::Never {
            return Err(Failure {
                reason: EndReason::ImageNotFound,
                message: format!(
                    "image {image} is not on this runner, and the job says pull: never; load it here, or let it be pulled"
                ),
                engine_gone: false,
            });
        }
        let pulled = self.pull(&name, note).await;
        pulled.map_err(|trouble| {
            let reason = pull_reason(&trouble);
            trouble.sorted(&format!("pull image {image}"), reason)
        })?;
        // The only proof of a pull: Podman tells of failures inside an answer that began as a success.
        self.image_id(&name)
            .await
            .map_err(|trouble| trouble.sorted(&format!("find image {image} after its pull"), EndReason::PullFailed))
    }

    async fn image_id(&self, name: &str) -> Result<String, Trouble> {
        let found = self.plain.get(&format!("/images/{}/json", escaped_path(name))).await?;
        found["Id"].as_str().map(str::to_owned).ok_or_else(|| Trouble::Strange(format!("image {name} has no id")))
    }

    /// Of an image by its id, which never means another one: asked once.
    pub(super) async fn image_defaults(&self, id: &str) -> Result<Arc<ImageDefaults>, Trouble> {
        let known = || self.images.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(defaults) = known().get(id) {
            return Ok(defaults.clone());
        }
        let defaults = Arc::new(self.ask_image_defaults(id).await?);
        let mut images = known();
        if images.len() >= IMAGES {
            images.clear();
        }
        images.insert(id.to_owned(), defaults.clone());
        Ok(defaults)
    }

    async fn ask_image_defaults(&self, id: &str) -> Result<ImageDefaults, Trouble> {
        let found = self.plain.get(&format!("/images/{}/json", escaped_path(id))).await?;
        let env = found["Config"]["Env"].as_array().map(Vec::as_slice).unwrap_or_default();
        let name = |pair: &Value| pair.as_str()?.split('=').next().map(str::to_owned);
        Ok(ImageDefaults {
            user: found["Config"]["User"].as_str().unwrap_or_default().to_owned(),
            env: env.iter().filter_map(name).collect(),
        })
    }

    async fn pull(&self, name: &str, note: &(dyn Fn(String) + Send + Sync)) -> Result<(), Trouble> {
        let mut pull = self.pull_under_way(name);
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
    fn pull_under_way(&self, name: &str) -> Pull {
        let mut pulls = self.pulls.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(pull) = pulls.get(name) {
            return pull.clone();
        }
        let (sender, receiver) = watch::channel(Progress::default());
        pulls.insert(name.to_owned(), receiver.clone());
        tokio::spawn(run_pull(self.long.clone(), name.to_owned(), sender, self.pulls.clone()));
        receiver
    }

    /// Loads a `docker save` archive and gives the id of the image in it.
    pub(super) async fn load(&self, archive: Vec<u8>) -> Result<String, Failure> {
        let answers = self.long.import_image(import(), body_full(archive.into()), None);
        self.loaded(answers, LOAD).await
    }

    /// In pieces, whatever its size.
    pub(super) async fn load_as(&self, archive: &Path, name: &str) -> Result<String, Failure> {
        let opened = tokio::fs::File::open(archive).await;
        let file = opened.map_err(|error| Failure {
            reason: EndReason::DiskFull,
            message: format!("failed to open {}: {error}", archive.display()),
            engine_gone: false,
        })?;
        let body = body_try_stream(ReaderStream::with_capacity(file, PIECE));
        let id = self.loaded(self.long.import_image(import(), body, None), LOAD_FILE).await?;
        let (repository, tag) = parts(name);
        let options = TagImageOptionsBuilder::default().repo(repository).tag(tag).build();
        let tagged = self.deadline(self.short.tag_image(&id, Some(options))).await;
        tagged.map_err(|trouble| trouble.failed(&format!("name an image {name}")))?;
        Ok(id)
    }

    async fn loaded(
        &self,
        answers: impl Stream<Item = Result<BuildInfo, bollard::errors::Error>> + Send,
        within: Duration,
    ) -> Result<String, Failure> {
        let attempted = "load an image archive";
        let read = async {
            let mut answers = Box::pin(answers);
            let mut said = String::new();
            while let Some(answer) = answers.next().await {
                said.push_str(answer.map_err(Trouble::from)?.stream.as_deref().unwrap_or_default());
            }
            let name = loaded_name(&said).ok_or_else(|| Trouble::Strange(format!("it says {said:?}")))?;
            self.image_id(name).await
        };
        let silent = |_| Trouble::Silent("no answer in time".to_owned());
        let loaded = tokio::time::timeout(within, read).await.map_err(silent).and_then(|loaded| loaded);
        loaded.map_err(|trouble| trouble.failed(attempted))
    }
}

fn import() -> ImportImageOptions {
    ImportImageOptionsBuilder::default().build()
}

async fn run_pull(
    docker: Docker,
    name: String,
    sender: watch::Sender<Progress>,
    pulls: Arc<Mutex<HashMap<String, Pull>>>,
) {
    let done = follow_pull(&docker, &name, &sender).await;
    // First out of the list, so that whoever comes after the end begins a new one.
    pulls.lock().unwrap_or_else(PoisonError::into_inner).remove(&name);
    sender.send_modify(|progress| progress.done = Some(done));
}

async fn follow_pull(docker: &Docker, name: &str, sender: &watch::Sender<Progress>) -> Result<(), Trouble> {
    let (repository, tag) = parts(name);
    let options = CreateImageOptionsBuilder::default().from_image(repository).tag(tag).build();
    let mut answers = Box::pin(docker.create_image(Some(options), None, None));
    let mut layers = Layers::default();
    loop {
        let answer = tokio::time::timeout(PULL_SILENCE, answers.next()).await;
        let answer = answer.map_err(|_| Trouble::Refused {
            status: 0,
            message: format!("timed out: no progress for {} s", PULL_SILENCE.as_secs()),
        })?;
        let Some(answer) = answer else { return Ok(()) };
        let answer = answer.map_err(Trouble::from)?;
        let bytes = answer.progress_detail.as_ref().map(|detail| (detail.current, detail.total));
        if layers.learn(answer.id.as_deref(), answer.status.as_deref().unwrap_or_default(), bytes) {
            sender.send_modify(|progress| progress.note = layers.note(name));
        }
    }
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

/// The name that both engines understand alike: with its registry, and with a tag (without one, some pull all of them).
fn full_name(image: &str) -> String {
    let first = image.split('/').next().unwrap_or_default();
    let has_registry = image.contains('/') && (first.contains(['.', ':']) || first == "localhost");
    let is_id = image.starts_with("sha256:");
    let named = match (is_id || has_registry, image.contains('/')) {
        (true, _) => image.to_owned(),
        (false, true) => format!("docker.io/{image}"),
        (false, false) => format!("docker.io/library/{image}"),
    };
    if is_id {
        return named;
    }
    // Beside a digest a tag means nothing, and engines disagree on it.
    match parts(&named) {
        (repository, digest) if digest.contains(':') => format!("{repository}@{digest}"),
        (repository, tag) => format!("{repository}:{tag}"),
    }
}

/// Repository, and tag or digest.
fn parts(name: &str) -> (&str, &str) {
    if let Some((tagged, digest)) = name.split_once('@') {
        return (parts(tagged).0, digest);
    }
    let folder = name.rfind('/').map_or(0, |at| at + 1);
    match name[folder..].rfind(':') {
        Some(at) => (&name[..folder + at], &name[folder + at + 1..]),
        None => (name, "latest"),
    }
}

/// From `Loaded image: NAME` or `Loaded image ID: sha256:…`.
fn loaded_name(said: &str) -> Option<&str> {
    let line = said.lines().rev().find(|line| line.starts_with("Loaded image"))?;
    line.split_once(": ").map(|(_, name)| name.trim())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_become_what_both_engines_understand() {
        let cases = [
            ("busybox", "docker.io/library/busybox:latest", ("docker.io/library/busybox", "latest")),
            ("lab/x:1", "docker.io/lab/x:1", ("docker.io/lab/x", "1")),
            ("127.0.0.1:5000/x", "127.0.0.1:5000/x:latest", ("127.0.0.1:5000/x", "latest")),
            ("ghcr.io/lab/x@sha256:ab", "ghcr.io/lab/x@sha256:ab", ("ghcr.io/lab/x", "sha256:ab")),
            ("localhost/x:1", "localhost/x:1", ("localhost/x", "1")),
            ("x:1@sha256:ab", "docker.io/library/x@sha256:ab", ("docker.io/library/x", "sha256:ab")),
        ];
        for (image, full, split) in cases {
            assert_eq!(full_name(image), full);
            assert_eq!(parts(full), split);
        }
        assert_eq!(full_name("sha256:ab"), "sha256:ab");
    }

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

    #[test]
    fn the_loaded_image_is_found_in_what_the_engine_says() {
        assert_eq!(loaded_name("Loaded image: localhost/x:1\n"), Some("localhost/x:1"));
        assert_eq!(loaded_name("Loaded image ID: sha256:ab\n"), Some("sha256:ab"));
        assert_eq!(loaded_name("no"), None);
    }
}
