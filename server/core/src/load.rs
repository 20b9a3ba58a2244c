//! From rows to a grid: at start, and for an ended job that an act concerns.
use std::collections::BTreeMap;
use std::sync::Arc;

use dsg_schemas::api::{ChunkState, Tally};
use dsg_schemas::ids::{AttemptId, ChunkId, JobId, MAIN, StageIndex};

use crate::attempt::{Live, Standing};
use crate::event::Millis;
use crate::grid::{Grid, Timer};
use crate::job::{Job, Stage};
use crate::planted::{Bug, planted};
use crate::policy::Needs;
use crate::row::{AttemptRow, BLOCK, ChunkRow, JobRow, Key, Meta, OwnerRow, Row};
use crate::runner::Runner;
use crate::tick::LOOK_MS;

/// Rows that cannot be: the store is damaged, and guessing would lose work.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LoadError {
    #[error("the row under {key:?} is of another kind than its key says")]
    Mismatch { key: Key },
    #[error("block {number} of stage {stage} of job {job} is missing, has another length or holds an unknown state")]
    Block { job: JobId, stage: StageIndex, number: u32 },
    #[error("job {job} counts its chunks as {row:?}, but their states say {states:?}")]
    Tally { job: JobId, row: Box<Tally>, states: Box<Tally> },
    #[error("chunk {0} has a row, but its job has no such chunk")]
    Chunk(ChunkId),
    #[error(
        "chunk {chunk} is with a runner, but its attempt {attempt:?} is missing, has ended or belongs to another chunk"
    )]
    Attempt { chunk: ChunkId, attempt: Option<AttemptId> },
}

#[derive(Default)]
struct Rows {
    meta: Option<Meta>,
    owners: BTreeMap<String, OwnerRow>,
    images: BTreeMap<String, crate::row::ImageRow>,
    secrets: BTreeMap<String, crate::row::SecretRow>,
    jobs: Vec<JobRow>,
    runners: Vec<crate::row::RunnerRow>,
    blocks: BTreeMap<(JobId, StageIndex, u32), Arc<[u8]>>,
    chunks: BTreeMap<ChunkId, ChunkRow>,
    attempts: BTreeMap<AttemptId, AttemptRow>,
}

impl Grid {
    /// The grid as it was when these rows were written. Wanted: meta, all job and runner rows; of jobs that have not ended the blocks,
    /// the rows of chunks that are not through, and their last attempts (more does no harm). Every lease gets a full period from now.
    pub fn load(now: Millis, rows: impl IntoIterator<Item = (Key, Row)>) -> Result<Grid, LoadError> {
        let mut rows = sort(rows)?;
        let mut grid = Grid { meta: rows.meta.take().unwrap_or_default(), ..Grid::default() };
        grid.queue.shares_mut().load(now, std::mem::take(&mut rows.owners));
        grid.images = std::mem::take(&mut rows.images);
        grid.secrets = std::mem::take(&mut rows.secrets);
        grid.next_session = grid.meta.next_session;
        for mut row in std::mem::take(&mut rows.runners) {
            if planted(Bug::SicknessForgotten) {
                row.sick = Default::default();
            }
            let heard = if planted(Bug::NoGraceAfterStart) { 0 } else { now };
            grid.runners.insert(row.id, Runner::new(row, grid.lease, heard));
        }
        let mut jobs = std::mem::take(&mut rows.jobs);
        jobs.sort_by_key(|row| row.id);
        for row in jobs {
            if let Some(request) = &row.request {
                grid.requests.insert(request.clone(), row.id);
            }
            if !row.state.is_final() {
                grid.load_one(now, row, &mut rows)?;
            }
        }
        grid.queue.shares_mut().loaded();
        grid.changes = Default::default();
        Ok(grid)
    }

    /// An ended job comes back into memory, because an event was refused with [`NotLoaded`](crate::Refusal::NotLoaded). Wanted: its
    /// job and block rows, and that of its gather chunk. Rows that do not fit together are not taken: the event is then refused again.
    pub fn load_job(&mut self, now: Millis, rows: impl IntoIterator<Item = (Key, Row)>) {
        let Ok(mut rows) = sort(rows) else { return };
        for row in std::mem::take(&mut rows.jobs) {
            let wanted = row.state.is_final() && !self.jobs.contains_key(&row.id) && row.id.0 < self.meta.next_job;
            if wanted {
                // What does not load is not there; the damage was or will be reported when the store is checked.
                let _ = self.load_one(now, row, &mut rows);
            }
        }
    }

