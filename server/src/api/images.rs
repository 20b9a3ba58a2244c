//! Images that people brought without a registry: listed here, brought and removed by acts, pinned when a job is submitted.
use std::collections::BTreeMap;
use std::sync::Arc;

use axum::extract::State;
use dsg_core::row::ImageRow;
use dsg_schemas::api::{ImageView, Role, Upload};
use dsg_schemas::spec::{Plan, did_you_mean};
use http::StatusCode;

use crate::app::{App, Shared};
use crate::auth::Caller;
use crate::failure::{Failure, Reply};
use crate::web::Json;

pub async fn list(State(app): State<App>) -> Reply<Json<Vec<ImageView>>> {
    let view = |(name, row): (String, ImageRow)| {
        let ImageRow { sha256, size, by, at_ms } = row;
        ImageView { name, sha256, size, pushed_by: by, pushed_ms: at_ms }
    };
    Ok(Json(all(&app).await?.into_iter().map(view).collect()))
}

async fn all(app: &Shared) -> Reply<BTreeMap<String, ImageRow>> {
    Ok(app.engine.ask(|grid, _| grid.images().clone()).await?)
}

/// A name belongs to whoever brought it first, and to operators.
pub async fn may_change(app: &Shared, caller: &Caller, name: &str) -> Reply<()> {
    let images = all(app).await?;
    match images.get(name) {
        Some(row) if row.by != caller.name && !caller.is_at_least(Role::Operator) => {
            Err(Failure::forbidden(format!("{name} is {}'s; only they and operators may replace or remove it", row.by)))
        }
        Some(_) | None => Ok(()),
    }
}

/// The archive comes first, the name after.
pub fn is_there(app: &Shared, sha256: &str, size: u64) -> Reply<()> {
    let there = sha256.parse().is_ok_and(|hash| app.blobs.has(hash, size));
    let detail = "the image's archive is not on the server; upload it first, as dsg image push does";
    if there { Ok(()) } else { Err(Failure::conflict("upload_missing", detail)) }
}

/// The job keeps the images that its names mean now, whatever is brought under them later.
pub async fn pinned(app: &Shared, plan: Arc<Plan>) -> Reply<Arc<Plan>> {
    let names = plan.pushed_names();
    if names.is_empty() {
        return Ok(plan);
    }
    let images = all(app).await?;
    let mut plan = Arc::unwrap_or_clone(plan);
    for name in names {
        let Some(ImageRow { sha256, size, .. }) = images.get(&name) else { return Err(unknown(&name, &images)) };
        plan.images.insert(name, Upload { size: *size, sha256: sha256.clone() });
    }
    Ok(Arc::new(plan))
}

fn unknown(name: &str, images: &BTreeMap<String, ImageRow>) -> Failure {
    let near = did_you_mean(name, images.keys().map(String::as_str)).map(|near| format!("; did you mean {near}?"));
    let detail = format!(
        "nobody has brought the image {name} to this server{}: dsg image push does that",
        near.unwrap_or_default()
    );
    Failure::new(StatusCode::UNPROCESSABLE_ENTITY, "image_missing", detail)
}
