//! Doing the gather steps of a job that are the server's own. May be done twice: the same files give the same blobs.
use std::collections::{BTreeMap, HashSet};
use std::time::Duration;

use dsg_core::event::{Act, Event, GatherTurn};
use dsg_schemas::api::Upload;
use dsg_schemas::ids::JobId;
use dsg_schemas::limits;
use dsg_schemas::spec::{Gather, GatherMode, Gathered, Plan};
use dsg_schemas::wire::StoredFile;
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::task::JoinSet;

use super::join::{JoinError, Joined, Part};
use super::manifest;
use super::parts::{BATCH, touched};
use crate::app::{App, Shared};
use crate::blobs::{BlobError, BlobStore};
use crate::failure::{Failure, Reply};
use crate::store::{Store, StoreError};

/// Between two tries where the server itself is in the way: its disk is full, or its store cannot be read.
const AGAIN: Duration = Duration::from_secs(20);
/// Jobs that are gathered at the same time: each is a stream from disk to disk.
const AT_ONCE: usize = 2;

#[derive(Debug, thiserror::Error)]
enum GatherError {
    #[error(transparent)]
    Join(#[from] JoinError),
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl From<BlobError> for GatherError {
    fn from(error: BlobError) -> GatherError {
        GatherError::Join(JoinError::Blob(error))
    }
}

impl GatherError {
    /// The job is not at fault, and trying again will help once somebody has helped the server.
    fn may_pass(&self) -> bool {
        match self {
            GatherError::Join(JoinError::Blob(BlobError::Missing(_))) => false,
            GatherError::Join(JoinError::Blob(_) | JoinError::Read { .. }) | GatherError::Store(_) => true,
            GatherError::Join(
                JoinError::OtherHeader { .. } | JoinError::NoHeader { .. } | JoinError::Address { .. },
            ) => false,
        }
    }
}

/// Gathers each job that comes; ends with the server.
pub async fn run(app: App, mut due: UnboundedReceiver<(JobId, GatherTurn)>) {
    let mut under_way = HashSet::new();
    let mut waiting: BTreeMap<JobId, GatherTurn> = BTreeMap::new();
    let mut done: JoinSet<JobId> = JoinSet::new();
    loop {
        tokio::select! {
            job = due.recv() => match job {
                Some((job, turn)) => _ = waiting.insert(job, turn),
                None => return,
            },
            Some(ended) = done.join_next() => match ended {
                Ok(job) => drop(under_way.remove(&job)),
                // Found again at the next start.
                Err(error) => tracing::error!(%error, "a gather broke"),
            },
            () = app.stopping.cancelled() => return,
        }
        // One that is gathered now, and since then is to be gathered anew, comes after itself.
        while done.len() < AT_ONCE
            && let Some((job, turn)) =
                waiting.iter().map(|(job, turn)| (*job, *turn)).find(|(job, _)| !under_way.contains(job))
        {
            waiting.remove(&job);
            under_way.insert(job);
            let app = app.clone();
            done.spawn(async move {
                gather(&app, job, turn).await;
                job
            });
        }
    }
}

async fn gather(app: &App, job: JobId, turn: GatherTurn) {
    let about = "gather";
    loop {
        match try_gather(app, job, turn).await {
            Ok(()) => return app.banners.hide(about),
            Err(failure) => {
                let detail = &failure.0.detail;
                tracing::warn!(%job, detail, "a gather has to wait");
                app.banners.show(about, format!("The outputs of job {job} cannot be gathered yet: {detail}"));
            }
        }
        tokio::select! {
            () = tokio::time::sleep(AGAIN) => {}
            () = app.stopping.cancelled() => return,
        }
    }
}

async fn try_gather(app: &App, job: JobId, turn: GatherTurn) -> Reply<()> {
    // Deleted meanwhile: then there is nothing to say, and nobody to say it to.
    let Some(row) = app.read(move |rows| rows.job(job)).await? else { return Ok(()) };
    let plan = app.plan(job).await?;
    let (store, blobs) = (app.store.clone(), app.blobs.clone());
    let all = row.tally.succeeded == row.tally.total();
    let steps = move || match steps(&store, &blobs, &plan, job, all) {
        Err(error) if error.may_pass() => {
            Err(Failure::new(http::StatusCode::SERVICE_UNAVAILABLE, "gather_waits", error.to_string()))
        }
        result => Ok(result.map_err(|error| error.to_string())),
    };
    let result = app.blocking("gather", steps).await?;
    if let Err(why) = &result {
        tracing::info!(%job, why, "a gather failed");
    }
    app.engine.apply(Event::Act(Act::Gathered { job, turn, result })).await?;
    Ok(())
}

/// `all`: every chunk succeeded. If not, the steps that want all are left out.
fn steps(store: &Store, blobs: &BlobStore, plan: &Plan, job: JobId, all: bool) -> Result<Vec<StoredFile>, GatherError> {
    let own = plan.job.gather.iter().filter(|step| match step.mode {
        GatherMode::Concat | GatherMode::Csv => all || step.is_partial(&plan.job),
        GatherMode::Run => false,
    });
    own.map(|step| join(store, blobs, plan, job, step)).collect()
}

fn join(store: &Store, blobs: &BlobStore, plan: &Plan, job: JobId, step: &Gather) -> Result<StoredFile, GatherError> {
    // The check of the job file has seen to it that both are there.
    let from = step.from.as_deref().unwrap_or_default();
    let output = step.output.as_deref().unwrap_or(from);
    let mut joined = Joined::new(blobs, step.mode)?;
    for first in (0..plan.chunks).step_by(BATCH as usize) {
        for chunk in store.read(|rows| touched(rows, job, first))? {
            for file in chunk.files_of(from) {
                joined.add(blobs, &Part { chunk: chunk.id(), file })?;
            }
        }
    }
    Ok(joined.finish(output)?)
}

impl Shared {
    /// What the gather chunk of a job finds: the manifest as a blob, the joined files, and what each chunk left.
    pub async fn gathered(&self, job: JobId) -> Reply<Gathered> {
        let plan = self.plan(job).await?;
        let joined = self.read(move |rows| rows.job(job)).await?.map(|row| row.gathered).unwrap_or_default();
        let (store, blobs) = (self.store.clone(), self.blobs.clone());
        let collect = move || {
            let failed = |error: GatherError| Failure::internal("collect what the chunks left", error);
            let (manifest, chunks) = collect(&store, &blobs, &plan, job).map_err(failed)?;
            Ok(Gathered { manifest: Some(manifest), joined, chunks })
        };
        self.blocking("collect what the chunks left", collect).await
    }
}

type Collected = (Upload, Vec<(u32, Vec<StoredFile>)>);

fn collect(store: &Store, blobs: &BlobStore, plan: &Plan, job: JobId) -> Result<Collected, GatherError> {
    let mut writer = blobs.writer()?;
    let (mut chunks, mut files) = (Vec::new(), 0);
    for first in (0..plan.chunks).step_by(BATCH as usize) {
        writer.put(&manifest::text(store, plan, job, first)?)?;
        for chunk in store.read(|rows| touched(rows, job, first))? {
            files += chunk.outputs().len();
            if files > limits::GATHER_FILES {
                chunks = Vec::new();
            } else if !chunk.outputs().is_empty() {
                chunks.push((chunk.id().index, chunk.outputs().to_vec()));
            }
        }
    }
    let (hash, size) = writer.finish()?;
    Ok((Upload { size, sha256: hash.to_string() }, chunks))
}