    fn load_one(&mut self, now: Millis, row: JobRow, rows: &mut Rows) -> Result<(), LoadError> {
        let id = row.id;
        let main = load_states(id, MAIN, row.main.chunks, &row.tally, rows)?;
        let run = row.gather.as_ref().and_then(|gather| gather.run.as_ref());
        let gather = run.map(|_| load_states(id, dsg_schemas::ids::GATHER, 1, &row.gather_tally, rows)).transpose()?;
        let mut chunks = Vec::new();
        while let Some(chunk) = first_of(&rows.chunks, id) {
            chunks.extend(rows.chunks.remove(&chunk));
        }
        let chunk_count = |stage| match stage {
            MAIN => main.len(),
            dsg_schemas::ids::GATHER => gather.as_ref().map_or(0, Vec::len),
            _ => 0,
        };
        if let Some(stray) = chunks.iter().find(|row| row.id.index as usize >= chunk_count(row.id.stage)) {
            return Err(LoadError::Chunk(stray.id));
        }
        let (class, needs) = self.queue.enter(&row.main.needs, &row.main.constraints);
        let main = Stage::new(main, class, needs, now);
        let gather = gather.zip(run).map(|(states, policy)| {
            let (class, needs) = self.queue.enter(&policy.needs, &policy.constraints);
            Stage::new(states, class, needs, now)
        });
        let mut job = Job { row, main, gather, gather_announced: None, started_on: Default::default() };
        if job.row.again.count() > 0 {
            job.main.cool();
        }
        for chunk in chunks {
            let through = chunk.id.stage == MAIN && job.state(chunk.id).is_some_and(ChunkState::is_final);
            if through || job.row.is_past(&chunk) {
                continue;
            }
            let (stage, index) = (chunk.id.stage, chunk.id.index);
            if let Some(stage) = job.stage_mut(stage) {
                stage.touched.insert(index, chunk);
            }
        }
        if let Some(at) = job.row.deadline_ms().filter(|_| !job.row.state.is_final() && !planted(Bug::TimersLostAtLoad))
        {
            self.timers.insert((at, Timer::Job(id)));
        }
        let stages: Vec<StageIndex> = job.stages().map(|(index, _)| index).collect();
        let grew = |row: &&ChunkRow| row.grown.is_some();
        let grown: Vec<ChunkId> =
            job.stages().flat_map(|(_, stage)| stage.touched.values().filter(grew).map(|row| row.id)).collect();
        self.jobs.insert(id, job);
        grown.into_iter().filter(|_| !planted(Bug::LanesLostAtLoad)).for_each(|chunk| self.open_lane(chunk));
        for stage in stages {
            self.index_waiting(now, id, stage);
            self.load_attempts(id, stage, rows)?;
            self.reorder(id, stage);
        }
        self.settle(now, id);
        Ok(())
    }

    fn index_waiting(&mut self, now: Millis, id: JobId, stage_index: StageIndex) {
        let Some(job) = self.jobs.get_mut(&id) else { return };
        let open = job.row.is_open(stage_index);
        let times_out = job.row.policy(stage_index).is_some_and(|policy| policy.queue_timeout_ms.is_some());
        let Some(stage) = job.stage_mut(stage_index).filter(|_| open) else { return };
        for index in 0..stage.len() {
            if stage.state(index) != Some(ChunkState::Waiting) {
                continue;
            }
            match stage.touched.get(&index).and_then(|row| row.not_before_ms).filter(|at| *at > now) {
                Some(at) => {
                    stage.resting.insert(index, at);
                    self.resting.insert((at, ChunkId { job: id, stage: stage_index, index }));
                }
                None => stage.insert_ready(index),
            }
        }
        if times_out && (stage.first_ready().is_some() || !stage.resting.is_empty()) {
            let at = now.saturating_add(LOOK_MS);
            stage.queue_check = Some(at);
            self.timers.insert((at, Timer::Queue(id, stage_index)));
        }
    }

