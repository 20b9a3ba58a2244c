//! What the runner does next. Pure: no clock, no socket, no engine; the agent names what happened, this decides, the agent
//! carries it out.
//!
//! Each sync says all there is, and there are two kinds. One with *news* (something ended or moved on) asks for an answer at once and is
//! waited for. An *idle* one is held by the server until there is work, and brings what asks for no answer; news supersede it, and its
//! answer, if it still comes, is dropped by its `seq`: whatever it ordered is ordered again.
mod ends;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use dsg_schemas::ids::{AttemptId, SessionId};
use dsg_schemas::limits::{LEASE_MIN_MS, LEASE_MS, RENEWALS, SYNC_WAIT_MS};
use dsg_schemas::reason::EndReason;
use dsg_schemas::wire::{
    AttemptReport, Facts, HelloAnswer, Load, Orders, Phase, StartOrder, StopOrder, SyncAnswer, SyncRequest,
};

use crate::owner::{AtEnd, Word};

/// Milliseconds of a clock that never goes back.
pub type Millis = u64;

/// An end is told at once: what ends while that is under way is told together with the next.
const ENDED_DELAY_MS: Millis = 0;
/// New orders were taken: whatever ends quickly is told together with the taking. That alone asks for no answer.
const TAKEN_DELAY_MS: Millis = 5;
/// People watch it; and short containers begin and end in one sync.
const PHASE_DELAY_MS: Millis = 200;
/// News about the host.
const HOST_DELAY_MS: Millis = 50;
const NOTE_DELAY_MS: Millis = 1_000;
const BACKOFF_FIRST_MS: Millis = 250;
/// And a sixth of the lease at most, so that one good request in a bad hour keeps what is held.
const BACKOFF_MAX_MS: Millis = 10_000;
/// How long an answer is waited for: a quarter of the lease within these bounds, so that one that is lost does not cost the lease.
const CALL_MS: (Millis, Millis) = (1_000, 15_000);
/// A server that does not hold idle syncs must not make us spin.
const IDLE_PAUSE_MS: Millis = 1_000;
/// What the host does is told as often as this while something runs there, and until that shows to be over: people watch it.
const LOAD_MS: Millis = 5_000;
/// An end that the server did not settle at once (it may still be writing an output) is told again soon.
const ENDED_AGAIN_MS: Millis = 1_000;

/// Everything that can happen to a runner.
#[derive(Clone, Debug)]
pub enum Event {
    /// The server gave a session.
    Greeted(HelloAnswer),
    /// From the life of an attempt.
    Progress(AttemptId, Phase),
    Answered(SyncAnswer),
    /// A hello (`seq` 0) or a sync did not come through.
    Failed {
        seq: u64,
        failure: Failure,
    },
    /// Why nothing new is taken, or that all is well again; and what the host has, if that changed since it was last said.
    Health(Option<String>, Option<Box<Facts>>),
    /// What the owner of the host wants from now on.
    Owner(Word),
    /// The process is asked to end; containers stay.
    Stopping,
    /// Time passed.
    Wake,
}

/// How a request failed, as far as it matters here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// No answer, or one that says "later".
    Unreachable,
    /// The server does not know our session.
    HelloFirst,
    /// The server has seen a newer `seq` of this session.
    StaleSeq,
}

/// What is to be done.
#[derive(Clone, Debug, PartialEq)]
pub enum Step {
    Hello,
    Sync(Box<SyncRequest>),
    Start(Box<StartOrder>),
    /// The server still counts what an earlier life of this runner took and did not start.
    GoOn(AttemptId),
    /// All containers are to be frozen, or to go on.
    Freeze(bool),
    Stop(StopOrder),
    /// The server has settled it: drop what is left of it.
    Forget(AttemptId),
    /// The server was told, or cannot be told: end the process.
    Quit,
}

#[derive(Debug)]
struct Held {
    phase: Phase,
    stopping: bool,
    /// Not to be started before the server has answered to it.
    waits: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Flight {
    Hello,
    News { seq: u64, last: bool },
    Idle { seq: u64, since: Millis },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    Serving,
    /// The last sync is still owed.
    Stopping,
    Stopped,
}

/// How long this life may last, on the plan's clock.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// Then what is left is stopped, and the process ends.
    pub ends_at: Option<Millis>,
    /// Without an attempt for so long, the process ends.
    pub idle_ms: Option<Millis>,
    /// The longest grace of what is held.
    pub grace_ms: Millis,
}

