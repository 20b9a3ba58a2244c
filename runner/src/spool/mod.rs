//! What a runner must not forget, on disk: who it is, what it holds, what it has not yet handed over.
//!
//! ```text
//! STATE/lock  identity.json  images.json  blobs/<sha256>  attempts/<id>/journal  log/  dsg/  inputs/  outputs/
//! ```
mod brought;
mod cache;
mod file;
mod folder;
mod identity;
mod journal;
mod log;

use std::fs::{self, File, TryLockError};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use dsg_schemas::ids::AttemptId;

pub use brought::{Brought, BroughtFile, Images};
pub use cache::{Cache, CacheError, Told};
pub use folder::{Folder, Left, Past, Pauses, Started};
pub use identity::Identity;
pub use log::{LogSpool, TAIL_BYTES};

/// The state folder, held by this process alone.
#[derive(Debug)]
pub struct Spool {
    root: PathBuf,
    lock: File,
}

#[derive(Debug, thiserror::Error)]
pub enum SpoolError {
    #[error("another runner uses {0}; stop it, or give this one a folder of its own with --state")]
    InUse(PathBuf),
    #[error("cannot use the state folder {path}; check that it is writable, or name another with --state")]
    Folder { path: PathBuf, source: io::Error },
    #[error(
        "cannot read what an earlier life of this runner left in {path}, whose container may run; make it readable, start the newer runner \
         that wrote it, or remove that folder, which gives its attempt up"
    )]
    Attempt { path: PathBuf, source: io::Error },
    #[error("this runner has not joined a grid yet: run dsg-runner join URL --token T ({0} is not there)")]
    NotJoined(PathBuf),
    #[error("cannot understand {path}; if it cannot be repaired, remove it and join again")]
    Broken { path: PathBuf, source: serde_json::Error },
}

impl Spool {
    /// Makes the folder if it is not there and takes its lock.
    pub fn open(root: &Path) -> Result<Spool, SpoolError> {
        let fail = |source| SpoolError::Folder { path: root.to_owned(), source };
        fs::DirBuilder::new().recursive(true).mode(0o700).create(root).map_err(fail)?;
        // The engine binds by absolute path.
        let root = &root.canonicalize().map_err(fail)?;
        fs::set_permissions(root, fs::Permissions::from_mode(0o700)).map_err(fail)?;
        for part in ["attempts", "blobs"] {
            fs::create_dir_all(root.join(part)).map_err(fail)?;
        }
        let lock = File::create(root.join("lock")).map_err(fail)?;
        match lock.try_lock() {
            Ok(()) => Ok(Spool { root: root.to_owned(), lock }),
            Err(TryLockError::WouldBlock) => Err(SpoolError::InUse(root.to_owned())),
            Err(TryLockError::Error(source)) => Err(fail(source)),
        }
    }

    /// Tells this folder from a copy of it, and stays the same while the folder does.
    pub fn place(&self) -> String {
        place(&self.lock)
    }

    pub fn root(&self) -> &Path {
        &self.root
    }

    pub fn identity(&self) -> Result<Identity, SpoolError> {
        Identity::load(&self.root.join("identity.json"))
    }

    /// Who the runner of this folder is, without a claim to the folder; `None`: nobody has joined with it.
    pub fn peek(root: &Path) -> Result<Option<Identity>, SpoolError> {
        match Identity::load(&root.join("identity.json")) {
            Ok(identity) => Ok(Some(identity)),
            Err(SpoolError::NotJoined(_)) => Ok(None),
            Err(error) => Err(error),
        }
    }

    pub fn keep_identity(&self, identity: &Identity) -> Result<(), SpoolError> {
        let path = self.root.join("identity.json");
        identity.save(&path).map_err(|source| SpoolError::Folder { path, source })
    }

    /// The place of one attempt; nothing is made yet.
    pub fn folder(&self, attempt: AttemptId) -> Folder {
        Folder::new(self.root.join("attempts").join(attempt.to_string()))
    }

    /// The list of images that this runner brought into this engine.
    pub fn brought(&self, engine: &str) -> BroughtFile {
        brought_file(&self.root, engine, &self.lock)
    }

    /// What is on that list, without a claim to the folder.
    pub fn peek_brought(root: &Path, engine: &str) -> Images {
        let lock = File::open(root.join("lock"));
        lock.map(|lock| brought_file(root, engine, &lock).load()).unwrap_or_default()
    }

    pub fn cache(&self, capacity_bytes: u64) -> Cache {
        Cache::new(self.root.join("blobs"), capacity_bytes)
    }

    /// What an earlier life left. A folder without a whole order never had a container that was started: it is removed.
    pub fn left(&self) -> Result<Vec<(AttemptId, Folder, Left)>, SpoolError> {
        let attempts = self.root.join("attempts");
        let fail = |source| SpoolError::Folder { path: attempts.clone(), source };
        let mut found = Vec::new();
        for entry in fs::read_dir(&attempts).map_err(fail)? {
            let entry = entry.map_err(fail)?;
            let folder = Folder::new(entry.path());
            let id = entry.file_name().to_str().and_then(|name| name.parse().ok()).map(AttemptId);
            let unreadable = |source| SpoolError::Attempt { path: entry.path(), source };
            let left = id.map(|_| folder.left()).transpose().map_err(unreadable)?.flatten();
            match (id, left) {
                (Some(id), Some(left)) if left.order.attempt == id => found.push((id, folder, left)),
                _ => folder.remove(),
            }
        }
        found.sort_by_key(|(id, ..)| *id);
        Ok(found)
    }
}

fn place(lock: &File) -> String {
    lock.metadata().map_or_else(|_| "unknown".to_owned(), |lock| format!("{:x}:{}", lock.dev(), lock.ino()))
}

fn brought_file(root: &Path, engine: &str, lock: &File) -> BroughtFile {
    BroughtFile::new(root, format!("{engine}, seen from {}", place(lock)))
}
