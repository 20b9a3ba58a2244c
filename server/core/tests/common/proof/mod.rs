//! What must hold of every answer and of every committed row, beside what `Grid::check` proves of the memory.
//!
//! It knows the contract, not the scheduler: it keeps its own small books of who was heard when and what was ordered, and holds
//! what the scheduler says against them.
mod acts;
mod answers;
mod gather;
mod limits;
mod rows;
mod turns;

use std::collections::{BTreeMap, BTreeSet};

use dsg_core::row::{AttemptRow, ChunkRow, JobRow};
use dsg_core::{Effects, Event, GatherTurn, Grid, Key, Millis, Needs, QueueFilter, Row, StagePolicy};
use dsg_schemas::ids::{AttemptId, ChunkId, JobId, MAIN, RunnerId, SessionId};
use dsg_schemas::limits::LEASE_MS;
use dsg_schemas::reason::EndReason;
use dsg_schemas::spec::Retry;

use crate::disk::{Disk, job_of};

/// What has been seen, to hold what comes later against.
#[derive(Default)]
pub struct Proof {
    /// Attempts that their own runner reported as succeeded.
    succeeded: BTreeSet<AttemptId>,
    accepted: BTreeMap<ChunkId, AttemptId>,
    /// How many attempt rows of a job say that they ended so.
    ends: BTreeMap<(JobId, EndReason), u64>,
    /// Attempts of a chunk before the last retry that a person may have ordered, and before the last one that concerned it for sure.
    before_retry: BTreeMap<ChunkId, (usize, usize)>,
    /// What an attempt that was ordered to start uses.
    uses: BTreeMap<AttemptId, (Needs, Vec<String>)>,
    /// The newest session that anybody was told of.
    newest_session: SessionId,
    pub successes: u64,
    /// Runners that failed so often that they got a rest.
    pub rests: u64,
    /// When jobs that have not ended must have.
    deadlines: BTreeMap<JobId, Millis>,
    removed_jobs: BTreeSet<JobId>,
    removed_runners: BTreeSet<RunnerId>,
    /// Jobs that a person's retry concerned since their last cancel.
    retried: BTreeSet<JobId>,
    /// Since which revision of their file the work of jobs is the same.
    work: BTreeMap<JobId, u32>,
    /// Jobs that a person released from what their first chunks had shown.
    released: BTreeSet<JobId>,
    /// Attempts that go on, by the rows on disk.
    current: limits::Current,
    /// Jobs that have not ended, by the rows on disk.
    unfinished: BTreeSet<JobId>,
    /// Milli-cpu-milliseconds of owners, of attempts that are over.
    used: BTreeMap<String, u64>,
    /// The job as it was before the event, where an act may only concern one in a certain state.
    was: Option<JobRow>,
    // Below: of this start of the server only.
    /// What counted when the server was asked to gather it.
    asked_to_gather: BTreeMap<GatherTurn, gather::Counting>,
    loaded: Millis,
    runners: BTreeMap<RunnerId, Heard>,
    offered: BTreeSet<AttemptId>,
    /// When a chunk of a job last started.
    started: BTreeMap<JobId, Millis>,
    /// Runners that were silent for longer than their lease when a tick of this batch came.
    silent: BTreeSet<RunnerId>,
    /// When a tick of this batch came.
    ticked: Millis,
    /// And so were those that had not been heard since the server started: all but these.
    all_silent: Option<BTreeSet<RunnerId>>,
}

/// What a runner said last.
#[derive(Clone, Debug, Default)]
struct Heard {
    at: Millis,
    session: Option<(SessionId, String)>,
    seq: Option<u64>,
    /// What runs there, by its own last report and the orders since.
    live: BTreeSet<AttemptId>,
}

/// Rows as they will be once the batch is committed.
struct Rows<'a>(&'a Disk, &'a Effects);

