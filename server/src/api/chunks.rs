//! Chunks of a job, and one chunk with all its attempts.
use axum::extract::State;
use dsg_schemas::api::{Asked, ChunkDetail, ChunkState, ChunkView, Explanation, Page};
use dsg_schemas::ids::{ChunkId, JobId, MAIN};
use dsg_schemas::limits;
use serde::Deserialize;
use serde_json::Value;

use super::jobs::{chunk_views, label, no_job, state_of};
use crate::app::{App, Shared};
use crate::failure::{Failure, Reply};
use crate::views;
use crate::web::{Ask, In, Json, path};

/// Of the items of one chunk, as many are shown as fit here.
const ITEMS_BYTES: usize = 64 << 10;

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ChunkFilter {
    /// A state, or `active` or `ended`.
    pub state: Option<String>,
    pub stage: Option<String>,
    /// The first chunk of this page.
    pub cursor: Option<u32>,
    pub limit: Option<usize>,
}

pub async fn list(
    State(app): State<App>,
    In(job): In<u64>,
    Ask(filter): Ask<ChunkFilter>,
) -> Reply<Json<Page<ChunkView>>> {
    page(&app, JobId(job), filter).await.map(Json)
}

/// By index.
pub async fn page(app: &Shared, job: JobId, filter: ChunkFilter) -> Reply<Page<ChunkView>> {
    let wanted = states(filter.state.as_deref())?;
    let stage = filter.stage.as_deref().filter(|stage| !stage.is_empty()).map_or(Ok(MAIN), path::stage)?;
    let limit = filter.limit.unwrap_or(50).clamp(1, limits::PAGE_ROWS);
    let from = filter.cursor.unwrap_or(0);
    let found = app.read(move |rows| {
        let Some(job_row) = rows.job(job)? else { return Ok(None) };
        let states = rows.states(job, stage)?;
        let chosen = states.iter().enumerate().skip(from as usize).filter_map(|(index, byte)| {
            let state = state_of(*byte)?;
            wanted.contains(&state).then_some((index as u32, state))
        });
        let mut picked = Vec::new();
        let mut next = None;
        for (index, state) in chosen {
            if picked.len() == limit {
                next = Some(index.to_string());
                break;
            }
            let id = ChunkId { job, stage, index };
            let row = job_row.as_of_now(id, state, rows.chunk(id)?);
            let last = row.as_ref().and_then(|row| row.attempts.last().copied());
            let last = last.map(|attempt| rows.attempt(attempt)).transpose()?.flatten();
            picked.push((id, state, row, last));
        }
        Ok(Some((picked, next)))
    });
    let (picked, next) = found.await?.ok_or_else(|| no_job(job))?;
    Ok(Page { rows: chunk_views(app, job, picked).await?, next })
}

fn states(text: Option<&str>) -> Reply<Vec<ChunkState>> {
    let chosen = |want: &dyn Fn(ChunkState) -> bool| ChunkState::ALL.into_iter().filter(|state| want(*state)).collect();
    match text {
        None | Some("") => Ok(ChunkState::ALL.to_vec()),
        Some("active") => Ok(chosen(&ChunkState::is_active)),
        Some("ended") => Ok(chosen(&ChunkState::is_final)),
        Some(word) => match ChunkState::ALL.into_iter().find(|state| state.word() == word) {
            Some(state) => Ok(vec![state]),
            None => Err(Failure::bad_request(format!(
                "{word:?} is no state of a chunk; there are {}, and active and ended for several of them",
                ChunkState::ALL.map(ChunkState::word).join(", ")
            ))),
        },
    }
}

pub async fn show(State(app): State<App>, In(place): In<(u64, String, u32)>) -> Reply<Json<ChunkDetail>> {
    detail(&app, path::chunk(place)?).await.map(Json)
}

fn no_chunk(id: ChunkId) -> Failure {
    Failure::not_found(format!("there is no chunk {id}"))
}

