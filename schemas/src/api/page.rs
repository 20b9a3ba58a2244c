//! Pages of lists, the overview, and the event stream.
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::job::JobView;
use super::runner::RunnerView;

/// One page of a list. Ask again with `?cursor=` to go on.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Page<T> {
    pub rows: Vec<T>,
    /// Absent on the last page.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

/// `GET /api/v1/overview`: the first page that a person sees.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Overview {
    pub grid: String,
    pub version: String,
    pub now_ms: u64,
    pub revision: u64,
    /// Conditions that a person must know about (store trouble, plain HTTP, disk nearly full), each with what to do.
    pub banners: Vec<String>,
    pub runners: Vec<RunnerView>,
    /// Unfinished first, newest first; at most 20.
    pub jobs: Vec<JobView>,
    /// Over all unfinished jobs.
    pub waiting: u64,
    pub active: u64,
    /// What rules removed in the last day, since the server's start, as in `logs of 3 jobs`; empty if nothing.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub removed_last_day: String,
}

/// One event of `GET /api/v1/events`: something changed; fetch what you show.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Change {
    pub revision: u64,
}

/// `GET /api/v1/whoami`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Whoami {
    pub name: String,
    pub role: super::token::Role,
    pub grid: String,
    pub version: String,
    pub protocol: u32,
}
