//! Delete: an ended job is forgotten, with everything that belongs to it.
use dsg_schemas::api::Acted;
use dsg_schemas::ids::{AttemptId, JobId};

use super::acted;
use crate::event::Refusal;
use crate::grid::Grid;
use crate::planted::{Bug, planted};

impl Grid {
    pub(super) fn delete(&mut self, id: JobId) -> Result<Acted, Refusal> {
        if !self.known(id)?.row.state.is_final() && !planted(Bug::DeletesWhatGoesOn) {
            return Err(Refusal::NotEnded(id));
        }
        // Containers that are still being stopped keep what they reserve, but write no row any more.
        self.fence_all(id);
        self.requests.remove(id);
        self.changes.visited.insert(id);
        self.changes.removed_jobs.push(id);
        acted(1, format!("job {id} is deleted"))
    }

    pub(super) fn fence_all(&mut self, id: JobId) {
        let ours = self.attempts.values().filter(|live| live.row.chunk.job == id).map(|live| live.row.id);
        let ours: Vec<AttemptId> = ours.collect();
        ours.into_iter().filter(|_| !planted(Bug::GoneStillWrites)).for_each(|attempt| self.fence(attempt));
    }
}
