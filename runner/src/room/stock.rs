//! The images that this runner brought into its engine, and which of all images attempts hold now. Whoever wants an image holds it before
//! the engine is asked for it; an image is removed only while nobody holds it, and nobody begins to hold it meanwhile.
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::container::{Engine, ImageSeen, Present};
use crate::now_ms;
use crate::spool::{Brought, BroughtFile, Images};

pub struct Stock {
    file: BroughtFile,
    inner: Arc<Mutex<Inner>>,
    /// Held while the file is written.
    writing: Arc<Mutex<()>>,
    /// Held while an image is removed, and for a moment by whoever begins to hold one.
    turn: tokio::sync::Mutex<()>,
}

#[derive(Default)]
struct Inner {
    brought: Images,
    /// By name or id, and how often.
    held: BTreeMap<String, usize>,
    /// What is on disk is older than what is here.
    stale: bool,
}

/// An image is in use for as long as this lives.
pub struct Hold {
    inner: Arc<Mutex<Inner>>,
    keys: Vec<String>,
}

fn lock(inner: &Mutex<Inner>) -> MutexGuard<'_, Inner> {
    inner.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Stock {
    pub fn open(file: BroughtFile) -> Stock {
        let inner = Inner { brought: file.load(), ..Inner::default() };
        Stock { file, inner: Arc::new(Mutex::new(inner)), writing: Arc::default(), turn: tokio::sync::Mutex::default() }
    }

    /// From now on it is not removed. Waits for a removal that is under way.
    pub async fn hold(&self, name: String) -> Hold {
        let _turn = self.turn.lock().await;
        let mut hold = Hold { inner: self.inner.clone(), keys: Vec::new() };
        hold.add(name);
        hold
    }

    /// The engine has it now; and we brought it, if it was not there before. Durable when this returns.
    pub async fn found(&self, hold: &mut Hold, present: &Present) {
        hold.add(present.id.clone());
        let Some(bringing) = &present.brought else { return };
        {
            let mut inner = lock(&self.inner);
            let entry = inner.brought.entry(present.id.clone()).or_default();
            let new = entry.names.insert(bringing.name.clone());
            (entry.bytes, entry.used_ms) = (bringing.bytes, now_ms());
            inner.stale |= new;
            if !new {
                return;
            }
        }
        self.keep().await;
    }

    /// Writes down what changed. A write goes on when its caller is gone; none is under way any more when this returns.
    pub async fn keep(&self) {
        let (file, inner, writing) = (self.file.clone(), self.inner.clone(), self.writing.clone());
        let write = move || {
            let _turn = writing.lock().unwrap_or_else(PoisonError::into_inner);
            let images = {
                let mut inner = lock(&inner);
                if !std::mem::take(&mut inner.stale) {
                    return Ok(());
                }
                inner.brought.clone()
            };
            file.save(&images).inspect_err(|_| lock(&inner).stale = true)
        };
        let written = tokio::task::spawn_blocking(write).await;
        if let Err(error) = written.map_err(std::io::Error::other).flatten() {
            tracing::warn!(%error, "cannot keep the list of images that this runner brought; it is tried again");
        }
    }

    /// What may go: ours alone, held by nobody, in no container. What is not, or not any more, is taken off the list.
    pub fn idle(&self, seen: &[ImageSeen]) -> Vec<(String, Brought)> {
        let mut inner = lock(&self.inner);
        let Inner { brought, held, stale } = &mut *inner;
        let before = brought.len();
        brought.retain(|id, brought| match seen.iter().find(|image| image.id == *id) {
            Some(image) => !image.others_use_it && image.names.iter().all(|name| brought.names.contains(name)),
            // What came after the look is held.
            None => held.contains_key(id),
        });
        *stale |= brought.len() != before;
        let in_container = |id: &str| seen.iter().any(|image| image.id == id && image.in_use);
        let idle = inner.brought.iter().filter(|(id, brought)| !in_container(id) && !inner.holds(id, brought));
        idle.map(|(id, brought)| (id.clone(), brought.clone())).collect()
    }

    /// Whether it was removed.
    pub async fn remove(&self, engine: &dyn Engine, id: &str) -> bool {
        let _turn = self.turn.lock().await;
        let Some(brought) = lock(&self.inner).idle(id) else { return false };
        let names: Vec<String> = brought.names.into_iter().collect();
        match engine.remove_image(id, &names).await {
            Ok(true) => {}
            Ok(false) => return false,
            Err(failure) => {
                tracing::warn!(image = names.join(", "), %failure, "an image cannot be removed; it is tried again");
                return false;
            }
        }
        let mut inner = lock(&self.inner);
        inner.brought.remove(id);
        inner.stale = true;
        true
    }
}

