//! What the gather chunk of a job finds: the manifest, the joined files, and the accepted outputs of the chunks.
use dsg_core::row::ChunkRow;
use dsg_schemas::ids::{JobId, MAIN};
use dsg_schemas::spec::Gathered;
use dsg_schemas::wire::StoredFile;

use crate::app::Shared;
use crate::failure::Reply;
use crate::store::{Reader, StoreError};

impl Shared {
    pub async fn gathered(&self, job: JobId) -> Reply<Gathered> {
        let read = move |rows: &Reader<'_>| {
            let joined = rows.job(job)?.map(|row| row.gathered).unwrap_or_default();
            let mut chunks = Vec::new();
            rows.chunks(job, MAIN, 0, |row| {
                chunks.extend(outputs(rows, &row)?.map(|files| (row.id.index, files)));
                Ok(true)
            })?;
            Ok(Gathered { manifest: None, joined, chunks })
        };
        self.read(read).await
    }
}

fn outputs(rows: &Reader<'_>, row: &ChunkRow) -> Result<Option<Vec<StoredFile>>, StoreError> {
    let Some(accepted) = row.accepted else { return Ok(None) };
    Ok(rows.attempt(accepted)?.and_then(|attempt| attempt.ended).map(|ended| ended.outputs))
}
