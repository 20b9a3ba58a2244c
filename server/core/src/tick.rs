//! Time passed: backoffs end, leases run out, timeouts strike.
use std::collections::BTreeSet;

use dsg_schemas::api::ChunkState;
use dsg_schemas::ids::{ChunkId, JobId, MAIN, RunnerId, StageIndex};
use dsg_schemas::reason::EndReason;
use dsg_schemas::units;

use crate::event::Millis;
use crate::grid::{Grid, Timer};
use crate::planted::{Bug, planted};
use crate::row::{ChunkEnd, Stopped};

/// Waits are looked at this often at most: a look goes over all chunks of a stage that were touched.
pub(crate) const LOOK_MS: Millis = 1_000;

impl Grid {
    pub(crate) fn tick(&mut self, now: Millis) {
        let ended = self.jobs.values().filter(|job| job.row.state.is_final()).map(|job| job.row.id);
        self.changes.visited.extend(ended);
        self.wake(now);
        if self.left_until.take_if(|until| *until <= now).is_some() {
            self.changes.work_available = true;
        }
        let overdue = |runner: &&crate::runner::Runner| self.lease_deadline(runner).is_some_and(|at| at <= now);
        let silent: Vec<RunnerId> = self.runners.values().filter(overdue).map(|runner| runner.row.id).collect();
        silent.into_iter().for_each(|runner| self.lose(now, runner));
        while let Some((at, timer)) = self.timers.first().copied().filter(|(at, _)| *at <= now) {
            self.timers.remove(&(at, timer));
            match timer {
                Timer::Job(job) => self.job_timer(now, job),
                Timer::Queue(job, stage) => self.queue_timer(now, job, stage),
            }
        }
    }

    /// Backoffs that are over.
    pub(crate) fn wake(&mut self, now: Millis) {
        while let Some((_, id)) =
            self.resting.first().copied().filter(|(at, _)| *at <= now && !planted(Bug::RestsForEver))
        {
            self.make_ready((id.job, id.stage), [id.index]);
        }
    }

    fn job_timer(&mut self, now: Millis, id: JobId) {
        let Some(row) = self.jobs.get(&id).map(|job| &job.row).filter(|row| !row.state.is_final()) else { return };
        match row.deadline_ms() {
            Some(at) if at <= now => {
                let limit = units::Millis(row.job_timeout_ms.unwrap_or(0));
                let why = format!("it took longer than timeouts.job allows ({limit})");
                let reason = EndReason::JobTimeout;
                self.stop_job(now, id, Stopped { reason, why }, reason);
            }
            Some(at) => _ = self.timers.insert((at, Timer::Job(id))),
            None => {}
        }
    }

    /// Fails what has waited too long, and looks again when the next one will have.
    fn queue_timer(&mut self, now: Millis, id: JobId, index: StageIndex) {
        let Some(job) = self.jobs.get_mut(&id) else { return };
        if let Some(stage) = job.stage_mut(index) {
            stage.queue_check = None;
        }
        let Some(limit) = job.row.policy(index).and_then(|policy| policy.queue_timeout_ms) else { return };
        if job.row.state.is_final() || !job.row.is_open(index) {
            return;
        }
        let (job, Some(stage)) = (&*job, job.stage(index)) else { return };
        let chunk = |index_of_chunk| ChunkId { job: id, stage: index, index: index_of_chunk };
        let (mut late, mut patient, mut next) = (Vec::new(), BTreeSet::new(), Millis::MAX);
        let mut touched_waiting = 0;
        for at in stage.touched.keys().copied().filter(|at| stage.state(*at) == Some(ChunkState::Waiting)) {
            touched_waiting += 1;
            let deadline = job.waits_since(chunk(at)).saturating_add(limit);
            if deadline <= now {
                late.push(at);
            } else {
                patient.insert(at);
                next = next.min(deadline);
            }
        }
        let fresh = job.row.tally_of(index).waiting - touched_waiting;
        let fresh_deadline = job.row.fresh_since_ms().saturating_add(limit);
        let mut failed = late.len() as u64;
        let message = format!("no runner took it within timeouts.queue ({})", units::Millis(limit));
        for at in late {
            self.close_chunk(now, chunk(at), EndReason::QueueTimeout, &message);
            self.shift(now, chunk(at), ChunkState::Failed);
        }
        if fresh > 0 && fresh_deadline > now {
            next = next.min(fresh_deadline);
        } else if fresh > 0 {
            if let Some(job) = self.jobs.get_mut(&id) {
                let end = ChunkEnd { reason: EndReason::QueueTimeout, message, ended_ms: now };
                job.row.untouched_failed = Some(end);
            }
            let waits = |at, state| state == ChunkState::Waiting && !patient.contains(&at);
            failed += self.shift_all(now, (id, index), waits, ChunkState::Failed);
        }
        self.after_queue_timer(now, id, index, failed, next);
    }

    fn after_queue_timer(&mut self, now: Millis, id: JobId, index: StageIndex, failed: u64, next: Millis) {
        let Some(job) = self.jobs.get_mut(&id) else { return };
        if failed > 0 {
            *job.row.failures.entry(EndReason::QueueTimeout).or_default() += failed;
            self.changes.jobs.insert(id);
        }
        if next < Millis::MAX
            && let Some(stage) = job.stage_mut(index)
        {
            let at = next.max(now + LOOK_MS);
            stage.queue_check = Some(at);
            self.timers.insert((at, Timer::Queue(id, index)));
        }
        if failed > 0 && index == MAIN {
            self.mind_breaker(now, id);
        }
        self.settle(now, id);
    }
}
