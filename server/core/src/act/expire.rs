//! Expire: a rule takes logs, outputs or everything of a job that has ended. The row says so first; the bytes go after its commit.
use dsg_schemas::api::Acted;
use dsg_schemas::ids::{AttemptId, JobId};

use super::acted;
use crate::event::{Expire, Expired, Millis, Refusal};
use crate::grid::Grid;
use crate::planted::{Bug, planted};
use crate::row::{JobRow, Removed};

impl Grid {
    pub(super) fn expire(&mut self, now: Millis, expire: Expire) -> Result<Acted, Refusal> {
        let Expire { job: id, ended_ms, what, why } = expire;
        self.changes.visited.insert(id);
        let row = &self.known(id)?.row;
        if !row.state.is_final() {
            return Err(Refusal::NotEnded(id));
        }
        if row.ended_ms != Some(ended_ms) && !planted(Bug::ExpiresWhatRanAgain) {
            return Err(Refusal::RanAgain(id));
        }
        let below = AttemptId(self.meta.next_attempt);
        let removed = |count, bytes| Some(Removed { at_ms: now, why, count, bytes, below, ran_again: false });
        match what {
            Expired::Job => self.delete(id),
            Expired::Logs { count, bytes } => {
                // A container that is still being stopped must not begin the log anew.
                self.fence_all(id);
                self.mark(id, |row| row.logs_removed = removed(count, bytes));
                acted(count, format!("the logs of job {id} are removed"))
            }
            Expired::Outputs { count, bytes } => {
                self.mark(id, |row| row.outputs_removed = removed(count, bytes));
                acted(count, format!("the outputs of job {id} are removed"))
            }
        }
    }

    fn mark(&mut self, id: JobId, mark: impl FnOnce(&mut JobRow)) {
        if let Some(job) = self.jobs.get_mut(&id) {
            mark(&mut job.row);
            self.changes.jobs.insert(id);
        }
    }
}

impl JobRow {
    /// Its logs are gone, and there are no newer ones.
    pub fn logs_removed(&self) -> Option<&Removed> {
        self.logs_removed.as_ref().filter(|removed| removed.is_all())
    }

    /// Its outputs are gone, and there are no newer ones.
    pub fn outputs_removed(&self) -> Option<&Removed> {
        self.outputs_removed.as_ref().filter(|removed| removed.is_all())
    }

    pub(crate) fn ran_again(&mut self) {
        for removed in [&mut self.logs_removed, &mut self.outputs_removed].into_iter().flatten() {
            removed.ran_again = true;
        }
    }
}

impl Removed {
    fn is_all(&self) -> bool {
        self.count > 0 && !self.ran_again
    }

    /// It took something of this attempt, if that had left anything.
    pub fn took(&self, attempt: AttemptId) -> bool {
        attempt < self.below
    }
}
