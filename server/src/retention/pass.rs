//! A pass: look what is due, let the engine thread write it down, and remove the bytes.
use std::collections::{BTreeSet, VecDeque};
use std::sync::PoisonError;
use std::time::Duration;

use dsg_core::event::{Act, Event, Expire, Expired, Refusal};
use dsg_schemas::ids::AttemptId;

use super::bytes::{measure, sweep_blobs, sweep_logs};
use super::decide::{Due, Ended, Usage, What, by_age, by_size};
use super::rules::Rules;
use crate::app::{App, Shared};
use crate::engine::Refused;
use crate::failure::{Failure, Reply};
use crate::logs::LogStore;
use crate::store::{Reader, StoreError};

/// Between two passes.
const EVERY: Duration = Duration::from_secs(3600);
/// Outputs that a rule took stay so long after somebody asked whether they are there: who was told yes does not send them again.
const ASKED_FOR: Duration = Duration::from_secs(3600);
/// What the overview counts.
const DAY_MS: u64 = 86_400_000;

/// What is remembered between passes.
pub struct Retention {
    /// One pass at a time.
    turn: tokio::sync::Mutex<Owed>,
    /// What was removed when, since the start.
    removed: std::sync::Mutex<VecDeque<(u64, What)>>,
}

/// Bytes that may still lie there, though rows say that they are gone.
struct Owed {
    logs: bool,
    blobs: bool,
}

impl Default for Retention {
    fn default() -> Retention {
        // Who knows what the last process left undone.
        Retention { turn: tokio::sync::Mutex::new(Owed { logs: true, blobs: true }), removed: Default::default() }
    }
}

impl Retention {
    fn note(&self, now_ms: u64, what: What) {
        let mut removed = self.removed.lock().unwrap_or_else(PoisonError::into_inner);
        removed.push_back((now_ms, what));
        while removed.front().is_some_and(|(at_ms, _)| at_ms + DAY_MS < now_ms) {
            removed.pop_front();
        }
    }

    /// `logs of 3 jobs, outputs of 1 job, 2 whole jobs`, of the last day since the start; empty if nothing was.
    pub fn words(&self, now_ms: u64) -> String {
        let removed = self.removed.lock().unwrap_or_else(PoisonError::into_inner);
        let count = |kind| removed.iter().filter(|(at_ms, what)| at_ms + DAY_MS >= now_ms && *what == kind).count();
        let jobs = |count: usize| if count == 1 { "1 job".to_owned() } else { format!("{count} jobs") };
        let words = [(What::Logs, "logs of "), (What::Outputs, "outputs of "), (What::Job, "all of ")];
        let parts = words.map(|(what, word)| (count(what), word)).into_iter().filter(|(count, _)| *count > 0);
        parts.map(|(count, word)| format!("{word}{}", jobs(count))).collect::<Vec<_>>().join(", ")
    }
}

/// Right after the start, and then every hour.
pub async fn keep(app: App) {
    let mut hour = tokio::time::interval(EVERY);
    loop {
        tokio::select! {
            _ = hour.tick() => if let Err(failure) = pass(&app, app.clock.now_ms(), ASKED_FOR).await {
                tracing::error!(detail = failure.0.detail, "what is due by rule could not be removed; the next pass tries again");
            },
            () = app.stopping.cancelled() => return,
        }
    }
}

/// Removes what is due at this time; answers what that was. `asked_for`: blobs that somebody asked for within it stay for now.
pub async fn pass(app: &Shared, now_ms: u64, asked_for: Duration) -> Reply<Vec<Due>> {
    let mut owed = app.retention.turn.lock().await;
    let rules = app.config.keep.clone();
    let logs = app.logs.clone();
    let found = app.read(move |rows| look(rows, &rules, &logs, now_ms)).await?;
    let Found { due, usage, any_marks } = found;
    let mut done = Vec::new();
    for due in due {
        if app.stopping.is_cancelled() {
            break;
        }
        if !write_down(app, &due, &usage).await? {
            continue;
        }
        match due.what {
            What::Logs => {
                let attempts = usage.logs.get(&due.job).into_iter().flatten().map(|(attempt, _)| *attempt);
                owed.logs |= remove_logs(app, attempts.collect()).await.is_err();
            }
            What::Outputs => owed.blobs = true,
            // The engine thread sees to its logs, and a sweep finds its blobs.
            What::Job => {}
        }
        app.retention.note(app.clock.now_ms(), due.what);
        done.push(due);
    }
    if owed.logs && (any_marks || app.config.keep != Rules::default()) {
        let (store, logs) = (app.store.clone(), app.logs.clone());
        app.blocking("remove logs", move || sweep_logs(&store, &logs)).await?;
    }
    owed.logs = false;
    if owed.blobs && (any_marks || !done.is_empty()) {
        owed.blobs = sweep_blobs(app, asked_for).await?.too_young > 0;
    }
    Ok(done)
}

