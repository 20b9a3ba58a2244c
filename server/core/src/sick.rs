//! Sickness: a runner on which attempts fail through the grid's own fault gets a rest, and is then tried with one attempt at a time.
//! It is kept in the runner's row, so that a server that starts anew does not feed it chunks again.
use dsg_schemas::ids::RunnerId;
use dsg_schemas::reason::EndReason;
use dsg_schemas::wire::Ended;

use crate::event::Millis;
use crate::grid::Grid;
use crate::planted::{Bug, planted};
use crate::row::{AttemptRow, Sickness};

/// Failures of the grid's own in a row, after which a runner gets a rest.
const SICK_AFTER: u32 = 3;
/// How long the rest is; doubled each time up to the last.
const REST_MS: [Millis; 5] = [60_000, 120_000, 240_000, 480_000, 960_000];
/// Jobs that are remembered: two are more than one, and that is the question.
const JOBS: usize = 2;

impl Sickness {
    /// Until then it gets nothing.
    pub fn rests_until(&self) -> Millis {
        let Some(past) = self.rests.checked_sub(1) else { return 0 };
        self.since_ms.saturating_add(REST_MS[(past as usize).min(REST_MS.len() - 1)])
    }

    /// It had its rest and has done nothing well since: one attempt at a time shows whether it is fit again.
    pub fn is_on_trial(&self) -> bool {
        self.rests > 0
    }

    pub(crate) fn why(&self, now: Millis) -> Option<String> {
        let until = self.rests_until();
        (now < until && !planted(Bug::SickGetsWork)).then(|| {
            let seconds = (until - now).div_ceil(1000);
            format!(
                "rests for {seconds} s after {} failures of its own in a row; the last: {}",
                self.in_a_row, self.last
            )
        })
    }

    fn note(&mut self, now: Millis, attempt: &AttemptRow, starts_elsewhere: bool, ended: &Ended) {
        let Ended { reason, message, .. } = ended;
        match reason {
            EndReason::PullFailed
            | EndReason::EngineError
            | EndReason::GpuError
            | EndReason::DiskFull
            | EndReason::Refused => {
                self.in_a_row = self.in_a_row.saturating_add(1);
                if self.jobs.len() < JOBS {
                    self.jobs.insert(attempt.chunk.job);
                }
                self.last = if message.is_empty() { reason.to_string() } else { format!("{reason}: {message}") };
                // One job alone may be the cause itself (an image that no registry has), unless it starts elsewhere.
                let blamed = self.jobs.len() >= JOBS || starts_elsewhere;
                if self.in_a_row >= SICK_AFTER && blamed && now >= self.rests_until() {
                    self.since_ms = now;
                    self.rests = self.rests.saturating_add(1);
                }
            }
            EndReason::RunnerLost | EndReason::Evicted | EndReason::Cancelled => {}
            _ => *self = Sickness::default(),
        }
    }
}

impl Grid {
    /// What the end of an attempt says of its runner.
    pub(crate) fn note_sickness(&mut self, now: Millis, attempt: &AttemptRow, starts_elsewhere: bool, ended: &Ended) {
        let Some(runner) = self.runners.get_mut(&attempt.runner) else { return };
        // A device that broke is out by itself: what needs none, or another, may go on there.
        let broken =
            |uuid: &String| runner.row.facts.gpus.iter().any(|gpu| gpu.uuid == *uuid && gpu.unhealthy.is_some());
        if ended.reason == EndReason::GpuError && attempt.gpus.iter().any(broken) {
            return;
        }
        let before = runner.row.sick.clone();
        runner.row.sick.note(now, attempt, starts_elsewhere, ended);
        if runner.row.sick != before && !planted(Bug::SicknessUnwritten) {
            self.changes.runners.insert(attempt.runner);
        }
    }

    /// A person who gives a sick runner work again knows better.
    pub(crate) fn take_for_healthy(&mut self, id: RunnerId) {
        let Some(runner) = self.runners.get_mut(&id) else { return };
        if runner.row.sick != Sickness::default() {
            runner.row.sick = Sickness::default();
            self.changes.runners.insert(id);
        }
    }
}
