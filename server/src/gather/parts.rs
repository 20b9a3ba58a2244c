//! What the chunks of a job left, read from the rows some thousand chunks at a time.
use dsg_core::row::{AttemptRow, ChunkRow, JobRow};
use dsg_schemas::ids::{ChunkId, JobId, MAIN};
use dsg_schemas::wire::StoredFile;

use crate::api::jobs::state_of;
use crate::store::{Reader, StoreError};

/// Chunks of one read transaction: short, so that old pages of the store can be used again.
pub const BATCH: u32 = 1000;

/// A chunk that was touched, and the attempt whose outputs count.
pub struct Touched {
    pub row: ChunkRow,
    pub accepted: Option<AttemptRow>,
}

/// Touched chunks with `from <= index < from + BATCH`.
pub fn touched(rows: &Reader<'_>, job: JobId, from: u32) -> Result<Vec<Touched>, StoreError> {
    let Some(job_row) = rows.job(job)? else { return Ok(Vec::new()) };
    let mut found = Vec::new();
    rows.chunks(job, MAIN, from, |row| {
        let is_near = row.id.index - from < BATCH;
        if is_near {
            found.push(row);
        }
        Ok(is_near)
    })?;
    let accept = |row: ChunkRow| {
        let row = if job_row.is_past(&row) { now(rows, &job_row, row)? } else { row };
        let accepted = row.accepted.map(|attempt| rows.attempt(attempt)).transpose()?.flatten();
        Ok(Touched { row, accepted })
    };
    found.into_iter().map(accept).collect()
}

/// A row of an earlier life, as it is to be read today.
fn now(rows: &Reader<'_>, job: &JobRow, row: ChunkRow) -> Result<ChunkRow, StoreError> {
    let state = rows.state(row.id)?.and_then(state_of);
    let today = state.and_then(|state| job.as_of_now(row.id, state, Some(row.clone())));
    Ok(today.unwrap_or(row))
}

impl Touched {
    pub fn outputs(&self) -> &[StoredFile] {
        self.accepted.as_ref().and_then(|attempt| attempt.ended.as_deref()).map_or(&[], |ended| &ended.outputs)
    }

    pub fn id(&self) -> ChunkId {
        self.row.id
    }

    /// The files of one output, by their names.
    pub fn files_of(&self, output: &str) -> Vec<&StoredFile> {
        let mut files: Vec<&StoredFile> = self.outputs().iter().filter(|file| file.name == output).collect();
        files.sort_by(|one, other| one.file.cmp(&other.file));
        files
    }
}
