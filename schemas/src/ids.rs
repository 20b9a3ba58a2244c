//! Names of things: a job is `42`, its chunk 7 is `42/7`, that chunk's second attempt is `42/7#2`.
use std::fmt;
use std::str::FromStr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

macro_rules! id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
        #[serde(transparent)]
        pub struct $name(pub u64);
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}
id!(
    /// A submitted job. Counted from 1, never used again.
    JobId
);
id!(
    /// A host that runs chunks. Stable over restarts and renames.
    RunnerId
);
id!(
    /// One try at one chunk, unique in the grid: the fencing token of everything a runner says about it.
    AttemptId
);
id!(
    /// One life of one runner process as the server knows it, minted by hello.
    SessionId
);

/// Position of a stage in its job. A one-stage job has [`MAIN`], and [`GATHER`] where its gather runs a container.
pub type StageIndex = u16;
/// The stage that holds the job's chunks.
pub const MAIN: StageIndex = 0;
/// The stage that holds the one chunk of a `gather` with `mode: run`.
pub const GATHER: StageIndex = 1;

/// The name that people see for a stage.
pub fn stage_name(stage: StageIndex) -> &'static str {
    match stage {
        MAIN => "main",
        _ => "gather",
    }
}

/// One chunk of one stage of one job.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
pub struct ChunkId {
    pub job: JobId,
    #[serde(default)]
    pub stage: StageIndex,
    /// From 0.
    pub index: u32,
}

impl fmt::Display for ChunkId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.stage {
            MAIN => write!(f, "{}/{}", self.job, self.index),
            stage => write!(f, "{}/{}/{}", self.job, stage_name(stage), self.index),
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a chunk; write JOB/CHUNK, as in 42/7, or JOB/gather/0")]
pub struct NotAChunk(pub String);

impl FromStr for ChunkId {
    type Err = NotAChunk;
    fn from_str(text: &str) -> Result<ChunkId, NotAChunk> {
        let fail = || NotAChunk(text.to_owned());
        let parts: Vec<&str> = text.split('/').collect();
        let (job, stage, index) = match parts[..] {
            [job, index] => (job, MAIN, index),
            [job, "main", index] => (job, MAIN, index),
            [job, "gather", index] => (job, GATHER, index),
            _ => return Err(fail()),
        };
        let job = JobId(job.parse().map_err(|_| fail())?);
        let index = index.parse().map_err(|_| fail())?;
        Ok(ChunkId { job, stage, index })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chunk_names_survive_a_round_trip() {
        for text in ["42/7", "42/gather/0"] {
            assert_eq!(text.parse::<ChunkId>().expect("a chunk").to_string(), text);
        }
        for text in ["42", "42/x", "x/1", "42/fit/1/2", "42/-1", ""] {
            assert_eq!(text.parse::<ChunkId>(), Err(NotAChunk(text.to_owned())));
        }
    }
}
