//! The manifest: JSON lines, one per chunk, with what each left. Made anew each time from the rows.
use std::sync::Arc;

use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::response::Response;
use dsg_schemas::api::{ChunkState, ManifestLine};
use dsg_schemas::ids::{ChunkId, JobId, MAIN};
use dsg_schemas::spec::Plan;
use futures_util::stream;
use http::header;

use super::parts::{BATCH, touched};
use crate::app::App;
use crate::failure::{Failure, Reply};
use crate::store::{Reader, Store, StoreError};
use crate::views;
use crate::web::In;

/// The lines of chunks from `from` on, at most `BATCH`.
pub fn lines(rows: &Reader<'_>, plan: &Plan, job: JobId, from: u32) -> Result<Vec<ManifestLine>, StoreError> {
    let mut touched = touched(rows, job, from)?.into_iter().peekable();
    let job_row = rows.job(job)?;
    let mut lines = Vec::new();
    for index in from..plan.chunks.min(from.saturating_add(BATCH)) {
        let found = touched.next_if(|touched| touched.id().index == index);
        let id = ChunkId { job, stage: MAIN, index };
        let state = rows.state(id)?;
        let state = state.and_then(|state| ChunkState::ALL.get(usize::from(state))).copied();
        let (row, accepted) = found.map_or((None, None), |found| (Some(found.row), found.accepted));
        let status = state.unwrap_or(ChunkState::Waiting);
        let row = row.or_else(|| job_row.as_ref()?.as_of_now(id, status, None));
        lines.push(views::manifest_line(index, plan.chunk(index).label, status, row.as_ref(), accepted.as_ref()));
    }
    Ok(lines)
}

/// The same as text, each line with its newline.
pub fn text(store: &Store, plan: &Plan, job: JobId, from: u32) -> Result<Vec<u8>, StoreError> {
    let lines = store.read(|rows| lines(rows, plan, job, from))?;
    let mut text = Vec::new();
    for line in lines {
        serde_json::to_writer(&mut text, &line)
            .map_err(|source| StoreError::Row { row: format!("manifest line {} of job {job}", line.index), source })?;
        text.push(b'\n');
    }
    Ok(text)
}

/// `GET /api/v1/jobs/{job}/manifest`
pub async fn show(State(app): State<App>, In(job): In<u64>) -> Reply<Response> {
    let job = JobId(job);
    if app.read(move |rows| rows.job(job)).await?.is_none() {
        return Err(Failure::not_found(format!("there is no job {job}")));
    }
    let plan = app.plan(job).await?;
    let name = format!("attachment; filename=\"job-{job}-manifest.jsonl\"");
    let body = Body::from_stream(stream::try_unfold(0, move |from| {
        let (store, plan) = (app.store.clone(), plan.clone());
        async move { batch(store, plan, job, from).await }
    }));
    Response::builder()
        .header(header::CONTENT_TYPE, "application/x-ndjson")
        .header(header::CONTENT_DISPOSITION, name)
        .header(header::X_CONTENT_TYPE_OPTIONS, "nosniff")
        .body(body)
        .map_err(|error| Failure::internal("answer with a manifest", error))
}

async fn batch(
    store: Arc<Store>,
    plan: Arc<Plan>,
    job: JobId,
    from: u32,
) -> Result<Option<(Bytes, u32)>, Box<dyn std::error::Error + Send + Sync>> {
    if from >= plan.chunks {
        return Ok(None);
    }
    let text = tokio::task::spawn_blocking(move || text(&store, &plan, job, from)).await??;
    Ok(Some((Bytes::from(text), from.saturating_add(BATCH))))
}
