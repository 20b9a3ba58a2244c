//! Jobs, chunks and attempts as people see them; submit and check.
use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::blob::Uploads;
use super::problem::SpecProblem;
use crate::ids::{AttemptId, ChunkId, JobId, RunnerId};
use crate::reason::EndReason;
use crate::wire::{GpuUse, StoredFile};

/// `POST /api/v1/jobs` and `POST /api/v1/check`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Submit {
    /// The job file as written.
    pub spec: String,
    /// `--set`.
    #[serde(default)]
    pub set: BTreeMap<String, String>,
    /// Complete on the server before submit (check asks for none of their bytes but those of `rows:`).
    #[serde(default)]
    pub uploads: Uploads,
    /// Random, made once per intent to submit: sent again after a lost answer, it gives the same job.
    #[serde(default)]
    pub request: Option<String>,
}

/// `PUT /api/v1/jobs/{job}/spec`: replaces the job file of a held job of which nothing runs. What did not succeed will run by it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct EditJob {
    /// The job file as written.
    pub spec: String,
    /// `--set`.
    #[serde(default)]
    pub set: BTreeMap<String, String>,
    /// Complete on the server before.
    #[serde(default)]
    pub uploads: Uploads,
    /// Let the job go on at once.
    #[serde(default)]
    pub release: bool,
    /// Run succeeded chunks again, too: needed where chunks would do something else than those did.
    #[serde(default)]
    pub again: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Edited {
    /// What was done.
    pub message: String,
    pub warnings: Vec<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Submitted {
    pub job: JobId,
    pub chunks: u64,
    /// What is not wrong but worth knowing, as in "no runner has a GPU".
    pub warnings: Vec<String>,
}

/// The answer to check: what a submit would do.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Checked {
    pub ok: bool,
    /// Empty if ok.
    pub problems: Vec<SpecProblem>,
    pub warnings: Vec<String>,
    pub chunks: u64,
    /// The first three chunks: label, command, environment.
    pub first: Vec<ChunkPlan>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ChunkPlan {
    pub index: u32,
    pub label: String,
    pub command: Vec<String>,
    pub env: BTreeMap<String, String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum JobState {
    /// Nothing of it runs yet.
    Waiting,
    /// Held by a person or by the grid: nothing starts until it is released.
    Held,
    Running,
    /// Its chunks are through; the outputs are being gathered.
    Gathering,
    Succeeded,
    /// Some chunks failed, and what was asked for was gathered all the same.
    Partial,
    Failed,
    Cancelled,
}

impl JobState {
    pub fn is_final(self) -> bool {
        match self {
            JobState::Waiting | JobState::Held | JobState::Running | JobState::Gathering => false,
            JobState::Succeeded | JobState::Partial | JobState::Failed | JobState::Cancelled => true,
        }
    }
}

/// Why a job is held: a closed list with numbers, which never change their meaning.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum HoldReason {
    /// H1: a person holds it.
    Person,
    /// H2: it was submitted with `hold: true`.
    Submitted,
    /// H3: a chunk of its canary failed.
    Canary,
    /// H4: its first chunks all failed in the same way.
    SameFailure,
}

impl HoldReason {
    /// `H3`.
    pub fn code(self) -> &'static str {
        match self {
            HoldReason::Person => "H1",
            HoldReason::Submitted => "H2",
            HoldReason::Canary => "H3",
            HoldReason::SameFailure => "H4",
        }
    }
    /// The grid itself holds the job, and it will not go on by itself.
    pub fn is_the_grids(self) -> bool {
        matches!(self, HoldReason::Canary | HoldReason::SameFailure)
    }
}

/// The state of a chunk. One byte of a chunk map each, by this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[repr(u8)]
pub enum ChunkState {
    Waiting = 0,
    /// Its job is held.
    Held = 1,
    /// Given to a runner that has not yet started the container.
    Leased = 2,
    Running = 3,
    /// Its outputs are being stored.
    Storing = 4,
    Succeeded = 5,
    Failed = 6,
    Cancelled = 7,
    /// A stage before it failed.
    Skipped = 8,
}

impl ChunkState {
    pub const ALL: [ChunkState; 9] = [
        ChunkState::Waiting,
        ChunkState::Held,
        ChunkState::Leased,
        ChunkState::Running,
        ChunkState::Storing,
        ChunkState::Succeeded,
        ChunkState::Failed,
        ChunkState::Cancelled,
        ChunkState::Skipped,
    ];
    pub fn is_active(self) -> bool {
        matches!(self, ChunkState::Leased | ChunkState::Running | ChunkState::Storing)
    }
    pub fn is_final(self) -> bool {
        matches!(self, ChunkState::Succeeded | ChunkState::Failed | ChunkState::Cancelled | ChunkState::Skipped)
    }
    pub fn word(self) -> &'static str {
        match self {
            ChunkState::Waiting => "waiting",
            ChunkState::Held => "held",
            ChunkState::Leased => "leased",
            ChunkState::Running => "running",
            ChunkState::Storing => "storing",
            ChunkState::Succeeded => "succeeded",
            ChunkState::Failed => "failed",
            ChunkState::Cancelled => "cancelled",
            ChunkState::Skipped => "skipped",
        }
    }
}

