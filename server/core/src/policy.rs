//! What the core must know of a job in order to schedule it: the shell takes it from the spec at submit.
use std::collections::BTreeMap;

use dsg_schemas::policy::MountNeed;
use dsg_schemas::spec::{Constraints, Retention, Retry};
use serde::{Deserialize, Serialize};

use crate::event::SpecBytes;

/// A checked job on its way in.
#[derive(Clone, Debug)]
pub struct Submission {
    /// Names the intent to submit: the same one twice gives one job.
    pub request: Option<String>,
    pub name: String,
    pub owner: String,
    pub labels: BTreeMap<String, String>,
    pub image: String,
    pub priority: u8,
    pub hold: bool,
    pub job_timeout_ms: Option<u64>,
    pub main: StagePolicy,
    pub gather: Option<GatherPolicy>,
    pub retention: Retention,
    /// Stored with the job, handed back to the shell.
    pub spec: SpecBytes,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StagePolicy {
    pub chunks: u32,
    pub needs: Needs,
    pub constraints: Constraints,
    pub retry: Retry,
    pub parallelism: Option<u32>,
    pub per_runner: Option<u32>,
    pub queue_timeout_ms: Option<u64>,
    /// What a container may take, as far as a rule scales it; the runner watches it.
    #[serde(default)]
    pub run_timeout_ms: Option<u64>,
    /// How far a rule may scale memory.
    #[serde(default)]
    pub max_memory_bytes: Option<u64>,
    /// Names of the outputs without which no attempt counts as a success.
    #[serde(default)]
    pub required_outputs: Vec<String>,
    #[serde(default)]
    pub breaker: Breaker,
}

/// What stops a job before it wastes a night on the same mistake.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Breaker {
    /// The first chunks, which run alone; if one of them fails, the job is held.
    pub canary: Option<u32>,
    /// Failed chunks that are borne.
    pub max_failed: Option<u32>,
    /// One more, and the job is stopped.
    pub fail_fast: bool,
}

/// What comes after the chunks.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct GatherPolicy {
    /// Some step gathers also if some chunks failed (and at least one succeeded).
    pub partial: bool,
    /// The container is such a step.
    #[serde(default)]
    pub run_partial: bool,
    /// There are steps that the server does itself (concat, csv).
    pub server_steps: bool,
    /// The container that runs after them: a stage with one chunk.
    pub run: Option<StagePolicy>,
}

/// What one chunk reserves. The class by which queues are grouped.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Needs {
    pub cpus_milli: u64,
    pub memory_bytes: u64,
    pub disk_bytes: u64,
    pub gpus: u32,
    /// Any of these, as a part of the model's name; empty: any model.
    pub gpu_models: Vec<String>,
    pub gpu_min_memory_bytes: u64,
    /// Major, minor.
    pub gpu_min_capability: Option<(u32, u32)>,
    /// A share of each is enough.
    #[serde(default, skip_serializing_if = "is_false")]
    pub gpu_share: bool,
    /// The container's network is not `none` (kept here so that a runner's policy can be matched).
    pub network: bool,
    /// For the policies of runners, as the three below. Empty in rows from before: not judged here, only by the runner.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub image: String,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub mounts: Vec<MountNeed>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub devices: Vec<String>,
    /// By the job file; `None`: no end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run_ms: Option<u64>,
    /// By their names.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub secrets: Vec<String>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde gives a reference")]
fn is_false(truth: &bool) -> bool {
    !*truth
}
