//! Join and hello: who a runner is and what it has.
use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Check;
use crate::ids::{RunnerId, SessionId};
use crate::policy::Policy;
use crate::spec::Arch;

/// `POST /api/v1/runners/join` with a join token as the bearer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct JoinRequest {
    /// What people call it; a name that is taken gets a number behind it.
    pub name: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct JoinAnswer {
    pub runner: RunnerId,
    pub name: String,
    /// The runner's own from now on; stored hashed, shown never again.
    pub credential: String,
    /// Id of the grid, for the labels of containers.
    pub grid: String,
}

/// `POST /api/v1/runners/me/hello` with the runner's credential.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct HelloRequest {
    pub protocol: u32,
    /// Of the program, for people.
    pub version: String,
    /// Random, made at each start of the process.
    pub nonce: String,
    /// The machine's boot id and what tells the runner's state folder from a copy. A second machine or folder with the same
    /// credential is refused while the first is heard; a restarted process with the same folder takes over at once.
    pub host: String,
    pub facts: Facts,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct HelloAnswer {
    pub runner: RunnerId,
    pub name: String,
    pub grid: String,
    pub session: SessionId,
    pub lease_ms: u64,
    /// Sync at least this often while holding something.
    pub renew_ms: u64,
}

/// What a host has, as far as it could be found out; said again when it changes.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Facts {
    pub arch: Option<Arch>,
    /// As in `Debian GNU/Linux 12 (bookworm)`.
    pub os: String,
    pub kernel: String,
    /// What it offers to chunks, after its owner's reserve.
    pub cpus_milli: u64,
    pub memory_bytes: u64,
    /// Free space where the engine keeps containers.
    pub disk_bytes: u64,
    pub engine: EngineFacts,
    pub gpus: Vec<Gpu>,
    /// Why there are no GPUs, or fewer than the driver shows.
    pub gpu_note: Option<String>,
    pub tags: Vec<String>,
    pub labels: BTreeMap<String, String>,
    /// What the runner proved about itself at start.
    pub checks: Vec<Check>,
    /// When this runner ends by itself, as Unix milliseconds: what cannot be over by then is not for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ends_ms: Option<u64>,
    /// What its owner lets containers have: the runner refuses what goes beyond.
    #[serde(default, skip_serializing_if = "Policy::is_empty")]
    pub policy: Policy,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct EngineFacts {
    /// `docker`, `podman` or `pretend`.
    pub kind: String,
    pub version: String,
    pub api_version: String,
    pub rootless: bool,
    pub cgroup_version: Option<u32>,
}

/// One NVIDIA device, or one MIG instance.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Gpu {
    pub uuid: String,
    pub index: u32,
    pub model: String,
    pub memory_bytes: u64,
    pub driver: Option<String>,
    pub compute_capability: Option<String>,
    /// Why it is not to be used, if it is not.
    pub unhealthy: Option<String>,
    /// How many chunks that are content with a share may have it at once, as its owner declared; 0 and 1: it is not shared.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub shares: u32,
}

impl Gpu {
    /// Chunks that it may serve at once, if all of them are content with a share.
    pub fn most_shares(&self) -> u32 {
        self.shares.max(1)
    }
}

/// Most are not shared.
#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde gives a reference")]
fn is_zero(number: &u32) -> bool {
    *number == 0
}
