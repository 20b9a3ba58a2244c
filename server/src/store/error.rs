//! What can go wrong with the store, with what to do about it.
use std::io;
use std::path::{Path, PathBuf};

use super::Store;
use super::trouble::Trouble;

#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    #[error("cannot use the store {path}: {source}")]
    Database { path: PathBuf, source: Box<redb::Error> },
    #[error("another process is using the store in {0}; stop it first, or give this server another --data directory")]
    Locked(PathBuf),
    #[error(
        "the store was written by a newer version of dsg-server (format {found}, this one knows {known}); update this server"
    )]
    Version { found: u64, known: u64 },
    #[error(
        "the store {path} is damaged ({why}); get it back with `dsg-server restore --data {dir}`",
        dir = folder(path)
    )]
    Damaged { path: PathBuf, why: String },
    #[error(
        "row {key} of table {table} in {path} is damaged: its checksum does not match; stop the server and run `dsg-server restore --data {dir}`",
        dir = folder(path)
    )]
    Rotten { path: PathBuf, table: String, key: String },
    #[error("a row of the store cannot be read ({row}): {source}")]
    Row { row: String, source: serde_json::Error },
    #[error(
        "{path} is missing, but its snapshots or its redo log are there; get it back with `dsg-server restore --data {dir}`, or move the folders snapshots and redo away to begin anew",
        dir = folder(path)
    )]
    Missing { path: PathBuf },
    #[error(
        "the store {path} has come to commit {have}, but {later}: it is older than what lies beside it; run `dsg-server restore --data {dir}`, or, to go on from the older store, move the folders redo and snapshots away",
        dir = folder(path)
    )]
    Behind { path: PathBuf, have: u64, later: String },
    #[error(
        "the redo log {file} beside {path} belongs to another grid ({grid}); if {path} is the wrong file, get the right one back with `dsg-server restore --data {dir}`, else move the folders redo and snapshots away",
        dir = folder(path)
    )]
    Foreign { path: PathBuf, file: String, grid: String },
    #[error("cannot use {path}: {source}")]
    File { path: PathBuf, source: io::Error },
    #[error("the store is closed after a failed write; the server is trying to open it again")]
    Closed,
}

fn folder(path: &Path) -> String {
    path.parent().unwrap_or(path).display().to_string()
}

impl StoreError {
    /// There is no space left: for people another matter than a broken disk.
    pub fn is_disk_full(&self) -> bool {
        let source = match self {
            StoreError::Database { source, .. } => match &**source {
                redb::Error::Io(source) => source,
                _ => return false,
            },
            StoreError::File { source, .. } => source,
            _ => return false,
        };
        matches!(source.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
    }

    /// What is on disk is not what was written.
    pub fn is_damage(&self) -> bool {
        matches!(self, StoreError::Damaged { .. } | StoreError::Rotten { .. })
    }
}

impl Store {
    pub(super) fn wrap(&self, error: impl Into<redb::Error>) -> StoreError {
        self.tell(Trouble::Redb(error.into()))
    }

    pub(super) fn tell(&self, trouble: Trouble) -> StoreError {
        tell(&self.path, trouble)
    }
}

pub fn tell(path: &Path, trouble: Trouble) -> StoreError {
    let path = path.to_owned();
    match trouble {
        Trouble::Redb(redb::Error::Corrupted(why)) => StoreError::Damaged { path, why },
        // What a file is called that is no redb file at all, or only the beginning of one.
        Trouble::Redb(redb::Error::Io(error))
            if matches!(error.kind(), io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof) =>
        {
            StoreError::Damaged { path, why: error.to_string() }
        }
        // No version of dsg-server ever wrote another one.
        Trouble::Redb(redb::Error::UpgradeRequired(version)) => {
            StoreError::Damaged { path, why: format!("redb's file format {version}") }
        }
        Trouble::Redb(source) => StoreError::Database { path, source: Box::new(source) },
        Trouble::Rotten { table, key } => StoreError::Rotten { path, table, key },
        Trouble::Row { row, source } => StoreError::Row { row, source },
        Trouble::Garbled(why) => StoreError::Damaged { path, why: why.to_owned() },
        Trouble::Io(source) => StoreError::File { path, source },
    }
}
