//! Submit and check: from a job file to a plan, and to a job.
use std::collections::BTreeMap;
use std::io::{Error, ErrorKind, Read};
use std::sync::Arc;

use axum::extract::State;
use dsg_core::event::{self, Answer, Event};
use dsg_schemas::api::{Act, Checked, EditJob, Edited, Submit, Submitted, Upload, Uploads};
use dsg_schemas::ids::JobId;
use dsg_schemas::spec::{self, Plan, Sources};
use http::StatusCode;

use super::{acts, images, secrets};
use crate::app::{App, Shared};
use crate::auth::Caller;
use crate::blobs::BlobStore;
use crate::convert;
use crate::failure::{Failure, Reply};
use crate::web::{In, Json};

/// Chunks that check shows.
const FIRST: u32 = 3;

pub async fn check(State(app): State<App>, Json(submit): Json<Submit>) -> Reply<Json<Checked>> {
    checked(&app, submit).await.map(Json)
}

/// For the API and the page alike. A wrong job file is an answer here, not a failure.
pub async fn checked(app: &Shared, submit: Submit) -> Reply<Checked> {
    match plan(app, submit).await {
        Ok(plan) => {
            let first = (0..plan.chunks.min(FIRST)).map(|index| plan.chunk(index)).collect();
            let warnings = warnings(app, &plan).await?;
            Ok(Checked { ok: true, problems: Vec::new(), warnings, chunks: plan.chunks.into(), first })
        }
        Err(failure) if !failure.0.problems.is_empty() => {
            let problems = failure.0.problems;
            Ok(Checked { ok: false, problems, warnings: Vec::new(), chunks: 0, first: Vec::new() })
        }
        Err(failure) => Err(failure),
    }
}

pub async fn submit(
    State(app): State<App>,
    caller: Caller,
    Json(submit): Json<Submit>,
) -> Reply<(StatusCode, Json<Submitted>)> {
    submitted(&app, &caller, submit).await.map(|done| (StatusCode::CREATED, Json(done)))
}

/// For the API and the page alike.
pub async fn submitted(app: &Shared, caller: &Caller, submit: Submit) -> Reply<Submitted> {
    // Two people who happen to choose the same word mean two jobs.
    let request = submit.request.as_ref().map(|request| format!("{}/{request}", caller.name));
    may_bring(app, &submit.uploads)?;
    let plan = plan(app, submit).await?;
    store_table(app, &plan).await?;
    let warnings = warnings(app, &plan).await?;
    let spec = plan.to_bytes().into();
    let submission = convert::submission(&plan.job, plan.chunks, caller.name.clone(), request, spec);
    match app.engine.apply(Event::Submit(Box::new(submission))).await? {
        Answer::Job { job, fresh } => {
            tracing::info!(%job, owner = ?caller.name, chunks = plan.chunks, fresh, "submit");
            Ok(Submitted { job, chunks: plan.chunks.into(), warnings })
        }
        other => Err(Failure::internal("submit", format!("unexpected answer {other:?}"))),
    }
}

pub async fn edit(
    State(app): State<App>,
    caller: Caller,
    In(job): In<u64>,
    Json(edit): Json<EditJob>,
) -> Reply<Json<Edited>> {
    edited(&app, &caller, JobId(job), edit).await.map(Json)
}

/// For the API and the page alike.
pub async fn edited(app: &Shared, caller: &Caller, job: JobId, edit: EditJob) -> Reply<Edited> {
    let EditJob { spec, set, uploads, release, again } = edit;
    acts::may_touch(app, caller, job).await?;
    may_bring(app, &uploads)?;
    let before = app.plan(job).await?;
    let plan = plan(app, Submit { spec, set, uploads, request: None }).await?;
    let other_work = !plan.does_the_same_as(&before);
    let mut plan = Arc::unwrap_or_clone(plan);
    if !other_work {
        plan.keep_seed_of(&before);
    }
    store_table(app, &plan).await?;
    let warnings = warnings(app, &plan).await?;
    let message = match plan.to_bytes() {
        // Sent again after a lost answer.
        same if same == before.to_bytes() => format!("job {job} has this file already"),
        spec => replace(app, caller, (job, again), (&plan, other_work), spec).await?,
    };
    tracing::info!(%job, who = ?caller.name, other_work, again, release, "edit");
    if !release {
        return Ok(Edited { message: format!("{message}; release it to let it go on"), warnings });
    }
    let released = acts::perform(app, caller.clone(), Act::Release { job }).await?;
    Ok(Edited { message: format!("{message}; {}", released.message), warnings })
}

