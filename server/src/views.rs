//! The one place where rows become what people and programs are told.
use dsg_core::row::{self, AttemptRow, ChunkRow, JobRow};
use dsg_schemas::api::{AttemptView, ChunkState, ChunkView, JobDetail, JobState, JobView, ManifestLine, Removed};
use dsg_schemas::ids::ChunkId;
use dsg_schemas::wire::StoredFile;
use serde_json::Value;

pub fn job(row: &JobRow) -> JobView {
    JobView {
        id: row.id,
        name: row.name.clone(),
        owner: row.owner.clone(),
        state: row.state,
        priority: row.priority,
        labels: row.labels.clone(),
        image: row.image.clone(),
        chunks: row.tally,
        submitted_ms: row.submitted_ms,
        started_ms: row.started_ms,
        ended_ms: row.ended_ms,
    }
}

/// What a job page shows beside the row: the spec as written and as understood, and the gather chunk if there is one.
pub struct JobParts {
    pub description: String,
    pub spec_text: String,
    pub spec: Value,
    pub gather: Option<ChunkView>,
    /// Outputs of the gather chunk's accepted attempt.
    pub gather_outputs: Vec<StoredFile>,
    /// The core's sentence while the job does not go on.
    pub why_not: Option<String>,
}

pub fn job_detail(row: &JobRow, parts: JobParts, now_ms: u64) -> JobDetail {
    let JobParts { description, spec_text, spec, gather, gather_outputs, why_not } = parts;
    let outputs_removed = row.outputs_removed().map(removed);
    let there = outputs_removed.is_none();
    let gathered = row.gathered.iter().cloned().chain(gather_outputs).filter(|_| there).collect();
    JobDetail {
        job: job(row),
        description,
        gather,
        gathered,
        gather_problem: row.gather_problem.clone(),
        why: row.why.clone().or(why_not),
        held_for: row.held_for,
        held_why: row.held_why.clone(),
        parallelism: row.main.parallelism,
        revision: row.edits + 1,
        logs_removed: row.logs_removed().map(removed),
        outputs_removed,
        failures: row.failures.clone(),
        eta_ms: eta(row, now_ms),
        spec_text,
        spec,
    }
}

pub fn removed(row: &row::Removed) -> Removed {
    let row::Removed { at_ms, why, count, bytes, below: _, ran_again: _ } = row;
    Removed { at_ms: *at_ms, why: why.clone(), count: *count, bytes: *bytes }
}

/// What a rule did to the log of an attempt.
pub fn log_removed(job: &JobRow, attempt: &AttemptRow) -> Option<Removed> {
    let mark = job.logs_removed.as_ref();
    mark.filter(|mark| mark.count > 0 && mark.took(attempt.id)).map(removed)
}

fn outputs_removed(job: &JobRow, attempt: &AttemptRow) -> Option<Removed> {
    let left_some = attempt.ended.as_ref().is_some_and(|ended| !ended.outputs.is_empty());
    job.outputs_removed.as_ref().filter(|mark| left_some && mark.took(attempt.id)).map(removed)
}

/// When the chunks will be through, as a range, guessed from those that are: nothing is said before three of them are.
fn eta(row: &JobRow, now_ms: u64) -> Option<(u64, u64)> {
    let running = row.state == JobState::Running;
    let (ended, total) = (row.tally.ended(), row.tally.total());
    let spent = now_ms.saturating_sub(row.started_ms?);
    if !running || ended < 3 || spent == 0 || ended >= total {
        return None;
    }
    let rest = spent as f64 * (total - ended) as f64 / ended as f64;
    // Wider while few have ended: the spread of a mean falls with the root of the number.
    let doubt = 1.0 / (ended as f64).sqrt();
    let low = rest * (1.0 - doubt).max(0.2);
    let high = rest * (1.0 + 2.0 * doubt);
    Some((now_ms + low as u64, now_ms + high as u64))
}

/// A chunk in a list. `row` is there once it was touched, `last` is its last attempt.
pub fn chunk(
    id: ChunkId,
    label: String,
    state: ChunkState,
    row: Option<&ChunkRow>,
    last: Option<&AttemptRow>,
) -> ChunkView {
    let waits = matches!(state, ChunkState::Waiting | ChunkState::Held);
    ChunkView {
        id,
        label,
        state,
        attempts: row.map_or(0, |row| row.attempts.len() as u32),
        reason: row.and_then(|row| row.reason).filter(|_| !state.is_active()),
        exit_code: row.and_then(|row| row.exit_code).filter(|_| !state.is_active()),
        message: row.map(|row| row.message.clone()).filter(|_| !state.is_active()).unwrap_or_default(),
        runner: last.map(|attempt| attempt.runner_name.clone()),
        started_ms: last.and_then(|attempt| attempt.started_ms),
        ended_ms: row.and_then(|row| row.ended_ms).filter(|_| state.is_final()),
        not_before_ms: row.and_then(|row| row.not_before_ms).filter(|_| waits),
    }
}

