//! The closed set of things that can happen, what comes back, and what the shell must write.
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use dsg_schemas::api::{Act as PersonsAct, Acted};
use dsg_schemas::ids::{AttemptId, ChunkId, JobId, RunnerId, SessionId};
use dsg_schemas::wire::{AttemptReport, Facts, Load, StopOrder, StoredFile};

use crate::policy::Submission;
use crate::row::{Grown, Key, Row};

/// Milliseconds of the server's monotonic clock laid over Unix time at start; never goes back.
pub type Millis = u64;

/// Everything that can happen to the grid.
#[derive(Clone, Debug)]
pub enum Event {
    /// A checked job. Answered with [`Answer::Job`].
    Submit(Box<Submission>),
    /// A runner makes itself known. Answered with [`Answer::Enrolled`] or [`Answer::Session`].
    Join(Join),
    /// A runner reports and claims. Answered with [`Answer::Orders`].
    Sync(Sync),
    /// A person, or the server itself after a gather. Answered with [`Answer::Acted`].
    Act(Act),
    /// Time passed: leases, backoffs and timeouts are looked at. Answered with [`Answer::Ticked`].
    Tick,
}

#[derive(Clone, Debug)]
pub enum Join {
    /// A runner that nobody knew: the shell has checked its token. A taken name gets a number behind it.
    Enrol { name: String, credential_sha256: String },
    /// A new session of a known runner.
    Hello { runner: RunnerId, nonce: String, host: String, version: String, facts: Box<Facts> },
}

#[derive(Clone, Debug)]
pub struct Sync {
    pub runner: RunnerId,
    pub session: SessionId,
    pub seq: u64,
    /// `None`: the shell wakes a held sync; nothing new is reported, work may be placed. Carries the `seq` of the held one.
    pub report: Option<Report>,
}

#[derive(Clone, Debug, Default)]
pub struct Report {
    /// All that the runner holds.
    pub attempts: Vec<AttemptReport>,
    pub no_more: Option<String>,
    pub goodbye: bool,
    pub load: Load,
    pub facts: Option<Box<Facts>>,
}

#[derive(Clone, Debug)]
pub enum Act {
    Person {
        who: String,
        act: PersonsAct,
    },
    /// A person replaces the job file of a held job.
    Edit(Edit),
    /// The server's own gather steps of a job are done (or cannot be).
    Gathered {
        job: JobId,
        /// The one that it answers: what was announced before the last change of what is to be gathered is too late.
        turn: GatherTurn,
        result: Result<Vec<StoredFile>, String>,
    },
    /// A rule of the server takes something of a job that has ended.
    Expire(Expire),
    /// An admin sets a secret; it comes sealed.
    SetSecret {
        who: String,
        name: String,
        sealed: Sealed,
    },
    RemoveSecret {
        name: String,
    },
}

/// What the shell made of a value.
#[derive(Clone, Debug)]
pub struct Sealed {
    pub key: String,
    pub sealed: Arc<str>,
    pub size: u64,
}

#[derive(Clone, Debug)]
pub struct Expire {
    pub job: JobId,
    /// When it ended, as the rule saw it: if it ran again since, the rule has to look again.
    pub ended_ms: Millis,
    pub what: Expired,
    /// The rule, for people.
    pub why: String,
}

/// What goes, and how much of it there was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expired {
    Logs { count: u64, bytes: u64 },
    Outputs { count: u64, bytes: u64 },
    Job,
}

