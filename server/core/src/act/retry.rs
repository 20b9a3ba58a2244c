//! Retry: chunks that ended run again with fresh budgets; a job that had ended comes back, and gathers anew.
use dsg_schemas::api::{Acted, ChunkState, JobState, Retries};
use dsg_schemas::ids::{ChunkId, GATHER, JobId, MAIN};

use super::acted;
use crate::event::{Millis, Refusal};
use crate::grid::{Grid, Timer};
use crate::job::{Job, counted};
use crate::planted::{Bug, planted};
use crate::row::{ChunkRow, FirstChunks};

impl Grid {
    pub(super) fn retry(&mut self, now: Millis, id: JobId, which: Retries) -> Result<Acted, Refusal> {
        self.changes.visited.insert(id);
        let job = self.known(id)?;
        let ended = job.row.state.is_final();
        if let Retries::Chunks(chunks) = &which {
            let unknown = chunks.iter().find(|chunk| chunk.job != id || job.state(**chunk).is_none());
            if let Some(unknown) = unknown {
                return Err(Refusal::UnknownChunk(*unknown));
            }
        }
        if matches!(which, Retries::All) && !ended {
            return Err(Refusal::NotEnded(id));
        }
        // What succeeded would not be run again, and what it left is gone.
        if let Some(removed) = job.row.outputs_removed().filter(|_| !matches!(which, Retries::All))
            && job.row.tally.succeeded > 0
            && !planted(Bug::CountsWhatIsRemoved)
        {
            return Err(Refusal::OutputsRemoved { job: id, why: removed.why.clone() });
        }
        if let Retries::Chunks(chunks) = &which {
            let gone = gone(job, chunks);
            if !gone.is_empty() {
                // It stays until its rows are here.
                self.changes.visited.remove(&id);
                return Err(Refusal::ChunksNotLoaded(gone));
            }
        }
        let through = job.row.chunks_are_through();
        let regather = job.row.gather.is_some() && through && self.gather_is_wanted(id, &which);
        let again = self.chosen(id, &which);
        if again == 0 && !regather {
            return acted(0, format!("job {id} has no chunk to run again"));
        }
        self.bring_back(now, id);
        let count = match which {
            Retries::Failed | Retries::All => self.again_all(now, id, matches!(which, Retries::All)),
            Retries::Chunks(chunks) => chunks.into_iter().map(|chunk| self.again(now, chunk)).sum(),
        };
        if regather || (through && count > 0) {
            self.ungather(now, id);
        }
        self.settle(now, id);
        if count == 0 {
            return acted(1, format!("the outputs of job {id} are gathered again"));
        }
        acted(count, format!("{} of job {id} will run again", counted(count, "chunk")))
    }

    /// Whether the gathering itself is to be done again.
    fn gather_is_wanted(&self, id: JobId, which: &Retries) -> bool {
        let Some(job) = self.jobs.get(&id) else { return false };
        let stage = job.gather.as_ref().and_then(|stage| stage.state(0));
        match which {
            Retries::All => true,
            Retries::Failed => {
                job.row.gather_problem.is_some() || matches!(stage, Some(ChunkState::Failed | ChunkState::Cancelled))
            }
            Retries::Chunks(chunks) => {
                stage.is_some_and(ChunkState::is_final) && chunks.iter().any(|chunk| chunk.stage == GATHER)
            }
        }
    }

    /// How many chunks a retry would move.
    fn chosen(&self, id: JobId, which: &Retries) -> u64 {
        let Some(job) = self.jobs.get(&id) else { return 0 };
        let tally = &job.row.tally;
        match which {
            Retries::Failed => tally.failed + tally.cancelled,
            Retries::All => tally.ended(),
            Retries::Chunks(chunks) => chunks.iter().filter(|chunk| self.can_go_again(**chunk)).count() as u64,
        }
    }

    /// Ended, or waiting for its backoff: a person's retry does not wait for that.
    fn can_go_again(&self, id: ChunkId) -> bool {
        let Some(job) = self.jobs.get(&id.job).filter(|_| id.stage == MAIN) else { return false };
        job.main.resting.contains_key(&id.index) || job.state(id).is_some_and(ChunkState::is_final)
    }

    /// An ended job goes on; its time starts anew.
    fn bring_back(&mut self, now: Millis, id: JobId) {
        let Some(job) = self.jobs.get_mut(&id).filter(|job| job.row.state.is_final()) else { return };
        job.row.state = JobState::Waiting;
        job.row.stopped = None;
        job.row.why = None;
        job.row.ended_ms = None;
        job.row.retried_ms = Some(now);
        job.row.ran_again();
        if job.row.tally.succeeded == 0 {
            job.row.first_chunks = FirstChunks::default();
        }
        if let Some(at) = job.row.deadline_ms() {
            self.timers.insert((at, Timer::Job(id)));
        }
        self.changes.jobs.insert(id);
    }

    /// Every ended chunk, or every one that ended badly: states move, and rows in the store are of an earlier life from now on.
    pub(super) fn again_all(&mut self, now: Millis, id: JobId, all: bool) -> u64 {
        let Some(job) = self.jobs.get_mut(&id) else { return 0 };
        job.row.again.once_more(now, all);
        job.main.cool();
        self.changes.jobs.insert(id);
        let to = job.row.waiting_state();
        let badly = |state| matches!(state, ChunkState::Failed | ChunkState::Cancelled);
        self.shift_all(now, (id, MAIN), |_, state| badly(state) || all && state.is_final(), to)
    }

    fn again(&mut self, now: Millis, id: ChunkId) -> u64 {
        if !self.can_go_again(id) {
            return 0;
        }
        let Some(job) = self.jobs.get_mut(&id.job) else { return 0 };
        let to = job.row.waiting_state();
        let Some(row) = job.touch(id) else { return 0 };
        row.renew(now);
        self.changes.chunks.insert(id);
        self.shift(now, id, to);
        if to == ChunkState::Waiting {
            self.make_ready((id.job, MAIN), [id.index]);
        }
        1
    }
}

/// Those of the chunks that ended, and whose rows have left memory since.
fn gone(job: &Job, chunks: &[ChunkId]) -> Vec<ChunkId> {
    let ended = |id: &&ChunkId| id.stage == MAIN && job.state(**id).is_some_and(ChunkState::is_final);
    chunks.iter().filter(ended).filter(|id| job.chunk(**id).is_none()).copied().collect()
}

impl ChunkRow {
    /// As if it had never run, but for the list of its attempts.
    pub(crate) fn renew(&mut self, now: Millis) {
        let ChunkRow { id, attempts, failures, life, .. } = self;
        let attempts = std::mem::take(attempts);
        let failures = if planted(Bug::RetryKeepsBudgets) { *failures } else { 0 };
        *self = ChunkRow { attempts, failures, life: *life, ..ChunkRow::fresh(*id, now) };
    }
}
