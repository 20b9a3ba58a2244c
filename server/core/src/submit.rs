//! Submit: a checked job becomes rows, one state byte per chunk, and a place in the queue.
use dsg_schemas::api::{ChunkState, HoldReason, JobState, Tally};
use dsg_schemas::ids::{GATHER, JobId, MAIN, StageIndex};
use dsg_schemas::limits::CHUNKS_PER_JOB;

use crate::event::{Answer, Millis, Refusal};
use crate::grid::{Grid, Timer};
use crate::job::{Job, Stage};
use crate::needs::{Used, misfit};
use crate::planted::{Bug, planted};
use crate::policy::{StagePolicy, Submission};
use crate::row::{BLOCK, FirstChunks, JobRow, Key, Row};

impl Grid {
    pub(crate) fn submit(&mut self, now: Millis, submission: Submission) -> Result<Answer, Refusal> {
        if let Some(job) = submission.request.as_ref().and_then(|request| self.requests.get(request)) {
            return Ok(Answer::Job { job, fresh: false });
        }
        let chunks = u64::from(submission.main.chunks);
        if chunks > CHUNKS_PER_JOB {
            return Err(Refusal::TooManyChunks(chunks));
        }
        self.meta.next_job = self.meta.next_job.max(1);
        let id = JobId(self.meta.next_job);
        self.meta.next_job += 1;
        self.changes.meta = true;
        if let Some(request) = &submission.request {
            self.requests.insert(request.clone(), id);
        }
        self.changes.rows.insert(Key::Spec(id), Some(Row::Spec(submission.spec.clone())));
        let row = row_of(now, id, submission);
        let job = self.stage_job(now, row);
        self.jobs.insert(id, job);
        for stage in [MAIN, GATHER] {
            self.announce(now, id, stage);
        }
        self.settle(now, id);
        Ok(Answer::Job { job: id, fresh: true })
    }

    /// A job in memory whose chunks are all waiting (or held).
    fn stage_job(&mut self, now: Millis, mut row: JobRow) -> Job {
        let first = row.waiting_state();
        *row.tally.of_mut(first) = u64::from(row.main.chunks);
        let main = self.fresh_stage(now, &row.main, first);
        let gather = row.gather.as_ref().and_then(|gather| gather.run.as_ref());
        let gather = gather.map(|policy| self.fresh_stage(now, policy, first));
        if let Some(stage) = &gather {
            *row.gather_tally.of_mut(first) = u64::from(stage.len());
        }
        Job { row, main, gather, gather_announced: None, started_on: Default::default() }
    }

    fn fresh_stage(&mut self, now: Millis, policy: &StagePolicy, state: ChunkState) -> Stage {
        let (class, needs) = self.queue.enter(&policy.needs, &policy.constraints);
        let mut stage = Stage::new(vec![state as u8; policy.chunks as usize], class, needs, now);
        if state == ChunkState::Waiting {
            stage.ready.fill();
        }
        stage
    }

    /// Writes all of a new stage and lets it be placed.
    fn announce(&mut self, now: Millis, id: JobId, stage_index: StageIndex) {
        let Some(job) = self.jobs.get_mut(&id) else { return };
        let deadline = job.row.deadline_ms();
        let open = job.row.is_open(stage_index);
        let Some(stage) = job.stage_mut(stage_index) else { return };
        if !open && !planted(Bug::GatherOpensEarly) {
            stage.clear_ready();
        }
        let blocks = stage.len().div_ceil(BLOCK);
        self.changes.blocks.extend((0..blocks).map(|number| (id, stage_index, number)));
        self.changes.jobs.insert(id);
        if let Some(at) = deadline {
            self.timers.insert((at, Timer::Job(id)));
        }
        self.reorder(id, stage_index);
        if open {
            self.watch_wait(now, id, stage_index);
        }
    }

    /// Whether any runner of the grid, even when idle, could run a chunk of this stage; if not, why.
    pub fn can_any_run(&self, now: Millis, policy: &StagePolicy) -> Result<(), String> {
        let nothing = Used::default();
        let mut reasons = Vec::new();
        for runner in self.runners.values().filter(|runner| !runner.is_new()) {
            let facts = &runner.row.facts;
            match misfit(now, &runner.row.name, facts, &nothing, &policy.needs, &policy.constraints) {
                None => return Ok(()),
                Some(misfit) => reasons.push((runner.row.name.clone(), misfit.to_string())),
            }
        }
        Err(crate::explain::nobody_can(&reasons))
    }
}

fn row_of(now: Millis, id: JobId, submission: Submission) -> JobRow {
    let Submission {
        request,
        name,
        owner,
        labels,
        image,
        priority,
        hold,
        job_timeout_ms,
        main,
        mut gather,
        retention,
        spec: _,
    } = submission;
    if let Some(run) = gather.as_mut().and_then(|gather| gather.run.as_mut()) {
        run.chunks = 1;
    }
    JobRow {
        id,
        request,
        priority,
        state: if hold { JobState::Held } else { JobState::Waiting },
        held: hold,
        held_for: hold.then_some(HoldReason::Submitted),
        held_by: hold.then(|| owner.clone()),
        held_why: None,
        edits: 0,
        first_chunks: FirstChunks::default(),
        canary_over: false,
        released_ms: None,
        retried_ms: None,
        again: Default::default(),
        gather_open: false,
        name,
        owner,
        labels,
        image,
        stopped: None,
        job_timeout_ms,
        main,
        gather,
        tally: Tally::default(),
        gather_tally: Tally::default(),
        failures: Default::default(),
        untouched_failed: None,
        untouched_cancelled: None,
        gathered: Vec::new(),
        gather_problem: None,
        why: None,
        submitted_ms: now,
        started_ms: None,
        ended_ms: None,
        retention,
        logs_removed: None,
        outputs_removed: None,
    }
}
