//! Who am I, what is going on, and what is said without a token.
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use dsg_schemas::api::{Overview, Page, QueueEntry, RunnerView, Whoami};
use dsg_schemas::wire::PROTOCOL;
use http::header;

use crate::app::{App, Shared};
use crate::auth::Caller;
use crate::failure::{Failure, Reply};
use crate::routes;
use crate::views;
use crate::web::Json;

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
    })
}

pub async fn queue(State(app): State<App>) -> Json<Page<QueueEntry>> {
    Json(Page { rows: app.engine.summary().queue.clone(), next: None })
}

pub async fn runners(State(app): State<App>) -> Json<Page<RunnerView>> {
    Json(Page { rows: app.engine.summary().runners.clone(), next: None })
}

pub async fn healthz() -> &'static str {
    "ok\n"
}

pub async fn ca(State(app): State<App>) -> Reply<Response> {
    let none = "this server has no CA of its own: trust what its certificate or your network says";
    let authority = app.authority.as_ref().ok_or_else(|| Failure::not_found(none))?;
    Ok(([(header::CONTENT_TYPE, "application/x-pem-file")], authority.pem.clone()).into_response())
}

pub async fn openapi() -> Json<serde_json::Value> {
    Json(routes::document())
}
