//! What the server does beside answering: logs of removed jobs go, blobs that nobody refers to go, a disk that fills up is announced.
use std::time::Duration;

use tokio::sync::mpsc::UnboundedReceiver;

use crate::app::{App, Shared};
use crate::config::Config;
use crate::engine::LogDue;
use crate::failure::Failure;
use crate::retention::sweep_blobs;
use crate::store::{StoreError, Taken};
use crate::watermark;

const DISK_EVERY: Duration = Duration::from_secs(5);
/// Blobs are looked through so often.
const SWEEP_EVERY: Duration = Duration::from_secs(6 * 3600);
/// Those that a rule took must not have been asked for within this time.
const ASKED_FOR: Duration = Duration::from_secs(3600);
/// How often it is asked whether a snapshot is due, which is cheap.
const SNAPSHOT_CHECK_EVERY: Duration = Duration::from_secs(30);

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
    let mut stopped = false;
    let mut sweep = tokio::time::interval_at(tokio::time::Instant::now() + SWEEP_EVERY, SWEEP_EVERY);
    loop {
        tokio::select! {
            _ = disk.tick() => stopped = look_at_disk(&app, stopped).await,
            _ = sweep.tick() => if let Err(failure) = sweep_blobs(&app, ASKED_FOR).await {
                tracing::error!(detail = ?failure.0.detail, "unused blobs could not be removed");
            },
            () = app.stopping.cancelled() => return,
        }
    }
}

/// Beside the rest: a snapshot may take minutes.
pub async fn keep_snapshots(app: App) {
    let began = tokio::time::Instant::now();
    let mut check = tokio::time::interval(SNAPSHOT_CHECK_EVERY);
    loop {
        tokio::select! {
            _ = check.tick() => take_snapshot(&app, began.elapsed()).await,
            () = app.stopping.cancelled() => return,
        }
    }
}

async fn take_snapshot(app: &Shared, up_for: Duration) {
    let store = app.store.clone();
    let take = move || if store.wants_snapshot(up_for)? { store.snapshot().map(Some) } else { Ok(None) };
    let trouble = match tokio::task::spawn_blocking(take).await {
        Ok(Ok(None)) => return,
        Ok(Ok(Some(Taken::Unchanged))) => None,
        Ok(Ok(Some(Taken::Written(name)))) => {
            tracing::info!(name, "a snapshot of the store was taken");
            None
        }
        Ok(Ok(Some(Taken::NoRoom { needed, free }))) => {
            Some(format!("it needs {} MiB, and {} MiB are free", needed.div_ceil(1 << 20), free >> 20))
        }
        // The engine thread sees to it.
        Ok(Err(StoreError::Closed)) => return,
        Ok(Err(error)) => Some(error.to_string()),
        Err(error) => Some(error.to_string()),
    };
    match trouble {
        Some(trouble) if !app.stopping.is_cancelled() => {
            tracing::warn!(trouble, "no snapshot of the store could be taken");
            app.banners.show("snapshot", format!("No snapshot of the store could be taken: {trouble}."));
        }
        Some(_) => {}
        None => app.banners.hide("snapshot"),
    }
}

/// Answers whether nothing may start, so that the engine thread is told only when that changes.
pub async fn look_at_disk(app: &Shared, stopped: bool) -> bool {
    let Config { data, disk_low, disk_critical, .. } = &app.config;
    let space = match app.space() {
        Ok(space) => space,
        Err(error) => {
            tracing::warn!(%error, "cannot see how full the disk is");
            return stopped;
        }
    };
    let level = watermark::level(space, *disk_low, *disk_critical);
    let (banner, why) = watermark::told(level, space, *disk_low, *disk_critical, data);
    match banner {
        Some(banner) => app.banners.show("disk", banner),
        None => app.banners.hide("disk"),
    }
    let stops = why.is_some();
    if stops != stopped {
        let free_mib = space.free_bytes >> 20;
        match stops {
            true => tracing::warn!(free_mib, "the disk is almost full: nothing new starts"),
            false => tracing::info!(free_mib, "the disk has space again: what waits may start"),
        }
    }
    // While it is stopped the figures in the sentence change.
    if (stops || stopped) && app.engine.stop_starts(why).await.is_err() {
        return stopped;
    }
    stops
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Config;

    #[tokio::test]
    async fn a_snapshot_is_taken_after_an_hour_and_one_without_room_is_told() {
        let data = tempfile::tempdir().expect("a directory");
        let server = crate::start(Config::local(data.path())).await.expect("a server");
        let app = server.app.clone();
        let count = || crate::store::snapshots(data.path()).expect("listed").len();
        take_snapshot(&app, Duration::from_secs(3599)).await;
        assert_eq!((count(), app.banners.all().len()), (0, 0));
        *app.store.only_free_bytes.lock().expect("no panic") = Some(1 << 20);
        take_snapshot(&app, Duration::from_secs(3600)).await;
        assert_eq!(count(), 0);
        let banners = app.banners.all();
        assert!(
            banners.iter().any(|text| text.contains("No snapshot") && text.contains("1 MiB are free")),
            "{banners:?}"
        );
        *app.store.only_free_bytes.lock().expect("no panic") = None;
        take_snapshot(&app, Duration::from_secs(3600)).await;
        assert_eq!((count(), app.banners.all().len()), (1, 0));
        server.stop().await;
    }
}
