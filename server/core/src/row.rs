//! Exactly what is stored. Serialised forms are frozen forms: a new field has a default, and a test reads yesterday's rows.
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use dsg_schemas::api::{HoldReason, JobState, Tally};
use dsg_schemas::ids::{AttemptId, ChunkId, JobId, RunnerId, SessionId, StageIndex};
use dsg_schemas::reason::EndReason;
use dsg_schemas::spec::Retention;
use dsg_schemas::wire::{Ended, Facts, StoredFile};
use serde::{Deserialize, Serialize};

use crate::policy::{GatherPolicy, StagePolicy};

/// Chunks in one block of state bytes: small enough to rewrite often, large enough that a million chunks are 245 rows.
pub const BLOCK: u32 = 4096;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Key {
    Meta,
    Owners,
    Images,
    Secrets,
    Job(JobId),
    /// The job as the shell keeps it (spec text, spec, items).
    Spec(JobId),
    /// State bytes ([`ChunkState`](dsg_schemas::api::ChunkState)) of chunks `n * BLOCK ..`.
    Block(JobId, StageIndex, u32),
    /// What a chunk is beside its state: only chunks that were touched have one.
    Chunk(ChunkId),
    Attempt(AttemptId),
    Runner(RunnerId),
}

#[derive(Clone, Debug, PartialEq)]
pub enum Row {
    Meta(Meta),
    /// By name; of those of whom something is to be remembered.
    Owners(BTreeMap<String, OwnerRow>),
    /// By name; those that people brought.
    Images(BTreeMap<String, ImageRow>),
    /// By name.
    Secrets(BTreeMap<String, SecretRow>),
    Job(Box<JobRow>),
    Spec(Arc<[u8]>),
    Block(Arc<[u8]>),
    Chunk(ChunkRow),
    Attempt(Box<AttemptRow>),
    Runner(Box<RunnerRow>),
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Meta {
    /// The next job, runner and attempt get these.
    pub next_job: u64,
    pub next_runner: u64,
    pub next_attempt: u64,
    /// Sessions are minted above this; persisted in steps, so that none is used twice.
    pub next_session: u64,
}

/// An image that somebody brought to the server.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImageRow {
    /// Of its archive, which is a blob.
    pub sha256: String,
    pub size: u64,
    pub by: String,
    pub at_ms: u64,
}

/// A secret as the shell sealed it: nothing here can be read without the key, which is no row.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SecretRow {
    /// Names the key, for the day on which the store has another one.
    pub key: String,
    pub sealed: Arc<str>,
    /// Of the value.
    pub size: u64,
    pub by: String,
    pub at_ms: u64,
}

/// Not even what is sealed belongs into a log.
impl fmt::Debug for SecretRow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let SecretRow { key, sealed: _, size, by, at_ms } = self;
        write!(f, "{size} bytes sealed with {key} by {by} at {at_ms}")
    }
}

/// An owner of jobs: what they used, and what they may use at once.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct OwnerRow {
    /// Milli-cpu-milliseconds until `at_ms`, older ones counted less. From then on current attempts tell.
    pub used: u64,
    pub at_ms: u64,
    #[serde(default)]
    pub limit: Option<OwnerLimit>,
}

