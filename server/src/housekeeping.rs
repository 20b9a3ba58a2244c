//! What the server does beside answering: logs of removed jobs go, blobs that nobody refers to go, a full disk is announced.
use std::collections::HashSet;
use std::time::Duration;

use dsg_schemas::spec::Plan;
use tokio::sync::mpsc::UnboundedReceiver;

use crate::app::{App, Shared};
use crate::engine::LogDue;
use crate::failure::{Failure, Reply};
use crate::store::{Reader, StoreError};

const DISK_EVERY: Duration = Duration::from_secs(30);
/// Blobs are looked through so often, and must be unused for so long: a submit uploads its files before the job exists.
const SWEEP_EVERY: Duration = Duration::from_secs(6 * 3600);
const UNUSED_FOR: Duration = Duration::from_secs(48 * 3600);
/// Below this the disk is called nearly full.
const FREE_BYTES: u64 = 2 << 30;

pub async fn keep_logs(app: App, mut due: UnboundedReceiver<LogDue>) {
    while let Some(due) = due.recv().await {
        let logs = app.logs.clone();
        let work = move || match due {
            // What is still on its way comes before the runner is told to forget; then the log is closed, too.
            LogDue::Ended(ended) => {
                ended.into_iter().try_for_each(|(attempt, wrote)| logs.end(attempt, wrote).map(drop))
            }
            LogDue::Removed(attempts) => logs.remove(&attempts),
        };
        let work = move || work().map_err(|error| Failure::internal("close or remove logs", error));
        // Logged where it failed; logs that stay cost space only.
        let _ = app.blocking("close or remove logs", work).await;
    }
}

pub async fn keep(app: App) {
    let mut disk = tokio::time::interval(DISK_EVERY);
    let mut sweep = tokio::time::interval_at(tokio::time::Instant::now() + SWEEP_EVERY, SWEEP_EVERY);
    loop {
        tokio::select! {
            _ = disk.tick() => look_at_disk(&app),
            _ = sweep.tick() => if let Err(failure) = sweep_blobs(&app).await {
                tracing::error!(detail = ?failure.0.detail, "unused blobs could not be removed");
            },
            () = app.stopping.cancelled() => return,
        }
    }
}

fn look_at_disk(app: &Shared) {
    let free = rustix::fs::statvfs(&app.config.data).map(|disk| disk.f_bavail.saturating_mul(disk.f_frsize));
    match free {
        Ok(free) if free < FREE_BYTES => app.banners.show(
            "disk",
            format!(
                "The disk of the server is nearly full ({} MiB left in {}). Delete old jobs, or give it more space.",
                free >> 20,
                app.config.data.display()
            ),
        ),
        Ok(_) => app.banners.hide("disk"),
        Err(error) => tracing::warn!(%error, "cannot see how full the disk is"),
    }
}

async fn sweep_blobs(app: &Shared) -> Reply<()> {
    let keep = app.read(used).await?;
    let blobs = app.blobs.clone();
    let sweep = move || {
        let removed =
            blobs.sweep(&keep, UNUSED_FOR).map_err(|error| Failure::internal("remove unused blobs", error))?;
        tracing::info!(?removed, "unused blobs were removed");
        Ok(())
    };
    app.blocking("remove unused blobs", sweep).await
}

/// Every blob that a row refers to: uploads and tables of jobs, outputs of attempts, gathered files.
fn used(rows: &Reader<'_>) -> Result<HashSet<[u8; 32]>, StoreError> {
    let mut used = HashSet::new();
    let mut keep = |sha256: &str| {
        if let Some(hash) = parse(sha256) {
            used.insert(hash);
        }
    };
    let mut jobs = Vec::new();
    rows.jobs_newest_first(None, |job| {
        job.gathered.iter().for_each(|file| keep(&file.sha256));
        jobs.push(job.id);
        true
    })?;
    for job in jobs {
        let Some(plan) = rows.spec(job)?.and_then(|bytes| Plan::from_bytes(&bytes).ok()) else { continue };
        plan.uploads.values().for_each(|upload| keep(&upload.sha256));
        plan.table_sha256().into_iter().for_each(&mut keep);
    }
    rows.attempts(|attempt| {
        let outputs = attempt.ended.iter().flat_map(|ended| &ended.outputs);
        outputs.for_each(|file| keep(&file.sha256));
    })?;
    Ok(used)
}

fn parse(sha256: &str) -> Option<[u8; 32]> {
    let mut hash = [0; 32];
    if sha256.len() != 64 || !sha256.is_ascii() {
        return None;
    }
    for (place, byte) in hash.iter_mut().enumerate() {
        *byte = u8::from_str_radix(&sha256[place * 2..place * 2 + 2], 16).ok()?;
    }
    Some(hash)
}
