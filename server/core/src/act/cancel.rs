//! Cancel: everything of a job stops; waiting chunks at once, running ones as soon as their runners hear of it.
use dsg_schemas::api::Acted;
use dsg_schemas::ids::JobId;
use dsg_schemas::reason::EndReason;

use super::acted;
use crate::event::{Millis, Refusal};
use crate::grid::Grid;
use crate::job::counted;
use crate::row::Stopped;

impl Grid {
    pub(super) fn cancel(&mut self, now: Millis, id: JobId, who: &str) -> Result<Acted, Refusal> {
        self.changes.visited.insert(id);
        if self.known(id)?.row.state.is_final() {
            return acted(0, format!("job {id} had already ended"));
        }
        let reason = EndReason::Cancelled;
        let (waited, ran) = self.stop_job(now, id, Stopped { reason, why: format!("cancelled by {who}") }, reason);
        let mut message = format!("job {id} is cancelled: {} will not start", counted(waited, "waiting chunk"));
        if ran > 0 {
            message
                .push_str(&format!(", {} being stopped", if ran == 1 { "1 is".into() } else { format!("{ran} are") }));
        }
        acted(waited + ran, message)
    }
}