    /// Attempts that a runner holds, and those that were lost but may come back.
    fn load_attempts(&mut self, id: JobId, stage_index: StageIndex, rows: &mut Rows) -> Result<(), LoadError> {
        let Some(stage) = self.jobs.get(&id).and_then(|job| job.stage(stage_index)) else { return Ok(()) };
        let base = stage.needs.clone();
        let mut found = Vec::new();
        for index in 0..stage.len() {
            let state = stage.state(index).unwrap_or(ChunkState::Waiting);
            let chunk = ChunkId { job: id, stage: stage_index, index };
            let last = stage.touched.get(&index).and_then(|row| row.attempts.last().copied());
            // A runner may have been removed since it lost an attempt, but not while it held one.
            let fits = |row: &AttemptRow| row.chunk == chunk && self.runners.contains_key(&row.runner);
            let row = last.and_then(|last| rows.attempts.remove(&last)).filter(fits);
            match (state.is_active(), row) {
                (true, Some(row)) if row.ended.is_none() => found.push((row, Standing::Current)),
                (true, _) => return Err(LoadError::Attempt { chunk, attempt: last }),
                (false, Some(row)) if !state.is_final() && row.may_return => found.push((row, Standing::Lost)),
                (false, _) => {}
            }
        }
        for (row, standing) in found {
            let needs = match row.grown.as_ref().and_then(|grown| grown.memory_bytes) {
                Some(memory_bytes) => Arc::new(Needs { memory_bytes, ..(*base).clone() }),
                None => base.clone(),
            };
            self.hold(Live { row, needs, standing, note: String::new() });
        }
        Ok(())
    }
}

fn first_of(chunks: &BTreeMap<ChunkId, ChunkRow>, job: JobId) -> Option<ChunkId> {
    let from = ChunkId { job, stage: 0, index: 0 };
    let to = ChunkId { job, stage: StageIndex::MAX, index: u32::MAX };
    chunks.range(from..=to).next().map(|(id, _)| *id)
}

/// The states of all chunks of a stage, put together from its blocks and proved against the job's own count.
fn load_states(
    job: JobId,
    stage: StageIndex,
    chunks: u32,
    tally: &Tally,
    rows: &mut Rows,
) -> Result<Vec<u8>, LoadError> {
    let mut states = Vec::with_capacity(chunks as usize);
    let mut counted = Tally::default();
    for number in 0..chunks.div_ceil(BLOCK) {
        let wanted = (chunks - number * BLOCK).min(BLOCK) as usize;
        let block = rows.blocks.remove(&(job, stage, number)).filter(|block| block.len() == wanted);
        let block = block.ok_or(LoadError::Block { job, stage, number })?;
        for byte in block.iter() {
            let state = ChunkState::ALL.get(usize::from(*byte)).ok_or(LoadError::Block { job, stage, number })?;
            *counted.of_mut(*state) += 1;
        }
        states.extend_from_slice(&block);
    }
    if counted != *tally {
        return Err(LoadError::Tally { job, row: Box::new(*tally), states: Box::new(counted) });
    }
    Ok(states)
}

fn sort(given: impl IntoIterator<Item = (Key, Row)>) -> Result<Rows, LoadError> {
    let mut rows = Rows::default();
    for (key, row) in given {
        match (key, row) {
            (Key::Meta, Row::Meta(row)) => rows.meta = Some(row),
            (Key::Owners, Row::Owners(row)) => rows.owners = row,
            (Key::Images, Row::Images(row)) => rows.images = row,
            (Key::Secrets, Row::Secrets(row)) => rows.secrets = row,
            (Key::Job(_), Row::Job(row)) => rows.jobs.push(*row),
            (Key::Spec(_), Row::Spec(_)) => {}
            (Key::Block(job, stage, number), Row::Block(block)) => {
                rows.blocks.insert((job, stage, number), block);
            }
            (Key::Chunk(id), Row::Chunk(row)) => {
                rows.chunks.insert(id, row);
            }
            (Key::Attempt(id), Row::Attempt(row)) => {
                rows.attempts.insert(id, *row);
            }
            (Key::Runner(_), Row::Runner(row)) => rows.runners.push(*row),
            (key, _) => return Err(LoadError::Mismatch { key }),
        }
    }
    Ok(rows)
}
