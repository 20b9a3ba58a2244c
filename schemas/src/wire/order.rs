//! Orders: what a runner shall start, stop and forget. A start order is complete: the runner reads no job file.
use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::api::Upload;
use crate::ids::{AttemptId, ChunkId};
use crate::reason::EndReason;
use crate::spec::PullPolicy;

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Orders {
    pub start: Vec<StartOrder>,
    pub stop: Vec<StopOrder>,
    /// Settled: drop containers, spool and scratch of these.
    pub forget: Vec<AttemptId>,
}

impl Orders {
    pub fn is_empty(&self) -> bool {
        self.start.is_empty() && self.stop.is_empty() && self.forget.is_empty()
    }
}

/// Stop the container (TERM, grace, KILL) and report [`Ended`](super::sync::Ended) with this reason.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct StopOrder {
    pub attempt: AttemptId,
    pub reason: EndReason,
}

/// Everything needed to run one attempt.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct StartOrder {
    pub attempt: AttemptId,
    pub chunk: ChunkId,
    /// From 1.
    pub number: u32,
    pub job_name: String,
    pub image: String,
    /// The archive to load it from, where somebody brought it to the server.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pushed: Option<Upload>,
    pub pull_policy: PullPolicy,
    pub entrypoint: Option<Vec<String>>,
    /// Empty: the image's own.
    pub command: Vec<String>,
    /// In place of the command: written to `/dsg/script` and run from there.
    pub script: Option<String>,
    pub workdir: Option<String>,
    pub user: Option<String>,
    /// Complete, but for what only the runner knows (paths, GPU ids).
    pub env: BTreeMap<String, String>,
    /// `none` or `bridge`. A word, so that one that the runner does not know is refused by itself, and not with all that comes with it.
    pub network: String,
    pub limits: Limits,
    pub timeouts: RunTimeouts,
    pub inputs: Vec<InputOrder>,
    /// Folders of the host, by the names that its owner gave them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub mounts: Vec<MountOrder>,
    /// Devices of the host, by the names that its owner gave them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub devices: Vec<String>,
    /// By name only: the values are asked for while the lease lasts, and never written to a disk.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub secrets: Vec<SecretOrder>,
    pub outputs: Vec<OutputOrder>,
    /// Ends other than 0 that count as a success, too.
    #[serde(default)]
    pub accept: Accept,
    /// The chunk's items as JSON lines: the content of `DSG_ITEMS_FILE`.
    pub items: String,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Limits {
    pub cpus_milli: u64,
    pub memory_bytes: u64,
    pub shm_bytes: Option<u64>,
    pub disk_bytes: u64,
    /// The very devices, by UUID.
    pub gpus: Vec<String>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RunTimeouts {
    pub run_ms: Option<u64>,
    pub stall_ms: Option<u64>,
    pub grace_ms: u64,
}

/// What the job's retry rules accept, rule by rule already settled: outputs are stored for these ends as for exit code 0.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Accept {
    /// First and last of ranges of exit codes, of the reason `exit`.
    pub exit_codes: Vec<(i32, i32)>,
    /// Reasons other than `exit`.
    pub reasons: Vec<EndReason>,
}

impl Accept {
    pub fn takes(&self, reason: EndReason, exit_code: Option<i32>) -> bool {
        let in_range = |code| self.exit_codes.iter().any(|(first, last)| (*first..=*last).contains(&code));
        match reason {
            EndReason::Exit => exit_code.is_some_and(in_range),
            other => self.reasons.contains(&other),
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct MountOrder {
    pub name: String,
    /// Absolute, in the container.
    pub path: String,
    #[serde(default)]
    pub write: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SecretOrder {
    pub name: String,
    /// Absolute, in the container.
    pub path: String,
}

/// A file or a folder at `path`, read-only.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct InputOrder {
    pub name: String,
    /// Absolute, in the container. One file with an empty `under` *is* the path; otherwise the path is a folder.
    pub path: String,
    pub files: Vec<InputFile>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct InputFile {
    /// Path under the input's folder; relative, no `..`; empty if the input is this one file.
    pub under: String,
    pub size: u64,
    pub sha256: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct OutputOrder {
    pub name: String,
    /// Absolute path or glob, in the container.
    pub path: String,
    pub required: bool,
}
