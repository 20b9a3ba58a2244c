//! What one commit does, step by step: the redo log keeps it as bytes, and there is one way in which it is done, now and in a restore.
use std::convert::Infallible;
use std::str;

use dsg_core::row::ChunkRow;
use dsg_schemas::ids::{AttemptId, JobId};
use redb::{ReadableTable, Table, TableHandle, WriteTransaction};

use super::checked::check;
use super::sealed::{HEAD, seal, seal_in_place};
use super::tables::{
    ATTEMPTS, AUTH, BLOCKS, CHUNKS, Definition, JOBS, META, META_REVISION, RUNNERS, Reached, SPECS, Triple,
};
use super::trouble::Trouble;

const PUT: u8 = 1;
const REMOVE: u8 = 2;
const REMOVE_JOB: u8 = 3;

/// A frozen form, as rows are: redo logs are read by later versions.
#[derive(Debug, Default)]
pub struct Steps(pub Vec<u8>);

impl Steps {
    /// Writes a row that already has its stored form, or removes it.
    pub fn put<'k, K: redb::Key + 'static>(
        &mut self,
        table: Definition<K>,
        key: &K::SelfType<'k>,
        payload: Option<&[u8]>,
    ) {
        let Ok(()) = self.put_by(table, key, payload, |into, payload| {
            into.extend_from_slice(payload);
            Ok::<(), Infallible>(())
        });
    }

    /// Writes a row by what puts its stored form behind the bytes that it is given, or removes it. There are many rows in a
    /// commit, and each is made where it stays. After an error these steps are good for nothing.
    pub fn put_by<'k, K: redb::Key + 'static, R, E>(
        &mut self,
        table: Definition<K>,
        key: &K::SelfType<'k>,
        row: Option<R>,
        write: impl FnOnce(&mut Vec<u8>, R) -> Result<(), E>,
    ) -> Result<(), E> {
        let key = K::as_bytes(key);
        let key = key.as_ref();
        self.0.push(if row.is_some() { PUT } else { REMOVE });
        self.bytes(table.name().as_bytes());
        self.bytes(key);
        let Some(row) = row else { return Ok(()) };
        let at = self.0.len();
        self.0.extend_from_slice(&[0; 4 + HEAD]);
        write(&mut self.0, row)?;
        let (length, value) = self.0[at..].split_at_mut(4);
        length.copy_from_slice(&(value.len() as u32).to_le_bytes());
        seal_in_place(table.name(), key, value);
        Ok(())
    }

    pub fn remove_job(&mut self, job: JobId) {
        self.0.push(REMOVE_JOB);
        self.0.extend_from_slice(&job.0.to_le_bytes());
    }

    fn bytes(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(&(bytes.len() as u32).to_le_bytes());
        self.0.extend_from_slice(bytes);
    }
}

/// Does the steps, and writes down how far the store has come with them. Answers the attempts of removed jobs.
pub fn apply(write: &WriteTransaction, steps: &[u8], reached: Reached) -> Result<Vec<AttemptId>, Trouble> {
    let mut tables = Tables::open(write)?;
    let mut removed = Vec::new();
    let mut left = steps;
    while !left.is_empty() {
        match number::<1>(&mut left)? {
            [PUT] => {
                let (table, key) = (bytes(&mut left)?, bytes(&mut left)?);
                tables.put(table, key, Some(bytes(&mut left)?))?;
            }
            [REMOVE] => {
                let (table, key) = (bytes(&mut left)?, bytes(&mut left)?);
                tables.put(table, key, None)?;
            }
            [REMOVE_JOB] => tables.remove_job(u64::from_le_bytes(number(&mut left)?), &mut removed)?,
            [_] => return Err(Trouble::Garbled("its redo log has a step of an unknown kind")),
        }
    }
    let payload = serde_json::to_vec(&reached).map_err(|source| Trouble::Row { row: META_REVISION.into(), source })?;
    let value = seal(META.name(), META_REVISION.as_bytes(), &payload);
    tables.meta.insert(META_REVISION, value.as_slice())?;
    Ok(removed)
}