impl<'a> Rows<'a> {
    fn get(&self, key: Key) -> Option<&'a Row> {
        match self.1.rows.get(&key) {
            Some(row) => row.as_ref(),
            None => self.0.rows.get(&key),
        }
    }
    fn job(&self, id: JobId) -> Option<&'a JobRow> {
        match self.get(Key::Job(id)) {
            Some(Row::Job(row)) => Some(row),
            _ => None,
        }
    }
    fn chunk(&self, id: ChunkId) -> Option<&'a ChunkRow> {
        match self.get(Key::Chunk(id)) {
            Some(Row::Chunk(row)) => Some(row),
            _ => None,
        }
    }
    fn attempt(&self, id: AttemptId) -> Option<&'a AttemptRow> {
        match self.get(Key::Attempt(id)) {
            Some(Row::Attempt(row)) => Some(row),
            _ => None,
        }
    }
    fn policy(&self, id: ChunkId) -> Option<&'a StagePolicy> {
        let job = self.job(id.job)?;
        if id.stage == MAIN { Some(&job.main) } else { job.gather.as_ref()?.run.as_ref() }
    }
    fn retry(&self, id: ChunkId) -> Option<&'a Retry> {
        self.policy(id).map(|policy| &policy.retry)
    }
}

impl Proof {
    pub fn new(now: Millis) -> Proof {
        Proof { loaded: now, ..Proof::default() }
    }

    /// Memory was loaded anew: sessions are gone, and every lease has a full period.
    pub fn loaded(&mut self, now: Millis) {
        self.loaded = now;
        self.runners.clear();
        self.asked_to_gather.clear();
        self.offered.clear();
        self.started.clear();
        self.silent.clear();
        self.all_silent = None;
        self.ticked = 0;
    }

    pub fn forgive(&mut self, from: Millis, to: Millis) {
        let away = to.saturating_sub(from);
        self.loaded = (self.loaded + away).min(to);
        for runner in self.runners.values_mut() {
            runner.at = (runner.at + away).min(to);
        }
    }

    fn heard(&self, runner: RunnerId) -> Millis {
        self.runners.get(&runner).map_or(self.loaded, |heard| heard.at)
    }

    fn is_silent(&self, runner: RunnerId, now: Millis) -> bool {
        now.saturating_sub(self.heard(runner)) > LEASE_MS
    }

    pub fn before_tick(&mut self, now: Millis) {
        self.ticked = now;
        let silent = self.runners.keys().copied().filter(|runner| self.is_silent(*runner, now));
        let silent: Vec<RunnerId> = silent.collect();
        self.silent.extend(silent);
        if now.saturating_sub(self.loaded) > LEASE_MS && self.all_silent.is_none() {
            self.all_silent = Some(self.runners.keys().copied().collect());
        }
    }

    /// What an attempt uses that was ordered to start.
    pub fn needs_of(&self, id: AttemptId) -> Needs {
        self.uses.get(&id).map(|(needs, _)| needs.clone()).unwrap_or_default()
    }

    /// What was deleted does not come back with the rows.
    pub fn nothing_removed_is_there(&self, disk: &Disk) {
        let left =
            disk.rows.iter().find(|(key, row)| job_of(key, row).is_some_and(|job| self.removed_jobs.contains(&job)));
        assert!(left.is_none(), "a row of a deleted job is on disk: {left:?}");
    }

    /// A restart shows the same work waiting in the same order, and has nothing to write.
    pub fn same_after_load(live: &Grid, loaded: &mut Grid, now: Millis) {
        loaded.check();
        let order = |grid: &Grid| -> Vec<_> {
            let (entries, _) = grid.queue(now, &QueueFilter { limit: 500, ..QueueFilter::default() });
            entries.into_iter().map(|entry| (entry.first, entry.waiting, entry.priority, entry.needs)).collect()
        };
        assert_eq!(order(live), order(loaded), "the queue after a restart");
        let rows = |grid: &Grid| -> Vec<_> { grid.runner_rows().cloned().collect() };
        assert_eq!(rows(live), rows(loaded), "the runners after a restart");
        let mut effects = Effects::default();
        loaded.apply(now, Event::Tick, &mut effects).expect("a tick");
        assert!(effects.rows.is_empty(), "a restart alone changes {:?}", effects.rows);
        loaded.check();
    }
}
