//! Blobs by their sha256, verified once when they come in; the least recently used go when there are too many. Attempts hold
//! hard links of their own, so that nothing in use disappears.
use std::collections::HashMap;
use std::fs::{self, File, FileTimes, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::SystemTime;

use futures_util::StreamExt;
use sha2::{Digest, Sha256};

use crate::hex;
use crate::link::{Link, LinkError};

#[derive(Debug)]
pub struct Cache {
    folder: PathBuf,
    capacity_bytes: u64,
    /// One download per blob at a time; whoever comes second finds it done.
    flights: Mutex<HashMap<String, Weak<tokio::sync::Mutex<()>>>>,
    /// What is kept, as of the last look and what came since. `None`: not looked at yet.
    kept_bytes: Mutex<Option<u64>>,
}

/// Who hears how far a download is.
pub type Told<'a> = &'a (dyn Fn(u64) + Send + Sync);

#[derive(Debug, thiserror::Error)]
pub enum CacheError {
    #[error("{0:?} is not a sha256")]
    Name(String),
    #[error("the server does not give {sha256}: {source}")]
    Server { sha256: String, source: LinkError },
    #[error("{sha256} does not have its promised content: {found} came, {size} bytes")]
    Content { sha256: String, found: String, size: u64 },
    #[error("cannot store {sha256} at the runner")]
    Disk { sha256: String, source: io::Error },
}

impl Cache {
    pub(super) fn new(folder: PathBuf, capacity_bytes: u64) -> Cache {
        Cache { folder, capacity_bytes, flights: Mutex::default(), kept_bytes: Mutex::default() }
    }

    /// Puts the blob at `target`, from the cache or from the server. Goes on where an earlier try stopped. `told` hears how many bytes are
    /// there, after each piece.
    pub async fn place(&self, link: &Link, blob: (&str, u64), target: &Path, told: Told<'_>) -> Result<(), CacheError> {
        let (sha256, size) = blob;
        if sha256.len() != 64 || !sha256.bytes().all(|c| c.is_ascii_digit() || (b'a'..=b'f').contains(&c)) {
            return Err(CacheError::Name(sha256.to_owned()));
        }
        let flight = self.flight(sha256);
        let _turn = flight.lock().await;
        let disk = |source| CacheError::Disk { sha256: sha256.to_owned(), source };
        let kept = self.folder.join(sha256);
        if !kept.metadata().is_ok_and(|found| found.len() == size) {
            self.download(link, blob, &kept, told).await?;
        }
        touch(&kept);
        if let Some(parent) = target.parent() {
            fs::create_dir_all(parent).map_err(disk)?;
        }
        match fs::hard_link(&kept, target) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
            other => other.map_err(disk),
        }
    }

    fn flight(&self, sha256: &str) -> Arc<tokio::sync::Mutex<()>> {
        let mut flights = self.flights.lock().unwrap_or_else(PoisonError::into_inner);
        flights.retain(|_, flight| flight.strong_count() > 0);
        if let Some(flight) = flights.get(sha256).and_then(Weak::upgrade) {
            return flight;
        }
        let flight = Arc::new(tokio::sync::Mutex::new(()));
        flights.insert(sha256.to_owned(), Arc::downgrade(&flight));
        flight
    }

    async fn download(&self, link: &Link, blob: (&str, u64), kept: &Path, told: Told<'_>) -> Result<(), CacheError> {
        let (sha256, size) = blob;
        let disk = |source| CacheError::Disk { sha256: sha256.to_owned(), source };
        let part = kept.with_extension("part");
        let mut file = OpenOptions::new().create(true).append(true).open(&part).map_err(disk)?;
        let mut have = file.metadata().map_err(disk)?.len();
        if have > size {
            file.set_len(0).map_err(disk)?;
            have = 0;
        }
        if have < size || size == 0 {
            let server = |source| CacheError::Server { sha256: sha256.to_owned(), source };
            let mut pieces = std::pin::pin!(link.blob(sha256, have).await.map_err(server)?);
            while let Some(piece) = pieces.next().await {
                let piece = piece.map_err(server)?;
                file.write_all(&piece).map_err(disk)?;
                have += piece.len() as u64;
                told(have);
            }
        }
        file.sync_all().map_err(disk)?;
        let path = part.clone();
        let (found, length) = tokio::task::spawn_blocking(move || hash_file(&path))
            .await
            .map_err(|error| disk(io::Error::other(error)))?
            .map_err(disk)?;
        if length < size {
            let cut = LinkError::Unreachable(format!("the transfer ended after {length} of {size} bytes"));
            return Err(CacheError::Server { sha256: sha256.to_owned(), source: cut });
        }
        if found != sha256 {
            fs::remove_file(&part).map_err(disk)?;
            return Err(CacheError::Content { sha256: sha256.to_owned(), found, size: length });
        }
        fs::set_permissions(&part, fs::Permissions::from_mode(0o444)).map_err(disk)?;
        fs::rename(&part, kept).map_err(disk)?;
        self.make_room(kept, size);
        Ok(())
    }

    /// Looks through the folder only where it may be too full: with very many small blobs that is seldom.
    fn make_room(&self, newest: &Path, size: u64) {
        let mut kept_bytes = self.kept_bytes.lock().unwrap_or_else(PoisonError::into_inner);
        let expected = kept_bytes.map(|bytes| bytes + size).filter(|bytes| *bytes <= self.capacity_bytes);
        *kept_bytes = Some(expected.unwrap_or_else(|| self.evict(newest)));
    }

    /// Keeps the newest within the capacity, and says how much that is; the one just fetched always stays, as does what is on its way.
    /// What an earlier life of the runner began to fetch and nobody wanted again goes like everything else.
    fn evict(&self, newest: &Path) -> u64 {
        let Ok(entries) = fs::read_dir(&self.folder) else { return 0 };
        let mut blobs: Vec<(SystemTime, u64, PathBuf)> = entries
            .filter_map(|entry| {
                let entry = entry.ok()?;
                let found = entry.metadata().ok()?;
                Some((found.modified().ok()?, found.len(), entry.path()))
            })
            .filter(|(_, _, path)| path != newest && !self.is_on_its_way(path))
            .collect();
        blobs.sort_by_key(|(used, ..)| std::cmp::Reverse(*used));
        let mut total = newest.metadata().map_or(0, |found| found.len());
        for (_, size, path) in blobs {
            if total + size <= self.capacity_bytes {
                total += size;
            } else if let Err(error) = fs::remove_file(&path) {
                tracing::warn!(path = %path.display(), %error, "cannot remove a cached blob");
            }
        }
        total
    }

    /// What could be had again, and is in no attempt's folder: when it was last used, its size, its path.
    pub fn idle(&self) -> Vec<(SystemTime, u64, PathBuf)> {
        let Ok(entries) = fs::read_dir(&self.folder) else { return Vec::new() };
        let found = entries.filter_map(|entry| {
            let entry = entry.ok()?;
            let found = entry.metadata().ok().filter(|found| found.is_file() && found.nlink() == 1)?;
            Some((found.modified().ok()?, found.len(), entry.path()))
        });
        found.collect()
    }

    /// Whether it was removed: not while it is fetched or given to an attempt.
    pub fn remove_idle(&self, path: &Path) -> bool {
        let flights = self.flights.lock().unwrap_or_else(PoisonError::into_inner);
        let flight = path.file_stem().and_then(|name| flights.get(name.to_str()?));
        if flight.is_some_and(|flight| flight.strong_count() > 0) {
            return false;
        }
        let removed = fs::remove_file(path);
        // It is counted anew when it matters.
        *self.kept_bytes.lock().unwrap_or_else(PoisonError::into_inner) = None;
        removed.is_ok()
    }

    fn is_on_its_way(&self, path: &Path) -> bool {
        let flights = self.flights.lock().unwrap_or_else(PoisonError::into_inner);
        let flight = path.file_stem().and_then(|name| flights.get(name.to_str()?));
        path.extension().is_some() && flight.is_some_and(|flight| flight.strong_count() > 0)
    }
}

