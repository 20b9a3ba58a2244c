//! A job as a person writes it, after parameters were put in: every key, its type and its meaning.
use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::forms;
use crate::reason::EndReason;
use crate::units::{Bytes, Millis};

/// A DSG job: a container image, a command, and how the work is split into chunks.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Job {
    /// The version of this format. May be left out.
    #[serde(default)]
    pub version: Version,
    /// What this document is. May be left out.
    #[serde(default)]
    pub kind: Kind,
    /// What people call it. 1 to 120 characters; need not be unique.
    #[schemars(length(min = 1, max = 120))]
    pub name: String,
    /// One or more sentences for people.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub description: String,
    /// Free words to find it by.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// 0 to 100; higher starts first.
    #[serde(default = "default_priority")]
    #[schemars(range(max = 100))]
    pub priority: u8,
    /// Do not start anything until a person releases the job.
    #[serde(default)]
    pub hold: bool,
    /// Values that `--set name=value` can change; used as `{{params.name}}` and `PARAM_NAME`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub params: BTreeMap<String, Param>,

    /// The container image, as `docker pull` would take it.
    pub image: String,
    /// When to pull the image.
    #[serde(default)]
    pub pull_policy: PullPolicy,
    /// Replaces the image's entry point.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1))]
    pub entrypoint: Option<Vec<String>>,
    /// The command and its arguments, one element each; no shell in between.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1))]
    pub command: Option<Vec<String>>,
    /// A script in place of `command`: run by `/bin/sh`, or by what its first line names with `#!`. Nothing is put into it:
    /// it reads `PARAM_*`, `ITEM_*` and `DSG_*` from its environment.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub script: Option<String>,
    /// The directory in which the command starts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub workdir: Option<String>,
    /// `uid`, `uid:gid` or a name that the image knows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// Environment variables. Numbers and booleans are taken as written.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub env: BTreeMap<String, String>,
    /// The network that the container sees.
    #[serde(default)]
    pub network: Network,
    /// What one chunk needs, and may use at most.
    #[serde(default)]
    pub resources: Resources,
    /// Which runners may, should not or should run it.
    #[serde(default)]
    pub constraints: Constraints,
    /// Short for `timeouts.run`. A checked job has it there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout: Option<Millis>,
    /// Time limits.
    #[serde(default)]
    pub timeouts: Timeouts,
    /// What happens after a failure.
    #[serde(default)]
    pub retry: Retry,
    /// Files that the container finds.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub inputs: Vec<Input>,
    /// Files that the container leaves, to be kept.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub outputs: Vec<Output>,
    /// How the work is split.
    pub chunks: Chunks,
    /// What is done with the chunks' outputs once all chunks are through. Steps run in the order written; `mode: run` comes last.
    #[serde(default, skip_serializing_if = "Vec::is_empty", deserialize_with = "forms::gather")]
    #[schemars(schema_with = "forms::gather_schema")]
    pub gather: Vec<Gather>,
}