struct Tables<'t> {
    meta: Table<'t, &'static str, &'static [u8]>,
    jobs: Table<'t, u64, &'static [u8]>,
    specs: Table<'t, u64, &'static [u8]>,
    blocks: Table<'t, Triple, &'static [u8]>,
    chunks: Table<'t, Triple, &'static [u8]>,
    attempts: Table<'t, u64, &'static [u8]>,
    runners: Table<'t, u64, &'static [u8]>,
    auth: Table<'t, &'static str, &'static [u8]>,
}

impl<'t> Tables<'t> {
    fn open(write: &'t WriteTransaction) -> Result<Tables<'t>, Trouble> {
        Ok(Tables {
            meta: write.open_table(META)?,
            jobs: write.open_table(JOBS)?,
            specs: write.open_table(SPECS)?,
            blocks: write.open_table(BLOCKS)?,
            chunks: write.open_table(CHUNKS)?,
            attempts: write.open_table(ATTEMPTS)?,
            runners: write.open_table(RUNNERS)?,
            auth: write.open_table(AUTH)?,
        })
    }

    fn put(&mut self, table: &[u8], key: &[u8], value: Option<&[u8]>) -> Result<(), Trouble> {
        match table {
            b"meta" => put(&mut self.meta, text(key)?, value),
            b"jobs" => put(&mut self.jobs, key, value),
            b"specs" => put(&mut self.specs, key, value),
            b"blocks" => put(&mut self.blocks, key, value),
            b"chunks" => put(&mut self.chunks, key, value),
            b"attempts" => put(&mut self.attempts, key, value),
            b"runners" => put(&mut self.runners, key, value),
            b"auth" => put(&mut self.auth, text(key)?, value),
            _ => Err(Trouble::Garbled("its redo log has a step for an unknown table")),
        }
    }

    fn remove_job(&mut self, job: u64, removed: &mut Vec<AttemptId>) -> Result<(), Trouble> {
        let from = removed.len();
        let whole = (job, 0, 0)..=(job, u16::MAX, u32::MAX);
        for entry in self.chunks.range(whole.clone())? {
            let (key, value) = entry?;
            let row: ChunkRow = serde_json::from_slice(check(CHUNKS, &key.value(), value.value())?)
                .map_err(|source| Trouble::Row { row: format!("a chunk of job {job}"), source })?;
            removed.extend(row.attempts);
        }
        self.chunks.retain_in(whole.clone(), |_, _| false)?;
        self.blocks.retain_in(whole, |_, _| false)?;
        for attempt in &removed[from..] {
            self.attempts.remove(attempt.0)?;
        }
        self.jobs.remove(job)?;
        self.specs.remove(job)?;
        Ok(())
    }
}

fn put<K: redb::Key + 'static>(
    table: &mut Table<'_, K, &'static [u8]>,
    key: &[u8],
    value: Option<&[u8]>,
) -> Result<(), Trouble> {
    if K::fixed_width().is_some_and(|width| width != key.len()) {
        return Err(Trouble::Garbled("its redo log has a key of the wrong length"));
    }
    let key = K::from_bytes(key);
    match value {
        Some(value) => table.insert(key, value).map(drop)?,
        None => table.remove(key).map(drop)?,
    }
    Ok(())
}

fn text(key: &[u8]) -> Result<&[u8], Trouble> {
    str::from_utf8(key).map(|_| key).map_err(|_| Trouble::Garbled("its redo log has a key that is no text"))
}

fn number<const N: usize>(left: &mut &[u8]) -> Result<[u8; N], Trouble> {
    let (number, rest) = left.split_first_chunk().ok_or(Trouble::Garbled("its redo log has a step that breaks off"))?;
    *left = rest;
    Ok(*number)
}

fn bytes<'a>(left: &mut &'a [u8]) -> Result<&'a [u8], Trouble> {
    let length = u32::from_le_bytes(number(left)?) as usize;
    let (bytes, rest) =
        left.split_at_checked(length).ok_or(Trouble::Garbled("its redo log has a step that breaks off"))?;
    *left = rest;
    Ok(bytes)
}
