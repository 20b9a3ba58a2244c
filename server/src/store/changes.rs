//! What one batch writes, in one durable commit.
use std::collections::BTreeMap;
use std::sync::PoisonError;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use dsg_core::event::Effects;
use dsg_core::row::{Key, Row};
use dsg_schemas::ids::{AttemptId, JobId};
use redb::{Database, Durability};

use super::redo::Record;
use super::steps::{Steps, apply};
use super::tables::{
    ATTEMPTS, AUTH, BLOCKS, CHUNKS, JOBS, META, META_COUNTERS, META_IMAGES, META_OWNERS, META_SECRETS, RUNNERS,
    Reached, SPECS, encode,
};
use super::trouble::Trouble;
use super::{Store, StoreError};
use crate::blobs::disk::is_full;

/// How far the rows on disk may be behind the log: bounds what the next start has to make up for after a crash.
const BEHIND: Duration = Duration::from_secs(1);
const BEHIND_BYTES: usize = 8 << 20;

/// What the deletion of a job needs, by far: whoever wants to make room that way must be let.
const ROOM_BYTES: usize = 64 << 10;

/// Rows to write (`None`: remove).
#[derive(Debug, Default)]
pub struct Changes {
    pub rows: BTreeMap<Key, Option<Row>>,
    pub removed_jobs: Vec<JobId>,
    pub auth: BTreeMap<String, Option<Vec<u8>>>,
}

impl Changes {
    pub fn is_empty(&self) -> bool {
        let Changes { rows, removed_jobs, auth } = self;
        rows.is_empty() && removed_jobs.is_empty() && auth.is_empty()
    }

    /// Takes the rows out of effects; what stays in them is not the store's.
    pub fn absorb(&mut self, effects: &mut Effects) {
        self.rows.append(&mut effects.rows);
        self.removed_jobs.append(&mut effects.removed_jobs);
    }

    fn steps(&self) -> Result<Vec<u8>, Trouble> {
        let mut steps = Steps::default();
        for (key, row) in &self.rows {
            let row = row.as_ref();
            let done = match *key {
                Key::Meta => steps.put_by(META, &META_COUNTERS, row, encode),
                Key::Owners => steps.put_by(META, &META_OWNERS, row, encode),
                Key::Images => steps.put_by(META, &META_IMAGES, row, encode),
                Key::Secrets => steps.put_by(META, &META_SECRETS, row, encode),
                Key::Job(job) => steps.put_by(JOBS, &job.0, row, encode),
                Key::Spec(job) => steps.put_by(SPECS, &job.0, row, encode),
                Key::Block(job, stage, block) => steps.put_by(BLOCKS, &(job.0, stage, block), row, encode),
                Key::Chunk(id) => steps.put_by(CHUNKS, &(id.job.0, id.stage, id.index), row, encode),
                Key::Attempt(id) => steps.put_by(ATTEMPTS, &id.0, row, encode),
                Key::Runner(id) => steps.put_by(RUNNERS, &id.0, row, encode),
            };
            done.map_err(|source| Trouble::Row { row: format!("{key:?}"), source })?;
        }
        for (key, bytes) in &self.auth {
            steps.put(AUTH, &key.as_str(), bytes.as_deref());
        }
        for job in &self.removed_jobs {
            steps.remove_job(*job);
        }
        Ok(steps.0)
    }
}

impl Store {
    /// Whether a small commit would find space, tried with a file beside the store: that costs no load of the rows where it would not.
    /// Any other trouble is for the commit to meet.
    pub fn has_room(&self) -> bool {
        #[cfg(test)]
        if self.only_free_bytes.lock().is_ok_and(|free| free.is_some_and(|free| free < ROOM_BYTES as u64)) {
            return false;
        }
        !self.disk.try_room(ROOM_BYTES).is_err_and(|error| is_full(&error))
    }

    /// All or nothing, and on disk when it returns. Answers the attempts of removed jobs, whose logs can go. After an error the
    /// store is closed: nobody knows what is on disk until it is opened again.
    pub fn commit(&self, changes: &Changes) -> Result<Vec<AttemptId>, StoreError> {
        let result = self.try_commit(changes);
        if result.is_err() {
            self.let_go();
        }
        result
    }

    fn try_commit(&self, changes: &Changes) -> Result<Vec<AttemptId>, StoreError> {
        let place = self.database.read().unwrap_or_else(PoisonError::into_inner);
        let database = place.as_ref().ok_or(StoreError::Closed)?;
        changes.steps().and_then(|steps| self.write(database, steps)).map_err(|trouble| self.tell(trouble))
    }

    /// The log makes the commit durable, with one sync; the rows follow at their leisure: what the log has and they have not is
    /// made up for at the next start.
    fn write(&self, database: &Database, steps: Vec<u8>) -> Result<Vec<AttemptId>, Trouble> {
        let mut writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        let reached = Reached { revision: writer.reached.revision + 1, at_ms: unix_ms() };
        let is_due = writer.behind_bytes > BEHIND_BYTES || writer.durable_at.elapsed() > BEHIND;
        let mut write = database.begin_write()?;
        // Two-phase, and with what a start after a crash needs to know, so that it has not to walk the whole file.
        write.set_quick_repair(is_due);
        write.set_durability(if is_due { Durability::Immediate } else { Durability::None })?;
        let removed = apply(&write, &steps, reached)?;
        writer.failed = Some(reached.revision);
        #[cfg(test)]
        let behind = steps.len() as u64;
        writer.behind_bytes += steps.len();
        let grid = writer.grid.clone();
        writer.log.append(&*self.disk, &grid, &Record { reached, steps })?;
        #[cfg(test)]
        if self.only_free_bytes.lock().is_ok_and(|free| free.is_some_and(|free| free < behind)) {
            return Err(Trouble::Io(std::io::ErrorKind::StorageFull.into()));
        }
        #[cfg(test)]
        if self.fail_next_commit.swap(false, std::sync::atomic::Ordering::SeqCst) {
            return Err(Trouble::Io(std::io::Error::other("a test wants it to fail")));
        }
        write.commit()?;
        writer.failed = None;
        writer.reached = reached;
        if is_due {
            writer.is_durable();
        }
        Ok(removed)
    }
}

/// For people only: revisions order commits, whatever the wall clock does.
pub fn unix_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis() as u64
}
