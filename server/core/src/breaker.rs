//! The breaker of a job: its canary runs first, so many failures are borne, and with more it is stopped or has failed.
use dsg_schemas::api::ChunkState;
use dsg_schemas::ids::{ChunkId, JobId, MAIN};
use dsg_schemas::reason::EndReason;

use crate::event::Millis;
use crate::grid::Grid;
use crate::job::counted;
use crate::row::{JobRow, Stopped};

impl Grid {
    /// Called after a chunk of the job ended.
    pub(crate) fn mind_breaker(&mut self, now: Millis, id: JobId) {
        let Some(job) = self.jobs.get(&id).filter(|job| !job.row.state.is_final()) else { return };
        let row = &job.row;
        if row.main.breaker.fail_fast && row.has_failed_too_often() {
            let why = format!("{}; `fail_fast` stops the job then", row.failed_words());
            let stopped = Stopped { reason: EndReason::Exit, why };
            self.stop_job(now, id, stopped, EndReason::Cancelled);
            return;
        }
        self.mind_canary(now, id);
    }

    fn mind_canary(&mut self, now: Millis, id: JobId) {
        let Some(job) = self.jobs.get(&id) else { return };
        let Some(canary) = job.row.main.breaker.canary.filter(|_| !job.row.canary_over) else { return };
        let mut first = job.main.states.iter().take(canary as usize).map(|byte| crate::job::state_of(*byte));
        if first.clone().all(|state| state == ChunkState::Succeeded) {
            return self.open_canary(id);
        }
        let Some(failed) = first.position(|state| state == ChunkState::Failed) else { return };
        if job.row.held || job.row.chunks_are_through() {
            return;
        }
        let chunk = ChunkId { job: id, stage: MAIN, index: failed as u32 };
        let what = job.chunk(chunk).map(|row| row.outcome()).unwrap_or_default();
        let rest = counted(u64::from(job.main.len().saturating_sub(canary)), "other chunk");
        let why = format!(
            "the canary {chunk} failed ({what}), so that {rest} did not start; cancel the job and submit it corrected, or release it to run them all the same"
        );
        self.hold_for(now, id, why);
    }

    /// Every chunk may start.
    pub(crate) fn open_canary(&mut self, id: JobId) {
        let Some(job) = self.jobs.get_mut(&id).filter(|job| !job.row.canary_over) else { return };
        job.row.canary_over = true;
        self.changes.jobs.insert(id);
        self.reorder(id, MAIN);
        self.changes.work_available |= !self.queue.is_empty();
    }
}

impl JobRow {
    /// More chunks failed than are borne; `false` where nothing is said of that and `fail_fast` is off.
    pub(crate) fn has_failed_too_often(&self) -> bool {
        let breaker = &self.main.breaker;
        let most = breaker.max_failed.or(breaker.fail_fast.then_some(0));
        most.is_some_and(|most| self.tally.failed > u64::from(most))
    }

    /// Some failed, and no more than are borne.
    pub(crate) fn failures_are_borne(&self) -> bool {
        let Some(most) = self.main.breaker.max_failed else { return false };
        let tally = &self.tally;
        tally.failed > 0 && tally.failed <= u64::from(most) && tally.succeeded > 0 && tally.cancelled == 0
    }

    /// `4 of 100 chunks failed, more than the 3 that max_failed bears`.
    pub(crate) fn failed_words(&self) -> String {
        let total = counted(self.tally.total(), "chunk");
        let failed = format!("{} of {total} failed", self.tally.failed);
        match self.main.breaker.max_failed {
            Some(most) => format!("{failed}, more than the {most} that `max_failed` bears"),
            None => failed,
        }
    }
}
