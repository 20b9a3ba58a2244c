//! Reading: short transactions that see one commit and never block the writer. Call them where blocking is allowed.
use std::borrow::Borrow;
use std::collections::BTreeMap;
use std::fmt::Debug;
use std::ops::RangeInclusive;

use dsg_core::row::{AttemptRow, BLOCK, ChunkRow, ImageRow, JobRow, Key, Row, RunnerRow};
use dsg_schemas::api::ChunkState;
use dsg_schemas::ids::{AttemptId, ChunkId, GATHER, JobId, MAIN, RunnerId, StageIndex};
use redb::{ReadTransaction, ReadableDatabase};
use serde::de::DeserializeOwned;

use super::checked::{Checked, Payload};
use super::tables::{
    ATTEMPTS, AUTH, BLOCKS, CHUNKS, Definition, JOBS, META, META_COUNTERS, META_GRID, META_IMAGES, META_OWNERS,
    META_SECRETS, RUNNERS, SPECS, Triple, decode,
};
use super::{Store, StoreError};

pub struct Reader<'a> {
    store: &'a Store,
    transaction: ReadTransaction,
}

impl Store {
    /// Runs `read` on one consistent view of the rows.
    pub fn read<T>(&self, read: impl FnOnce(&Reader<'_>) -> Result<T, StoreError>) -> Result<T, StoreError> {
        let place = self.database.read().unwrap_or_else(|poison| poison.into_inner());
        let database = place.as_ref().ok_or(StoreError::Closed)?;
        let transaction = database.begin_read().map_err(|error| self.wrap(error))?;
        read(&Reader { store: self, transaction })
    }
}

impl Reader<'_> {
    pub fn job(&self, job: JobId) -> Result<Option<JobRow>, StoreError> {
        self.one(&self.table(JOBS)?, job.0)
    }
    pub fn chunk(&self, chunk: ChunkId) -> Result<Option<ChunkRow>, StoreError> {
        self.one(&self.table(CHUNKS)?, (chunk.job.0, chunk.stage, chunk.index))
    }
    pub fn attempt(&self, attempt: AttemptId) -> Result<Option<AttemptRow>, StoreError> {
        self.one(&self.table(ATTEMPTS)?, attempt.0)
    }
    pub fn runner(&self, runner: RunnerId) -> Result<Option<RunnerRow>, StoreError> {
        self.one(&self.table(RUNNERS)?, runner.0)
    }
    /// The plan of a job, as it was stored at submit.
    pub fn spec(&self, job: JobId) -> Result<Option<Vec<u8>>, StoreError> {
        Ok(self.get(&self.table(SPECS)?, job.0)?.map(|bytes| bytes.bytes().to_vec()))
    }
    /// Names this grid.
    pub fn grid(&self) -> Result<String, StoreError> {
        let found = self.get(&self.table(META)?, META_GRID)?;
        Ok(found.map(|bytes| String::from_utf8_lossy(bytes.bytes()).into_owned()).unwrap_or_default())
    }

    /// One state byte per chunk.
    pub fn states(&self, job: JobId, stage: StageIndex) -> Result<Vec<u8>, StoreError> {
        let mut states = Vec::new();
        self.each(BLOCKS, (job.0, stage, 0), (job.0, stage, u32::MAX), |_, bytes| {
            states.extend_from_slice(bytes);
            Ok(true)
        })?;
        Ok(states)
    }
    pub fn state(&self, chunk: ChunkId) -> Result<Option<u8>, StoreError> {
        let block = self.get(&self.table(BLOCKS)?, (chunk.job.0, chunk.stage, chunk.index / BLOCK))?;
        Ok(block.and_then(|bytes| bytes.bytes().get((chunk.index % BLOCK) as usize).copied()))
    }

    /// Jobs from the newest to the oldest, those before `before` only, until `visit` answers false.
    pub fn jobs_newest_first(
        &self,
        before: Option<JobId>,
        mut visit: impl FnMut(JobRow) -> bool,
    ) -> Result<(), StoreError> {
        let table = self.table(JOBS)?;
        let end = before.map_or(u64::MAX, |job| job.0);
        for entry in table.range(0..end).map_err(|trouble| self.store.tell(trouble))?.rev() {
            let (key, bytes) = entry.map_err(|trouble| self.store.tell(trouble))?;
            if !visit(parse(|| format!("job {}", key.value()), bytes.bytes())?) {
                break;
            }
        }
        Ok(())
    }

