//! Buttons: each does one act and leads back to a page that says what came of it.
use axum::response::Response;
use dsg_schemas::api::{Act, Retries};
use dsg_schemas::ids::{JobId, RunnerId};
use serde::Deserialize;

use super::super::url::SafeUrl;
use super::visit::{Visit, redirect};
use crate::api::acts;
use crate::failure::{Failure, Reply};
use crate::web::{Filled, In, path};

#[derive(Deserialize)]
pub struct Button {
    act: String,
}

pub async fn job(visit: Visit, In(job): In<u64>, Filled(button): Filled<Button>) -> Reply<Response> {
    let job = JobId(job);
    let act = match button.act.as_str() {
        "cancel" => Act::Cancel { job },
        "hold" => Act::Hold { job },
        "release" => Act::Release { job },
        "retry_failed" => Act::Retry { job, which: Retries::Failed },
        "retry_all" => Act::Retry { job, which: Retries::All },
        "delete" => Act::Delete { job },
        other => return Err(unknown(other)),
    };
    let after = if matches!(act, Act::Delete { .. }) { SafeUrl::fixed("/jobs") } else { SafeUrl::job(job) };
    perform(visit, act, &after, &SafeUrl::job(job)).await
}

pub async fn chunk(visit: Visit, In(place): In<(u64, String, u32)>) -> Reply<Response> {
    let chunk = path::chunk(place)?;
    let act = Act::Retry { job: chunk.job, which: Retries::Chunks(vec![chunk]) };
    perform(visit, act, &SafeUrl::chunk(chunk), &SafeUrl::chunk(chunk)).await
}

pub async fn runner(visit: Visit, In(runner): In<u64>, Filled(button): Filled<Button>) -> Reply<Response> {
    let runner = RunnerId(runner);
    let act = match button.act.as_str() {
        "drain" => Act::Drain { runner },
        "undrain" => Act::Undrain { runner },
        "pause" => Act::Pause { runner },
        "evict" => Act::Evict { runner },
        "resume" => Act::Resume { runner },
        "remove" => Act::RemoveRunner { runner, force: false },
        "remove_force" => Act::RemoveRunner { runner, force: true },
        other => return Err(unknown(other)),
    };
    let after = SafeUrl::fixed("/runners");
    perform(visit, act, &after, &after).await
}

fn unknown(act: &str) -> Failure {
    Failure::bad_request(format!("there is no button {act:?} here; reload the page and try again"))
}

/// What is refused because things have moved on is told where the button was; everything else is an error page.
async fn perform(visit: Visit, act: Act, after: &SafeUrl, refused: &SafeUrl) -> Reply<Response> {
    match acts::perform(&visit.app, visit.caller, act).await {
        Ok(acted) => Ok(redirect(after, true, acted.message)),
        Err(failure) if failure.0.status == 409 => Ok(redirect(refused, false, failure.0.detail)),
        Err(failure) => Err(failure),
    }
}