/// How many chunks are in each state. The sum is the number of chunks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Tally {
    pub waiting: u64,
    pub held: u64,
    pub leased: u64,
    pub running: u64,
    pub storing: u64,
    pub succeeded: u64,
    pub failed: u64,
    pub cancelled: u64,
    pub skipped: u64,
}

impl Tally {
    pub fn of(&self, state: ChunkState) -> u64 {
        match state {
            ChunkState::Waiting => self.waiting,
            ChunkState::Held => self.held,
            ChunkState::Leased => self.leased,
            ChunkState::Running => self.running,
            ChunkState::Storing => self.storing,
            ChunkState::Succeeded => self.succeeded,
            ChunkState::Failed => self.failed,
            ChunkState::Cancelled => self.cancelled,
            ChunkState::Skipped => self.skipped,
        }
    }
    pub fn of_mut(&mut self, state: ChunkState) -> &mut u64 {
        match state {
            ChunkState::Waiting => &mut self.waiting,
            ChunkState::Held => &mut self.held,
            ChunkState::Leased => &mut self.leased,
            ChunkState::Running => &mut self.running,
            ChunkState::Storing => &mut self.storing,
            ChunkState::Succeeded => &mut self.succeeded,
            ChunkState::Failed => &mut self.failed,
            ChunkState::Cancelled => &mut self.cancelled,
            ChunkState::Skipped => &mut self.skipped,
        }
    }
    pub fn total(&self) -> u64 {
        ChunkState::ALL.iter().map(|state| self.of(*state)).sum()
    }
    pub fn ended(&self) -> u64 {
        self.succeeded + self.failed + self.cancelled + self.skipped
    }
    pub fn active(&self) -> u64 {
        self.leased + self.running + self.storing
    }
}

/// A job in a list.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct JobView {
    pub id: JobId,
    pub name: String,
    pub owner: String,
    pub state: JobState,
    pub priority: u8,
    pub labels: BTreeMap<String, String>,
    pub image: String,
    /// Of the chunks that the job was split into.
    pub chunks: Tally,
    pub submitted_ms: u64,
    pub started_ms: Option<u64>,
    pub ended_ms: Option<u64>,
}

/// `GET /api/v1/jobs/{job}`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct JobDetail {
    #[serde(flatten)]
    pub job: JobView,
    pub description: String,
    /// The one chunk of `gather: {mode: run}`, if there is one.
    pub gather: Option<ChunkView>,
    /// Files that are there to be fetched, from the gather steps.
    pub gathered: Vec<StoredFile>,
    /// Why a gather step could not be done.
    pub gather_problem: Option<String>,
    /// Why the job ended as it did, or why it does not go on: one sentence.
    pub why: Option<String>,
    /// Why it is held, if it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub held_for: Option<HoldReason>,
    /// The grid itself holds the job, and this is why and what to do; a person has to release, edit or cancel it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub held_why: Option<String>,
    /// How many chunks may run at once, if that is limited: by the job file, or by a person since.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parallelism: Option<u32>,
    /// 1 as submitted, one more with each edit.
    #[serde(default = "first_revision")]
    pub revision: u32,
    /// Its logs were removed by a rule of the server or of its job file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub logs_removed: Option<Removed>,
    /// The same for its outputs. Then `gathered` is empty, and the manifest says what there was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outputs_removed: Option<Removed>,
    /// Ended attempts by reason, succeeded ones left out.
    pub failures: BTreeMap<EndReason, u64>,
    /// Low and high guess of when the chunks will be through; absent while there is nothing to guess from.
    pub eta_ms: Option<(u64, u64)>,
    /// The job file as written.
    pub spec_text: String,
    /// The job as understood: defaults and parameters put in.
    pub spec: Value,
}

/// What a rule removed: how much, when, and which rule it was.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Removed {
    pub at_ms: u64,
    /// As in `older than 30d (--keep-logs)`.
    pub why: String,
    /// Logs or files.
    pub count: u64,
    pub bytes: u64,
}

fn first_revision() -> u32 {
    1
}

