//! Hold and release: nothing more of a job starts until a person says so; what runs goes on.
use dsg_schemas::api::{Acted, ChunkState};
use dsg_schemas::ids::{GATHER, JobId, MAIN};

use super::acted;
use crate::event::{Millis, Refusal};
use crate::grid::Grid;
use crate::job::counted;

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
        self.set_held(id, Some(who.to_owned()));
        let waits = |_, state| state == ChunkState::Waiting;
        let count = self.shift_all(now, (id, MAIN), waits, ChunkState::Held);
        self.shift_all(now, (id, GATHER), waits, ChunkState::Held);
        self.settle(now, id);
        acted(count.max(1), format!("job {id} is held: {} will wait until it is released", counted(count, "chunk")))
    }

    pub(super) fn release(&mut self, now: Millis, id: JobId) -> Result<Acted, Refusal> {
        self.changes.visited.insert(id);
        let row = &self.known(id)?.row;
        if row.state.is_final() || !row.held {
            return acted(0, format!("job {id} is not held"));
        }
        self.set_held(id, None);
        if let Some(job) = self.jobs.get_mut(&id) {
            job.row.released_ms = Some(now);
        }
        let held = |_, state| state == ChunkState::Held;
        let count = self.shift_all(now, (id, MAIN), held, ChunkState::Waiting);
        self.shift_all(now, (id, GATHER), held, ChunkState::Waiting);
        self.settle(now, id);
        acted(count.max(1), format!("job {id} is released: {} may start", counted(count, "chunk")))
    }

    fn set_held(&mut self, id: JobId, by: Option<String>) {
        let Some(job) = self.jobs.get_mut(&id) else { return };
        job.row.held = by.is_some();
        job.row.held_by = by;
        self.changes.jobs.insert(id);
    }
}
