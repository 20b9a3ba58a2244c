//! Drain, undrain and remove: what people do to runners.
use dsg_schemas::api::Acted;
use dsg_schemas::ids::{AttemptId, RunnerId};
use dsg_schemas::reason::EndReason;
use dsg_schemas::wire::Ended;

use super::acted;
use crate::attempt::Standing;
use crate::event::{Millis, Refusal};
use crate::grid::Grid;
use crate::job::counted;
use crate::row::Key;

impl Grid {
    pub(super) fn drain(&mut self, id: RunnerId, drain: bool) -> Result<Acted, Refusal> {
        self.take_for_healthy(id);
        let runner = self.runners.get_mut(&id).ok_or(Refusal::UnknownRunner(id))?;
        let name = runner.row.name.clone();
        self.changes.work_available = true;
        if runner.row.drain == drain {
            return acted(0, format!("{name} is {} already", if drain { "draining" } else { "taking work" }));
        }
        runner.row.drain = drain;
        self.changes.runners.insert(id);
        if !drain && runner.row.halted.is_some() {
            return acted(1, format!("{name} is not drained any more; resume it to give it work again"));
        }
        if !drain {
            return acted(1, format!("{name} takes work again"));
        }
        acted(1, format!("{name} takes nothing new and finishes {}", counted(runner.holds.len() as u64, "attempt")))
    }

    /// `forced`: by whom, whatever the runner holds. That is how a machine is shut out that is no longer trusted.
    pub(super) fn remove_runner(
        &mut self,
        now: Millis,
        id: RunnerId,
        forced: Option<&String>,
    ) -> Result<Acted, Refusal> {
        let Some(runner) = self.runners.get(&id) else {
            if id.0 > 0 && id.0 < self.meta.next_runner {
                return acted(0, format!("runner {id} is already removed"));
            }
            return Err(Refusal::UnknownRunner(id));
        };
        let held: Vec<AttemptId> = runner.holds.iter().copied().collect();
        let current = |id: &AttemptId| self.attempts.get(id).is_some_and(|live| live.standing == Standing::Current);
        let in_touch = runner.session.is_some() && !runner.is_silent(now);
        if forced.is_none() && (held.iter().any(current) || (in_touch && !held.is_empty())) {
            return Err(Refusal::StillHolding(id));
        }
        let name = runner.row.name.clone();
        let (taken, rest): (Vec<AttemptId>, Vec<AttemptId>) = held.into_iter().partition(current);
        if let Some(who) = forced {
            let why = format!("its runner {name} was removed by {who}");
            for attempt in &taken {
                self.attempt_ended(now, *attempt, Ended::before_start(EndReason::Evicted, why.clone()));
            }
        }
        for attempt in rest {
            self.let_go(attempt);
        }
        self.runners.remove(&id);
        self.holders.values_mut().for_each(|holders| _ = holders.remove(&id));
        self.changes.rows.insert(Key::Runner(id), None);
        if taken.is_empty() {
            return acted(1, format!("{name} is removed"));
        }
        let taken = counted(taken.len() as u64, "attempt");
        acted(1, format!("{name} is removed, and {taken} taken from it; stop its containers on that host"))
    }
}