/// What the attempts of one owner may reserve at once, all jobs together.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct OwnerLimit {
    pub cpus_milli: Option<u64>,
    pub gpus: Option<u32>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct JobRow {
    pub id: JobId,
    pub request: Option<String>,
    pub name: String,
    pub owner: String,
    pub labels: BTreeMap<String, String>,
    pub image: String,
    pub priority: u8,
    pub state: JobState,
    /// Nothing more of it starts until it is released.
    pub held: bool,
    #[serde(default)]
    pub held_for: Option<HoldReason>,
    /// Who holds it.
    #[serde(default)]
    pub held_by: Option<String>,
    /// Why it is held, if it was not a person who held it.
    #[serde(default)]
    pub held_why: Option<String>,
    /// How often its job file was replaced.
    #[serde(default)]
    pub edits: u32,
    /// How its first chunks did.
    #[serde(default)]
    pub first_chunks: FirstChunks,
    /// The canary has succeeded, or a person released the job all the same: every chunk may start.
    #[serde(default)]
    pub canary_over: bool,
    /// The last release: chunks that no attempt has touched wait since then.
    #[serde(default)]
    pub released_ms: Option<u64>,
    /// The last retry of the job: its time starts anew.
    #[serde(default)]
    pub retried_ms: Option<u64>,
    /// Retries of many chunks at once, which rewrite no row of a chunk.
    #[serde(default)]
    pub again: Again,
    /// The server's gather steps are done (or there are none): the gather chunk may start.
    #[serde(default)]
    pub gather_open: bool,
    /// A person's cancel, or a rule's `fail_job`, with why.
    pub stopped: Option<Stopped>,
    pub job_timeout_ms: Option<u64>,
    pub main: StagePolicy,
    pub gather: Option<GatherPolicy>,
    pub tally: Tally,
    /// Of the gather stage: at most one chunk.
    pub gather_tally: Tally,
    /// How many attempts ended for each reason, succeeded ones left out.
    pub failures: BTreeMap<EndReason, u64>,
    /// The end of those chunks that failed before any attempt touched them, and so have no row of their own.
    #[serde(default)]
    pub untouched_failed: Option<ChunkEnd>,
    /// The same for those that were cancelled.
    #[serde(default)]
    pub untouched_cancelled: Option<ChunkEnd>,
    pub gathered: Vec<StoredFile>,
    pub gather_problem: Option<String>,
    /// One sentence: why it ended as it did.
    pub why: Option<String>,
    pub submitted_ms: u64,
    pub started_ms: Option<u64>,
    pub ended_ms: Option<u64>,
    /// By its job file.
    #[serde(default)]
    pub retention: Retention,
    #[serde(default)]
    pub logs_removed: Option<Removed>,
    #[serde(default)]
    pub outputs_removed: Option<Removed>,
}

/// What a rule took from the job after it had ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Removed {
    pub at_ms: u64,
    /// The rule.
    pub why: String,
    /// Logs or files, as far as there were any.
    pub count: u64,
    pub bytes: u64,
    /// It concerns the attempts with smaller numbers.
    pub below: AttemptId,
    /// The job ran again since: what it has now is newer.
    #[serde(default)]
    pub ran_again: bool,
}

/// What the breaker watches until the first chunk succeeds: whether all of them fail in the same way.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FirstChunks {
    /// Chunks that a runner was given.
    pub started: u32,
    /// Chunks that failed at least once, all of them like this one.
    pub failed: u32,
    pub like: Option<Failure>,
    /// A chunk succeeded, failures differ, or a person wants the job to run all the same: nothing is watched any more.
    pub over: bool,
}

/// A failure, as far as another can be the same.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// The first one that failed so.
    pub chunk: ChunkId,
    pub reason: EndReason,
    pub exit_code: Option<i32>,
    pub message: String,
}

/// How often many chunks were sent into a new life at once. Rows that were written in an earlier one are read as renewed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Again {
    /// The number of the last retry that brought back what had failed or was cancelled.
    pub failed: u32,
    /// The number of the last one that brought back everything.
    pub all: u32,
    /// When the last one was.
    pub at_ms: u64,
}

/// Why and when a chunk ended that had no attempt.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChunkEnd {
    pub reason: EndReason,
    pub message: String,
    pub ended_ms: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stopped {
    pub reason: EndReason,
    pub why: String,
}

/// There are millions of these, and of attempts: what is as it is in most of them is not written.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ChunkRow {
    pub id: ChunkId,
    /// All of them, oldest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub attempts: Vec<AttemptId>,
    /// The one whose outputs count.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub accepted: Option<AttemptId>,
    /// Failures that counted, since the last person's retry.
    #[serde(default, skip_serializing_if = "is_default")]
    pub failures: u32,
    /// Requeues from the grid's own budget, since the last person's retry.
    #[serde(default, skip_serializing_if = "is_default")]
    pub requeues: u32,
    /// Uses of each retry rule, by its position.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub rule_uses: Vec<u32>,
    /// Waits at least until then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub not_before_ms: Option<u64>,
    /// Since when it waits.
    pub waiting_since_ms: u64,
    /// Runners on which it failed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub failed_on: Vec<RunnerId>,
    /// Runners that were lost while it ran on them, since the last person's retry.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub lost_on: Vec<RunnerId>,
    /// Next to none was ever refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refused: Option<Box<Refused>>,
    /// What a rule has given it, after attempts that had too little; most have nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub grown: Option<Box<Grown>>,
    /// Of the last ended attempt, or of the chunk itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<EndReason>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exit_code: Option<i32>,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub message: String,
    /// While the chunk is not through, there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended_ms: Option<u64>,
    /// The last retry of many chunks before this row was written.
    #[serde(default, skip_serializing_if = "is_default")]
    pub life: u32,
}

