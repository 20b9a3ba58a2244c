//! A stand-in for the store: the rows of committed effects, and nothing else.
use std::collections::BTreeMap;

use dsg_core::row::JobRow;
use dsg_core::{BLOCK, ChunkRow, Effects, Grid, Key, LoadError, Millis, Row};
use dsg_schemas::api::ChunkState;
use dsg_schemas::ids::{ChunkId, GATHER, JobId, MAIN};

#[derive(Clone, Default)]
pub struct Disk {
    pub rows: BTreeMap<Key, Row>,
}

impl Disk {
    pub fn commit(&mut self, effects: &Effects) {
        for (key, row) in &effects.rows {
            match row {
                Some(row) => _ = self.rows.insert(*key, row.clone()),
                None => _ = self.rows.remove(key),
            }
        }
        for removed in &effects.removed_jobs {
            self.rows.retain(|key, row| job_of(key, row) != Some(*removed));
        }
    }

    /// What the shell reads at start.
    pub fn load(&self, now: Millis) -> Result<Grid, LoadError> {
        let ended = |job: JobId| match self.rows.get(&Key::Job(job)) {
            Some(Row::Job(row)) => row.state.is_final(),
            _ => true,
        };
        let wanted = self.rows.iter().filter(|(key, row)| match key {
            Key::Meta | Key::Owners | Key::Images | Key::Secrets | Key::Job(_) | Key::Runner(_) => true,
            Key::Spec(_) => false,
            Key::Block(..) | Key::Attempt(_) => job_of(key, row).is_some_and(|job| !ended(job)),
            Key::Chunk(id) => !ended(id.job) && (id.stage == GATHER || !self.is_through(*id)),
        });
        Grid::load(now, wanted.map(|(key, row)| (*key, row.clone())))
    }

    pub fn job(&self, id: JobId) -> Option<&JobRow> {
        match self.rows.get(&Key::Job(id)) {
            Some(Row::Job(row)) => Some(row),
            _ => None,
        }
    }

    pub fn jobs(&self) -> impl Iterator<Item = &JobRow> {
        let rows = self.rows.range(Key::Job(JobId(0))..=Key::Job(JobId(u64::MAX)));
        rows.filter_map(|(_, row)| match row {
            Row::Job(row) => Some(&**row),
            _ => None,
        })
    }

    /// What the shell reads when an ended job is acted upon.
    pub fn job_rows(&self, job: JobId) -> Vec<(Key, Row)> {
        let wanted = self.rows.iter().filter(|(key, row)| {
            let is_wanted = match key {
                Key::Job(_) | Key::Block(..) => true,
                Key::Chunk(id) => id.stage == GATHER,
                Key::Meta
                | Key::Owners
                | Key::Images
                | Key::Secrets
                | Key::Spec(_)
                | Key::Attempt(_)
                | Key::Runner(_) => false,
            };
            is_wanted && job_of(key, row) == Some(job)
        });
        wanted.map(|(key, row)| (*key, row.clone())).collect()
    }

    /// What the shell reads when rows of chunks are missing.
    pub fn chunk_rows(&self, chunks: &[ChunkId]) -> Vec<ChunkRow> {
        let row = |id: &ChunkId| match self.rows.get(&Key::Chunk(*id)) {
            Some(Row::Chunk(row)) => Some(row.clone()),
            _ => None,
        };
        chunks.iter().filter_map(row).collect()
    }

    /// What the shell does after a commit.
    pub fn load_wanted(&self, grid: &mut Grid, effects: &Effects) {
        for (job, block) in &effects.wanted {
            let chunks = (block * BLOCK..(block + 1) * BLOCK).map(|index| ChunkId { job: *job, stage: MAIN, index });
            grid.load_block(*job, *block, self.chunk_rows(&chunks.collect::<Vec<_>>()));
        }
    }

    fn is_through(&self, id: ChunkId) -> bool {
        let Some(Row::Block(block)) = self.rows.get(&Key::Block(id.job, id.stage, id.index / BLOCK)) else {
            return false;
        };
        block.get((id.index % BLOCK) as usize).is_some_and(|byte| ChunkState::ALL[usize::from(*byte)].is_final())
    }
}

pub fn job_of(key: &Key, row: &Row) -> Option<JobId> {
    match (key, row) {
        (Key::Job(job) | Key::Spec(job) | Key::Block(job, _, _), _) => Some(*job),
        (Key::Chunk(chunk), _) => Some(chunk.job),
        (Key::Attempt(_), Row::Attempt(row)) => Some(row.chunk.job),
        (Key::Meta | Key::Owners | Key::Images | Key::Secrets | Key::Runner(_) | Key::Attempt(_), _) => None,
    }
}