/// The runner's own mind.
#[derive(Debug)]
pub struct Plan {
    held: BTreeMap<AttemptId, Held>,
    session: Option<SessionId>,
    lease_ms: Millis,
    renew_ms: Millis,
    seq: u64,
    flight: Option<Flight>,
    /// When the news that are there shall be sent.
    news_at: Option<Millis>,
    not_before: Millis,
    idle_not_before: Millis,
    failures: u32,
    /// Why the host is not fit for more.
    unfit: Option<String>,
    owner: Word,
    limits: Limits,
    /// Its lifetime is over: what is left is stopped, and then it ends.
    leaving: bool,
    /// Since when nothing is held.
    empty_since: Option<Millis>,
    /// The last word to the server.
    farewell: String,
    /// It is one for good, as far as this process knows.
    goodbye: bool,
    /// News about the host, until the server has answered to them; and the sync that said them last.
    facts: Option<Box<Facts>>,
    facts_said: Option<u64>,
    /// Whether the server wants containers frozen, as far as it has said so; and what was last done about it.
    pause: Option<bool>,
    frozen: Option<bool>,
    mode: Mode,
    random: u64,
}

impl Plan {
    /// `adopted`: what an earlier life of this runner left, as far as it is known.
    pub fn new(adopted: impl IntoIterator<Item = (AttemptId, Phase)>, random: u64) -> Plan {
        let held = |phase: Phase| {
            let waits = matches!(phase, Phase::Preparing { .. });
            Held { phase, stopping: false, waits }
        };
        let held = adopted.into_iter().map(|(attempt, phase)| (attempt, held(phase))).collect();
        Plan {
            held,
            session: None,
            lease_ms: LEASE_MS,
            renew_ms: LEASE_MS / RENEWALS,
            seq: 0,
            flight: None,
            news_at: Some(0),
            not_before: 0,
            idle_not_before: 0,
            failures: 0,
            unfit: None,
            owner: Word::default(),
            limits: Limits::default(),
            leaving: false,
            empty_since: None,
            farewell: String::new(),
            goodbye: false,
            facts: None,
            facts_said: None,
            pause: None,
            frozen: None,
            mode: Mode::Serving,
            random: random | 1,
        }
    }

    pub fn with_limits(self, limits: Limits) -> Plan {
        Plan { limits, ..self }
    }

    /// Takes in what happened and says what is to be done.
    pub fn handle(&mut self, now: Millis, event: Event) -> Vec<Step> {
        let mut steps = Vec::new();
        match event {
            Event::Greeted(answer) => self.greeted(now, &answer),
            Event::Progress(attempt, phase) => self.progress(now, attempt, phase),
            Event::Answered(answer) => self.answered(now, answer, &mut steps),
            Event::Failed { seq, failure } => self.failed(now, seq, failure),
            Event::Health(unfit, facts) => {
                if facts.is_some() {
                    (self.facts, self.facts_said) = (facts, None);
                    self.tell_by(now + HOST_DELAY_MS);
                }
                if self.unfit != unfit {
                    self.unfit = unfit;
                    self.tell_by(now + HOST_DELAY_MS);
                }
            }
            Event::Owner(word) => {
                if self.owner != word {
                    self.owner = word;
                    self.tell_by(now + HOST_DELAY_MS);
                }
                self.freeze(&mut steps);
                if self.owner.then == AtEnd::Evict {
                    self.evict(&mut steps);
                }
            }
            Event::Stopping => {
                if self.mode == Mode::Serving {
                    self.end(now, "the runner is stopping".to_owned());
                }
            }
            Event::Wake => {}
        }
        self.mind_limits(now, &mut steps);
        self.talk(now, &mut steps);
        steps
    }

    /// When [`Event::Wake`] is wanted, if nothing else happens.
    pub fn wake_at(&self) -> Option<Millis> {
        [self.speaks_at(), self.limit()].into_iter().flatten().min()
    }

    fn speaks_at(&self) -> Option<Millis> {
        match (self.mode, self.flight) {
            (Mode::Stopped, _) | (_, Some(Flight::Hello | Flight::News { .. })) => None,
            (_, Some(Flight::Idle { .. })) => self.news_at.map(|at| at.max(self.not_before)),
            (_, None) => {
                Some(self.news_at.map_or(self.idle_not_before, |at| at.min(self.idle_not_before)).max(self.not_before))
            }
        }
    }

