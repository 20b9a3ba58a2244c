//! What ends by itself: the runner's lifetime, its patience without work, and what the owner of the host has stopped.
use dsg_schemas::reason::EndReason;
use dsg_schemas::units;
use dsg_schemas::wire::{Phase, StopOrder};

use super::{Millis, Mode, Plan, Step};

/// After a lifetime and the longest grace, until the process ends whatever has not ended.
const LEAVE_MS: Millis = 60_000;

impl Plan {
    /// Why nothing new is taken; the first reason counts.
    pub(super) fn no_more(&self) -> Option<String> {
        if self.mode != Mode::Serving {
            return Some(self.farewell.clone());
        }
        if self.leaving {
            return Some("its lifetime is over".to_owned());
        }
        self.owner.why.clone().or_else(|| self.unfit.clone())
    }

    pub(super) fn mind_limits(&mut self, now: Millis, steps: &mut Vec<Step>) {
        if self.mode != Mode::Serving {
            return;
        }
        if !self.leaving && self.limits.ends_at.is_some_and(|at| at <= now) {
            self.leaving = true;
            self.tell_by(now);
            self.evict(steps);
        }
        if self.leaving && self.held.is_empty() {
            return self.end_for_good(now, "its lifetime is over".to_owned());
        }
        if self.leaving && self.limit().is_some_and(|at| at <= now) {
            self.mode = Mode::Stopped;
            return;
        }
        if !self.held.is_empty() {
            self.empty_since = None;
            return;
        }
        let since = *self.empty_since.get_or_insert(now);
        if let Some(idle) = self.limits.idle_ms.filter(|idle| since + idle <= now) {
            self.end_for_good(now, format!("it had nothing to do for {}, and ends", units::Millis(idle)));
        }
    }

    /// When the next limit is reached.
    pub(super) fn limit(&self) -> Option<Millis> {
        if self.mode != Mode::Serving {
            return None;
        }
        let slack = if self.leaving { self.limits.grace_ms + LEAVE_MS } else { 0 };
        let ends_at = self.limits.ends_at.map(|at| at + slack);
        let idle_at = self.empty_since.zip(self.limits.idle_ms).map(|(since, idle)| since + idle);
        [ends_at, idle_at].into_iter().flatten().min()
    }

    /// No next life is meant to follow.
    fn end_for_good(&mut self, now: Millis, farewell: String) {
        self.goodbye = true;
        self.end(now, farewell);
    }

    /// The server is told once more, and then the process ends.
    pub(super) fn end(&mut self, now: Millis, farewell: String) {
        self.mode = Mode::Stopping;
        self.farewell = farewell;
        self.news_at = Some(now);
        self.not_before = now;
    }

    /// Stops all that is held; its chunks wait again, at no cost.
    pub(super) fn evict(&mut self, steps: &mut Vec<Step>) {
        let going = |held: &super::Held| !held.stopping && !matches!(held.phase, Phase::Ended(_));
        for (attempt, held) in self.held.iter_mut().filter(|(_, held)| going(held)) {
            held.stopping = true;
            steps.push(Step::Stop(StopOrder { attempt: *attempt, reason: EndReason::Evicted }));
        }
    }
}
