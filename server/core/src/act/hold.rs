//! Hold and release: nothing more of a job starts until a person says so; what runs goes on.
use dsg_schemas::api::{Acted, ChunkState, HoldReason};
use dsg_schemas::ids::{GATHER, JobId, MAIN};

use super::acted;
use crate::event::{Millis, Refusal};
use crate::grid::Grid;
use crate::job::counted;
use crate::planted::{Bug, planted};

impl Grid {
    pub(super) fn hold_job(&mut self, now: Millis, id: JobId, who: &str) -> Result<Acted, Refusal> {
        self.changes.visited.insert(id);
        let row = &self.known(id)?.row;
        if row.state.is_final() {
            return Err(Refusal::Ended(id));
        }
        if row.held {
            return acted(0, format!("job {id} is already held"));
        }
        let count = self.keep_back(now, id, HoldReason::Person, Some(who.to_owned()), None);
        acted(count.max(1), format!("job {id} is held: {} will wait until it is released", counted(count, "chunk")))
    }

    /// The grid itself holds a job, with why.
    pub(crate) fn hold_for(&mut self, now: Millis, id: JobId, reason: HoldReason, why: String) {
        self.keep_back(now, id, reason, None, Some(why));
    }

    fn keep_back(
        &mut self,
        now: Millis,
        id: JobId,
        reason: HoldReason,
        by: Option<String>,
        why: Option<String>,
    ) -> u64 {
        self.set_held(id, Some(reason), by, why);
        let waits = |_, state| state == ChunkState::Waiting && !planted(Bug::HeldChunksStart);
        let count = self.shift_all(now, (id, MAIN), waits, ChunkState::Held);
        self.shift_all(now, (id, GATHER), waits, ChunkState::Held);
        self.settle(now, id);
        count
    }

    pub(super) fn release(&mut self, now: Millis, id: JobId) -> Result<Acted, Refusal> {
        self.changes.visited.insert(id);
        let row = &self.known(id)?.row;
        if row.state.is_final() || !row.held {
            return acted(0, format!("job {id} is not held"));
        }
        // Who releases a job that the grid held wants all of it.
        let by_grid = row.held_for.is_some_and(HoldReason::is_the_grids);
        self.set_held(id, None, None, None);
        // Whoever releases it after its canary failed wants all of it; one that never ran still comes first.
        if self.jobs.get(&id).is_some_and(|job| job.row.main.breaker.canary.is_some() && job.row.tally.failed > 0) {
            self.open_canary(id);
        }
        if let Some(job) = self.jobs.get_mut(&id) {
            job.row.released_ms = Some(now);
            job.row.first_chunks.over |= by_grid && !planted(Bug::BreakerBitesTwice);
        }
        let held = |_, state| state == ChunkState::Held;
        let count = self.shift_all(now, (id, MAIN), held, ChunkState::Waiting);
        self.shift_all(now, (id, GATHER), held, ChunkState::Waiting);
        self.settle(now, id);
        acted(count.max(1), format!("job {id} is released: {} may start", counted(count, "chunk")))
    }

    pub(super) fn set_held(&mut self, id: JobId, reason: Option<HoldReason>, by: Option<String>, why: Option<String>) {
        let Some(job) = self.jobs.get_mut(&id) else { return };
        job.row.held = reason.is_some();
        job.row.held_for = reason;
        job.row.held_by = by;
        job.row.held_why = why;
        self.changes.jobs.insert(id);
    }
}
