//! The life of a job: waiting or held, running, gathering, and one of four ends.
use dsg_schemas::api::{ChunkState, JobState, Tally};
use dsg_schemas::ids::{AttemptId, ChunkId, GATHER, JobId, MAIN};
use dsg_schemas::reason::EndReason;

use crate::attempt::Standing;
use crate::event::Millis;
use crate::grid::Grid;
use crate::job::counted;
use crate::planted::{Bug, planted};
use crate::row::{ChunkEnd, JobRow, Stopped};

/// Where a job stands, by its chunks.
enum Stage {
    Chunks,
    Gather,
    Over { state: JobState, why: Option<String> },
}

impl Grid {
    /// Brings the state of a job in line with its chunks; called after anything that may have changed them.
    pub(crate) fn settle(&mut self, now: Millis, id: JobId) {
        let Some(job) = self.jobs.get(&id).filter(|job| !job.row.state.is_final()) else { return };
        let state = match stage_of(&job.row) {
            Stage::Over { state, why } => return self.finish(now, id, state, why),
            Stage::Chunks if job.row.held => JobState::Held,
            Stage::Chunks if job.row.started_ms.is_none() => JobState::Waiting,
            Stage::Chunks => JobState::Running,
            Stage::Gather if job.row.held => JobState::Held,
            Stage::Gather => JobState::Gathering,
        };
        let gather = matches!(stage_of(&job.row), Stage::Gather);
        if job.row.state != state
            && let Some(job) = self.jobs.get_mut(&id)
        {
            job.row.state = state;
            self.changes.jobs.insert(id);
        }
        if gather {
            self.gather(now, id);
        }
    }

    /// The first container of a job runs.
    pub(crate) fn job_started(&mut self, now: Millis, id: JobId) {
        let Some(job) = self.jobs.get_mut(&id).filter(|job| job.row.started_ms.is_none()) else { return };
        job.row.started_ms = Some(now);
        self.changes.jobs.insert(id);
        self.settle(now, id);
    }

    /// Stops everything of a job; nothing of it starts again. Says how many chunks waited and how many ran.
    pub(crate) fn stop_job(&mut self, now: Millis, id: JobId, stopped: Stopped, reason: EndReason) -> (u64, u64) {
        let Some(job) = self.jobs.get_mut(&id).filter(|job| !job.row.state.is_final()) else { return (0, 0) };
        let message = stopped.why.clone();
        job.row.stopped = Some(stopped);
        self.changes.jobs.insert(id);
        let ours = |live: &&crate::attempt::Live| live.row.chunk.job == id && live.standing == Standing::Current;
        let running: Vec<(AttemptId, ChunkId)> =
            self.attempts.values().filter(ours).map(|live| (live.row.id, live.row.chunk)).collect();
        for (attempt, chunk) in &running {
            self.stop(now, *attempt, reason, &message);
            self.close_chunk(now, *chunk, reason, &message);
            self.shift(now, *chunk, ChunkState::Cancelled);
        }
        if let Some(job) = self.jobs.get_mut(&id) {
            job.row.untouched_cancelled = Some(ChunkEnd { reason, message: message.clone(), ended_ms: now });
        }
        let mut waited = 0;
        for stage in [MAIN, GATHER] {
            for index in self.touched_and_waiting(id, stage) {
                self.close_chunk(now, ChunkId { job: id, stage, index }, reason, &message);
            }
            let waits =
                |_, state| matches!(state, ChunkState::Waiting | ChunkState::Held) && !planted(Bug::StoppedChunksStart);
            let moved = self.shift_all(now, (id, stage), waits, ChunkState::Cancelled);
            waited += if stage == MAIN { moved } else { 0 };
        }
        self.settle(now, id);
        (waited, running.len() as u64)
    }

    fn touched_and_waiting(&self, job: JobId, stage: u16) -> Vec<u32> {
        let Some(stage) = self.jobs.get(&job).and_then(|job| job.stage(stage)) else { return Vec::new() };
        let waits = |index: &u32| matches!(stage.state(*index), Some(ChunkState::Waiting | ChunkState::Held));
        stage.touched.keys().copied().filter(waits).collect()
    }