/// `phase` while it lives, as in the summary of the grid; `note` is what the runner says while it prepares.
pub fn attempt(job: &JobRow, row: &AttemptRow, accepted: bool, live: Option<ChunkState>, note: &str) -> AttemptView {
    let ended = row.ended.as_deref();
    let phase = match (row.ended_ms, live) {
        (Some(_), _) => "ended",
        (None, Some(ChunkState::Storing)) => "storing",
        (None, _) if row.started_ms.is_some() => "running",
        (None, _) => "leased",
    };
    AttemptView {
        id: row.id,
        number: row.number,
        revision: row.edits + 1,
        runner: row.runner,
        runner_name: row.runner_name.clone(),
        phase: phase.to_owned(),
        note: note.to_owned(),
        leased_ms: row.leased_ms,
        started_ms: row.started_ms,
        ended_ms: row.ended_ms,
        raised_memory_bytes: row.grown.as_ref().and_then(|grown| grown.memory_bytes),
        raised_run_ms: row.grown.as_ref().and_then(|grown| grown.run_ms),
        run_ms: ended.map(|ended| ended.run_ms),
        reason: ended.map(|ended| ended.reason),
        message: ended.map(|ended| ended.message.clone()).unwrap_or_default(),
        exit_code: ended.and_then(|ended| ended.exit_code),
        signal: ended.and_then(|ended| ended.signal),
        peak_memory_bytes: ended.and_then(|ended| ended.peak_memory_bytes),
        cpu_ms: ended.and_then(|ended| ended.cpu_ms),
        read_bytes: ended.and_then(|ended| ended.read_bytes),
        written_bytes: ended.and_then(|ended| ended.written_bytes),
        gpu_use: ended.map(|ended| ended.gpu_use.clone()).unwrap_or_default(),
        gpus: row.gpus.clone(),
        image_id: ended.and_then(|ended| ended.image_id.clone()),
        outputs: ended.map(|ended| ended.outputs.clone()).unwrap_or_default(),
        log_removed: log_removed(job, row),
        outputs_removed: outputs_removed(job, row),
        accepted,
    }
}

/// One line of the manifest. `accepted` is the attempt whose outputs count.
pub fn manifest_line(
    index: u32,
    label: String,
    status: ChunkState,
    row: Option<&ChunkRow>,
    accepted: Option<&AttemptRow>,
) -> ManifestLine {
    ManifestLine {
        index,
        label,
        status,
        attempt: accepted.map(|attempt| attempt.number),
        runner: accepted.map(|attempt| attempt.runner_name.clone()),
        exit_code: row.and_then(|row| row.exit_code),
        reason: row.and_then(|row| row.reason),
        outputs: accepted
            .and_then(|attempt| attempt.ended.as_deref())
            .map(|ended| ended.outputs.clone())
            .unwrap_or_default(),
    }
}

#[cfg(test)]
mod tests {
    use dsg_core::policy::{Needs, StagePolicy};
    use dsg_schemas::api::Tally;
    use dsg_schemas::ids::JobId;

    use super::*;

    fn row(succeeded: u64, waiting: u64, state: JobState) -> JobRow {
        let main = StagePolicy {
            chunks: (succeeded + waiting) as u32,
            needs: Needs::default(),
            constraints: Default::default(),
            retry: Default::default(),
            parallelism: None,
            per_runner: None,
            run_timeout_ms: None,
            max_memory_bytes: None,
            queue_timeout_ms: None,
            required_outputs: Vec::new(),
            breaker: Default::default(),
        };
        let json = serde_json::json!({
            "id": JobId(1), "request": null, "name": "n", "owner": "o", "labels": {}, "image": "i", "priority": 50, "state": state, "held": false,
            "stopped": null, "job_timeout_ms": null, "main": main, "gather": null, "tally": Tally { succeeded, waiting, ..Tally::default() },
            "gather_tally": Tally::default(), "failures": {}, "gathered": [], "gather_problem": null, "why": null, "submitted_ms": 0,
            "started_ms": 1000, "ended_ms": null
        });
        serde_json::from_value(json).expect("a job row")
    }

    #[test]
    fn an_eta_is_a_range_around_the_pace_so_far_and_is_not_guessed_from_nothing() {
        let (low, high) = eta(&row(100, 100, JobState::Running), 11_000).expect("an estimate");
        assert!(low < 21_000 && 21_000 < high, "{low} to {high}");
        let few = eta(&row(4, 4, JobState::Running), 11_000).expect("an estimate");
        assert!(few.1 - few.0 > high - low, "fewer chunks, more doubt");
        assert_eq!(eta(&row(2, 100, JobState::Running), 11_000), None);
        assert_eq!(eta(&row(100, 100, JobState::Gathering), 11_000), None);
        assert_eq!(eta(&row(100, 0, JobState::Running), 11_000), None);
    }
}