impl Inner {
    fn holds(&self, id: &str, brought: &Brought) -> bool {
        self.held.contains_key(id) || brought.names.iter().any(|name| self.held.contains_key(name))
    }

    fn idle(&self, id: &str) -> Option<Brought> {
        self.brought.get(id).filter(|brought| !self.holds(id, brought)).cloned()
    }
}

impl Hold {
    fn add(&mut self, key: String) {
        *lock(&self.inner).held.entry(key.clone()).or_default() += 1;
        self.keys.push(key);
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        let mut inner = lock(&self.inner);
        for key in &self.keys {
            if let Some(count) = inner.held.get_mut(key) {
                *count -= 1;
                if *count == 0 {
                    inner.held.remove(key);
                }
            }
            if let Some(brought) = inner.brought.get_mut(key) {
                brought.used_ms = now_ms();
                inner.stale = true;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::container::Bringing;
    use crate::container::pretend::PretendEngine;

    fn seen(id: &str, names: &[&str]) -> ImageSeen {
        let names = names.iter().map(|name| (*name).to_owned()).collect();
        ImageSeen { id: id.to_owned(), names, ..ImageSeen::default() }
    }

    async fn with(folder: &std::path::Path, images: &[(&str, &str)]) -> Stock {
        let stock = Stock::open(BroughtFile::new(folder, "pretend".to_owned()));
        for (id, name) in images {
            let mut hold = stock.hold((*name).to_owned()).await;
            let brought = Some(Bringing { name: (*name).to_owned(), bytes: 1 });
            stock.found(&mut hold, &Present { id: (*id).to_owned(), brought, misfit: None }).await;
        }
        stock
    }

    fn ids(idle: Vec<(String, Brought)>) -> Vec<String> {
        idle.into_iter().map(|(id, _)| id).collect()
    }

    #[tokio::test]
    async fn what_somebody_else_has_named_or_used_is_theirs_from_then_on() {
        let folder = tempfile::tempdir().expect("dir");
        let stock = with(folder.path(), &[("1", "a:1"), ("2", "b:1"), ("3", "c:1"), ("4", "d:1")]).await;
        let used = |mut image: ImageSeen, others| {
            (image.in_use, image.others_use_it) = (true, others);
            image
        };
        let there = [seen("1", &["a:1", "mine:1"]), used(seen("2", &["b:1"]), true), used(seen("3", &["c:1"]), false)];
        assert_eq!(ids(stock.idle(&there)), [""; 0], "named by others, used by others, used by us, gone");
        let later =
            [seen("1", &["a:1"]), seen("2", &["b:1"]), seen("3", &["c:1"]), seen("4", &["d:1"]), seen("5", &[])];
        assert_eq!(ids(stock.idle(&later)), ["3"]);
        stock.keep().await;
        assert_eq!(ids(with(folder.path(), &[]).await.idle(&later)), ["3"], "a restart forgets nothing");
    }

    #[tokio::test]
    async fn what_is_held_by_its_name_or_its_id_stays() {
        let folder = tempfile::tempdir().expect("dir");
        let stock = with(folder.path(), &[("1", "a:1"), ("2", "b:1")]).await;
        let there = [seen("1", &["a:1"]), seen("2", &["b:1"])];
        let holds = (stock.hold("a:1".to_owned()).await, stock.hold("2".to_owned()).await);
        assert_eq!(ids(stock.idle(&there)), [""; 0]);
        let engine = PretendEngine::new();
        assert!(!stock.remove(&engine, "1").await && !stock.remove(&engine, "2").await);
        drop(holds);
        assert_eq!(ids(stock.idle(&there)), ["1", "2"]);
        assert!(stock.remove(&engine, "1").await);
        assert_eq!(ids(stock.idle(&there)), ["2"]);
    }
}
