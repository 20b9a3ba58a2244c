//! The grid: everything the scheduler knows, and the one door through which it changes.
use std::collections::{BTreeMap, BTreeSet};

use dsg_schemas::api::ChunkState;
use dsg_schemas::ids::{AttemptId, ChunkId, JobId, RunnerId, StageIndex};

use crate::attempt::Live;
use crate::event::{Answer, Effects, Event, GatherTurn, Millis, Refusal};
use crate::job::{Job, Stage, state_of};
use crate::queue::Queue;
use crate::row::{ImageRow, Key, Meta, Row, SecretRow};
use crate::runner::{Lease, Runner};

#[derive(Default)]
pub struct Grid {
    pub(crate) meta: Meta,
    /// The next session; sessions below `meta.next_session` may be minted without a write.
    pub(crate) next_session: u64,
    /// Jobs that have not ended, and ended ones that an act just had loaded.
    pub(crate) jobs: BTreeMap<JobId, Job>,
    pub(crate) runners: BTreeMap<RunnerId, Runner>,
    /// Attempts that a runner holds or may hold.
    pub(crate) attempts: BTreeMap<AttemptId, Live>,
    pub(crate) requests: Requests,
    /// Those that people brought, by their whole names.
    pub(crate) images: BTreeMap<String, ImageRow>,
    pub(crate) secrets: BTreeMap<String, SecretRow>,
    /// Names the key that the shell has: what is sealed with another one cannot be had; memory only.
    pub(crate) secret_key: String,
    pub(crate) lease: Lease,
    // Below: indexes that follow from the above and are proved by `check`.
    pub(crate) queue: Queue,
    pub(crate) resting: BTreeSet<(Millis, ChunkId)>,
    /// Runners on which containers of an image have started; memory only, a hint for placing.
    pub(crate) holders: BTreeMap<String, BTreeSet<RunnerId>>,
    pub(crate) timers: BTreeSet<(Millis, Timer)>,
    /// Jobs whose server steps are due and not yet announced.
    pub(crate) gather_due: BTreeMap<JobId, GatherTurn>,
    /// The last one announced.
    pub(crate) gather_turn: GatherTurn,
    /// When the first of what runners leave to others goes to whoever asks; memory only.
    pub(crate) left_until: Option<Millis>,
    /// Why nothing starts, if nothing may; memory only.
    pub(crate) no_starts: Option<String>,
    /// What this event changed and must be written.
    pub(crate) changes: Changes,
}

/// What falls due at a time; looked at again when it does, so that a timer which no longer holds is harmless.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Timer {
    /// The whole job took too long.
    Job(JobId),
    /// Chunks of a stage may have waited too long.
    Queue(JobId, StageIndex),
}

#[derive(Default)]
pub(crate) struct Changes {
    pub meta: bool,
    pub owners: bool,
    pub images: bool,
    pub secrets: bool,
    pub jobs: BTreeSet<JobId>,
    pub blocks: BTreeSet<(JobId, StageIndex, u32)>,
    pub chunks: BTreeSet<ChunkId>,
    pub runners: BTreeSet<RunnerId>,
    /// Rows of things that leave memory, and of attempts.
    pub rows: BTreeMap<Key, Option<Row>>,
    pub removed_jobs: Vec<JobId>,
    /// Jobs that an act looked at; ended ones leave memory again.
    pub visited: BTreeSet<JobId>,
    /// Jobs of which a chunk could not start because its row is not in memory.
    pub cold: BTreeSet<JobId>,
    pub work_available: bool,
}

/// The answered requests to submit, newest kept.
#[derive(Default)]
pub(crate) struct Requests {
    jobs: BTreeMap<String, JobId>,
    by_age: BTreeMap<JobId, String>,
}

/// Requests remembered: far more than can be in flight at once.
const REQUESTS: usize = 10_000;

impl Grid {
    /// Lets one thing happen. What it changed is in `effects` and must be durable before the answer is given.
    ///
    /// A refusal changes nothing. [`Refusal::NotLoaded`] asks for [`Grid::load_job`] and the same event again; refused once
    /// more, there is no such job.
    pub fn apply(&mut self, now: Millis, event: Event, effects: &mut Effects) -> Result<Answer, Refusal> {
        self.queue.shares_mut().at(now);
        let answer = match event {
            Event::Submit(submission) => self.submit(now, *submission),
            Event::Join(join) => self.join(now, join),
            Event::Sync(sync) => self.sync(now, sync).map(Answer::Orders),
            Event::Act(act) => self.act(now, act).map(Answer::Acted),
            Event::Tick => {
                self.tick(now);
                Ok(Answer::Ticked)
            }
        };
        self.write_out(effects);
        answer
    }

    /// The images that people brought, by their whole names.
    pub fn images(&self) -> &BTreeMap<String, ImageRow> {
        &self.images
    }

