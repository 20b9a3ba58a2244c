//! Pages to look at.
use axum::response::Response;
use dsg_schemas::api::ChunkState;
use dsg_schemas::ids::JobId;
use serde::Deserialize;

use super::super::{chunk, job, jobs, log, overview, queue, runners};
use super::visit::Visit;
use crate::api;
use crate::api::chunks::ChunkFilter;
use crate::api::jobs::JobFilter;
use crate::api::overview::QueueQuery;
use crate::failure::{Failure, Reply};
use crate::logs::LogQuery;
use crate::web::{Ask, In, path};

/// Failed chunks that a job page shows before all others.
const FAILED: usize = 5;

pub async fn overview(visit: Visit) -> Reply<Response> {
    let view = api::overview::view(&visit.app).await?;
    Ok(visit.page(overview::page(visit.frame(), &view, &visit.join_command())))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, default)]
#[derive(Default)]
pub struct JobsQuery {
    state: String,
    owner: String,
    text: String,
    cursor: String,
}

pub async fn jobs(visit: Visit, Ask(query): Ask<JobsQuery>) -> Reply<Response> {
    let JobsQuery { state, owner, text, cursor } = query;
    let filter = JobFilter {
        state: Some(state.clone()),
        owner: Some(owner.clone()),
        text: Some(text.clone()),
        cursor: number(&cursor)?,
        limit: None,
    };
    let found = api::jobs::page(&visit.app, filter).await?;
    Ok(visit.page(jobs::page(visit.frame(), &jobs::Filter { state, owner, text, cursor }, &found)))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, default)]
#[derive(Default)]
pub struct JobQuery {
    state: String,
    cursor: String,
}

pub async fn job(visit: Visit, In(id): In<u64>, Ask(query): Ask<JobQuery>) -> Reply<Response> {
    let id = JobId(id);
    let JobQuery { state, cursor } = query;
    let detail = api::jobs::detail(&visit.app, id).await?;
    let wanted = ChunkFilter { state: Some(state.clone()), cursor: number(&cursor)?, ..ChunkFilter::default() };
    let chunks = api::chunks::page(&visit.app, id, wanted).await?;
    let failed = match detail.job.chunks.failed {
        0 => Vec::new(),
        _ => {
            let state = Some(ChunkState::Failed.word().to_owned());
            let filter = ChunkFilter { state, limit: Some(FAILED), ..ChunkFilter::default() };
            api::chunks::page(&visit.app, id, filter).await?.rows
        }
    };
    Ok(visit.page(job::page(visit.frame(), &detail, &failed, &job::Filter { state, cursor }, &chunks)))
}

fn number<T: std::str::FromStr>(text: &str) -> Reply<Option<T>> {
    match text {
        "" => Ok(None),
        text => text
            .parse()
            .map(Some)
            .map_err(|_| Failure::bad_request(format!("{text:?} is no place in this list; start at its first page"))),
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ChunkQuery {
    attempt: Option<u32>,
    /// The first line shown; the last ones if left out.
    from: Option<u64>,
}

pub async fn chunk(visit: Visit, In(place): In<(u64, String, u32)>, Ask(query): Ask<ChunkQuery>) -> Reply<Response> {
    let id = path::chunk(place)?;
    let detail = api::chunks::detail(&visit.app, id).await?;
    let row = visit.app.read(move |rows| rows.job(id.job)).await?;
    let owner = row.map(|row| row.owner).unwrap_or_default();
    let wanted = match query.from {
        None => LogQuery { tail: Some(log::LINES), ..LogQuery::default() },
        from => LogQuery { from, limit: Some(log::LINES), ..LogQuery::default() },
    };
    let lines = match chunk::chosen(&detail.history, query.attempt) {
        // A log that cannot be read must not take the page away; the failure is in the server's log.
        Some(attempt) if !visit.live => visit.app.log_page(attempt.id, wanted).await.ok(),
        _ => None,
    };
    Ok(visit.page(chunk::page(visit.frame(), &detail, &owner, query.attempt, lines.as_ref())))
}

pub async fn runners(visit: Visit) -> Response {
    let summary = visit.app.engine.summary();
    visit.page(runners::page(visit.frame(), &summary.runners, &visit.join_command()))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, default)]
#[derive(Default)]
pub struct QueuePlace {
    cursor: String,
}

pub async fn queue(visit: Visit, Ask(place): Ask<QueuePlace>) -> Reply<Response> {
    let cursor = number(&place.cursor)?;
    let found = api::overview::queue_page(&visit.app, QueueQuery { cursor, ..QueueQuery::default() }).await?;
    let owners = visit.app.engine.summary().owners.clone();
    Ok(visit.page(queue::page(visit.frame(), &found, cursor.unwrap_or(0), &owners)))
}
