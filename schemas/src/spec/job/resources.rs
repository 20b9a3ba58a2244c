//! What a chunk needs, and where it may run.
use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::spec::forms;
use crate::units::Bytes;

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
    /// Space for what the container writes into its own file system, `/out` with it. Reserved on the runner, and measured there every
    /// 15 seconds: an attempt that is found above it ends as `policy_denied`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disk: Option<Bytes>,
    /// Size of `/dev/shm`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shm_size: Option<Bytes>,
    /// NVIDIA GPUs, each for this chunk alone unless it is content with a share: a count, or what they must be.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "forms::gpus")]
    #[schemars(schema_with = "forms::gpus_schema")]
    pub gpus: Option<Gpus>,
    /// How far `scale` in a retry rule may go.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max: Option<MostResources>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct MostResources {
    pub memory: Bytes,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde gives a reference")]
fn is_false(truth: &bool) -> bool {
    !*truth
}

fn one_cpu() -> f64 {
    1.0
}
fn half_gib() -> Bytes {
    Bytes(512 << 20)
}

impl Default for Resources {
    fn default() -> Resources {
        Resources { cpus: one_cpu(), memory: half_gib(), disk: None, shm_size: None, gpus: None, max: None }
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
    /// Content with a share of each: other chunks that are may run on the same GPU, as many as its owner declared. Nothing divides its
    /// memory between them.
    #[serde(default, skip_serializing_if = "is_false")]
    pub share: bool,
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
