//! Acts of people: submitters on their own jobs, operators on everything.
use axum::extract::State;
use dsg_core::event::{self, Answer, Event};
use dsg_schemas::api::{Act, Acted, Retries, Role};
use dsg_schemas::ids::JobId;

use super::images;
use super::tokens::NAME_CHARS;
use crate::app::{App, Shared};
use crate::auth::Caller;
use crate::failure::{Failure, Reply};
use crate::web::Json;

pub async fn act(State(app): State<App>, caller: Caller, Json(act): Json<Act>) -> Reply<Json<Acted>> {
    perform(&app, caller, act).await.map(Json)
}

/// For the API and the pages alike.
pub async fn perform(app: &Shared, caller: Caller, act: Act) -> Reply<Acted> {
    match &act {
        Act::Cancel { job } | Act::Hold { job } | Act::Release { job } | Act::Delete { job } => {
            may_touch(app, &caller, *job).await?;
        }
        Act::LimitJob { job, parallelism: _ } => may_touch(app, &caller, *job).await?,
        Act::LimitOwner { owner, .. } => {
            if !caller.is_at_least(Role::Operator) {
                return Err(Failure::forbidden(
                    "limits of owners are an operator's; ask one, or an admin for that role",
                ));
            }
            if owner.is_empty() || owner.chars().count() > NAME_CHARS || owner.chars().any(char::is_control) {
                let detail = format!("an owner is named by up to {NAME_CHARS} characters, or `*` for everyone");
                return Err(Failure::bad_request(detail));
            }
        }
        Act::Retry { job, which } => {
            may_touch(app, &caller, *job).await?;
            if let Retries::Chunks(chunks) = which
                && let Some(stray) = chunks.iter().find(|chunk| chunk.job != *job)
            {
                return Err(Failure::bad_request(format!("{stray} is no chunk of job {job}; nothing was retried")));
            }
        }
        Act::PushImage { name, sha256, size } => {
            images::may_change(app, &caller, name).await?;
            images::is_there(app, sha256, *size)?;
        }
        Act::RemoveImage { name } => images::may_change(app, &caller, name).await?,
        Act::Drain { .. }
        | Act::Undrain { .. }
        | Act::Pause { .. }
        | Act::Evict { .. }
        | Act::Resume { .. }
        | Act::RemoveRunner { .. } => {
            if !caller.is_at_least(Role::Operator) {
                return Err(Failure::forbidden("runners are an operator's; ask one, or an admin for that role"));
            }
        }
    }
    let (who, said) = (caller.name, format!("{act:?}"));
    let answer = app.engine.apply(Event::Act(event::Act::Person { who: who.clone(), act })).await?;
    tracing::info!(?who, act = ?said, "act");
    acted(answer)
}

pub fn acted(answer: Answer) -> Reply<Acted> {
    match answer {
        Answer::Acted(acted) => Ok(acted),
        other => Err(Failure::internal("act", format!("unexpected answer {other:?}"))),
    }
}

pub async fn may_touch(app: &Shared, caller: &Caller, job: JobId) -> Reply<()> {
    if caller.is_at_least(Role::Operator) {
        return Ok(());
    }
    let row = app.read(move |rows| rows.job(job)).await?;
    let row = row.ok_or_else(|| Failure::not_found(format!("there is no job {job}")))?;
    if row.owner == caller.name {
        return Ok(());
    }
    Err(Failure::forbidden(format!("job {job} is {}'s; only they and operators may do this", row.owner)))
}