    /// The rows of touched chunks by index, from `from` on, until `visit` answers false.
    pub fn chunks(
        &self,
        job: JobId,
        stage: StageIndex,
        from: u32,
        mut visit: impl FnMut(ChunkRow) -> Result<bool, StoreError>,
    ) -> Result<(), StoreError> {
        self.each(CHUNKS, (job.0, stage, from), (job.0, stage, u32::MAX), |key, bytes| {
            visit(parse(|| format!("chunk {key:?}"), bytes)?)
        })
    }

    /// Tokens, sessions and links, as `kind/sha256` and bytes.
    pub fn auth(&self) -> Result<Vec<(String, Vec<u8>)>, StoreError> {
        let mut rows = Vec::new();
        let table = self.table(AUTH)?;
        for entry in table.range::<&str>(..).map_err(|trouble| self.store.tell(trouble))? {
            let (key, bytes) = entry.map_err(|trouble| self.store.tell(trouble))?;
            rows.push((key.value().to_owned(), bytes.bytes().to_vec()));
        }
        Ok(rows)
    }

    /// All attempts there are.
    pub fn attempts(&self, mut visit: impl FnMut(AttemptRow)) -> Result<(), StoreError> {
        let table = self.table(ATTEMPTS)?;
        for entry in table.range::<u64>(..).map_err(|trouble| self.store.tell(trouble))? {
            let (key, bytes) = entry.map_err(|trouble| self.store.tell(trouble))?;
            visit(parse(|| format!("attempt {}", key.value()), bytes.bytes())?);
        }
        Ok(())
    }

    pub fn runners(&self) -> Result<Vec<RunnerRow>, StoreError> {
        let mut rows = Vec::new();
        let table = self.table(RUNNERS)?;
        for entry in table.range::<u64>(..).map_err(|trouble| self.store.tell(trouble))? {
            let (key, bytes) = entry.map_err(|trouble| self.store.tell(trouble))?;
            rows.push(parse(|| format!("runner {}", key.value()), bytes.bytes())?);
        }
        Ok(rows)
    }

    /// The rows that these chunks have.
    pub fn chunk_rows(&self, chunks: &[ChunkId]) -> Result<Vec<ChunkRow>, StoreError> {
        let mut rows = Vec::new();
        for chunk in chunks {
            rows.extend(self.chunk(*chunk)?);
        }
        Ok(rows)
    }

    /// The rows that the chunks of one block have.
    pub fn block_rows(&self, job: JobId, block: u32) -> Result<Vec<ChunkRow>, StoreError> {
        let mut rows = Vec::new();
        let first = block.saturating_mul(BLOCK);
        self.chunks(job, MAIN, first, |row| {
            let within = row.id.index - first < BLOCK;
            if within {
                rows.push(row);
            }
            Ok(within)
        })?;
        Ok(rows)
    }

    /// What the core is loaded from: counters, all runners and jobs, and of the jobs that have not ended what is not through.
    pub fn live_rows(&self) -> Result<Vec<(Key, Row)>, StoreError> {
        let mut rows = Vec::new();
        for (key, name) in [
            (Key::Meta, META_COUNTERS),
            (Key::Owners, META_OWNERS),
            (Key::Images, META_IMAGES),
            (Key::Secrets, META_SECRETS),
        ] {
            let Some(bytes) = self.get(&self.table(META)?, name)? else { continue };
            rows.push((key, row(key, bytes.bytes())?));
        }
        for runner in self.runners()? {
            rows.push((Key::Runner(runner.id), Row::Runner(Box::new(runner))));
        }
        let mut jobs = Vec::new();
        self.jobs_newest_first(None, |job| {
            jobs.push(job);
            true
        })?;
        for job in jobs.into_iter().rev() {
            let (id, live) = (job.id, !job.state.is_final());
            if live {
                self.parts(&job, &mut rows)?;
            }
            rows.push((Key::Job(id), Row::Job(Box::new(job))));
        }
        Ok(rows)
    }

    /// Images that people brought, by their names.
    pub fn images(&self) -> Result<BTreeMap<String, ImageRow>, StoreError> {
        let Some(bytes) = self.get(&self.table(META)?, META_IMAGES)? else { return Ok(BTreeMap::new()) };
        match row(Key::Images, bytes.bytes())? {
            Row::Images(images) => Ok(images),
            _ => Ok(BTreeMap::new()),
        }
    }

    /// An ended job, for the core to take it up again.
    pub fn job_rows(&self, job: JobId) -> Result<Vec<(Key, Row)>, StoreError> {
        let mut rows = Vec::new();
        if let Some(row) = self.job(job)? {
            self.parts(&row, &mut rows)?;
            rows.push((Key::Job(job), Row::Job(Box::new(row))));
        }
        Ok(rows)
    }

