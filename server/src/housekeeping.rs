//! What the server does beside answering: logs of removed jobs go, blobs that nobody refers to go, a full disk is announced.
use std::collections::HashSet;
use std::time::Duration;

use dsg_schemas::spec::Plan;
use tokio::sync::mpsc::UnboundedReceiver;

use crate::app::{App, Shared};
use crate::engine::{DISK_FULL, LogDue};
use crate::failure::{Failure, Reply};
use crate::store::{Reader, StoreError, Taken};

const DISK_EVERY: Duration = Duration::from_secs(30);
/// Blobs are looked through so often, and must be unused for so long: a submit uploads its files before the job exists.
const SWEEP_EVERY: Duration = Duration::from_secs(6 * 3600);
const UNUSED_FOR: Duration = Duration::from_secs(48 * 3600);
/// Below this the disk is called nearly full.
const FREE_BYTES: u64 = 2 << 30;
/// From here on a commit finds room again.
const SOME_BYTES: u64 = 16 << 20;
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

fn look_at_disk(app: &Shared) {
    let free = rustix::fs::statvfs(&app.config.data).map(|disk| disk.f_bavail.saturating_mul(disk.f_frsize));
    if free.is_ok_and(|free| free > SOME_BYTES) {
        app.banners.hide(DISK_FULL);
    }
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

#[cfg(test)]
mod tests {
    use dsg_core::event::{Act, Answer, Event, Join, Report, Sync};
    use dsg_schemas::api::{Submit, Upload};
    use dsg_schemas::reason::EndReason;
    use dsg_schemas::wire::{AttemptReport, Ended, Facts, Phase, StoredFile};

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

    /// What a sweep would keep: uploads, outputs of attempts and gathered files; not what was only uploaded.
    #[tokio::test]
    async fn everything_that_a_row_speaks_of_is_kept() {
        let data = tempfile::tempdir().expect("a directory");
        let server = crate::start(Config::local(data.path())).await.expect("a server");
        let app = server.app.clone();
        let blob = |text: &str| app.blobs.write(text.as_bytes()).expect("stored");
        let file = |text: &str| {
            let (hash, size) = blob(text);
            StoredFile { name: "o".into(), file: "o".into(), size, sha256: hash.to_string() }
        };
        let (upload, size) = blob("rows\n1\n");
        let (output, joined, stray) = (file("output"), file("joined"), file("stray"));
        let spec = "name: n\nimage: i\ncommand: [c]\nchunks: {rows: {from: 'upload:t.csv'}}\noutputs: [{name: o, path: /out/o}]\ngather: {mode: concat, from: o, output: all}\n";
        let uploads = [("t.csv".to_owned(), Upload { size, sha256: upload.to_string() })].into();
        let submit = Submit { spec: spec.to_owned(), uploads, ..Submit::default() };
        let caller =
            crate::auth::Caller { name: "mara".into(), role: dsg_schemas::api::Role::Admin, runner: None, token: None };
        let job = crate::api::submit::submitted(&app, &caller, submit).await.expect("a job").job;
        let enrol = Join::Enrol { name: "ada".into(), credential_sha256: "x".into() };
        let Ok(Answer::Enrolled { runner, .. }) = app.engine.apply(Event::Join(enrol)).await else {
            panic!("enrolled")
        };
        let facts = Facts { cpus_milli: 8000, memory_bytes: 8 << 30, disk_bytes: 1 << 40, ..Facts::default() };
        let hello =
            Join::Hello { runner, nonce: "n".into(), host: "h".into(), version: "v".into(), facts: Box::new(facts) };
        let Ok(Answer::Session { session, .. }) = app.engine.apply(Event::Join(hello)).await else {
            panic!("a session")
        };
        let sync = async |seq, attempts| {
            let report = Report { attempts, ..Report::default() };
            let sync = Sync { runner, session, seq, report: Some(report) };
            match app.engine.apply(Event::Sync(sync)).await {
                Ok(Answer::Orders(orders)) => orders,
                other => panic!("{other:?}"),
            }
        };
        let attempt = sync(1, Vec::new()).await.start[0].attempt;
        let ended = Ended { outputs: vec![output.clone()], ..Ended::before_start(EndReason::Succeeded, "") };
        sync(2, vec![AttemptReport { attempt, phase: Phase::Ended(Box::new(ended)) }]).await;
        let gathered = Event::Act(Act::Gathered { job, result: Ok(vec![joined.clone()]) });
        // The server's own gather may have been faster; its file has the same right to stay.
        let _ = app.engine.apply(gathered).await;

        let keep = app.store.read(used).expect("read");
        let kept = |file: &StoredFile| parse(&file.sha256).is_some_and(|hash| keep.contains(&hash));
        assert!(keep.contains(&upload.0) && kept(&output) && !kept(&stray));
        let gathered = app.store.read(|rows| rows.job(job)).expect("read").expect("a job").gathered;
        assert!(!gathered.is_empty() && gathered.iter().all(kept));
        app.blobs.sweep(&keep, Duration::ZERO).expect("swept");
        let there = |file: &StoredFile| app.blobs.has(file.sha256.parse().expect("a hash"), file.size);
        assert!(there(&output) && !there(&stray));
        server.stop().await;
    }
}
