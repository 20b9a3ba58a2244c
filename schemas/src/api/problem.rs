//! Errors as RFC 9457 problem details, and the problems of a job file.
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// `application/problem+json`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Problem {
    /// A stable word for programs, as in `not_found`, `spec_invalid`, `stale_session`.
    pub code: String,
    /// One line for people.
    pub title: String,
    /// The HTTP status.
    pub status: u16,
    /// What was attempted, why it failed, what to do next.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub detail: String,
    /// With `spec_invalid`: everything that is wrong with the job file.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub problems: Vec<SpecProblem>,
}

/// One thing wrong with a job file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct SpecProblem {
    /// Which rule it breaks, as in `unknown_key`; the file of examples is named after it.
    pub rule: String,
    /// From 1; 0 where there is no place in the file (a wrong `--set`).
    pub line: u64,
    /// From 1.
    pub column: u64,
    /// Where, as in `chunks.range.stop`.
    pub path: String,
    /// A sentence.
    pub message: String,
    /// What stands there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<Value>,
    /// What may stand there.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub allowed: Vec<String>,
    /// "did you mean …", or what to do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
}