fn default_priority() -> u8 {
    50
}
fn yes() -> bool {
    true
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Version {
    #[default]
    #[serde(rename = "dsg/v1")]
    V1,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Kind {
    #[default]
    Job,
}

/// A parameter. The words are JSON Schema's.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Param {
    pub r#type: ParamType,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub default: Option<Value>,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub description: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1))]
    pub r#enum: Option<Vec<Value>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub minimum: Option<f64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub maximum: Option<f64>,
    /// A regular expression that the whole text must match.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pattern: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ParamType {
    String,
    Integer,
    Number,
    Boolean,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum PullPolicy {
    /// Ask the registry each time.
    Always,
    /// Pull if the runner does not have it.
    #[default]
    Missing,
    /// Use what the runner has; fail otherwise.
    Never,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Network {
    /// Loopback only.
    #[default]
    None,
    /// The engine's default bridge.
    Bridge,
}

/// What one chunk reserves on its runner and is limited to.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Resources {
    /// Processor cores; fractions are allowed.
    #[serde(default = "one_cpu")]
    #[schemars(range(min = 0.01, max = 4096))]
    pub cpus: f64,
    /// Memory; the container is killed by the kernel above it. No swap.
    #[serde(default = "half_gib")]
    pub memory: Bytes,
    /// Space for the container's own files, reserved on the runner.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disk: Option<Bytes>,
    /// Size of `/dev/shm`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shm_size: Option<Bytes>,
    /// NVIDIA GPUs, each for this chunk alone: a count, or what they must be.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "forms::gpus")]
    #[schemars(schema_with = "forms::gpus_schema")]
    pub gpus: Option<Gpus>,
}

fn one_cpu() -> f64 {
    1.0
}
fn half_gib() -> Bytes {
    Bytes(512 << 20)
}

impl Default for Resources {
    fn default() -> Resources {
        Resources { cpus: one_cpu(), memory: half_gib(), disk: None, shm_size: None, gpus: None }
    }
}

/// `gpus: 1` is short for `gpus: {count: 1}`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Gpus {
    #[schemars(range(max = 1024))]
    pub count: u32,
    /// Any of these models, as a part of the name that the driver reports.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub model: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min_memory: Option<Bytes>,
    /// As in `8.6`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = r"^[0-9]{1,2}\.[0-9]{1,2}$"))]
    pub min_compute_capability: Option<String>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Constraints {
    /// Only on runners that match all of this.
    #[serde(default)]
    pub require: Placement,
    /// Not on runners that match any of this.
    #[serde(default)]
    pub avoid: Placement,
    /// First on runners that match any of this, if they are free.
    #[serde(default)]
    pub prefer: Placement,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Placement {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub arch: Option<Arch>,
    /// Runner names.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub runners: Vec<String>,
    /// Words that the runner was started with.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<String>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
}

impl Placement {
    pub fn is_empty(&self) -> bool {
        let Placement { arch, runners, tags, labels } = self;
        arch.is_none() && runners.is_empty() && tags.is_empty() && labels.is_empty()
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Arch {
    Amd64,
    Arm64,
}

/// Every limit ends with a reason of its own.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Timeouts {
    /// One attempt may run this long.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run: Option<Millis>,
    /// One attempt may be silent (no output) this long.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stall: Option<Millis>,
    /// A chunk may wait this long for a runner, from submit or from its last end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub queue: Option<Millis>,
    /// The whole job may take this long from submit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub job: Option<Millis>,
    /// Between the polite signal (TERM) and the other one (KILL).
    #[serde(default = "ten_seconds")]
    pub grace: Millis,
}

fn ten_seconds() -> Millis {
    Millis(10_000)
}

impl Default for Timeouts {
    fn default() -> Timeouts {
        Timeouts { run: None, stall: None, queue: None, job: None, grace: ten_seconds() }
    }
}

/// What happens after a failure. A failure of the grid's own (a lost runner, a failed pull) is requeued up to 5 times at no
/// cost; everything else follows the first rule that matches, else `limit`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Retry {
    /// Extra attempts after the first, for failures that count.
    #[serde(default)]
    #[schemars(range(max = 100))]
    pub limit: u32,
    #[serde(default)]
    pub backoff: Backoff,
    /// Prefer another runner than those where this chunk failed.
    #[serde(default)]
    pub avoid_failed_runners: bool,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 20))]
    pub rules: Vec<RetryRule>,
}

/// Waiting before an attempt is tried again. It holds no place on any runner.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Backoff {
    #[serde(default = "five_seconds")]
    pub delay: Millis,
    /// Multiplies the delay after each failure.
    #[serde(default = "two")]
    #[schemars(range(min = 1, max = 100))]
    pub factor: f64,
    #[serde(default = "ten_minutes")]
    pub max_delay: Millis,
    /// Spread the delay at random between half and all of it.
    #[serde(default = "yes")]
    pub jitter: bool,
}

fn five_seconds() -> Millis {
    Millis(5_000)
}
fn ten_minutes() -> Millis {
    Millis(600_000)
}
fn two() -> f64 {
    2.0
}

impl Default for Backoff {
    fn default() -> Backoff {
        Backoff { delay: five_seconds(), factor: two(), max_delay: ten_minutes(), jitter: true }
    }
}

/// The first rule whose `when` matches decides.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RetryRule {
    pub when: When,
    pub action: RetryAction,
    /// How often this rule may be used for one chunk; after that the chunk fails.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(max = 100))]
    pub limit: Option<u32>,
    /// In place of the backoff.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delay: Option<Millis>,
}

/// Both must match where both are given.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct When {
    /// Codes as numbers, or ranges with both ends in them, as in `"64..78"`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(min = 1))]
    pub exit_codes: Vec<ExitCodes>,
    /// One reason or a list.
    #[serde(default, skip_serializing_if = "Vec::is_empty", deserialize_with = "forms::reasons")]
    #[schemars(schema_with = "forms::reasons_schema")]
    pub reason: Vec<EndReason>,
}

/// A range of exit codes with both ends in it; written `75` or `"64..78"`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ExitCodes {
    pub first: u8,
    pub last: u8,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum RetryAction {
    /// Try again; counts towards `retry.limit`, or towards this rule's own `limit` if it has one.
    Retry,
    /// Try again; counts towards this rule's `limit` only (5 if it has none).
    Requeue,
    /// The chunk fails now.
    Fail,
    /// The chunk fails, and the job with it: nothing more is started.
    FailJob,
    /// Count it as succeeded.
    Accept,
}