/// Runners whose own policy refused it, and in which session: they are asked again after their next start. The last one said so last.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refused {
    pub by: Vec<(RunnerId, SessionId)>,
}

/// In place of what the policy says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Grown {
    pub memory_bytes: Option<u64>,
    pub run_ms: Option<u64>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AttemptRow {
    pub id: AttemptId,
    pub chunk: ChunkId,
    pub number: u32,
    pub runner: RunnerId,
    pub runner_name: String,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub gpus: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub grown: Option<Box<Grown>>,
    pub leased_ms: u64,
    /// Edits of the job before it: by which revision of the job file it runs.
    #[serde(default, skip_serializing_if = "is_default")]
    pub edits: u32,
    /// The runner said at least once that it has it. Written with the next news of it only.
    #[serde(default, skip_serializing_if = "is_default")]
    pub seen: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started_ms: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended_ms: Option<u64>,
    /// Its runner was only silent when its lease ran out: it may come back with it, as long as the chunk waits.
    #[serde(default, skip_serializing_if = "is_default")]
    pub may_return: bool,
    /// As the runner (or, without it, the server) reported. A fenced attempt's late report changes nothing here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended: Option<Box<Ended>>,
}

impl AttemptRow {
    /// The server ended it, and its runner has not said what became of its container: nobody knows how much that wrote.
    pub fn is_unheard(&self) -> bool {
        self.ended.as_ref().is_some_and(|ended| {
            let measured = ended.run_ms + ended.stdout_bytes + ended.stderr_bytes > 0;
            !measured && ended.image_id.is_none() && ended.exit_code.is_none() && ended.reason != EndReason::Succeeded
        })
    }
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RunnerRow {
    pub id: RunnerId,
    pub name: String,
    pub credential_sha256: String,
    pub version: String,
    pub facts: Facts,
    /// A person's drain.
    pub drain: bool,
    /// A person's pause or evict, whichever came last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub halted: Option<Halted>,
    /// It said goodbye, for this reason, and no hello since.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended: Option<String>,
    pub joined_ms: u64,
    #[serde(default, skip_serializing_if = "is_default")]
    pub sick: Sickness,
}

/// What a runner does with what it holds, beside taking nothing new.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Halted {
    pub how: Halt,
    pub by: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Halt {
    /// Frozen where it is.
    Pause,
    /// Stopped; its chunks wait again.
    Evict,
}

/// What went wrong on a runner lately through the grid's fault; a user's failure never counts.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sickness {
    /// Such failures since an attempt last ended otherwise.
    pub in_a_row: u32,
    /// Of which jobs they were; not more than are needed to tell.
    pub jobs: BTreeSet<JobId>,
    /// Rests since then: each is longer than the one before.
    pub rests: u32,
    /// When the last of them began.
    pub since_ms: u64,
    /// The last failure, in words.
    pub last: String,
}

/// The latest moment that any of these rows speaks of as past. A server whose clock starts behind it would see time go back.
pub fn latest_ms<'r>(rows: impl IntoIterator<Item = &'r Row>) -> u64 {
    let of_row = |row: &Row| match row {
        Row::Job(row) => [Some(row.submitted_ms), row.started_ms, row.ended_ms, row.released_ms.max(row.retried_ms)],
        Row::Chunk(row) => [Some(row.waiting_since_ms), row.ended_ms, None, None],
        Row::Attempt(row) => [Some(row.leased_ms), row.started_ms, row.ended_ms, None],
        Row::Runner(row) => [Some(row.joined_ms), Some(row.sick.since_ms), None, None],
        Row::Owners(rows) => [rows.values().map(|row| row.at_ms).max(), None, None, None],
        Row::Secrets(rows) => [rows.values().map(|row| row.at_ms).max(), None, None, None],
        Row::Images(rows) => [rows.values().map(|row| row.at_ms).max(), None, None, None],
        Row::Meta(_) | Row::Spec(_) | Row::Block(_) => [None; 4],
    };
    rows.into_iter().flat_map(of_row).flatten().max().unwrap_or(0)
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}
