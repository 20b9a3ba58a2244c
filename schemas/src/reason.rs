//! Why an attempt ended: a closed list, because nothing is asked for more often than the reason.
use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Whose failure it was, and so whose budget pays for the next try.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Blame {
    Nobody,
    /// Final, unless a retry rule or `retry.limit` says otherwise.
    User,
    /// Requeued, from the grid's own budget.
    Grid,
    /// A person's or a policy's doing: costs nothing.
    People,
}

/// Why an attempt, and with it perhaps its chunk, ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum EndReason {
    /// Exit code 0, confirmed by the engine, and every required output stored.
    Succeeded,
    /// The command ended with a code other than 0.
    Exit,
    /// The command was ended by a signal that we did not send.
    Signal,
    /// The kernel ended it because its memory limit was reached.
    Oom,
    /// `timeouts.run` passed.
    RunTimeout,
    /// No output for `timeouts.stall`.
    Stalled,
    /// It exited with 0, but a required output was not there.
    OutputMissing,
    /// An input could not be had, or did not have the promised sha256.
    InputMissing,
    /// The command could not be started: not found, or not executable.
    BadCommand,
    /// The registry or the engine says that there is no such image, or that we may not have it.
    ImageNotFound,
    /// It wrote more than `resources.disk`.
    PolicyDenied,
    /// Its runner's own policy does not let it run there; nothing was started.
    Refused,
    /// The image could not be pulled, and trying again may help.
    PullFailed,
    /// The engine failed us.
    EngineError,
    /// A GPU that was promised did not work.
    GpuError,
    /// The runner went silent, or came back without it.
    RunnerLost,
    /// No space left on the runner.
    DiskFull,
    /// Stopped and requeued by a person or a policy.
    Evicted,
    /// Cancelled by a person.
    Cancelled,
    /// `timeouts.queue` passed while the chunk waited.
    QueueTimeout,
    /// `timeouts.job` passed.
    JobTimeout,
}

impl EndReason {
    pub const ALL: [EndReason; 21] = [
        EndReason::Succeeded,
        EndReason::Exit,
        EndReason::Signal,
        EndReason::Oom,
        EndReason::RunTimeout,
        EndReason::Stalled,
        EndReason::OutputMissing,
        EndReason::InputMissing,
        EndReason::BadCommand,
        EndReason::ImageNotFound,
        EndReason::PolicyDenied,
        EndReason::Refused,
        EndReason::PullFailed,
        EndReason::EngineError,
        EndReason::GpuError,
        EndReason::RunnerLost,
        EndReason::DiskFull,
        EndReason::Evicted,
        EndReason::Cancelled,
        EndReason::QueueTimeout,
        EndReason::JobTimeout,
    ];

    pub fn blame(self) -> Blame {
        match self {
            EndReason::Succeeded => Blame::Nobody,
            EndReason::Exit
            | EndReason::Signal
            | EndReason::Oom
            | EndReason::RunTimeout
            | EndReason::Stalled
            | EndReason::OutputMissing
            | EndReason::InputMissing
            | EndReason::BadCommand
            | EndReason::ImageNotFound
            | EndReason::PolicyDenied => Blame::User,
            EndReason::PullFailed
            | EndReason::EngineError
            | EndReason::GpuError
            | EndReason::RunnerLost
            | EndReason::DiskFull => Blame::Grid,
            EndReason::Refused
            | EndReason::Evicted
            | EndReason::Cancelled
            | EndReason::QueueTimeout
            | EndReason::JobTimeout => Blame::People,
        }
    }

    /// The word used in YAML, rows, JSON and pages.
    pub fn word(self) -> &'static str {
        match self {
            EndReason::Succeeded => "succeeded",
            EndReason::Exit => "exit",
            EndReason::Signal => "signal",
            EndReason::Oom => "oom",
            EndReason::RunTimeout => "run_timeout",
            EndReason::Stalled => "stalled",
            EndReason::OutputMissing => "output_missing",
            EndReason::InputMissing => "input_missing",
            EndReason::BadCommand => "bad_command",
            EndReason::ImageNotFound => "image_not_found",
            EndReason::PolicyDenied => "policy_denied",
            EndReason::Refused => "refused",
            EndReason::PullFailed => "pull_failed",
            EndReason::EngineError => "engine_error",
            EndReason::GpuError => "gpu_error",
            EndReason::RunnerLost => "runner_lost",
            EndReason::DiskFull => "disk_full",
            EndReason::Evicted => "evicted",
            EndReason::Cancelled => "cancelled",
            EndReason::QueueTimeout => "queue_timeout",
            EndReason::JobTimeout => "job_timeout",
        }
    }
}

impl fmt::Display for EndReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_word_is_the_serialised_form() {
        for reason in EndReason::ALL {
            assert_eq!(serde_json::to_value(reason).expect("json"), reason.word());
        }
    }
}
