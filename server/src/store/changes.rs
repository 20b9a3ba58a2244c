//! What one batch writes, in one durable commit.
use std::collections::BTreeMap;

use dsg_core::event::Effects;
use dsg_core::row::{ChunkRow, Key, Row};
use dsg_schemas::ids::{AttemptId, JobId};
use redb::{Durability, ReadableTable, Table, WriteTransaction};

use super::tables::{ATTEMPTS, AUTH, BLOCKS, CHUNKS, JOBS, META, META_COUNTERS, META_OWNERS, RUNNERS, SPECS, encode};
use super::{Store, StoreError};

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
}

impl Store {
    /// All or nothing, and on disk when it returns. Answers the attempts of removed jobs, whose logs can go. After an error the
    /// store is closed: nobody knows what is on disk until it is opened again.
    pub fn commit(&self, changes: &Changes) -> Result<Vec<AttemptId>, StoreError> {
        let result = self.try_commit(changes);
        if result.is_err() {
            self.close();
        }
        result
    }

    fn try_commit(&self, changes: &Changes) -> Result<Vec<AttemptId>, StoreError> {
        let place = self.database.read().unwrap_or_else(|poison| poison.into_inner());
        let database = place.as_ref().ok_or(StoreError::Closed)?;
        let mut write = database.begin_write().map_err(|error| self.wrap(error))?;
        write.set_two_phase_commit(true);
        write.set_durability(Durability::Immediate).map_err(|error| self.wrap(error))?;
        self.write_rows(&write, changes)?;
        let mut removed = Vec::new();
        for job in &changes.removed_jobs {
            self.remove_job(&write, *job, &mut removed)?;
        }
        #[cfg(test)]
        if self.fail_next_commit.swap(false, std::sync::atomic::Ordering::SeqCst) {
            return Err(StoreError::Closed);
        }
        write.commit().map_err(|error| self.wrap(error))?;
        Ok(removed)
    }

    fn write_rows(&self, write: &WriteTransaction, changes: &Changes) -> Result<(), StoreError> {
        let mut meta = write.open_table(META).map_err(|error| self.wrap(error))?;
        let mut jobs = write.open_table(JOBS).map_err(|error| self.wrap(error))?;
        let mut specs = write.open_table(SPECS).map_err(|error| self.wrap(error))?;
        let mut blocks = write.open_table(BLOCKS).map_err(|error| self.wrap(error))?;
        let mut chunks = write.open_table(CHUNKS).map_err(|error| self.wrap(error))?;
        let mut attempts = write.open_table(ATTEMPTS).map_err(|error| self.wrap(error))?;
        let mut runners = write.open_table(RUNNERS).map_err(|error| self.wrap(error))?;
        let mut auth = write.open_table(AUTH).map_err(|error| self.wrap(error))?;
        for (key, row) in &changes.rows {
            let bytes = row.as_ref().map(encode).transpose();
            let bytes = bytes.map_err(|source| StoreError::Row { row: format!("{key:?}"), source })?;
            let bytes = bytes.as_deref();
            match *key {
                Key::Meta => put(&mut meta, META_COUNTERS, bytes),
                Key::Owners => put(&mut meta, META_OWNERS, bytes),
                Key::Job(job) => put(&mut jobs, job.0, bytes),
                Key::Spec(job) => put(&mut specs, job.0, bytes),
                Key::Block(job, stage, block) => put(&mut blocks, (job.0, stage, block), bytes),
                Key::Chunk(id) => put(&mut chunks, (id.job.0, id.stage, id.index), bytes),
                Key::Attempt(id) => put(&mut attempts, id.0, bytes),
                Key::Runner(id) => put(&mut runners, id.0, bytes),
            }
            .map_err(|error| self.wrap(error))?;
        }
        for (key, bytes) in &changes.auth {
            put(&mut auth, key.as_str(), bytes.as_deref()).map_err(|error| self.wrap(error))?;
        }
        Ok(())
    }

    fn remove_job(&self, write: &WriteTransaction, job: JobId, removed: &mut Vec<AttemptId>) -> Result<(), StoreError> {
        let from = removed.len();
        let mut chunks = write.open_table(CHUNKS).map_err(|error| self.wrap(error))?;
        let whole = (job.0, 0, 0)..=(job.0, u16::MAX, u32::MAX);
        for entry in chunks.range(whole.clone()).map_err(|error| self.wrap(error))? {
            let (_, bytes) = entry.map_err(|error| self.wrap(error))?;
            let row: ChunkRow = serde_json::from_slice(bytes.value())
                .map_err(|source| StoreError::Row { row: format!("a chunk of job {job}"), source })?;
            removed.extend(row.attempts);
        }
        chunks.retain_in(whole.clone(), |_, _| false).map_err(|error| self.wrap(error))?;
        let mut blocks = write.open_table(BLOCKS).map_err(|error| self.wrap(error))?;
        blocks.retain_in(whole, |_, _| false).map_err(|error| self.wrap(error))?;
        let mut attempts = write.open_table(ATTEMPTS).map_err(|error| self.wrap(error))?;
        for attempt in &removed[from..] {
            attempts.remove(attempt.0).map_err(|error| self.wrap(error))?;
        }
        for table in [JOBS, SPECS] {
            let mut table = write.open_table(table).map_err(|error| self.wrap(error))?;
            table.remove(job.0).map_err(|error| self.wrap(error))?;
        }
        Ok(())
    }
}

fn put<'k, K: redb::Key + 'static>(
    table: &mut Table<'_, K, &'static [u8]>,
    key: impl std::borrow::Borrow<K::SelfType<'k>>,
    bytes: Option<&[u8]>,
) -> Result<(), redb::StorageError> {
    match bytes {
        Some(bytes) => table.insert(key, bytes).map(drop),
        None => table.remove(key).map(drop),
    }
}