fn touch(path: &Path) {
    let now = FileTimes::new().set_modified(SystemTime::now());
    if let Err(error) = File::open(path).and_then(|file| file.set_times(now)) {
        tracing::debug!(path = %path.display(), %error, "cannot mark a cached blob as used");
    }
}

fn hash_file(path: &Path) -> io::Result<(String, u64)> {
    let mut file = File::open(path)?;
    let mut hash = Sha256::new();
    let mut buffer = vec![0; 256 << 10];
    let mut length = 0;
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok((hex(&hash.finalize()), length)),
            read => {
                hash.update(&buffer[..read]);
                length += read as u64;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_nobody_fetches_any_more_is_evicted_with_the_rest() {
        let folder = tempfile::tempdir().expect("dir");
        let cache = Cache::new(folder.path().to_owned(), 100);
        let put = |name: &str, size: usize, age_s: u64| {
            let path = folder.path().join(name);
            fs::write(&path, vec![0; size]).expect("written");
            let times = FileTimes::new().set_modified(SystemTime::now() - std::time::Duration::from_secs(age_s));
            File::options().write(true).open(&path).and_then(|file| file.set_times(times)).expect("aged");
            path
        };
        let flight = cache.flight("cc");
        put("aa", 30, 50);
        put("bb.part", 40, 90);
        put("cc.part", 1_000, 80);
        let newest = put("dd", 50, 0);
        cache.make_room(&newest, 50);
        let names = || {
            let mut names: Vec<_> = fs::read_dir(folder.path())
                .expect("listed")
                .map(|entry| entry.expect("an entry").file_name().into_string().expect("text"))
                .collect();
            names.sort_unstable();
            names
        };
        assert_eq!(names(), ["aa", "cc.part", "dd"], "the oldest goes, and what is on its way stays");
        drop(flight);
        let newest = put("ee", 30, 0);
        cache.make_room(&newest, 30);
        assert_eq!(names(), ["dd", "ee"]);
    }

    #[test]
    fn what_an_attempt_has_or_is_given_is_not_idle() {
        let folder = tempfile::tempdir().expect("dir");
        let elsewhere = tempfile::tempdir().expect("dir");
        let cache = Cache::new(folder.path().to_owned(), 100);
        for name in ["aa", "bb", "cc.part"] {
            fs::write(folder.path().join(name), name).expect("written");
        }
        fs::hard_link(folder.path().join("aa"), elsewhere.path().join("in an attempt's folder")).expect("linked");
        let flights = [cache.flight("bb"), cache.flight("cc")];
        let idle = |cache: &Cache| {
            let mut paths: Vec<PathBuf> = cache.idle().into_iter().map(|(_, _, path)| path).collect();
            paths.sort();
            paths
        };
        let [bb, cc] = ["bb", "cc.part"].map(|name| folder.path().join(name));
        assert_eq!(idle(&cache), [bb.clone(), cc.clone()]);
        assert!(!cache.remove_idle(&bb) && !cache.remove_idle(&cc), "they are on their way");
        drop(flights);
        assert!(cache.remove_idle(&bb) && cache.remove_idle(&cc));
        assert_eq!(idle(&cache), Vec::<PathBuf>::new());
    }
}
