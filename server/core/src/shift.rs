//! The one place where chunks change state: byte, tally, queue and what must be written move together.
use std::ops::Range;

use dsg_schemas::api::ChunkState;
use dsg_schemas::ids::{ChunkId, JobId, StageIndex};

use crate::event::Millis;
use crate::grid::{Grid, Timer};
use crate::job::state_of;
use crate::row::BLOCK;

impl Grid {
    /// Moves one chunk, whatever state it is in.
    pub(crate) fn shift(&mut self, now: Millis, chunk: ChunkId, to: ChunkState) {
        self.shift_range(now, (chunk.job, chunk.stage), chunk.index..chunk.index.saturating_add(1), |_, _| true, to);
    }

    /// Moves all chunks of a stage that are in one of the states; says how many.
    pub(crate) fn shift_all(
        &mut self,
        now: Millis,
        stage: (JobId, StageIndex),
        from: impl Fn(u32, ChunkState) -> bool,
        to: ChunkState,
    ) -> u64 {
        self.shift_range(now, stage, 0..u32::MAX, from, to)
    }

    fn shift_range(
        &mut self,
        now: Millis,
        (job_id, stage_index): (JobId, StageIndex),
        range: Range<u32>,
        from: impl Fn(u32, ChunkState) -> bool,
        to: ChunkState,
    ) -> u64 {
        let Some(job) = self.jobs.get_mut(&job_id) else { return 0 };
        let open = job.row.is_open(stage_index);
        let mut tally = *job.row.tally_of(stage_index);
        let Some(stage) = job.stage_mut(stage_index) else { return 0 };
        let mut moved = 0;
        let mut block = None;
        for index in range.start..range.end.min(stage.len()) {
            let old = state_of(stage.states[index as usize]);
            if old == to || !from(index, old) {
                continue;
            }
            let id = ChunkId { job: job_id, stage: stage_index, index };
            if old == ChunkState::Waiting {
                stage.remove_ready(index);
                if let Some(at) = stage.resting.remove(&index) {
                    self.resting.remove(&(at, id));
                }
            }
            if to == ChunkState::Waiting && open {
                match stage.touched.get(&index).and_then(|row| row.not_before_ms).filter(|at| *at > now) {
                    Some(at) => {
                        stage.resting.insert(index, at);
                        self.resting.insert((at, id));
                    }
                    None => stage.insert_ready(index),
                }
            }
            stage.states[index as usize] = to as u8;
            *tally.of_mut(old) -= 1;
            *tally.of_mut(to) += 1;
            if block != Some(index / BLOCK) {
                block = Some(index / BLOCK);
                self.changes.blocks.insert((job_id, stage_index, index / BLOCK));
            }
            moved += 1;
        }
        *job.row.tally_mut(stage_index) = tally;
        if moved > 0 {
            self.changes.jobs.insert(job_id);
            self.reorder(job_id, stage_index);
            if to == ChunkState::Waiting {
                self.changes.work_available |= !self.queue.is_empty();
                self.watch_wait(now, job_id, stage_index);
            }
        }
        moved
    }

    /// Chunks of this stage become ready (their wait is over, or the gather chunk may start).
    pub(crate) fn make_ready(&mut self, stage_key: (JobId, StageIndex), indexes: impl IntoIterator<Item = u32>) {
        let Some(stage) = self.jobs.get_mut(&stage_key.0).and_then(|job| job.stage_mut(stage_key.1)) else { return };
        for index in indexes {
            if stage.state(index) != Some(ChunkState::Waiting) {
                continue;
            }
            if let Some(at) = stage.resting.remove(&index) {
                self.resting.remove(&(at, ChunkId { job: stage_key.0, stage: stage_key.1, index }));
            }
            stage.insert_ready(index);
        }
        self.reorder(stage_key.0, stage_key.1);
        self.changes.work_available |= !self.queue.is_empty();
    }

    /// Puts a stage into the placing order if it has a chunk that may start, takes it out if not.
    pub(crate) fn reorder(&mut self, job_id: JobId, stage_index: StageIndex) {
        let Some(job) = self.jobs.get(&job_id) else { return };
        let Some(stage) = job.stage(stage_index) else { return };
        let room = job.has_room(stage_index);
        for class in stage.classes() {
            let ready = room && job.may_start(stage_index, class);
            let entered = self.queue.set(job.row.priority, &job.row.owner, class, (job_id, stage_index), ready);
            self.changes.work_available |= entered;
        }
    }

    /// Sees to it that somebody looks when the first waiting chunk of the stage has waited for too long.
    pub(crate) fn watch_wait(&mut self, now: Millis, job_id: JobId, stage_index: StageIndex) {
        let Some(job) = self.jobs.get_mut(&job_id) else { return };
        let Some(timeout) = job.row.policy(stage_index).and_then(|policy| policy.queue_timeout_ms) else { return };
        let Some(stage) = job.stage_mut(stage_index) else { return };
        if stage.queue_check.is_none() {
            let at = now.saturating_add(timeout);
            stage.queue_check = Some(at);
            self.timers.insert((at, Timer::Queue(job_id, stage_index)));
        }
    }
}
