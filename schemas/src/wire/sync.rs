//! Sync: heartbeat, report, claim and orders in one idempotent, level-triggered call.
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::hello::Facts;
use super::order::Orders;
use crate::ids::{AttemptId, SessionId};
use crate::reason::EndReason;

/// `POST /api/v1/runners/me/sync`. Holds everything the runner has, each time: what is missing is gone.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct SyncRequest {
    pub session: SessionId,
    /// Grows with each message of the session; a late duplicate is refused.
    pub seq: u64,
    pub attempts: Vec<AttemptReport>,
    /// Take nothing new: stopping, unhealthy engine or full disk. Says why.
    #[serde(default)]
    pub no_more: Option<String>,
    /// Its last word: it ends by itself, as it was told to at its start, and nobody need look for it. `no_more` says why.
    #[serde(default, skip_serializing_if = "is_false")]
    pub goodbye: bool,
    #[serde(default)]
    pub load: Load,
    /// Only when something changed since hello.
    #[serde(default)]
    pub facts: Option<Box<Facts>>,
    /// How long the server may hold the answer while there is nothing to order. 0: answer at once.
    #[serde(default)]
    pub wait_ms: u64,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct SyncAnswer {
    /// The `seq` that this answers; an answer to an older one is dropped.
    pub seq: u64,
    pub orders: Orders,
    /// A person drains this runner: finish, take nothing new.
    #[serde(default)]
    pub drain: bool,
    /// A person paused it: what runs is frozen until this is no longer said.
    #[serde(default)]
    pub pause: bool,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct AttemptReport {
    pub attempt: AttemptId,
    pub phase: Phase,
}

/// How far an attempt is. Nouns that say what is owed next.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "is", rename_all = "snake_case")]
pub enum Phase {
    /// Taken, nothing started: image and inputs are being fetched.
    Preparing {
        /// For people, as in `pulling image, 3 of 7 layers`.
        #[serde(default)]
        note: String,
    },
    Running {
        /// Since when, on the runner's clock, as Unix milliseconds.
        since_ms: u64,
        /// Frozen: it holds its memory, and its time limits stand still.
        #[serde(default, skip_serializing_if = "is_false")]
        paused: bool,
    },
    /// The container ended well; its outputs are on their way to the server.
    Storing,
    /// Over. Repeated until the server says forget.
    Ended(Box<Ended>),
}

/// How an attempt ended, as the runner proved it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Ended {
    pub reason: EndReason,
    /// For people: what was attempted, why it failed, what to do next. Empty when it succeeded.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub message: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exit_code: Option<i32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signal: Option<i32>,
    /// From the engine's own start to its own end; 0 if it never ran.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub run_ms: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub peak_memory_bytes: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu_ms: Option<u64>,
    /// From and to disks, as the kernel counts them: what its cache answered is not in it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub read_bytes: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub written_bytes: Option<u64>,
    /// What it did with the GPUs that it held.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub gpu_use: Vec<GpuUse>,
    /// Stored on the server already; a success without them is not believed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub outputs: Vec<StoredFile>,
    /// Bytes that the container wrote, so that the server can tell whether it has them all.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub stdout_bytes: u64,
    #[serde(default, skip_serializing_if = "is_zero")]
    pub stderr_bytes: u64,
    /// `sha256:…` of the image that really ran.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image_id: Option<String>,
}

impl Ended {
    /// An end without a container behind it.
    pub fn before_start(reason: EndReason, message: impl Into<String>) -> Ended {
        Ended {
            reason,
            message: message.into(),
            exit_code: None,
            signal: None,
            run_ms: 0,
            peak_memory_bytes: None,
            cpu_ms: None,
            read_bytes: None,
            written_bytes: None,
            gpu_use: Vec::new(),
            outputs: Vec::new(),
            stdout_bytes: 0,
            stderr_bytes: 0,
            image_id: None,
        }
    }
}

/// One file of an output, in the blob store.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub struct StoredFile {
    /// Name of the output in the spec.
    pub name: String,
    /// File name in the container, without its folder.
    pub file: String,
    pub size: u64,
    /// 64 hexadecimal digits.
    pub sha256: String,
}

/// What the host is doing, for people.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Load {
    /// 0 to 100, of all cores.
    pub cpu_percent: f32,
    pub memory_used_bytes: u64,
    pub disk_free_bytes: u64,
    pub gpus: Vec<GpuLoad>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct GpuLoad {
    pub uuid: String,
    pub busy_percent: Option<u32>,
    pub memory_used_bytes: Option<u64>,
    pub celsius: Option<u32>,
}

/// One GPU while an attempt held it, as looked at now and then.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct GpuUse {
    pub uuid: String,
    pub busy_percent_average: Option<u32>,
    pub busy_percent_most: Option<u32>,
    pub memory_bytes_average: Option<u64>,
    pub memory_bytes_most: Option<u64>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde gives a reference")]
fn is_false(truth: &bool) -> bool {
    !*truth
}

/// Most ends say nothing of most of this, and there are millions of them.
#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde gives a reference")]
fn is_zero(number: &u64) -> bool {
    *number == 0
}
