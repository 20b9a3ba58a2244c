//! The breaker of a job: its canary runs first, so many failures are borne, and with more it is stopped or has failed.
use dsg_schemas::api::{ChunkState, HoldReason};
use dsg_schemas::ids::{ChunkId, JobId, MAIN};
use dsg_schemas::reason::EndReason;

use crate::event::Millis;
use crate::grid::Grid;
use crate::job::counted;
use crate::planted::{Bug, planted};
use crate::row::{Failure, FirstChunks, JobRow, Stopped};

/// Chunks that fail in the same way before one succeeds, until the job is held: fewer could be chance.
const SAME_FAILURES: u32 = 5;

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
        self.mind_first_chunks(now, id);
    }

    /// A chunk is given to a runner, for the first time as far as its budgets tell.
    pub(crate) fn first_start(&mut self, chunk: ChunkId) {
        let Some(job) = self.jobs.get_mut(&chunk.job).filter(|_| chunk.stage == MAIN) else { return };
        let fresh = job.chunk(chunk).is_none_or(|row| row.tries() == 0);
        let first = &mut job.row.first_chunks;
        if fresh && !first.over {
            first.started = first.started.saturating_add(1);
            self.changes.jobs.insert(chunk.job);
        }
    }

    /// Nothing succeeded yet, and so many chunks failed in the same way that the rest will hardly do better.
    fn mind_first_chunks(&mut self, now: Millis, id: JobId) {
        let Some(row) = self.jobs.get(&id).map(|job| &job.row).filter(|row| !row.held) else { return };
        let first = &row.first_chunks;
        let Some(like) = first.like.as_ref().filter(|_| !first.over && row.tally.succeeded == 0) else { return };
        let total = row.tally.total();
        let left = total.saturating_sub(u64::from(first.started));
        // Half of what started: a few bad inputs end sooner than good ones. Less left than lost: nothing worth stopping for.
        let many = !planted(Bug::BreakerSleeps)
            && first.failed >= SAME_FAILURES
            && first.failed.saturating_mul(2) >= first.started;
        if !many || left < u64::from(first.failed) || row.stopped.is_some() {
            return;
        }
        let what = failure_words(like);
        let (failed, sample) = (first.failed, like.chunk);
        let why = format!(
            "the first {failed} of {total} chunks all failed in the same way ({what}), so that {} did not start; \
             look at the log of {sample}, then edit the job and let it go on (`dsg edit {id} FILE --release`), cancel it, or release it to run them all the same",
            counted(left, "other chunk")
        );
        self.hold_for(now, id, HoldReason::SameFailure, why);
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
            "the canary {chunk} failed ({what}), so that {rest} did not start; edit the job and let it go on (`dsg edit {id} FILE --release`), cancel it, or release it to run them all the same"
        );
        self.hold_for(now, id, HoldReason::Canary, why);
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

impl FirstChunks {
    /// A chunk failed for the first time.
    pub(crate) fn note_failure(&mut self, failure: Failure) {
        match &self.like {
            _ if self.over => {}
            Some(like) if (like.reason, like.exit_code) != (failure.reason, failure.exit_code) => self.over = true,
            Some(_) => self.failed = self.failed.saturating_add(1),
            None => (self.like, self.failed) = (Some(failure), 1),
        }
    }
}

/// `exit 2`, `bad_command: no such file`.
fn failure_words(failure: &Failure) -> String {
    let Failure { reason, exit_code, message, chunk: _ } = failure;
    let what = exit_code
        .filter(|_| *reason == EndReason::Exit)
        .map_or_else(|| reason.to_string(), |code| format!("exit {code}"));
    let says_more = *reason != EndReason::Exit && !message.is_empty();
    if says_more { format!("{what}: {message}") } else { what }
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