struct Found {
    due: Vec<Due>,
    /// Of the jobs that something is due of.
    usage: Usage,
    /// Rows say that something of them was removed.
    any_marks: bool,
}

fn look(rows: &Reader<'_>, rules: &Rules, logs: &LogStore, now_ms: u64) -> Result<Found, StoreError> {
    let mut jobs = Vec::new();
    let mut any_marks = false;
    rows.jobs_newest_first(None, |row| {
        any_marks |= row.logs_removed.is_some() || row.outputs_removed.is_some();
        jobs.extend(Ended::of(&row));
        true
    })?;
    jobs.reverse();
    let mut due = by_age(now_ms, rules, &jobs);
    let wanted: BTreeSet<_> = due.iter().map(|due| due.job).collect();
    let Some(most) = rules.size else {
        jobs.retain(|job| wanted.contains(&job.id));
        let usage = if jobs.is_empty() { Usage::default() } else { measure(rows, logs, &jobs)? };
        return Ok(Found { due, usage, any_marks });
    };
    let usage = measure(rows, logs, &jobs)?;
    // What goes by age gives way before anything else has to.
    let mut left = Usage { logs: usage.logs.clone(), outputs: usage.outputs.clone() };
    for due in &due {
        if matches!(due.what, What::Logs | What::Job) {
            left.logs.remove(&due.job);
        }
        if matches!(due.what, What::Outputs | What::Job) {
            left.outputs.remove(&due.job);
        }
    }
    due.extend(by_size(most, &jobs, &left));
    Ok(Found { due, usage, any_marks })
}

/// Whether it was done: a job that runs again meanwhile keeps what it has.
async fn write_down(app: &Shared, due: &Due, usage: &Usage) -> Reply<bool> {
    let Due { job, ended_ms, what, why } = due.clone();
    let sizes: Vec<u64> = match what {
        What::Logs => usage.logs.get(&job).into_iter().flatten().map(|(_, bytes)| *bytes).collect(),
        What::Outputs => usage.outputs.get(&job).into_iter().flatten().map(|(_, bytes)| *bytes).collect(),
        What::Job => Vec::new(),
    };
    let (count, bytes) = (sizes.len() as u64, sizes.iter().sum());
    let expired = match what {
        What::Logs => Expired::Logs { count, bytes },
        What::Outputs => Expired::Outputs { count, bytes },
        What::Job => Expired::Job,
    };
    let expire = Expire { job, ended_ms, what: expired, why: why.clone() };
    match app.engine.apply(Event::Act(Act::Expire(expire))).await {
        Ok(_) => {
            let what = what.word();
            tracing::info!(%job, what, count, bytes, why, "removed by rule");
            Ok(true)
        }
        Err(Refused::Refusal(
            refusal @ (Refusal::NotEnded(_) | Refusal::RanAgain(_) | Refusal::UnknownJob(_) | Refusal::NotLoaded(_)),
        )) => {
            tracing::info!(%job, %refusal, "not removed by rule");
            Ok(false)
        }
        Err(refused) => Err(refused.into()),
    }
}

/// Logged where it failed.
async fn remove_logs(app: &Shared, attempts: Vec<AttemptId>) -> Reply<()> {
    let logs = app.logs.clone();
    let remove = move || logs.remove(&attempts).map_err(|error| Failure::internal("remove logs", error));
    app.blocking("remove logs", remove).await
}
