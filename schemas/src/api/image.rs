//! Images that people brought without a registry.
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ImageView {
    /// As in a job file: `dsg/fit:1`.
    pub name: String,
    /// Of the archive that was sent.
    pub sha256: String,
    pub size: u64,
    pub pushed_by: String,
    pub pushed_ms: u64,
}
