//! Blobs: bytes addressed by their sha256. `HEAD`, `GET` with Range, and `PUT` of pieces that resumes.
use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What `PUT /api/v1/blobs/sha256/{hash}?offset=N&size=TOTAL` answers: go on from `have`. A piece that begins elsewhere is answered with
/// 409 and the same body. Complete blobs are verified before `complete` is said.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct BlobHave {
    pub have: u64,
    pub complete: bool,
}

/// A file sent beside a job file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Upload {
    pub size: u64,
    /// 64 hexadecimal digits.
    pub sha256: String,
}

/// The files sent beside a job file, by their path relative to it (`data/co2.csv`).
pub type Uploads = BTreeMap<String, Upload>;
