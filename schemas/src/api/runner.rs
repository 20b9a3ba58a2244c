//! Runners as people see them.
use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::ids::{AttemptId, ChunkId, RunnerId};
use crate::wire::{Facts, Load};

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum RunnerState {
    /// Takes work.
    Ready,
    /// Finishes what it holds, takes nothing new.
    Draining,
    /// A person froze what it holds; it takes nothing new.
    Paused,
    /// A person had stopped what it held; it takes nothing new.
    Evicted,
    /// In touch, but takes nothing: `why` says the reason.
    Blocked,
    /// It said goodbye: its time, or its patience without work, was over.
    Ended,
    /// Silent for longer than the lease.
    Unreachable,
    /// Joined, never said hello.
    New,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct RunnerView {
    pub id: RunnerId,
    pub name: String,
    pub state: RunnerState,
    /// Why it is not ready.
    pub why: String,
    pub version: String,
    pub facts: Facts,
    pub load: Load,
    pub last_seen_ms: Option<u64>,
    /// Reserved by what it holds.
    pub used_cpus_milli: u64,
    pub used_memory_bytes: u64,
    pub used_gpus: Vec<String>,
    /// Of these, the ones that are shared, and by how many chunks.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub shared_gpus: BTreeMap<String, u32>,
    pub holds: Vec<Holding>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Holding {
    pub attempt: AttemptId,
    pub chunk: ChunkId,
}
