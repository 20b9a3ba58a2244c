//! The queue as people see it: waiting work by job stage and reason, in the order in which it will be placed.
use dsg_schemas::api::{ChunkState, QueueEntry};
use dsg_schemas::ids::{ChunkId, StageIndex};

use crate::event::Millis;
use crate::grid::Grid;
use crate::job::Job;
use crate::needs::needs_words;

/// Entries shown: each is explained against every runner, and nobody reads more.
const SHOWN: usize = 500;

impl Grid {
    /// What may start first, in placing order; then what rests, is limited or is held. At most 500 entries.
    pub fn queue(&self, now: Millis) -> Vec<QueueEntry> {
        let mut entries = Vec::new();
        for classes in self.queue.groups() {
            let mut stages: Vec<_> = classes.values().flatten().copied().collect();
            stages.sort_unstable();
            for (id, index) in stages {
                if entries.len() == SHOWN {
                    return entries;
                }
                let Some(job) = self.jobs.get(&id) else { continue };
                let Some(stage) = job.stage(index) else { continue };
                let first = stage.ready.first();
                entries.extend(first.and_then(|first| self.entry(now, job, index, first, stage.ready.len())));
            }
        }
        for job in self.jobs.values().filter(|job| !job.row.state.is_final()) {
            for (index, stage) in job.stages() {
                if entries.len() >= SHOWN {
                    return entries;
                }
                if let Some(first) = stage.ready.first().filter(|_| !job.has_room(index)) {
                    entries.extend(self.entry(now, job, index, first, stage.ready.len()));
                }
                let soonest = stage.resting.iter().min_by_key(|(_, at)| **at);
                let count = stage.resting.len() as u64;
                entries.extend(soonest.and_then(|(first, _)| self.entry(now, job, index, *first, count)));
                let held = job.row.tally_of(index).held;
                if held > 0 && job.row.is_open(index) {
                    let first = stage.states.iter().position(|byte| *byte == ChunkState::Held as u8);
                    entries.extend(first.and_then(|first| self.entry(now, job, index, first as u32, held)));
                }
            }
        }
        entries
    }

    fn entry(&self, now: Millis, job: &Job, stage: StageIndex, index: u32, waiting: u64) -> Option<QueueEntry> {
        let first = ChunkId { job: job.row.id, stage, index };
        Some(QueueEntry {
            job: job.row.id,
            job_name: job.row.name.clone(),
            owner: job.row.owner.clone(),
            priority: job.row.priority,
            first,
            waiting,
            needs: needs_words(&job.row.policy(stage)?.needs),
            explanation: self.explain_chunk(now, job, first, job.state(first)?),
        })
    }
}
