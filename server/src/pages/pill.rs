//! States as a word beside a coloured shape: colour is never the only sign.
use dsg_schemas::api::{ChunkState, JobState, RunnerState};
use maud::{Markup, html};

/// `tone` is a class of the style sheet.
fn pill(tone: &str, word: &str) -> Markup {
    html! { span class={ "pill " (tone) } { (word) } }
}

pub fn job_word(state: JobState) -> &'static str {
    match state {
        JobState::Waiting => "waiting",
        JobState::Held => "held",
        JobState::Running => "running",
        JobState::Gathering => "gathering",
        JobState::Succeeded => "succeeded",
        JobState::Partial => "partial",
        JobState::Failed => "failed",
        JobState::Cancelled => "cancelled",
    }
}

pub const JOB_STATES: [JobState; 8] = [
    JobState::Waiting,
    JobState::Held,
    JobState::Running,
    JobState::Gathering,
    JobState::Succeeded,
    JobState::Partial,
    JobState::Failed,
    JobState::Cancelled,
];

pub fn job(state: JobState) -> Markup {
    let tone = match state {
        JobState::Gathering => "storing",
        JobState::Partial => "skipped",
        other => job_word(other),
    };
    pill(tone, job_word(state))
}

pub fn chunk(state: ChunkState) -> Markup {
    pill(state.word(), state.word())
}

pub fn runner(state: RunnerState) -> Markup {
    match state {
        RunnerState::Ready => pill("succeeded", "ready"),
        RunnerState::Draining => pill("held", "draining"),
        RunnerState::Paused => pill("held", "paused"),
        RunnerState::Evicted => pill("held", "evicted"),
        RunnerState::Blocked => pill("skipped", "blocked"),
        RunnerState::Ended => pill("cancelled", "ended"),
        RunnerState::Unreachable => pill("failed", "unreachable"),
        RunnerState::New => pill("waiting", "never seen"),
    }
}

/// The phase of an attempt that has not ended.
pub fn phase(phase: &str) -> Markup {
    match phase {
        "leased" => pill("leased", "leased"),
        "running" => pill("running", "running"),
        "storing" => pill("storing", "storing"),
        _ => pill("cancelled", "ended"),
    }
}
