//! The secrets of one attempt, for the runner that holds its lease.
use std::collections::BTreeMap;
use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Answers `POST /api/v1/attempts/{attempt}/secrets`.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SecretValues {
    /// By name, each in base64.
    pub values: BTreeMap<String, String>,
}

/// Whoever logs an answer must not log these.
impl fmt::Debug for SecretValues {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.values.keys()).finish()
    }
}
