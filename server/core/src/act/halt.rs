//! Pause, evict and resume: what runs on a runner is frozen in place, or stopped and waits again at no cost, until a person says so.
use dsg_schemas::api::Acted;
use dsg_schemas::ids::{AttemptId, RunnerId};
use dsg_schemas::reason::EndReason;
use dsg_schemas::wire::Ended;

use super::acted;
use crate::attempt::Standing;
use crate::event::Refusal;
use crate::grid::Grid;
use crate::job::counted;
use crate::planted::{Bug, planted};
use crate::row::{Halt, Halted};

impl Grid {
    /// One takes the place of the other. It is carried out by the runner: until it says so, what it holds counts.
    pub(super) fn halt(&mut self, id: RunnerId, how: Halt, by: String) -> Result<Acted, Refusal> {
        let runner = self.runners.get_mut(&id).ok_or(Refusal::UnknownRunner(id))?;
        let name = runner.row.name.clone();
        self.changes.work_available = true;
        if runner.row.halted.as_ref().is_some_and(|halted| halted.how == how) {
            return acted(0, format!("{name} is {} already; resume it to let it go on", how.done()));
        }
        runner.row.halted = Some(Halted { how, by });
        if !planted(Bug::HaltUnwritten) {
            self.changes.runners.insert(id);
        }
        let current = |id: &&AttemptId| self.attempts.get(id).is_some_and(|live| live.standing == Standing::Current);
        let count = self.runners.get(&id).map_or(0, |runner| runner.holds.iter().filter(current).count());
        let held = counted(count as u64, "attempt");
        acted(
            1,
            match how {
                Halt::Pause => format!("{name} freezes {held} and takes nothing new until it is resumed"),
                Halt::Evict => format!(
                    "{name} stops {held}, whose chunks wait again at no cost, and takes nothing new until it is resumed"
                ),
            },
        )
    }

    pub(super) fn resume(&mut self, id: RunnerId) -> Result<Acted, Refusal> {
        self.take_for_healthy(id);
        let runner = self.runners.get_mut(&id).ok_or(Refusal::UnknownRunner(id))?;
        let name = runner.row.name.clone();
        self.changes.work_available = true;
        if runner.row.halted.take().is_none() {
            return acted(0, format!("{name} is neither paused nor evicted"));
        }
        self.changes.runners.insert(id);
        acted(
            1,
            match runner.row.drain {
                true => {
                    format!("{name} goes on with what it holds; it is still drained: undrain it to give it work again")
                }
                false => format!("{name} goes on and takes work again"),
            },
        )
    }

    /// Whether all that the runner holds is to be stopped.
    pub(crate) fn evicts(&self, runner: RunnerId) -> bool {
        let halted = self.runners.get(&runner).and_then(|runner| runner.row.halted.as_ref());
        halted.is_some_and(|halted| halted.how == Halt::Evict)
    }

    /// An evicted attempt says by whom, where its runner did not: a person, or the owner by what the runner says of itself.
    pub(crate) fn with_evictor(&self, runner: RunnerId, ended: Ended) -> Ended {
        let Some(runner) = self.runners.get(&runner).filter(|_| ended.reason == EndReason::Evicted) else {
            return ended;
        };
        if !ended.message.is_empty() {
            return ended;
        }
        let name = &runner.row.name;
        let message = match (&runner.row.halted, &runner.no_more) {
            (Some(Halted { how: Halt::Evict, by }), _) => format!("stopped on {name} by {by}, at no cost"),
            (_, Some(why)) => format!("stopped on {name}, at no cost: {why}"),
            (_, None) => format!("stopped on {name}, at no cost"),
        };
        Ended { message, ..ended }
    }
}

impl Halt {
    fn done(self) -> &'static str {
        match self {
            Halt::Pause => "paused",
            Halt::Evict => "evicted",
        }
    }
}

impl Halted {
    /// Why its runner takes nothing new.
    pub(crate) fn why(&self) -> String {
        let Halted { how, by } = self;
        match how {
            Halt::Pause => {
                format!("paused by {by}: what it holds is frozen and keeps its memory; resume it to let it go on")
            }
            Halt::Evict => format!("evicted by {by}: what it held waits again; resume it to give it work again"),
        }
    }
}