    /// Turns what changed into rows, each once however often it changed.
    fn write_out(&mut self, effects: &mut Effects) {
        let Changes {
            meta,
            owners,
            images,
            secrets,
            jobs,
            blocks,
            chunks,
            runners,
            rows,
            removed_jobs,
            visited,
            cold,
            work_available,
        } = std::mem::take(&mut self.changes);
        if meta {
            effects.rows.insert(Key::Meta, Some(Row::Meta(self.meta.clone())));
        }
        if owners {
            effects.rows.insert(Key::Owners, Some(Row::Owners(self.queue.shares_mut().rows())));
        }
        if images {
            effects.rows.insert(Key::Images, Some(Row::Images(self.images.clone())));
        }
        if secrets {
            effects.rows.insert(Key::Secrets, Some(Row::Secrets(self.secrets.clone())));
        }
        effects.rows.extend(rows);
        for id in jobs.iter().filter_map(|id| self.jobs.get(id)) {
            effects.rows.insert(Key::Job(id.row.id), Some(Row::Job(Box::new(id.row.clone()))));
        }
        for (job, stage, number) in blocks {
            let Some(block) = self.jobs.get(&job).and_then(|job| job.stage(stage)).map(|stage| stage.block(number))
            else {
                continue;
            };
            effects.rows.insert(Key::Block(job, stage, number), Some(Row::Block(block)));
        }
        for id in chunks {
            let Some(job) = self.jobs.get_mut(&id.job) else { continue };
            if let Some(row) = job.written(id) {
                effects.rows.insert(Key::Chunk(id), Some(Row::Chunk(row)));
            }
        }
        for id in runners {
            if let Some(runner) = self.runners.get(&id) {
                effects.rows.insert(Key::Runner(id), Some(Row::Runner(Box::new(runner.row.clone()))));
            }
        }
        for id in jobs.iter().chain(&visited) {
            if self.jobs.get(id).is_some_and(|job| job.row.state.is_final()) {
                self.unload(*id);
            }
        }
        for id in &visited {
            let Some(Stage { states, touched, .. }) = self.jobs.get_mut(id).map(|job| &mut job.main) else { continue };
            touched.retain(|index, _| !state_of(states[*index as usize]).is_final());
        }
        let heads = jobs.union(&cold).filter_map(|id| Some((*id, self.jobs.get(id)?.main.cold_head()?)));
        effects.wanted.extend(heads);
        for removed in &removed_jobs {
            effects.wanted.retain(|(job, _)| job != removed);
            effects.rows.retain(|key, row| !belongs_to(*removed, key, row.as_ref()));
        }
        effects.removed_jobs.extend(removed_jobs);
        effects.work_available |= work_available;
        effects.gather_due.extend(std::mem::take(&mut self.gather_due));
    }

    /// After how long a past use counts half in the order of owners; 0: the past does not count.
    pub fn set_half_life(&mut self, half_life_ms: Millis) {
        self.queue.shares_mut().set_half_life(half_life_ms);
    }

    /// With a reason no attempt starts from now on; without one they may again. What runs goes on.
    pub fn stop_starts(&mut self, why: Option<String>) {
        self.no_starts = why;
    }

    /// How long runners may be silent before their chunks wait again; they are told when they say hello.
    pub fn set_lease(&mut self, lease_ms: Millis) {
        self.lease = Lease(lease_ms);
        self.runners.values_mut().for_each(|runner| runner.lease = self.lease);
    }

    /// An ended job leaves memory; its rows stay.
    pub(crate) fn unload(&mut self, id: JobId) {
        let Some(job) = self.jobs.get(&id) else { return };
        let stages: Vec<_> = job.stages().map(|(index, _)| index).collect();
        stages.into_iter().for_each(|index| self.leave_lanes(id, index));
        self.jobs.remove(&id);
    }

    /// A job that can be acted upon.
    pub(crate) fn known(&self, id: JobId) -> Result<&Job, Refusal> {
        match self.jobs.get(&id) {
            Some(job) => Ok(job),
            None if id.0 == 0 || id.0 >= self.meta.next_job => Err(Refusal::UnknownJob(id)),
            None => Err(Refusal::NotLoaded(id)),
        }
    }

    pub(crate) fn state(&self, chunk: ChunkId) -> Option<ChunkState> {
        self.jobs.get(&chunk.job)?.state(chunk)
    }

    pub(crate) fn runner_name(&self, id: RunnerId) -> String {
        self.runners.get(&id).map_or_else(|| format!("runner {id}, since removed"), |runner| runner.row.name.clone())
    }

    /// When a tick next has something to do; a time in the past means now.
    pub fn next_deadline(&self) -> Option<Millis> {
        let leases = self.runners.values().filter_map(|runner| self.lease_deadline(runner));
        let resting = self.resting.first().map(|(at, _)| *at);
        let timer = self.timers.first().map(|(at, _)| *at);
        let gather = (!self.gather_due.is_empty()).then_some(0);
        leases.chain(resting).chain(timer).chain(gather).chain(self.left_until).min()
    }
}

fn belongs_to(job: JobId, key: &Key, row: Option<&Row>) -> bool {
    match key {
        Key::Job(id) | Key::Spec(id) | Key::Block(id, _, _) => *id == job,
        Key::Chunk(chunk) => chunk.job == job,
        Key::Attempt(_) => matches!(row, Some(Row::Attempt(row)) if row.chunk.job == job),
        Key::Meta | Key::Owners | Key::Images | Key::Secrets | Key::Runner(_) => false,
    }
}

impl Requests {
    pub fn get(&self, request: &str) -> Option<JobId> {
        self.jobs.get(request).copied()
    }

    pub fn insert(&mut self, request: String, job: JobId) {
        self.jobs.insert(request.clone(), job);
        self.by_age.insert(job, request);
        if self.by_age.len() > REQUESTS
            && let Some((_, oldest)) = self.by_age.pop_first()
        {
            self.jobs.remove(&oldest);
        }
    }

    pub fn remove(&mut self, job: JobId) {
        if let Some(request) = self.by_age.remove(&job) {
            self.jobs.remove(&request);
        }
    }
}
