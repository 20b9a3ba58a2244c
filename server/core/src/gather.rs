//! Gathering: once the chunks are through, first the server's own steps, then the container that gets their results.
use dsg_schemas::api::{Acted, ChunkState};
use dsg_schemas::ids::{ChunkId, GATHER, JobId};
use dsg_schemas::reason::EndReason;
use dsg_schemas::wire::StoredFile;

use crate::event::{GatherTurn, Millis};
use crate::grid::Grid;
use crate::planted::{Bug, planted};

impl Grid {
    /// Does what is next in a job whose chunks are through; doing it again changes nothing.
    pub(crate) fn gather(&mut self, now: Millis, id: JobId) {
        let Some(job) = self.jobs.get_mut(&id) else { return };
        let Some(gather) = &job.row.gather else { return };
        if job.row.gather_open {
            return;
        }
        if gather.server_steps {
            if job.gather_announced.is_none() {
                // No number comes twice in one life of the server, though the rows may be loaded anew: time does not go back.
                let turn = GatherTurn(now.max(self.gather_turn.0 + 1));
                self.gather_turn = turn;
                job.gather_announced = Some(turn);
                self.gather_due.insert(id, turn);
            }
            return;
        }
        self.open_gather(now, id);
    }

    /// The gather chunk may start.
    fn open_gather(&mut self, now: Millis, id: JobId) {
        let Some(job) = self.jobs.get_mut(&id) else { return };
        job.row.gather_open = true;
        self.changes.jobs.insert(id);
        let chunk = ChunkId { job: id, stage: GATHER, index: 0 };
        if let Some(row) = job.touch(chunk) {
            row.waiting_since_ms = now;
            self.changes.chunks.insert(chunk);
            self.make_ready((id, GATHER), [0]);
            self.watch_wait(now, id, GATHER);
        }
    }

    /// The server did its steps, or could not.
    pub(crate) fn gathered(
        &mut self,
        now: Millis,
        id: JobId,
        turn: GatherTurn,
        result: Result<Vec<StoredFile>, String>,
    ) -> Acted {
        // Chunks may have run again since it began, or the steps may be others.
        let is_asked = |announced: Option<GatherTurn>| {
            announced.is_some_and(|asked| asked == turn || planted(Bug::GatherTurnUnasked))
        };
        let waits = |job: &&mut crate::job::Job| {
            let row = &job.row;
            let steps = row.gather.as_ref().is_some_and(|gather| gather.server_steps);
            !row.state.is_final()
                && row.chunks_are_through()
                && steps
                && !row.gather_open
                && is_asked(job.gather_announced)
        };
        let Some(job) = self.jobs.get_mut(&id).filter(waits) else {
            let message = format!("job {id} does not wait for outputs that were gathered then");
            return Acted { count: 0, message };
        };
        self.changes.jobs.insert(id);
        let message = match result {
            Ok(files) => {
                let message = format!("{} of job {id} gathered", crate::job::counted(files.len() as u64, "file"));
                job.row.gathered = files;
                self.open_gather(now, id);
                message
            }
            Err(problem) => {
                let message = format!("the outputs of job {id} could not be gathered: {problem}");
                job.row.gather_problem = Some(problem);
                message
            }
        };
        self.settle(now, id);
        Acted { count: 1, message }
    }

    /// Everything that was gathered is forgotten: some chunks run again, or it is to be gathered in another way.
    pub(crate) fn ungather(&mut self, now: Millis, id: JobId) {
        let chunk = ChunkId { job: id, stage: GATHER, index: 0 };
        let current = self.jobs.get(&id).and_then(|job| job.chunk(chunk)?.attempts.last().copied());
        if let Some(attempt) = current.filter(|_| self.state(chunk).is_some_and(|state| state.is_active())) {
            let message = "chunks of its job run again, so that it has to gather anew";
            self.stop(now, attempt, EndReason::Cancelled, message);
        }
        self.fence_lost(chunk);
        // By way of a state that is in no queue, so that the next one enters the right one.
        self.shift(now, chunk, ChunkState::Skipped);
        let Some(job) = self.jobs.get_mut(&id) else { return };
        job.row.gather_open = false;
        job.row.gathered.clear();
        job.row.gather_problem = None;
        job.gather_announced = None;
        let waiting = job.row.waiting_state();
        if let Some(row) = job.gather.as_mut().and_then(|stage| stage.touched.get_mut(&0)) {
            row.renew(now);
            self.changes.chunks.insert(chunk);
        }
        self.gather_due.remove(&id);
        self.changes.jobs.insert(id);
        self.shift(now, chunk, waiting);
    }
}
