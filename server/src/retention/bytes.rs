//! The bytes behind rows: how many there are, and removing those that no row speaks of any more.
use std::collections::{BTreeMap, HashMap, HashSet};
use std::time::Duration;

use dsg_core::row::Removed;
use dsg_schemas::ids::{AttemptId, JobId};
use dsg_schemas::spec::Plan;

use super::decide::{Ended, Usage};
use crate::app::Shared;
use crate::blobs::{BlobHash, BlobStore, Swept};
use crate::failure::{Failure, Reply};
use crate::logs::{LogError, LogStore};
use crate::store::{Reader, Store, StoreError};

/// Blobs must be unused for so long: a submit uploads its files before the job exists.
const UNUSED_FOR: Duration = Duration::from_secs(48 * 3600);

/// What rows speak of.
#[derive(Debug, Default)]
pub struct Spoken {
    pub kept: HashSet<[u8; 32]>,
    /// Outputs that a rule took; some of them may be kept all the same, for other jobs.
    pub removed: HashSet<[u8; 32]>,
}

/// What these jobs have, of all attempts there are.
pub fn measure(rows: &Reader<'_>, logs: &LogStore, jobs: &[Ended]) -> Result<Usage, StoreError> {
    let by_id: BTreeMap<JobId, &Ended> = jobs.iter().map(|job| (job.id, job)).collect();
    let mut usage = Usage::default();
    let mut attempts: BTreeMap<u64, Vec<(AttemptId, JobId)>> = BTreeMap::new();
    rows.attempts(|row| {
        let Some(job) = by_id.get(&row.chunk.job) else { return };
        if job.logs.is_some_and(|from| row.id >= from) {
            attempts.entry(LogStore::home_of(row.id)).or_default().push((row.id, job.id));
        }
        if job.outputs.is_some_and(|from| row.id >= from) {
            let files = row.ended.iter().flat_map(|ended| &ended.outputs);
            let files = files.filter_map(|file| Some((hash(&file.sha256)?, file.size)));
            usage.outputs.entry(job.id).or_default().extend(files);
        }
    })?;
    for job in jobs.iter().filter(|job| job.outputs.is_some()) {
        let gathered = rows.job(job.id)?.map(|row| row.gathered).unwrap_or_default();
        let files = gathered.iter().filter_map(|file| Some((hash(&file.sha256)?, file.size)));
        usage.outputs.entry(job.id).or_default().extend(files);
    }
    for (home, attempts) in attempts {
        // What cannot be listed is not counted; removing it will say why.
        let sizes: HashMap<AttemptId, u64> = logs.in_home(home).unwrap_or_default().into_iter().collect();
        for (attempt, job) in attempts {
            if let Some(bytes) = sizes.get(&attempt) {
                usage.logs.entry(job).or_default().push((attempt, *bytes));
            }
        }
    }
    Ok(usage)
}

/// Removes logs of attempts that no row speaks of, or whose job says that its logs are removed.
pub fn sweep_logs(store: &Store, logs: &LogStore) -> Reply<()> {
    let broken = |error: LogError| Failure::internal("remove logs", error);
    for home in logs.homes().map_err(broken)? {
        // Listed first, so that whatever is new by then has its row.
        let there = logs.in_home(home).map_err(broken)?;
        let stray =
            store.read(|rows| stray(rows, &there)).map_err(|error| Failure::internal("read the store", error))?;
        if !stray.is_empty() {
            tracing::info!(logs = stray.len(), "logs that belong to nothing any more are removed");
            logs.remove(&stray).map_err(broken)?;
        }
    }
    Ok(())
}

fn stray(rows: &Reader<'_>, there: &[(AttemptId, u64)]) -> Result<Vec<AttemptId>, StoreError> {
    let mut marks: HashMap<JobId, Option<Removed>> = HashMap::new();
    let mut stray = Vec::new();
    for (attempt, _) in there {
        let Some(row) = rows.attempt(*attempt)? else {
            stray.push(*attempt);
            continue;
        };
        let job = row.chunk.job;
        if let std::collections::hash_map::Entry::Vacant(place) = marks.entry(job) {
            place.insert(rows.job(job)?.and_then(|row| row.logs_removed));
        }
        if marks[&job].as_ref().is_some_and(|removed| removed.took(*attempt)) {
            stray.push(*attempt);
        }
    }
    Ok(stray)
}

/// Removes blobs that no row speaks of. Those that a rule took need to be unused for `removed_for` only.
pub async fn sweep_blobs(app: &Shared, removed_for: Duration) -> Reply<Swept> {
    let spoken = app.read(spoken).await?;
    let blobs = app.blobs.clone();
    app.blocking("remove unused blobs", move || sweep(&blobs, &spoken, removed_for)).await
}

fn sweep(blobs: &BlobStore, spoken: &Spoken, removed_for: Duration) -> Reply<Swept> {
    let unused_for = |hash: BlobHash| match spoken.removed.contains(&hash.0) {
        true => removed_for.min(UNUSED_FOR),
        false => UNUSED_FOR,
    };
    let swept = blobs.sweep(&spoken.kept, unused_for);
    let swept = swept.map_err(|error| Failure::internal("remove unused blobs", error))?;
    tracing::info!(?swept, "unused blobs were removed");
    Ok(swept)
}

/// Every blob that a row refers to: uploads, tables and images of jobs, images that people brought, outputs of attempts, gathered files; less what rules took.
pub fn spoken(rows: &Reader<'_>) -> Result<Spoken, StoreError> {
    let mut spoken = Spoken::default();
    let mut jobs = Vec::new();
    let mut marks: HashMap<JobId, Removed> = HashMap::new();
    rows.jobs_newest_first(None, |job| {
        let gone = job.outputs_removed().is_some();
        let to = if gone { &mut spoken.removed } else { &mut spoken.kept };
        to.extend(job.gathered.iter().filter_map(|file| hash(&file.sha256)));
        jobs.push(job.id);
        marks.extend(job.outputs_removed.map(|removed| (job.id, removed)));
        true
    })?;
    for job in jobs {
        let Some(plan) = rows.spec(job)?.and_then(|bytes| Plan::from_bytes(&bytes).ok()) else { continue };
        spoken.kept.extend(plan.uploads.values().filter_map(|upload| hash(&upload.sha256)));
        spoken.kept.extend(plan.images.values().filter_map(|image| hash(&image.sha256)));
        spoken.kept.extend(plan.table_sha256().into_iter().filter_map(hash));
    }
    spoken.kept.extend(rows.images()?.values().filter_map(|image| hash(&image.sha256)));
    rows.attempts(|attempt| {
        let gone = marks.get(&attempt.chunk.job).is_some_and(|removed| removed.took(attempt.id));
        let to = if gone { &mut spoken.removed } else { &mut spoken.kept };
        let outputs = attempt.ended.iter().flat_map(|ended| &ended.outputs);
        to.extend(outputs.filter_map(|file| hash(&file.sha256)));
    })?;
    Ok(spoken)
}

fn hash(sha256: &str) -> Option<[u8; 32]> {
    sha256.parse::<BlobHash>().ok().map(|hash| hash.0)
}
