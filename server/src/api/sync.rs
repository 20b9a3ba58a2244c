//! Sync: the report goes to the core, orders come back, completed by what the job file says. Without orders the answer is held
//! until there are some.
use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use axum::extract::State;
use dsg_core::event::{Answer, Event, Orders, Report, Start, Sync};
use dsg_schemas::ids::{AttemptId, MAIN, RunnerId, SessionId};
use dsg_schemas::limits;
use dsg_schemas::spec::{Gathered, Given};
use dsg_schemas::wire::log::LogHave;
use dsg_schemas::wire::{self, AttemptReport, Ended, Phase, SyncAnswer, SyncRequest};
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use crate::app::{App, Shared};
use crate::auth::Caller;
use crate::blobs::BlobStore;
use crate::failure::{Failure, Reply};
use crate::web::Json;

/// The one sync of each runner that may be held; a newer one sends the older away.
#[derive(Default)]
pub struct HeldSyncs(Mutex<HashMap<RunnerId, CancellationToken>>);

impl HeldSyncs {
    fn enter(&self, runner: RunnerId) -> CancellationToken {
        let turn = CancellationToken::new();
        let older = self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(runner, turn.clone());
        if let Some(older) = older {
            older.cancel();
        }
        turn
    }
}

/// What identifies a held sync.
#[derive(Clone, Copy)]
struct Said {
    runner: RunnerId,
    session: SessionId,
    seq: u64,
}

pub async fn sync(State(app): State<App>, caller: Caller, Json(request): Json<SyncRequest>) -> Reply<Json<SyncAnswer>> {
    let runner = caller.runner()?;
    let SyncRequest { session, seq, attempts, no_more, goodbye, load, facts, wait_ms } = request;
    let said = Said { runner, session, seq };
    let attempts = if attempts.iter().any(|report| matches!(report.phase, Phase::Ended(_))) {
        let blobs = app.blobs.clone();
        let checked = move || Ok(attempts.into_iter().map(|report| believed(&blobs, report)).collect());
        app.blocking("look for outputs", checked).await?
    } else {
        attempts
    };
    let ended: Vec<(AttemptId, LogHave)> = attempts
        .iter()
        .filter_map(|report| match &report.phase {
            Phase::Ended(ended) => {
                Some((report.attempt, LogHave { stdout: ended.stdout_bytes, stderr: ended.stderr_bytes }))
            }
            Phase::Preparing { .. } | Phase::Running { .. } | Phase::Storing => None,
        })
        .collect();
    let report = Report { attempts, no_more, goodbye, load, facts };
    let orders = hold(&app, said, report, wait_ms).await?;
    let logs = app.logs.clone();
    let settled: Vec<_> = ended.into_iter().filter(|(attempt, _)| orders.forget.contains(attempt)).collect();
    if !settled.is_empty() {
        let close = move || logs.close_all(&settled).map_err(|error| Failure::internal("close logs", error));
        // The result of the attempt does not depend on its log.
        let _ = app.blocking("close logs", close).await;
    }
    let Orders { start, stop, forget, drain, pause } = orders;
    let start = start_orders(&app, start).await;
    Ok(Json(SyncAnswer { seq, orders: wire::Orders { start, stop, forget }, drain, pause }))
}

/// Applies the report, and waits for work if there is nothing to order.
async fn hold(app: &Shared, said: Said, report: Report, wait_ms: u64) -> Reply<Orders> {
    let turn = app.syncs.enter(said.runner);
    let until = Instant::now() + Duration::from_millis(wait_ms.min(limits::SYNC_WAIT_MS));
    let mut work = app.engine.work();
    work.borrow_and_update();
    let mut orders = apply(app, said, Some(report)).await?;
    let told = (orders.drain, orders.pause);
    let nothing = |orders: &Orders| orders.start.is_empty() && orders.stop.is_empty() && orders.forget.is_empty();
    while nothing(&orders) && (orders.drain, orders.pause) == told {
        tokio::select! {
            changed = work.changed() => if changed.is_err() { break },
            () = sleep_until(until) => break,
            () = turn.cancelled() => break,
            () = app.stopping.cancelled() => break,
        }
        orders = apply(app, said, None).await?;
    }
    Ok(orders)
}

async fn apply(app: &Shared, said: Said, report: Option<Report>) -> Reply<Orders> {
    let Said { runner, session, seq } = said;
    match app.engine.apply(Event::Sync(Sync { runner, session, seq, report })).await? {
        Answer::Orders(orders) => Ok(orders),
        other => Err(Failure::internal("sync", format!("unexpected answer {other:?}"))),
    }
}

/// An end counts once its outputs are here and verified; until then it is still storing. (Which of them are required, the core knows.)
fn believed(blobs: &BlobStore, report: AttemptReport) -> AttemptReport {
    let is_stored = |ended: &Ended| {
        let mut files = ended.outputs.iter();
        files.all(|file| file.sha256.parse().is_ok_and(|hash| blobs.has(hash, file.size)))
    };
    match &report.phase {
        Phase::Ended(ended) if !is_stored(ended) => AttemptReport { attempt: report.attempt, phase: Phase::Storing },
        Phase::Ended(_) | Phase::Preparing { .. } | Phase::Running { .. } | Phase::Storing => report,
    }
}

async fn start_orders(app: &Shared, starts: Vec<Start>) -> Vec<wire::StartOrder> {
    let mut orders = Vec::with_capacity(starts.len());
    for Start { attempt, chunk, number, gpus, grown } in starts {
        // A job that cannot be read (the log says why) must not keep the runner from all others; it is offered again.
        let Ok(plan) = app.plan(chunk.job).await else { continue };
        let gathered = match chunk.stage {
            MAIN => Gathered::default(),
            _ => match app.gathered(chunk.job).await {
                Ok(gathered) => gathered,
                Err(_) => continue,
            },
        };
        orders.push(plan.start_order(
            chunk.job,
            chunk,
            attempt,
            number,
            Given { gpus, memory_bytes: grown.memory_bytes, run_ms: grown.run_ms },
            &gathered,
        ));
    }
    orders
}