#[derive(Clone, Debug)]
pub struct Edit {
    pub who: String,
    pub job: JobId,
    /// As it would be submitted now; owner, request and hold stay those of the job.
    pub submission: Box<Submission>,
    /// What chunks do is another thing than before, not only how they are scheduled: results of both must not be mixed.
    pub other_work: bool,
    /// Succeeded chunks run again, too.
    pub again: bool,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Answer {
    /// `fresh` is false if this request was answered before.
    Job {
        job: JobId,
        fresh: bool,
    },
    Enrolled {
        runner: RunnerId,
        name: String,
    },
    Session {
        runner: RunnerId,
        name: String,
        session: SessionId,
    },
    Orders(Orders),
    Acted(Acted),
    Ticked,
}

#[derive(Clone, Debug, Default, PartialEq)]
pub struct Orders {
    pub start: Vec<Start>,
    pub stop: Vec<StopOrder>,
    pub forget: Vec<AttemptId>,
    pub drain: bool,
    pub pause: bool,
}

/// One attempt to start. The shell adds what the spec says.
#[derive(Clone, Debug, PartialEq)]
pub struct Start {
    pub attempt: AttemptId,
    pub chunk: ChunkId,
    pub number: u32,
    pub gpus: Vec<String>,
    /// What it gets in place of what the spec says.
    pub grown: Grown,
}

/// Ordinary typed answers; the shell maps them to HTTP in one place. The text is for people.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    #[error("there is no job {0}")]
    UnknownJob(JobId),
    #[error("there is no chunk {0}")]
    UnknownChunk(ChunkId),
    #[error("there is no runner {0}")]
    UnknownRunner(RunnerId),
    /// The job has ended and left memory: the shell calls [`Grid::load_job`](crate::Grid::load_job) and applies the event again.
    #[error("job {0} is not in memory")]
    NotLoaded(JobId),
    /// Rows of these chunks left memory when they ended: the shell calls [`Grid::load_chunks`](crate::Grid::load_chunks) and applies the
    /// event again.
    #[error("the rows of {} chunks are not in memory", .0.len())]
    ChunksNotLoaded(Vec<ChunkId>),
    #[error("the server knows no such session of this runner: say hello first")]
    HelloFirst,
    #[error("a newer report of this runner was already taken")]
    StaleSeq,
    #[error(
        "another machine or state folder ({host}) is using this runner's identity right now; join this one anew with its own token and an empty folder"
    )]
    Cloned { host: String },
    #[error("job {0} has not ended; cancel it first")]
    NotEnded(JobId),
    #[error("job {0} has ended")]
    Ended(JobId),
    #[error("job {0} has ended, and its file tells what ran; submit the new file as a job of its own")]
    EndedAsItWas(JobId),
    #[error("job {0} is not held; hold it first, so that nothing of it starts while it changes")]
    NotHeld(JobId),
    #[error(
        "{running} of job {job} still run as they were submitted; wait for them, or cancel the job and submit a new one"
    )]
    StillRunning { job: JobId, running: String },
    #[error("{why}; job {job} stays as it is: cancel it and submit the changed file as a new job")]
    OtherShape { job: JobId, why: String },
    #[error(
        "{succeeded} of job {job} succeeded with another command, image, environment or input, and results of both must not be mixed; edit it with `--again` to run those again, too"
    )]
    WouldMix { job: JobId, succeeded: String },
    #[error("job {0} cannot be limited to 0 chunks at once; hold it if nothing of it is to start")]
    NoPlaces(JobId),
    #[error("job {0} ran again since the rule looked at it")]
    RanAgain(JobId),
    #[error(
        "the outputs of job {job} were removed ({why}), and chunks that run again would stand alone; run all of it again (`dsg retry {job} --all`)"
    )]
    OutputsRemoved { job: JobId, why: String },
    #[error("runner {0} still holds work; drain it and wait, or remove it by force")]
    StillHolding(RunnerId),
    #[error(
        "{0:?} cannot be the name of an image: dsg/ and small letters, digits and . _ -, with a tag, as in dsg/fit:1"
    )]
    ImageName(String),
    #[error("there is no image {0}; `dsg image ls` shows those that there are")]
    UnknownImage(String),
    #[error("job {job} uses image {name} and has not ended; wait for it, or cancel it")]
    ImageInUse { name: String, job: JobId },
    #[error("there are {0} images already; remove some first")]
    TooManyImages(usize),
    #[error("there is no secret `{0}`; `dsg secret ls` shows those that there are")]
    UnknownSecret(String),
    #[error("there are {0} secrets already; remove some first")]
    TooManySecrets(usize),
    #[error("attempt {0} is not with this runner")]
    NotYourAttempt(AttemptId),
    #[error("a secret of it cannot be had: {0}")]
    NoSecret(String),
    #[error("the job has {0} chunks; at most {max} are taken", max = dsg_schemas::limits::CHUNKS_PER_JOB)]
    TooManyChunks(u64),
}

/// What the shell must do before it gives the answer.
#[derive(Clone, Debug, Default)]
pub struct Effects {
    /// Rows to write (`None`: remove). The last write of a row in a batch wins.
    pub rows: BTreeMap<Key, Option<Row>>,
    /// Jobs whose rows of every kind are to be removed.
    pub removed_jobs: Vec<JobId>,
    /// Blocks of chunks that can only start once their rows are in memory: the shell calls [`Grid::load_block`](crate::Grid::load_block)
    /// after the commit, and wakes held syncs.
    pub wanted: BTreeSet<(JobId, u32)>,
    /// Wake held syncs: something can be placed, stopped or drained.
    pub work_available: bool,
    /// Jobs whose chunks are through and whose gather steps the server shall do now.
    pub gather_due: Vec<(JobId, GatherTurn)>,
}

/// Names one announcement that a job is to be gathered. Grows with each, and over every load of the rows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct GatherTurn(pub u64);

/// A spec as the shell keeps it; the core does not look inside.
pub type SpecBytes = Arc<[u8]>;