async fn replace(
    app: &Shared,
    caller: &Caller,
    (job, again): (JobId, bool),
    (plan, other_work): (&Plan, bool),
    spec: Vec<u8>,
) -> Reply<String> {
    let submission = Box::new(convert::submission(&plan.job, plan.chunks, caller.name.clone(), None, spec.into()));
    let edit = event::Edit { who: caller.name.clone(), job, submission, other_work, again };
    let acted = acts::acted(app.engine.apply(Event::Act(event::Act::Edit(edit))).await?)?;
    app.plans.forget(job);
    Ok(acted.message)
}

/// The rows of a table that the plan was made from, where it was.
async fn store_table(app: &Shared, plan: &Plan) -> Reply<()> {
    let Some(table) = plan.table().map(<[u8]>::to_vec) else { return Ok(()) };
    let blobs = app.blobs.clone();
    let write =
        move || blobs.write(&table).map(drop).map_err(|error| Failure::internal("store the rows of a job", error));
    app.blocking("store the rows of a job", write).await
}

async fn plan(app: &Shared, submit: Submit) -> Reply<Arc<Plan>> {
    let (blobs, secrets) = (app.blobs.clone(), secrets::names(app).await?);
    let work = move || {
        let Submit { spec, set, uploads, request: _ } = submit;
        let read = |path: &str| content(&blobs, &uploads, path);
        spec::check(&spec, &set, &Sources { uploads: &uploads, read: &read, secrets: Some(&secrets) })
            .map(Arc::new)
            .map_err(Failure::spec)
    };
    let plan = app.blocking("check a job file", work).await?;
    images::pinned(app, plan).await
}

fn content(blobs: &BlobStore, uploads: &Uploads, path: &str) -> std::io::Result<Vec<u8>> {
    let upload = uploads.get(path).ok_or(ErrorKind::NotFound)?;
    let hash = upload.sha256.parse().map_err(|_| Error::new(ErrorKind::InvalidInput, "not a sha256"))?;
    let mut bytes = Vec::new();
    let (mut file, _) = blobs.read(hash).map_err(Error::other)?;
    file.read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Files that a job brings along must be there, and are taken only while there is space.
fn may_bring(app: &Shared, uploads: &Uploads) -> Reply<()> {
    if !uploads.is_empty() {
        app.room_for_uploads()?;
    }
    all_uploaded(&app.blobs, uploads)
}

/// A job must not wait for files that never come.
fn all_uploaded(blobs: &BlobStore, uploads: &Uploads) -> Reply<()> {
    let there = |upload: &Upload| upload.sha256.parse().is_ok_and(|hash| blobs.has(hash, upload.size));
    let missing: BTreeMap<&String, &Upload> = uploads.iter().filter(|(_, upload)| !there(upload)).collect();
    match missing.keys().next() {
        None => Ok(()),
        Some(first) => Err(Failure::conflict(
            "upload_missing",
            format!(
                "{} of {} files are not on the server, {first:?} among them; upload them first, then submit again",
                missing.len(),
                uploads.len()
            ),
        )),
    }
}

/// What the plan says, and whether any runner could run it as the grid is now.
async fn warnings(app: &Shared, plan: &Plan) -> Reply<Vec<String>> {
    let mut warnings = plan.warnings.clone();
    warnings.extend(app.config.keep.warnings(&plan.job.retention));
    let policy = convert::submission(&plan.job, plan.chunks, String::new(), None, Vec::new().into());
    let stages: Vec<_> =
        [Some(policy.main), policy.gather.and_then(|gather| gather.run)].into_iter().flatten().collect();
    let found = app.engine.ask(move |grid, now| {
        stages.iter().filter_map(|stage| grid.can_any_run(now, stage).err()).collect::<Vec<String>>()
    });
    for warning in found.await? {
        if !warnings.contains(&warning) {
            warnings.push(warning);
        }
    }
    Ok(warnings)
}
