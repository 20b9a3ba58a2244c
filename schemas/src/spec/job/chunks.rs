//! How the work is split.
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::yes;
use crate::spec::forms;

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

    /// So many chunks, the first ones, run before all others. If one of them fails, the job is held, with why, until a person
    /// releases or cancels it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 100))]
    pub canary: Option<u32>,
    /// So many failed chunks, as a number or as a part of all (`"5%"`), are borne: the job is then partial and gathers what there
    /// is. With more it has failed, and gathers nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_failed: Option<MaxFailed>,
    /// Stop the job as soon as more chunks have failed than `max_failed` bears (without it: one).
    #[serde(default)]
    pub fail_fast: bool,
}

/// A number of chunks, or a part of all of them; written `3` or `"5%"`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum MaxFailed {
    Count(u32),
    Percent(f64),
}

impl MaxFailed {
    /// Of so many chunks; parts of a chunk do not count.
    pub fn of(self, chunks: u32) -> u32 {
        match self {
            MaxFailed::Count(count) => count.min(chunks),
            // A float of a value within u32: what is cut off is the fraction.
            MaxFailed::Percent(percent) => (f64::from(chunks) * percent / 100.0 + 1e-9) as u32,
        }
    }
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