    /// How long the answer to a request is waited for, beside the time for which the server may hold it.
    pub fn call_ms(&self) -> Millis {
        (self.lease_ms / RENEWALS).clamp(CALL_MS.0, CALL_MS.1)
    }

    /// What is held, for the log.
    pub fn holds(&self) -> usize {
        self.held.len()
    }

    fn greeted(&mut self, now: Millis, answer: &HelloAnswer) {
        if self.flight == Some(Flight::Hello) {
            self.flight = None;
        }
        self.session = Some(answer.session);
        self.lease_ms = answer.lease_ms.max(LEASE_MIN_MS);
        self.renew_ms = answer.renew_ms.clamp(LEASE_MIN_MS / RENEWALS, SYNC_WAIT_MS);
        self.seq = 0;
        self.failures = 0;
        self.news_at = Some(now);
    }

    fn progress(&mut self, now: Millis, attempt: AttemptId, phase: Phase) {
        // What was forgotten meanwhile has nothing more to say.
        let Some(held) = self.held.get_mut(&attempt) else { return };
        if matches!(held.phase, Phase::Ended(_)) || held.phase == phase {
            return;
        }
        let delay = match &phase {
            Phase::Preparing { .. } => NOTE_DELAY_MS,
            Phase::Running { .. } | Phase::Storing => PHASE_DELAY_MS,
            Phase::Ended(_) => ENDED_DELAY_MS,
        };
        held.phase = phase;
        self.tell_by(now + delay);
    }

    fn answered(&mut self, now: Millis, answer: SyncAnswer, steps: &mut Vec<Step>) {
        let last = match self.flight {
            Some(Flight::News { seq, last }) if seq == answer.seq => last,
            Some(Flight::Idle { seq, since }) if seq == answer.seq => {
                let pause = IDLE_PAUSE_MS.min(self.renew_ms);
                if answer.orders.is_empty() && now < since + pause {
                    self.idle_not_before = now + pause;
                }
                false
            }
            Some(Flight::Hello | Flight::News { .. } | Flight::Idle { .. }) | None => return,
        };
        self.flight = None;
        self.failures = 0;
        if self.facts_said == Some(answer.seq) {
            (self.facts, self.facts_said) = (None, None);
        }
        if last {
            self.mode = Mode::Stopped;
            self.settle(&answer.orders.forget, steps);
        } else {
            self.pause = Some(answer.pause);
            // Before anything is started.
            self.freeze(steps);
            self.take(now, answer.orders, steps);
        }
    }

    /// What has ended, and is durable at the server.
    fn settle(&mut self, forget: &[AttemptId], steps: &mut Vec<Step>) {
        let ended = |held: &mut Held| matches!(held.phase, Phase::Ended(_));
        for attempt in forget {
            if self.held.get_mut(attempt).is_some_and(ended) {
                self.held.remove(attempt);
                steps.push(Step::Forget(*attempt));
            }
        }
    }

    fn freeze(&mut self, steps: &mut Vec<Step>) {
        let wanted = if self.owner.then == AtEnd::Pause { Some(true) } else { self.pause };
        if let Some(wanted) = wanted.filter(|wanted| self.frozen != Some(*wanted)) {
            self.frozen = Some(wanted);
            steps.push(Step::Freeze(wanted));
        }
    }

    fn take(&mut self, now: Millis, orders: Orders, steps: &mut Vec<Step>) {
        let Orders { start, stop, forget } = orders;
        self.settle(&forget, steps);
        for attempt in forget {
            // Settled without us: end it; the next answer says forget again.
            if let Some(held) = self.held.get_mut(&attempt).filter(|held| !held.stopping) {
                held.stopping = true;
                steps.push(Step::Stop(StopOrder { attempt, reason: EndReason::Cancelled }));
            }
        }
        for order in stop {
            if let Some(held) = self.held.get_mut(&order.attempt)
                && !held.stopping
                && !matches!(held.phase, Phase::Ended(_))
            {
                held.stopping = true;
                steps.push(Step::Stop(order));
            }
        }
        if self.mode != Mode::Serving {
            return;
        }
        // Whatever was held was reported, and is counted unless the answer says something else.
        for (attempt, held) in self.held.iter_mut().filter(|(_, held)| held.waits && !held.stopping) {
            held.waits = false;
            steps.push(Step::GoOn(*attempt));
        }
        // Ordered before the server heard that the host is not the grid's any more: it takes back what is never reported.
        if self.leaving || self.owner.why.is_some() {
            return;
        }
        for order in start {
            self.limits.grace_ms = self.limits.grace_ms.max(order.timeouts.grace_ms);
            if let Entry::Vacant(vacant) = self.held.entry(order.attempt) {
                let phase = Phase::Preparing { note: String::new() };
                vacant.insert(Held { phase, stopping: false, waits: false });
                self.idle_not_before = now + TAKEN_DELAY_MS;
                steps.push(Step::Start(Box::new(order)));
            }
        }
    }

