//! A runner in memory: its row, its session, and what is reserved on it.
use std::collections::BTreeSet;

use dsg_schemas::api::{Holding, RunnerState, RunnerView};
use dsg_schemas::ids::{AttemptId, SessionId};
use dsg_schemas::limits::LEASE_MS;
use dsg_schemas::wire::Load;

use crate::attempt::Standing;
use crate::event::Millis;
use crate::grid::Grid;
use crate::planted::{Bug, planted};
use crate::row::{Halt, RunnerRow};

/// Attempts on one runner: above it, its host has no processes left for anything else.
const HOLDS: usize = 1024;

pub(crate) struct Runner {
    pub row: RunnerRow,
    pub lease: Lease,
    /// Memory only: after a start every runner says hello again.
    pub session: Option<Session>,
    /// When it last spoke; after a start of the server, that start.
    pub heard: Millis,
    pub holds: BTreeSet<AttemptId>,
    pub used: crate::needs::Used,
    /// Why it takes nothing, in its own words.
    pub no_more: Option<String>,
    /// Live attempts that it reported and that the grid no longer knows: what they use is unknown, so that nothing is added
    /// until they are gone.
    pub strangers: u64,
    pub load: Load,
}

/// How long a runner may be silent before its chunks wait again.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Lease(pub Millis);

impl Default for Lease {
    fn default() -> Lease {
        Lease(LEASE_MS)
    }
}

pub(crate) struct Session {
    pub id: SessionId,
    pub host: String,
    pub seq: Option<u64>,
}

impl Runner {
    pub fn new(row: RunnerRow, lease: Lease, now: Millis) -> Runner {
        Runner {
            row,
            lease,
            session: None,
            heard: now,
            holds: BTreeSet::new(),
            used: Default::default(),
            no_more: None,
            strangers: 0,
            load: Load::default(),
        }
    }

    /// Whether it ever said hello.
    pub fn is_new(&self) -> bool {
        self.row.version.is_empty() && self.session.is_none()
    }

    pub fn is_silent(&self, now: Millis) -> bool {
        now.saturating_sub(self.heard) > self.lease.0
    }

    /// What it is, and why it takes nothing if it does not.
    pub fn state(&self, now: Millis) -> (RunnerState, String) {
        if self.is_new() {
            return (RunnerState::New, "joined, but never said hello".to_owned());
        }
        if let Some(why) = &self.row.ended {
            return (RunnerState::Ended, format!("ended by itself: {why}"));
        }
        if self.is_silent(now) {
            let seconds = now.saturating_sub(self.heard) / 1000;
            let last = self.no_more.as_ref().map(|why| format!("; its last word: {why}")).unwrap_or_default();
            return (RunnerState::Unreachable, format!("silent for {seconds} s{last}"));
        }
        if self.session.is_none() {
            return (RunnerState::Blocked, "not heard again since the server started".to_owned());
        }
        if let Some(halted) = self.row.halted.as_ref().filter(|_| !planted(Bug::HaltedGetsWork)) {
            let state = match halted.how {
                Halt::Pause => RunnerState::Paused,
                Halt::Evict => RunnerState::Evicted,
            };
            return (state, halted.why());
        }
        if let Some(why) = &self.no_more {
            return (RunnerState::Blocked, format!("takes nothing more: {why}"));
        }
        if self.row.drain {
            return (RunnerState::Draining, "drained by a person; undrain it to give it work again".to_owned());
        }
        if let Some(why) = self.row.sick.why(now) {
            return (RunnerState::Blocked, why);
        }
        if self.strangers > 0 {
            let why = "first has to stop attempts whose chunks were given to others or cancelled";
            return (RunnerState::Blocked, why.to_owned());
        }
        (RunnerState::Ready, String::new())
    }

    pub fn takes_work(&self, now: Millis) -> bool {
        self.state(now).0 == RunnerState::Ready
    }

    /// Attempts that it may hold at most.
    pub fn most_holds(&self) -> usize {
        if self.row.sick.is_on_trial() { 1 } else { HOLDS }
    }
}

impl Grid {
    /// The server itself did nothing between these times (it was suspended, or its disk was slow): that was nobody's silence.
    /// Memory only, so that it is no event.
    pub fn forgive(&mut self, from: Millis, to: Millis) {
        let away = to.saturating_sub(from);
        for runner in self.runners.values_mut() {
            runner.heard = runner.heard.saturating_add(away).min(to);
        }
    }

    /// When the leases of a runner run out, if it has any.
    pub(crate) fn lease_deadline(&self, runner: &Runner) -> Option<Millis> {
        let current = runner.holds.iter().filter_map(|id| self.attempts.get(id));
        let any = current.into_iter().any(|live| live.standing == Standing::Current);
        any.then(|| runner.heard.saturating_add(runner.lease.0 + 1))
    }

    /// What is to be remembered of all runners.
    pub fn runner_rows(&self) -> impl Iterator<Item = &RunnerRow> {
        self.runners.values().map(|runner| &runner.row)
    }

    /// All runners as people see them.
    pub fn runner_views(&self, now: Millis) -> Vec<RunnerView> {
        let view = |runner: &Runner| {
            let (state, why) = runner.state(now);
            let holds = runner.holds.iter().filter_map(|id| self.attempts.get(id));
            let shared = runner.used.gpus.iter().filter(|(_, taken)| taken.shares > 0);
            let seen = runner.session.is_some() || runner.is_silent(now);
            RunnerView {
                id: runner.row.id,
                name: runner.row.name.clone(),
                state,
                why,
                version: runner.row.version.clone(),
                facts: runner.row.facts.clone(),
                load: runner.load.clone(),
                last_seen_ms: (seen && !runner.is_new()).then_some(runner.heard),
                used_cpus_milli: runner.used.cpus_milli,
                used_memory_bytes: runner.used.memory_bytes,
                used_gpus: runner.used.gpus.keys().cloned().collect(),
                shared_gpus: shared.map(|(gpu, taken)| (gpu.clone(), taken.shares)).collect(),
                holds: holds.map(|live| Holding { attempt: live.row.id, chunk: live.row.chunk }).collect(),
            }
        };
        self.runners.values().map(view).collect()
    }
}
