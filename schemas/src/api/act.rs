//! Acts: everything that a person does to the grid beside submitting, behind one route.
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::ids::{ChunkId, JobId, RunnerId};

/// `POST /api/v1/acts`. Doing the same twice has one effect.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "act", rename_all = "snake_case")]
pub enum Act {
    /// Stop everything of the job; nothing of it starts again.
    Cancel {
        job: JobId,
    },
    /// Start nothing more of the job; what runs goes on.
    Hold {
        job: JobId,
    },
    Release {
        job: JobId,
    },
    /// Run failed or cancelled chunks again, with fresh budgets.
    Retry {
        job: JobId,
        which: Retries,
    },
    /// How many chunks of the job may run at once from now on; `null`: any number. What runs goes on.
    LimitJob {
        job: JobId,
        parallelism: Option<u32>,
    },
    /// What the chunks of one owner may reserve at once, all jobs together; both `null`: anything. Owner `*`: everyone who has no
    /// limit of their own. What runs goes on.
    LimitOwner {
        owner: String,
        cpus_milli: Option<u64>,
        gpus: Option<u32>,
    },
    /// Remove a finished job with its logs and outputs.
    Delete {
        job: JobId,
    },
    /// Let job files name an image whose archive was uploaded before, as `dsg/NAME:TAG`.
    PushImage {
        name: String,
        sha256: String,
        size: u64,
    },
    /// Forget such an image; refused while an open job uses it.
    RemoveImage {
        name: String,
    },
    /// Finish what runs, take nothing new. Survives restarts of both.
    Drain {
        runner: RunnerId,
    },
    Undrain {
        runner: RunnerId,
    },
    /// Freeze what runs there, and take nothing new. Time limits stop, memory stays held. Survives restarts of both.
    Pause {
        runner: RunnerId,
    },
    /// Stop what runs there, with grace; its chunks wait again at no cost. Nothing new is taken until it is resumed.
    Evict {
        runner: RunnerId,
    },
    /// After a pause: what was frozen goes on. After either: it takes work again, unless it is drained.
    Resume {
        runner: RunnerId,
    },
    /// Forget a runner that holds nothing, with its credential.
    RemoveRunner {
        runner: RunnerId,
        /// Also one that holds attempts: their chunks wait again at no cost, and whatever the runner still says counts no more.
        #[serde(default)]
        force: bool,
    },
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Retries {
    /// Chunks that failed or were cancelled.
    Failed,
    /// All chunks, the succeeded ones too. Only once the job has ended.
    All,
    /// These, whatever end they had.
    Chunks(Vec<ChunkId>),
}

/// What an act did.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Acted {
    /// How many chunks (or runners) it concerned; 0 if all was so already.
    pub count: u64,
    /// One sentence.
    pub message: String,
}
