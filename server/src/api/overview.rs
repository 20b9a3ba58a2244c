//! Who am I, what is going on, and what is said without a token.
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use dsg_core::QueueFilter;
use dsg_schemas::api::{Overview, OwnerView, Page, QueueEntry, RunnerState, RunnerView, Whoami};
use dsg_schemas::ids::JobId;
use dsg_schemas::limits;
use dsg_schemas::wire::PROTOCOL;
use http::{StatusCode, header};
use serde::Deserialize;

use crate::app::{App, Shared};
use crate::auth::Caller;
use crate::failure::{Failure, Reply};
use crate::routes;
use crate::views;
use crate::web::{Ask, Json, list};

pub const VERSION: &str = env!("CARGO_PKG_VERSION");
/// Jobs on the first page.
const JOBS: usize = 20;

pub async fn whoami(State(app): State<App>, caller: Caller) -> Json<Whoami> {
    let Caller { name, role, .. } = caller;
    Json(Whoami { name, role, grid: app.grid.clone(), version: VERSION.to_owned(), protocol: PROTOCOL })
}

pub async fn overview(State(app): State<App>) -> Reply<Json<Overview>> {
    view(&app).await.map(Json)
}

/// Unfinished jobs first, newest first, then the last ended ones.
pub async fn view(app: &Shared) -> Reply<Overview> {
    let summary = app.engine.summary();
    let mut jobs: Vec<_> = summary.open_jobs.values().rev().take(JOBS).map(|row| views::job(row)).collect();
    if jobs.len() < JOBS {
        let missing = JOBS - jobs.len();
        let open: Vec<_> = summary.open_jobs.keys().copied().collect();
        let ended = app.read(move |rows| {
            let mut ended = Vec::new();
            rows.jobs_newest_first(None, |row| {
                if !open.contains(&row.id) {
                    ended.push(views::job(&row));
                }
                ended.len() < missing
            })?;
            Ok(ended)
        });
        jobs.extend(ended.await?);
    }
    Ok(Overview {
        grid: app.grid.clone(),
        version: VERSION.to_owned(),
        now_ms: app.clock.now_ms(),
        revision: summary.revision,
        banners: app.banners.all(),
        runners: summary.runners.clone(),
        jobs,
        waiting: summary.open_jobs.values().map(|row| row.tally.waiting + row.tally.held).sum(),
        active: summary.open_jobs.values().map(|row| row.tally.active() + row.gather_tally.active()).sum(),
        removed_last_day: app.retention.words(app.clock.now_ms()),
    })
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct QueueQuery {
    pub job: Option<JobId>,
    pub owner: Option<String>,
    /// Entries before the first one of this page.
    pub cursor: Option<usize>,
    pub limit: Option<usize>,
}

pub async fn queue(State(app): State<App>, Ask(query): Ask<QueueQuery>) -> Reply<Json<Page<QueueEntry>>> {
    queue_page(&app, query).await.map(Json)
}

/// The first page lies ready; all others are asked for.
pub async fn queue_page(app: &Shared, query: QueueQuery) -> Reply<Page<QueueEntry>> {
    let QueueQuery { job, owner, cursor, limit } = query;
    let owner = owner.filter(|owner| !owner.is_empty());
    let (skip, limit) = (cursor.unwrap_or(0), limit.unwrap_or(limits::PAGE_ROWS).clamp(1, limits::PAGE_ROWS));
    let (rows, more) = if (job, &owner, skip, limit) == (None, &None, 0, limits::PAGE_ROWS) {
        let summary = app.engine.summary();
        (summary.queue.clone(), summary.queue_goes_on)
    } else {
        let filter = QueueFilter { job, owner, skip, limit };
        app.engine.ask(move |grid, now| grid.queue(now, &filter)).await?
    };
    Ok(Page { rows, next: more.then(|| (skip + limit).to_string()) })
}

pub async fn owners(State(app): State<App>) -> Json<Vec<OwnerView>> {
    Json(app.engine.summary().owners.clone())
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RunnersQuery {
    pub state: Option<RunnerState>,
    /// Part of a name.
    pub text: Option<String>,
    pub cursor: Option<String>,
    pub limit: Option<usize>,
}

/// By number.
pub async fn runners(State(app): State<App>, Ask(query): Ask<RunnersQuery>) -> Json<Page<RunnerView>> {
    let RunnersQuery { state, text, cursor, limit } = query;
    let summary = app.engine.summary();
    let fits = |runner: &&RunnerView| {
        state.is_none_or(|state| state == runner.state) && list::holds(&runner.name, text.as_deref())
    };
    let rows = summary.runners.iter().filter(fits).cloned().collect();
    Json(list::page(rows, |runner| format!("{:020}", runner.id.0), cursor.as_deref(), limit))
}

/// For whatever watches the server: 200 while it takes work, 503 while it cannot use its store.
pub async fn healthz(State(app): State<App>) -> (StatusCode, &'static str) {
    match app.engine.summary().store_is_gone {
        false => (StatusCode::OK, "ok\n"),
        true => (StatusCode::SERVICE_UNAVAILABLE, "the store cannot be used; the server's log says why\n"),
    }
}

pub async fn ca(State(app): State<App>) -> Reply<Response> {
    let none = "this server has no CA of its own: trust what its certificate or your network says";
    let authority = app.authority.as_ref().ok_or_else(|| Failure::not_found(none))?;
    Ok(([(header::CONTENT_TYPE, "application/x-pem-file")], authority.pem.clone()).into_response())
}

pub async fn openapi() -> Json<serde_json::Value> {
    Json(routes::document())
}
