//! Jobs as people see them.
use std::sync::Arc;

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use dsg_core::row::{AttemptRow, ChunkRow, JobRow};
use dsg_schemas::api::{ChunkState, ChunkView, JobDetail, JobState, JobView, Page};
use dsg_schemas::ids::{ChunkId, GATHER, JobId, MAIN};
use dsg_schemas::limits;
use http::header;
use serde::Deserialize;

use crate::app::{App, Shared};
use crate::failure::{Failure, Reply};
use crate::store::{Reader, StoreError};
use crate::views::{self, JobParts};
use crate::web::{Ask, In, Json};

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct JobFilter {
    /// A state, or `open` or `ended`.
    pub state: Option<String>,
    pub owner: Option<String>,
    /// Part of the name, of a label, or the id.
    pub text: Option<String>,
    /// The last job of the page before.
    pub cursor: Option<u64>,
    pub limit: Option<usize>,
}

pub async fn list(State(app): State<App>, Ask(filter): Ask<JobFilter>) -> Reply<Json<Page<JobView>>> {
    page(&app, filter).await.map(Json)
}

/// Newest first.
pub async fn page(app: &Shared, filter: JobFilter) -> Reply<Page<JobView>> {
    let wanted = states(filter.state.as_deref())?;
    let limit = filter.limit.unwrap_or(50).clamp(1, limits::PAGE_ROWS);
    app.read(move |rows| {
        let mut found: Vec<JobView> = Vec::new();
        let mut more = false;
        rows.jobs_newest_first(filter.cursor.map(JobId), |row| {
            if matches(&row, &wanted, &filter) {
                more = found.len() == limit;
                if !more {
                    found.push(views::job(&row));
                }
            }
            !more
        })?;
        let next = found.last().filter(|_| more).map(|job| job.id.to_string());
        Ok(Page { rows: found, next })
    })
    .await
}

fn states(text: Option<&str>) -> Reply<Vec<JobState>> {
    const ALL: [JobState; 8] = [
        JobState::Waiting,
        JobState::Held,
        JobState::Running,
        JobState::Gathering,
        JobState::Succeeded,
        JobState::Partial,
        JobState::Failed,
        JobState::Cancelled,
    ];
    let chosen = |want: &dyn Fn(JobState) -> bool| ALL.into_iter().filter(|state| want(*state)).collect();
    Ok(match text {
        None | Some("") => ALL.to_vec(),
        Some("open") => chosen(&|state| !state.is_final()),
        Some("ended") => chosen(&|state| state.is_final()),
        Some(word) => match serde_json::from_value(word.into()) {
            Ok(state) => vec![state],
            Err(_) => {
                return Err(Failure::bad_request(format!(
                    "{word:?} is no state of a job; there are waiting, held, running, gathering, succeeded, partial, failed, \
                     cancelled, and open and ended for several of them"
                )));
            }
        },
    })
}

fn matches(row: &JobRow, states: &[JobState], filter: &JobFilter) -> bool {
    let text = filter.text.as_deref().unwrap_or_default().trim().to_lowercase();
    let found = || {
        row.name.to_lowercase().contains(&text)
            || row.id.to_string() == text
            || row.labels.iter().any(|(key, value)| format!("{key}={value}").to_lowercase().contains(&text))
    };
    states.contains(&row.state)
        && filter.owner.as_ref().is_none_or(|owner| owner.is_empty() || *owner == row.owner)
        && (text.is_empty() || found())
}

pub async fn show(State(app): State<App>, In(job): In<u64>) -> Reply<Json<JobDetail>> {
    detail(&app, JobId(job)).await.map(Json)
}

pub fn no_job(job: JobId) -> Failure {
    Failure::not_found(format!("there is no job {job}; it may have been deleted"))
}

pub async fn detail(app: &Shared, job: JobId) -> Reply<JobDetail> {
    let found = app.read(move |rows| {
        let Some(row) = rows.job(job)? else { return Ok(None) };
        let gather = gather_chunk(rows, &row)?;
        Ok(Some((row, gather)))
    });
    let Some((row, gather)) = found.await? else { return Err(no_job(job)) };
    let plan = app.plan(job).await?;
    let why_not = match row.state.is_final() {
        true => None,
        false => app.engine.ask(move |grid, now| grid.job_why(now, job)).await?,
    };
    let mut parts = JobParts {
        description: plan.job.description.clone(),
        spec_text: plan.text.clone(),
        spec: serde_json::to_value(&plan.job).map_err(|error| Failure::internal("show the job", error))?,
        gather: None,
        gather_outputs: Vec::new(),
        why_not,
    };
    if let Some(Gather { id, state, row, last, accepted }) = gather {
        parts.gather = Some(views::chunk(id, "gather".into(), state, row.as_ref(), last.as_ref()));
        parts.gather_outputs =
            accepted.and_then(|attempt| attempt.ended).map(|ended| ended.outputs).unwrap_or_default();
    }
    Ok(views::job_detail(&row, parts, app.clock.now_ms()))
}

struct Gather {
    id: ChunkId,
    state: ChunkState,
    row: Option<ChunkRow>,
    last: Option<AttemptRow>,
    accepted: Option<AttemptRow>,
}

fn gather_chunk(rows: &Reader<'_>, job: &JobRow) -> Result<Option<Gather>, StoreError> {
    let id = ChunkId { job: job.id, stage: GATHER, index: 0 };
    let Some(state) = rows.state(id)?.and_then(state_of) else { return Ok(None) };
    let row = job.as_of_now(id, state, rows.chunk(id)?);
    let attempt = |id| rows.attempt(id);
    let last = row.as_ref().and_then(|row| row.attempts.last().copied()).map(attempt).transpose()?.flatten();
    let accepted = row.as_ref().and_then(|row| row.accepted).map(attempt).transpose()?.flatten();
    Ok(Some(Gather { id, state, row, last, accepted }))
}

/// The state that a byte of a block stands for.
pub fn state_of(byte: u8) -> Option<ChunkState> {
    ChunkState::ALL.get(usize::from(byte)).copied()
}

/// One byte per chunk.
pub async fn map(State(app): State<App>, In(job): In<u64>) -> Reply<Response> {
    let job = JobId(job);
    let found = app.read(move |rows| rows.job(job)?.map(|_| rows.states(job, MAIN)).transpose()).await?;
    let states = found.ok_or_else(|| no_job(job))?;
    Ok(([(header::CONTENT_TYPE, "application/octet-stream")], states).into_response())
}

/// Views of chunks that `pick` takes from the rows; labels come from the plan.
pub async fn chunk_views(
    app: &Shared,
    job: JobId,
    picked: Vec<(ChunkId, ChunkState, Option<ChunkRow>, Option<AttemptRow>)>,
) -> Reply<Vec<ChunkView>> {
    if picked.is_empty() {
        return Ok(Vec::new());
    }
    let plan = app.plan(job).await?;
    let label = |id: ChunkId| label(&plan, id);
    Ok(picked
        .into_iter()
        .map(|(id, state, row, last)| views::chunk(id, label(id), state, row.as_ref(), last.as_ref()))
        .collect())
}

pub fn label(plan: &Arc<dsg_schemas::spec::Plan>, id: ChunkId) -> String {
    match id.stage {
        MAIN => plan.chunk(id.index).label,
        _ => "gather".to_owned(),
    }
}