/// A chunk in a list.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ChunkView {
    pub id: ChunkId,
    pub label: String,
    pub state: ChunkState,
    /// Attempts so far.
    pub attempts: u32,
    /// Of the last ended attempt, or of the chunk itself.
    pub reason: Option<EndReason>,
    pub exit_code: Option<i32>,
    /// One sentence, where it failed or waits for a retry.
    pub message: String,
    pub runner: Option<String>,
    pub started_ms: Option<u64>,
    pub ended_ms: Option<u64>,
    /// A retry waits until then.
    pub not_before_ms: Option<u64>,
}

/// `GET /api/v1/jobs/{job}/chunks/{stage}/{index}`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ChunkDetail {
    #[serde(flatten)]
    pub chunk: ChunkView,
    pub job_name: String,
    /// The items, or as many as fit 64 KiB.
    pub items: Vec<Value>,
    pub command: Vec<String>,
    /// What its job file asks for.
    #[serde(default)]
    pub asked: Asked,
    /// Oldest first.
    pub history: Vec<AttemptView>,
    /// Why it waits, if it does.
    pub explanation: Option<Explanation>,
}

/// To lay beside what was used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Asked {
    pub cpus_milli: u64,
    pub memory_bytes: u64,
    pub gpus: u32,
}

/// One attempt, with everything that is known of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct AttemptView {
    pub id: AttemptId,
    pub number: u32,
    /// Of the job file by which it ran: 1 as submitted, one more with each edit.
    #[serde(default = "first_revision")]
    pub revision: u32,
    pub runner: RunnerId,
    pub runner_name: String,
    /// `leased`, `running`, `storing` or `ended`.
    pub phase: String,
    /// For people, while it prepares.
    pub note: String,
    pub leased_ms: u64,
    pub started_ms: Option<u64>,
    pub ended_ms: Option<u64>,
    pub run_ms: Option<u64>,
    /// The memory that it got, where a retry rule raised that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub raised_memory_bytes: Option<u64>,
    /// The time that it got to run, where a retry rule raised that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub raised_run_ms: Option<u64>,
    pub reason: Option<EndReason>,
    pub message: String,
    pub exit_code: Option<i32>,
    pub signal: Option<i32>,
    pub peak_memory_bytes: Option<u64>,
    pub cpu_ms: Option<u64>,
    #[serde(default)]
    pub read_bytes: Option<u64>,
    #[serde(default)]
    pub written_bytes: Option<u64>,
    #[serde(default)]
    pub gpu_use: Vec<GpuUse>,
    pub gpus: Vec<String>,
    pub image_id: Option<String>,
    pub outputs: Vec<StoredFile>,
    /// A rule removed its log.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub log_removed: Option<Removed>,
    /// A rule removed its outputs: `outputs` says what there was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outputs_removed: Option<Removed>,
    /// True on the one attempt whose outputs count.
    pub accepted: bool,
}

/// Why a chunk waits.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Explanation {
    /// One sentence that a student understands.
    pub summary: String,
    /// For each runner the first rule that keeps the chunk away.
    pub runners: Vec<RunnerReason>,
    /// True if no runner of the grid, even when idle, could run it.
    pub never: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RunnerReason {
    pub runner: String,
    pub reason: String,
}

/// A row of `GET /api/v1/queue`: waiting chunks of one job stage that wait for the same reason.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct QueueEntry {
    pub job: JobId,
    pub job_name: String,
    pub owner: String,
    pub priority: u8,
    /// The first of them.
    pub first: ChunkId,
    pub waiting: u64,
    /// What one of them needs, as in `2 cpus, 4GiB, 1 gpu`.
    pub needs: String,
    pub explanation: Explanation,
}

/// `GET /api/v1/owners`: what one owner uses, used and may use. Of two with waiting work of the same priority, the one comes first
/// whose `used_cpus_milli + average_cpus_milli` is less.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct OwnerView {
    /// `*` is everyone without a limit of their own.
    pub owner: String,
    /// Reserved by their chunks now.
    pub used_cpus_milli: u64,
    pub used_gpus: u64,
    /// Of the past; what lies a half-life back (a day, unless the server is told otherwise) counts half.
    pub average_cpus_milli: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit_cpus_milli: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit_gpus: Option<u32>,
}

/// A line of the manifest, `GET /api/v1/jobs/{job}/manifest`: JSON lines, one per chunk, by index.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ManifestLine {
    pub index: u32,
    pub label: String,
    pub status: ChunkState,
    /// Number of the accepted attempt.
    pub attempt: Option<u32>,
    pub runner: Option<String>,
    pub exit_code: Option<i32>,
    pub reason: Option<EndReason>,
    pub outputs: Vec<StoredFile>,
}