/// A file or folder that the container finds at `path`, read-only.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Input {
    /// Its path is in `DSG_INPUT_<NAME>`.
    pub name: String,
    /// `upload:PATH`: a file, or a folder if it ends with `/`, beside the job file; sent with submit.
    pub from: String,
    /// Absolute path in the container.
    pub path: String,
}

/// A file that the container leaves.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Output {
    pub name: String,
    /// Absolute path in the container; `*` and `?` match within one folder.
    pub path: String,
    /// Whether its absence fails the attempt (`output_missing`).
    #[serde(default = "yes")]
    pub required: bool,
}

/// Exactly one source; the rest says how its items become chunks.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Chunks {
    /// Source: this many chunks, without items.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1_000_000_000_000_000u64))]
    pub count: Option<u64>,
    /// Source: numbers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub range: Option<Range>,
    /// Source: a list of scalars or objects.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub items: Option<Vec<Value>>,
    /// Source: every combination of the axes, the last axis fastest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub matrix: Option<Matrix>,
    /// Source: one item per matching file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub files: Option<Files>,
    /// Source: one item per row of a file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rows: Option<Rows>,

    /// Items per chunk.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "forms::batch")]
    #[schemars(schema_with = "forms::batch_schema")]
    pub batch: Option<Batch>,
    /// The name that people see for a chunk; may hold references, as in `"lr={{item.lr}}"`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub label: Option<String>,
    /// Chunks of this job that may run at once, in the whole grid.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1_000_000))]
    pub parallelism: Option<u32>,
    /// Chunks of this job that may run at once on one runner.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1_000_000))]
    pub per_runner: Option<u32>,
}

/// With `step` (or neither): one item per value, `item.value`. With `size`: windows, `item.start` and `item.stop`.
/// `stop` is not part of it, as in Python.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Range {
    #[serde(default = "zero")]
    pub start: serde_json::Number,
    pub stop: serde_json::Number,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub step: Option<serde_json::Number>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size: Option<serde_json::Number>,
}

fn zero() -> serde_json::Number {
    0.into()
}

/// Axes by name, each a list; `exclude` takes combinations away first, then `include` adds to them, as on GitHub.
/// Axes keep the order in which they are written.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Matrix {
    pub axes: Vec<(String, Vec<Value>)>,
    pub exclude: Vec<serde_json::Map<String, Value>>,
    pub include: Vec<serde_json::Map<String, Value>>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Files {
    /// `upload:GLOB`; `*` and `?` match within a folder, `**` over folders. Sorted, and fixed at submit.
    pub glob: String,
    #[serde(default)]
    pub order: FileOrder,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum FileOrder {
    /// By name, byte by byte.
    #[default]
    Name,
    /// By name, with numbers as numbers: `a2` before `a10`.
    Natural,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Rows {
    /// `upload:PATH`: a file beside the job file.
    pub from: String,
    /// By the file's ending if left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub format: Option<RowFormat>,
    /// csv and tsv: whether the first row names the columns. Without one, columns are `c1`, `c2`, ….
    #[serde(default = "yes")]
    pub header: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum RowFormat {
    Csv,
    Tsv,
    /// One JSON value per line.
    Jsonl,
    /// One item per line, `item.value`.
    Lines,
}

/// `batch: 10` is short for `batch: {items: 10}`. Exactly one of the two.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Batch {
    /// Items per chunk; the last chunk may have fewer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1_000_000_000_000_000u64))]
    pub items: Option<u64>,
    /// Number of chunks; their sizes differ by at most one item.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1_000_000_000_000_000u64))]
    pub into: Option<u64>,
}

/// One step after the chunks.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Gather {
    pub mode: GatherMode,
    /// concat, csv: the output (of the chunks) to join, in the order of the chunks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// concat, csv: the name of the joined file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output: Option<String>,
    /// Which end of the chunks lets this step happen.
    #[serde(default)]
    pub when: GatherWhen,
    /// run: as the job's own, which it inherits where left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1))]
    pub command: Option<Vec<String>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub script: Option<String>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub env: BTreeMap<String, String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resources: Option<Resources>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeouts: Option<Timeouts>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry: Option<Retry>,
    /// run: files that it leaves.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub outputs: Vec<Output>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum GatherMode {
    /// Byte after byte.
    Concat,
    /// The header once; all headers must agree.
    Csv,
    /// A container of its own, which finds the manifest at `DSG_INPUT_MANIFEST`, each joined file at `DSG_INPUT_<OUTPUT>`
    /// and the chunks' outputs under `/in/chunks/<index>/<name>`.
    Run,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum GatherWhen {
    /// Every chunk succeeded.
    #[default]
    Succeeded,
    /// Every chunk ended, and at least one succeeded; the missing ones are listed in the manifest.
    Partial,
}
