//! Secrets that the server keeps for jobs, by their names. No answer ever has a value.
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SecretView {
    /// As in a job file.
    pub name: String,
    pub set_by: String,
    pub set_ms: u64,
    /// Why no job can have it at present: it was sealed with a key that the server does not have.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub locked: Option<String>,
}
