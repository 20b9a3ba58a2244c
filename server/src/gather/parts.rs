//! What the chunks of a job left, read from the rows some thousand chunks at a time.
use dsg_core::row::{AttemptRow, ChunkRow};
use dsg_schemas::ids::{ChunkId, JobId, MAIN};
use dsg_schemas::wire::StoredFile;

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
    let mut found = Vec::new();
    rows.chunks(job, MAIN, from, |row| {
        let is_near = row.id.index - from < BATCH;
        if is_near {
            found.push(row);
        }
        Ok(is_near)
    })?;
    let accept = |row: ChunkRow| {
        let accepted = row.accepted.map(|attempt| rows.attempt(attempt)).transpose()?.flatten();
        Ok(Touched { row, accepted })
    };
    found.into_iter().map(accept).collect()
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
