//! A stand-in for the store: the rows of committed effects, and nothing else.
use std::collections::BTreeMap;

use dsg_core::{Effects, Grid, Key, LoadError, Millis, Row};
use dsg_schemas::ids::JobId;

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
            Key::Meta | Key::Owners | Key::Job(_) | Key::Runner(_) => true,
            Key::Spec(_) => false,
            Key::Block(..) | Key::Chunk(_) | Key::Attempt(_) => job_of(key, row).is_some_and(|job| !ended(job)),
        });
        Grid::load(now, wanted.map(|(key, row)| (*key, row.clone())))
    }

    /// What the shell reads when an ended job is acted upon.
    pub fn job_rows(&self, job: JobId) -> Vec<(Key, Row)> {
        let wanted = self.rows.iter().filter(|(key, row)| {
            matches!(key, Key::Job(_) | Key::Block(..) | Key::Chunk(_)) && job_of(key, row) == Some(job)
        });
        wanted.map(|(key, row)| (*key, row.clone())).collect()
    }
}

pub fn job_of(key: &Key, row: &Row) -> Option<JobId> {
    match (key, row) {
        (Key::Job(job) | Key::Spec(job) | Key::Block(job, _, _), _) => Some(*job),
        (Key::Chunk(chunk), _) => Some(chunk.job),
        (Key::Attempt(_), Row::Attempt(row)) => Some(row.chunk.job),
        (Key::Meta | Key::Owners | Key::Runner(_) | Key::Attempt(_), _) => None,
    }
}