    fn failed(&mut self, now: Millis, seq: u64, failure: Failure) {
        let last = match self.flight {
            Some(Flight::Hello) if seq == 0 => false,
            Some(Flight::News { seq: sent, last }) if seq == sent => last,
            Some(Flight::Idle { seq: sent, .. }) if seq == sent => false,
            Some(Flight::Hello | Flight::News { .. } | Flight::Idle { .. }) | None => return,
        };
        self.flight = None;
        if last {
            self.mode = Mode::Stopped;
        }
        match failure {
            Failure::HelloFirst => self.session = None,
            // Ours is behind what the server has seen: jump ahead of it.
            Failure::StaleSeq => self.seq += 1_000,
            Failure::Unreachable => {}
        }
        self.failures = self.failures.saturating_add(1);
        // A first refusal of the session costs no wait: it is what a server says after its restart.
        let wait = if failure == Failure::Unreachable || self.failures > 1 { self.backoff() } else { 0 };
        self.not_before = now + wait;
        self.news_at = Some(now);
    }

    fn talk(&mut self, now: Millis, steps: &mut Vec<Step>) {
        if self.mode == Mode::Stopped {
            return self.quit(steps);
        }
        if matches!(self.flight, Some(Flight::Hello | Flight::News { .. })) || now < self.not_before {
            return;
        }
        let Some(session) = self.session else {
            if self.mode == Mode::Stopping {
                return self.quit(steps);
            }
            self.flight = Some(Flight::Hello);
            return steps.push(Step::Hello);
        };
        let news = self.news_at.is_some_and(|at| at <= now);
        let idle = self.flight.is_none() && self.idle_not_before <= now;
        if !news && !idle {
            return;
        }
        self.seq += 1;
        // Each says all there is; one that owes no answer at once leaves the line open for work.
        self.news_at = None;
        self.flight = Some(if news {
            Flight::News { seq: self.seq, last: self.mode == Mode::Stopping }
        } else {
            Flight::Idle { seq: self.seq, since: now }
        });
        self.facts_said = self.facts.as_ref().map(|_| self.seq);
        steps.push(Step::Sync(Box::new(self.request(now, session, news))));
    }

    fn request(&self, now: Millis, session: SessionId, news: bool) -> SyncRequest {
        let report =
            |(attempt, held): (&AttemptId, &Held)| AttemptReport { attempt: *attempt, phase: held.phase.clone() };
        let owed = self.held.values().any(|held| matches!(held.phase, Phase::Ended(_)));
        let just_empty = self.empty_since.is_some_and(|since| now < since + SYNC_WAIT_MS);
        let hold_ms = match (self.held.is_empty(), owed) {
            (true, _) => {
                if just_empty {
                    LOAD_MS
                } else {
                    SYNC_WAIT_MS
                }
            }
            (false, false) => self.renew_ms.min(LOAD_MS),
            (false, true) => ENDED_AGAIN_MS,
        };
        SyncRequest {
            session,
            seq: self.seq,
            attempts: self.held.iter().map(report).collect(),
            no_more: self.no_more(),
            goodbye: self.goodbye,
            load: Load::default(),
            facts: self.facts.clone(),
            wait_ms: if news { 0 } else { hold_ms },
        }
    }

    fn quit(&mut self, steps: &mut Vec<Step>) {
        self.mode = Mode::Stopped;
        steps.push(Step::Quit);
    }

    fn tell_by(&mut self, at: Millis) {
        self.news_at = Some(self.news_at.map_or(at, |old| old.min(at)));
    }

    /// Doubles up to a bound; the upper half is random, so that a hundred runners do not come back in one moment.
    fn backoff(&mut self) -> Millis {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        let whole =
            (BACKOFF_FIRST_MS << self.failures.saturating_sub(1).min(8)).min(BACKOFF_MAX_MS).min(self.lease_ms / 6);
        whole / 2 + self.random % (whole / 2 + 1)
    }
}
