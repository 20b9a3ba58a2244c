//! A job as a person writes it, after parameters were put in: every key, its type and its meaning.
mod chunks;
mod resources;
mod retry;

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::spec::forms;
use crate::units::Millis;

pub use chunks::*;
pub use resources::*;
pub use retry::*;

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

    /// The container image, as `docker pull` would take it; `dsg/NAME:TAG` is one that `dsg image push` brought to the server.
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
    #[schemars(length(max = 1000))]
    pub inputs: Vec<Input>,
    /// Folders of the runner's host, by the names that its owner gave them in `runner.toml`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 100))]
    pub mounts: Vec<Mount>,
    /// Devices of the runner's host but GPUs, by the names that its owner gave them in `runner.toml`. The container finds them where they are
    /// on the host.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 100))]
    pub devices: Vec<String>,
    /// Secrets that the server keeps, by their names: the container finds each as a file.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    pub secrets: Vec<Secret>,
    /// Files that the container leaves, to be kept.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 1000))]
    pub outputs: Vec<Output>,
    /// How the work is split.
    pub chunks: Chunks,
    /// What is done with the chunks' outputs once all chunks are through. Steps run in the order written; `mode: run` comes last.
    #[serde(default, skip_serializing_if = "Vec::is_empty", deserialize_with = "forms::gather")]
    #[schemars(schema_with = "forms::gather_schema")]
    pub gather: Vec<Gather>,
    /// How long what it left is kept, from its end on. Not longer than the server allows; without a word here as long as it allows.
    #[serde(default, skip_serializing_if = "Retention::is_empty")]
    pub retention: Retention,
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

impl Network {
    pub fn word(self) -> &'static str {
        match self {
            Network::None => "none",
            Network::Bridge => "bridge",
        }
    }
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

/// Times after which something of an ended job is removed. Its row, and with it what the job was, stays longer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Retention {
    /// What its containers wrote to stdout and stderr.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub logs: Option<Millis>,
    /// The files that its chunks left and what was gathered from them. Then only all of it can be run again, not a part.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outputs: Option<Millis>,
}

impl Retention {
    pub fn is_empty(&self) -> bool {
        let Retention { logs, outputs } = self;
        logs.is_none() && outputs.is_none()
    }
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

/// A folder of the host on which the container runs. It runs only where the owner has given a folder this name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Mount {
    /// As the owners of the runners call it.
    pub name: String,
    /// Absolute path in the container.
    pub path: String,
    /// Whether the container writes there. Then it runs only where the owner allows that.
    #[serde(default)]
    pub write: bool,
}

/// A secret that the server keeps, as a file in memory that only this container sees. Its value stands nowhere in the job.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Secret {
    /// As in `dsg secret set NAME`.
    pub name: String,
    /// Absolute path in the container; `/run/secrets/NAME` if left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file: Option<String>,
}

impl Secret {
    pub fn path(&self) -> String {
        self.file.clone().unwrap_or_else(|| format!("/run/secrets/{}", self.name))
    }
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
    /// Which end of the chunks lets this step happen: `succeeded` if left out, `partial` where `chunks.max_failed` bears failures.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub when: Option<GatherWhen>,
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
    #[schemars(length(max = 1000))]
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

impl Gather {
    /// Whether the step is done although chunks are missing.
    pub fn is_partial(&self, job: &Job) -> bool {
        match self.when {
            Some(GatherWhen::Partial) => true,
            Some(GatherWhen::Succeeded) => false,
            None => job.chunks.max_failed.is_some_and(|most| most.of(u32::MAX) > 0),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum GatherWhen {
    /// Every chunk succeeded.
    Succeeded,
    /// Every chunk ended, and at least one succeeded; the missing ones are listed in the manifest.
    Partial,
}