    /// The states of all chunks, and the rows of those that are not through with their last attempts. Rows of the others are many,
    /// and stay where they are.
    fn parts(&self, job: &JobRow, rows: &mut Vec<(Key, Row)>) -> Result<(), StoreError> {
        let mut open = Vec::new();
        self.each(BLOCKS, (job.id.0, 0, 0), (job.id.0, u16::MAX, u32::MAX), |(_, stage, block), bytes| {
            let key = Key::Block(job.id, stage, block);
            rows.push((key, row(key, bytes)?));
            open.extend(open_range(stage, block, bytes));
            Ok(true)
        })?;
        for (stage, first, last) in open {
            self.open_chunks(job, stage, first..=last, rows)?;
        }
        Ok(())
    }

    fn open_chunks(
        &self,
        job: &JobRow,
        stage: StageIndex,
        range: RangeInclusive<u32>,
        rows: &mut Vec<(Key, Row)>,
    ) -> Result<(), StoreError> {
        let block = range.start() / BLOCK;
        let states = self.get(&self.table(BLOCKS)?, (job.id.0, stage, block))?;
        let is_open = |index: u32| {
            let state = states.as_ref().and_then(|bytes| bytes.bytes().get((index % BLOCK) as usize).copied());
            stage == GATHER || state.is_some_and(is_open)
        };
        let attempts = self.table(ATTEMPTS)?;
        let (first, last) = ((job.id.0, stage, *range.start()), (job.id.0, stage, *range.end()));
        self.each(CHUNKS, first, last, |(_, _, index), bytes| {
            if !is_open(index) {
                return Ok(true);
            }
            let chunk: ChunkRow = parse(|| format!("chunk {index} of job {}", job.id), bytes)?;
            if job.is_past(&chunk) {
                return Ok(true);
            }
            if let Some(attempt) = chunk.attempts.last()
                && let Some(bytes) = self.get(&attempts, attempt.0)?
            {
                rows.push((Key::Attempt(*attempt), row(Key::Attempt(*attempt), bytes.bytes())?));
            }
            rows.push((Key::Chunk(ChunkId { job: job.id, stage, index }), Row::Chunk(chunk)));
            Ok(true)
        })
    }

    fn table<K: redb::Key + 'static>(&self, definition: Definition<K>) -> Result<Checked<K>, StoreError> {
        Checked::open(&self.transaction, definition).map_err(|trouble| self.store.tell(trouble))
    }

    fn get<'k, K: redb::Key + 'static>(
        &self,
        table: &Checked<K>,
        key: impl Borrow<K::SelfType<'k>>,
    ) -> Result<Option<Payload>, StoreError> {
        table.get(key).map_err(|trouble| self.store.tell(trouble))
    }

    fn one<'k, K: redb::Key + 'static, T: DeserializeOwned>(
        &self,
        table: &Checked<K>,
        key: impl Borrow<K::SelfType<'k>> + Debug,
    ) -> Result<Option<T>, StoreError> {
        let name = format!("{key:?}");
        self.get(table, key)?.map(|bytes| parse(|| name, bytes.bytes())).transpose()
    }

    fn each(
        &self,
        definition: Definition<Triple>,
        first: Triple,
        last: Triple,
        mut visit: impl FnMut(Triple, &[u8]) -> Result<bool, StoreError>,
    ) -> Result<(), StoreError> {
        let table = self.table(definition)?;
        for entry in table.range(first..=last).map_err(|trouble| self.store.tell(trouble))? {
            let (key, bytes) = entry.map_err(|trouble| self.store.tell(trouble))?;
            if !visit(key.value(), bytes.bytes())? {
                break;
            }
        }
        Ok(())
    }
}

/// From the first to the last chunk of a block that is not through; a gather chunk in any state.
fn open_range(stage: StageIndex, block: u32, bytes: &[u8]) -> Option<(StageIndex, u32, u32)> {
    let from = block * BLOCK;
    if stage == GATHER {
        return Some((stage, from, from + BLOCK - 1));
    }
    let first = bytes.iter().position(|byte| is_open(*byte))?;
    let last = bytes.iter().rposition(|byte| is_open(*byte))?;
    Some((stage, from + first as u32, from + last as u32))
}

/// A byte that stands for no state is reported when the core takes it.
fn is_open(byte: u8) -> bool {
    ChunkState::ALL.get(usize::from(byte)).is_none_or(|state| !state.is_final())
}

fn parse<T: DeserializeOwned>(name: impl FnOnce() -> String, bytes: &[u8]) -> Result<T, StoreError> {
    serde_json::from_slice(bytes).map_err(|source| StoreError::Row { row: name(), source })
}

fn row(key: Key, bytes: &[u8]) -> Result<Row, StoreError> {
    decode(key, bytes).map_err(|source| StoreError::Row { row: format!("{key:?}"), source })
}
