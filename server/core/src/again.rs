//! A retry of many chunks at once: it moves states, and leaves their rows in the store as they are. What such a row says from then
//! on, and how it comes back into memory before its chunk starts, is here.
use std::collections::BTreeMap;

use dsg_schemas::api::ChunkState;
use dsg_schemas::ids::{ChunkId, JobId, MAIN};

use crate::event::Millis;
use crate::grid::Grid;
use crate::job::Stage;
use crate::planted::{Bug, planted};
use crate::row::{Again, BLOCK, ChunkRow, JobRow};

/// Chunks looked at for the next one without a row: those with one are few.
const LOOKED_AT: usize = 1024;

impl Again {
    /// How many there were.
    pub(crate) fn count(&self) -> u32 {
        self.failed.max(self.all)
    }

    pub(crate) fn once_more(&mut self, now: Millis, all: bool) {
        let number = self.count().saturating_add(1);
        self.failed = number;
        self.at_ms = now;
        if all {
            self.all = number;
        }
    }
}

impl JobRow {
    /// Whether a row tells of a life that a retry of many chunks ended after it was written.
    pub fn is_past(&self, row: &ChunkRow) -> bool {
        let Again { failed, all, at_ms: _ } = self.again;
        let over = row.life < all || (row.life < failed && row.accepted.is_none());
        over && row.ended_ms.is_some() && row.id.stage == MAIN
    }

    /// What the row of a chunk says now, if it has one; `row` as it lies in the store.
    pub fn as_of_now(&self, id: ChunkId, state: ChunkState, row: Option<ChunkRow>) -> Option<ChunkRow> {
        let Some(row) = row else { return self.untouched(id, state) };
        if !self.is_past(&row) {
            return Some(row);
        }
        let now = self.untouched(id, state).unwrap_or_else(|| ChunkRow::fresh(id, self.fresh_since_ms()));
        let failures = if planted(Bug::RetryKeepsBudgets) { row.failures } else { now.failures };
        Some(ChunkRow { attempts: row.attempts, failures, life: self.again.count(), ..now })
    }
}

impl Stage {
    /// The block of the next chunk to start, if its rows have to be loaded before.
    pub(crate) fn cold_head(&self) -> Option<u32> {
        let next = self.ready.iter().take(LOOKED_AT).find(|index| !self.touched.contains_key(index))?;
        let block = next / BLOCK;
        self.cold.contains(&block).then_some(block)
    }

    /// Whether an old row of this chunk may lie in the store and is not here.
    pub(crate) fn is_cold(&self, index: u32) -> bool {
        self.cold.contains(&(index / BLOCK)) && !self.touched.contains_key(&index)
    }

    /// No row of an earlier life is in memory; all of them are in the store.
    pub(crate) fn cool(&mut self) {
        self.cold.extend(0..self.len().div_ceil(BLOCK));
    }
}

impl Grid {
    /// The rows of a block that an effect [wanted](crate::Effects::wanted), as they lie in the store: its chunks may start now.
    pub fn load_block(&mut self, id: JobId, block: u32, rows: impl IntoIterator<Item = ChunkRow>) {
        let Some(job) = self.jobs.get_mut(&id) else { return };
        job.main.cold.remove(&block);
        for row in rows.into_iter().filter(|row| row.id.job == id && row.id.stage == MAIN) {
            let (chunk, index) = (row.id, row.id.index);
            let Some(state) = job.main.state(index).filter(|state| !state.is_final()) else { continue };
            if index / BLOCK == block
                && !job.main.touched.contains_key(&index)
                && let Some(row) = job.row.as_of_now(chunk, state, Some(row))
            {
                job.main.touched.insert(index, row);
            }
        }
    }

    /// The rows of chunks that an event was refused [for](crate::Refusal::ChunksNotLoaded), as they lie in the store; one that has none
    /// was never touched.
    pub fn load_chunks(&mut self, chunks: &[ChunkId], rows: impl IntoIterator<Item = ChunkRow>) {
        let mut rows: BTreeMap<ChunkId, ChunkRow> = rows.into_iter().map(|row| (row.id, row)).collect();
        for id in chunks.iter().copied().filter(|id| id.stage == MAIN) {
            let Some(job) = self.jobs.get_mut(&id.job) else { continue };
            let Some(state) = job.state(id).filter(|state| state.is_final()) else { continue };
            let row = job.row.as_of_now(id, state, rows.remove(&id));
            let row = row.unwrap_or_else(|| ChunkRow::fresh(id, job.row.fresh_since_ms()));
            job.main.touched.entry(id.index).or_insert(row);
        }
    }
}
