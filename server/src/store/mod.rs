//! The store: rows in one redb file, with a redo log beside it. Everybody reads it, only the engine thread writes it.
mod changes;
mod checked;
mod copy;
mod disk;
mod dump;
mod error;
mod guarded;
mod migrate;
mod open;
mod overlay;
mod read;
mod redo;
mod restore;
mod sealed;
mod snapshot;
mod steps;
mod tables;
mod trouble;

use std::fs::File;
use std::path::PathBuf;
#[cfg(test)]
use std::sync::atomic::AtomicBool;
use std::sync::{Mutex, RwLock};
use std::time::Instant;

use redb::Database;

pub use changes::Changes;
pub use dump::{DumpError, dump};
pub use error::StoreError;
pub use open::private_dir;
pub use read::Reader;
pub use restore::{RestoreError, restore, snapshots};
pub use snapshot::Taken;

use disk::Disk;
use redo::Log;
use tables::Reached;

/// A closed store (`None`) is one whose last commit failed; the engine thread opens it again.
pub struct Store {
    dir: PathBuf,
    path: PathBuf,
    cache_bytes: usize,
    disk: Box<dyn Disk>,
    lock: Mutex<Option<File>>,
    database: RwLock<Option<Database>>,
    writer: Mutex<Writer>,
    /// Lets a test see what a failed commit does.
    #[cfg(test)]
    pub fail_next_commit: AtomicBool,
    /// Lets a test see what happens on a disk with so little space.
    #[cfg(test)]
    pub only_free_bytes: Mutex<Option<u64>>,
    /// Lets a test count how often all of it was read anew.
    #[cfg(test)]
    pub reopened: std::sync::atomic::AtomicUsize,
}

/// What the one who writes must know.
struct Writer {
    log: Log,
    grid: String,
    /// By the last commit.
    reached: Reached,
    /// What is on disk of the rows themselves, since when, and how much the log has beyond it.
    durable: u64,
    durable_at: Instant,
    behind_bytes: usize,
    /// The commit that failed: whoever asked for it was told so, and it must not be made up for later.
    failed: Option<u64>,
    /// The log does not reach back to a snapshot, or not up to the rows: only a new snapshot helps.
    needs_snapshot: bool,
}

impl Writer {
    fn new(grid: String, reached: Reached, needs_snapshot: bool) -> Writer {
        let (durable, durable_at) = (reached.revision, Instant::now());
        Writer {
            log: Log::default(),
            grid,
            reached,
            durable,
            durable_at,
            behind_bytes: 0,
            failed: None,
            needs_snapshot,
        }
    }

    /// Every commit so far is in the rows on disk, too.
    fn is_durable(&mut self) {
        (self.durable, self.durable_at, self.behind_bytes) = (self.reached.revision, Instant::now(), 0);
    }
}

#[cfg(test)]
mod tests;
#[cfg(test)]
pub(crate) mod torture;