pub async fn detail(app: &Shared, id: ChunkId) -> Reply<ChunkDetail> {
    let found = app.read(move |rows| {
        let Some(job) = rows.job(id.job)? else { return Ok(None) };
        let Some(state) = rows.state(id)?.and_then(state_of) else { return Ok(None) };
        let row = job.as_of_now(id, state, rows.chunk(id)?);
        let mut attempts = Vec::new();
        for attempt in row.iter().flat_map(|row| &row.attempts) {
            attempts.extend(rows.attempt(*attempt)?);
        }
        Ok(Some((job, state, row, attempts)))
    });
    let (job, state, row, attempts) = found.await?.ok_or_else(|| no_chunk(id))?;
    let plan = app.plan(id.job).await?;
    let waits = matches!(state, ChunkState::Waiting | ChunkState::Held) && !job.state.is_final();
    let last = attempts.last().map(|attempt| attempt.id);
    let (note, explanation) = app
        .engine
        .ask(move |grid, now| {
            let note = last.and_then(|attempt| grid.attempt_note(attempt)).unwrap_or_default().to_owned();
            (note, waits.then(|| grid.explain(now, id).ok()).flatten())
        })
        .await?;
    let accepted = row.as_ref().and_then(|row| row.accepted);
    let history = attempts
        .iter()
        .map(|attempt| {
            let is_last = Some(attempt.id) == last;
            let (live, note) = if is_last { (Some(state), note.as_str()) } else { (None, "") };
            views::attempt(&job, attempt, accepted == Some(attempt.id), live, note)
        })
        .collect();
    let (items, command) = match id.stage {
        MAIN => (shown(plan.chunk_items(id.index)), plan.chunk(id.index).command),
        _ => (Vec::new(), gather_command(&plan)),
    };
    Ok(ChunkDetail {
        chunk: views::chunk(id, label(&plan, id), state, row.as_ref(), attempts.last()),
        job_name: job.name,
        items,
        command,
        asked: asked(&plan, id),
        history,
        explanation,
    })
}

/// The one chunk of a gather that runs has its own resources, or the job's without GPUs.
fn asked(plan: &dsg_schemas::spec::Plan, id: ChunkId) -> Asked {
    let own = plan.job.gather.iter().find_map(|step| step.resources.as_ref()).filter(|_| id.stage != MAIN);
    let resources = own.unwrap_or(&plan.job.resources);
    let gpus = resources.gpus.as_ref().filter(|_| id.stage == MAIN || own.is_some());
    Asked {
        cpus_milli: (resources.cpus * 1000.0).ceil() as u64,
        memory_bytes: resources.memory.0,
        gpus: gpus.map_or(0, |gpus| gpus.count),
    }
}

fn gather_command(plan: &dsg_schemas::spec::Plan) -> Vec<String> {
    plan.job.gather.iter().find_map(|step| step.command.clone()).unwrap_or_default()
}

fn shown(items: Vec<Value>) -> Vec<Value> {
    let mut left = ITEMS_BYTES;
    let fits = |item: &Value| {
        let size = item.to_string().len();
        let fits = size <= left;
        left = left.saturating_sub(size);
        fits
    };
    items.into_iter().take_while(fits).collect()
}

pub async fn explain(State(app): State<App>, In(place): In<(u64, String, u32)>) -> Reply<Json<Explanation>> {
    let id = path::chunk(place)?;
    match app.engine.ask(move |grid, now| grid.explain(now, id)).await? {
        Ok(explanation) => Ok(Json(explanation)),
        Err(dsg_core::event::Refusal::NotLoaded(job)) => {
            let there = app.read(move |rows| rows.state(id)).await?;
            let state = there.and_then(state_of).ok_or_else(|| no_chunk(id))?;
            let summary = format!("job {job} has ended, and this chunk {}; it waits for nothing", state.word());
            Ok(Json(Explanation { summary, runners: Vec::new(), never: false }))
        }
        Err(refusal) => Err(refusal.into()),
    }
}