    /// The chunk itself ended, not one of its attempts.
    pub(crate) fn close_chunk(&mut self, now: Millis, id: ChunkId, reason: EndReason, message: &str) {
        self.fence_lost(id);
        let Some(chunk) = self.jobs.get_mut(&id.job).and_then(|job| job.touch(id)) else { return };
        chunk.reason = Some(reason);
        chunk.exit_code = None;
        message.clone_into(&mut chunk.message);
        chunk.not_before_ms = None;
        chunk.ended_ms = Some(now);
        self.changes.chunks.insert(id);
    }

    fn finish(&mut self, now: Millis, id: JobId, state: JobState, why: Option<String>) {
        if let Some(stage) = self.jobs.get(&id).and_then(|job| job.gather.as_ref())
            && matches!(stage.state(0), Some(ChunkState::Waiting | ChunkState::Held))
        {
            self.shift(now, ChunkId { job: id, stage: GATHER, index: 0 }, ChunkState::Skipped);
        }
        let Some(job) = self.jobs.get_mut(&id) else { return };
        job.row.state = state;
        job.row.why = why;
        job.row.held = false;
        job.row.held_for = None;
        job.row.held_by = None;
        job.row.held_why = None;
        job.row.ended_ms = Some(now);
        self.changes.jobs.insert(id);
        let lost = self.attempts.values().filter(|live| live.row.chunk.job == id && live.standing == Standing::Lost);
        let lost: Vec<AttemptId> = lost.map(|live| live.row.id).collect();
        lost.into_iter().for_each(|attempt| self.fence(attempt));
    }
}

fn stage_of(row: &JobRow) -> Stage {
    if !row.chunks_are_through() {
        return Stage::Chunks;
    }
    if let Some(Stopped { reason, why }) = &row.stopped {
        let state = if *reason == EndReason::Cancelled { JobState::Cancelled } else { JobState::Failed };
        return Stage::Over { state, why: Some(why.clone()) };
    }
    if row.has_failed_too_often() {
        let gather = if row.gather.is_some() { "; nothing was gathered" } else { "" };
        return Stage::Over { state: JobState::Failed, why: Some(format!("{}{gather}", row.failed_words())) };
    }
    let Tally { succeeded, .. } = row.tally;
    let all = succeeded == row.tally.total();
    let Some(gather) = &row.gather else {
        let state = match all {
            true => JobState::Succeeded,
            false if row.failures_are_borne() => JobState::Partial,
            false => JobState::Failed,
        };
        return Stage::Over { state, why: (!all).then(|| missing_words(row)) };
    };
    if !all && row.failures_are_borne() && !gather.partial {
        return Stage::Over { state: JobState::Partial, why: Some(missing_words(row)) };
    }
    if !(all || gather.partial && succeeded > 0) {
        let why = format!("{}; nothing was gathered", missing_words(row));
        return Stage::Over { state: JobState::Failed, why: Some(why) };
    }
    if let Some(problem) = &row.gather_problem {
        return Stage::Over {
            state: JobState::Failed,
            why: Some(format!("the outputs could not be gathered: {problem}")),
        };
    }
    let steps_done = row.gather_open || !gather.server_steps;
    let end = match gather.run {
        // The container wants all chunks, and some are missing: the steps before it were all there is to do.
        Some(_) if !all && !gather.run_partial => steps_done,
        Some(_) if row.gather_tally.succeeded == 1 => true,
        Some(_) if row.gather_tally.failed == 1 => {
            let why = format!("the gather chunk {}/gather/0 failed", row.id);
            return Stage::Over { state: JobState::Failed, why: Some(why) };
        }
        Some(_) => false,
        None => steps_done,
    };
    match (end, all) {
        (false, _) => Stage::Gather,
        (true, true) => Stage::Over { state: JobState::Succeeded, why: None },
        (true, false) => Stage::Over { state: JobState::Partial, why: Some(missing_words(row)) },
    }
}

/// `3 of 100 chunks failed (exit 2, oom 1)`.
fn missing_words(row: &JobRow) -> String {
    let Tally { failed, cancelled, .. } = row.tally;
    let mut words = Vec::new();
    for (count, verb) in [(failed, "failed"), (cancelled, "were cancelled")] {
        if count > 0 {
            words.push(format!("{count} of {} {verb}", counted(row.tally.total(), "chunk")));
        }
    }
    // What was evicted ran again.
    let counts = row.failures.iter().filter(|(reason, _)| **reason != EndReason::Evicted);
    let common = counts.max_by_key(|(_, count)| **count);
    let common = common.map(|(reason, _)| format!(", most often by {reason}")).unwrap_or_default();
    format!("{}{common}", words.join(", "))
}
