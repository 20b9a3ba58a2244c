//! The store: rows in one redb file. Everybody reads it, only the engine thread writes it.
mod changes;
mod open;
mod read;
mod tables;

use std::path::PathBuf;
use std::sync::RwLock;
#[cfg(test)]
use std::sync::atomic::AtomicBool;

use redb::Database;

pub use changes::Changes;
pub use open::private_dir;
pub use read::Reader;

#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    #[error("cannot use the store {path}: {source}")]
    Database { path: PathBuf, source: Box<redb::Error> },
    #[error("another process is using the store {0}; stop it first, or give this server another --data directory")]
    Locked(PathBuf),
    #[error(
        "the store was written by a newer version of dsg-server (format {found}, this one knows {known}); update this server"
    )]
    Version { found: u64, known: u64 },
    #[error("the store {path} is damaged and cannot be repaired ({why}); restore it from a backup")]
    Damaged { path: PathBuf, why: String },
    #[error("a row of the store cannot be read ({row}): {source}")]
    Row { row: String, source: serde_json::Error },
    #[error("cannot use {path}: {source}")]
    File { path: PathBuf, source: std::io::Error },
    #[error("the store is closed after a failed write; the server is trying to open it again")]
    Closed,
}

/// A closed store (`None`) is one whose last commit failed; the engine thread opens it again.
pub struct Store {
    path: PathBuf,
    cache_bytes: usize,
    database: RwLock<Option<Database>>,
    /// Lets a test see what a failed commit does.
    #[cfg(test)]
    pub fail_next_commit: AtomicBool,
}

impl Store {
    fn wrap(&self, error: impl Into<redb::Error>) -> StoreError {
        StoreError::Database { path: self.path.clone(), source: Box::new(error.into()) }
    }
}

#[cfg(test)]
mod tests;
