//! Secrets: set and removed by admins, and given to the runner that holds an attempt, while it does. No other answer has a value.
use std::collections::{BTreeMap, BTreeSet};

use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use dsg_core::event::{Act, Event, Sealed};
use dsg_core::row::SecretRow;
use dsg_schemas::api::{Acted, SecretView};
use dsg_schemas::ids::AttemptId;
use dsg_schemas::limits::{SECRET_BYTES_LEAST, SECRET_BYTES_MOST};
use dsg_schemas::spec::is_name;
use dsg_schemas::wire::SecretValues;
use http::{HeaderValue, StatusCode, header};

use super::acts;
use crate::app::{App, Shared};
use crate::auth::Caller;
use crate::failure::{Failure, Reply};
use crate::web::body::body;
use crate::web::{In, Json};

pub async fn list(State(app): State<App>) -> Reply<Json<Vec<SecretView>>> {
    all(&app).await.map(Json)
}

/// For the API and the page alike.
pub async fn all(app: &Shared) -> Reply<Vec<SecretView>> {
    let view = |(name, row, locked): (String, SecretRow, Option<String>)| {
        let SecretRow { by, at_ms, .. } = row;
        SecretView { name, set_by: by, set_ms: at_ms, locked }
    };
    let found = app.engine.ask(|grid, _| {
        let row = |(name, row): (&String, &SecretRow)| (name.clone(), row.clone(), grid.is_locked(row));
        grid.secrets().iter().map(row).collect::<Vec<_>>()
    });
    Ok(found.await?.into_iter().map(view).collect())
}

/// For the check of a job file that names some.
pub async fn names(app: &Shared) -> Reply<BTreeSet<String>> {
    Ok(app.engine.ask(|grid, _| grid.secrets().keys().cloned().collect()).await?)
}

/// The body is the value, byte for byte.
pub async fn set(State(app): State<App>, caller: Caller, In(name): In<String>, request: Request) -> Reply<Json<Acted>> {
    if !is_name(&name) {
        let detail = format!(
            "{name:?} cannot be the name of a secret: it begins with a letter and has only a-z, 0-9, _ and -, at most 63 of them"
        );
        return Err(Failure::new(StatusCode::UNPROCESSABLE_ENTITY, "secret_name", detail));
    }
    let kind = request.headers().get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
    // Forms of foreign pages cannot send this.
    if kind != Some("application/octet-stream") {
        let detail = "send the value as it is, with content-type: application/octet-stream";
        return Err(Failure::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "wrong_content_type", detail));
    }
    let value = body(request, &()).await?;
    if let Some(detail) = wrong_length(value.len()) {
        return Err(Failure::new(StatusCode::UNPROCESSABLE_ENTITY, "secret_length", detail));
    }
    let sealed = app.vault.seal(&app.grid, &name, &value);
    let sealed = sealed.map_err(|error| Failure::internal("seal a secret", error))?;
    let sealed = Sealed { key: app.vault.id().to_owned(), sealed: sealed.into(), size: value.len() as u64 };
    let act = Act::SetSecret { who: caller.name.clone(), name: name.clone(), sealed };
    let acted = acts::acted(app.engine.apply(Event::Act(act)).await?)?;
    tracing::info!(name, who = ?caller.name, "a secret was set");
    app.look_at_secrets().await?;
    Ok(Json(acted))
}

fn wrong_length(bytes: usize) -> Option<String> {
    if bytes < SECRET_BYTES_LEAST {
        return Some(format!(
            "a secret has at least {SECRET_BYTES_LEAST} bytes, this one has {bytes}: a shorter one would be found everywhere in logs, and could not be masked there"
        ));
    }
    (bytes > SECRET_BYTES_MOST).then(|| {
        format!(
            "a secret has at most {} KiB, this one has more; send what is larger as an input",
            SECRET_BYTES_MOST >> 10
        )
    })
}

pub async fn remove(State(app): State<App>, caller: Caller, In(name): In<String>) -> Reply<Json<Acted>> {
    let act = Act::RemoveSecret { name: name.clone() };
    let acted = acts::acted(app.engine.apply(Event::Act(act)).await?)?;
    tracing::info!(name, who = ?caller.name, "a secret was removed");
    app.look_at_secrets().await?;
    Ok(Json(acted))
}

/// Only to the runner that holds the attempt, and only while its lease lasts.
pub async fn deliver(State(app): State<App>, caller: Caller, In(attempt): In<u64>) -> Reply<Response> {
    let (runner, attempt) = (caller.runner()?, AttemptId(attempt));
    let rows = app.engine.ask(move |grid, _| grid.secrets_of(attempt, runner)).await??;
    let mut values = BTreeMap::new();
    for (name, row) in rows {
        let value = app.vault.unseal(&app.grid, &name, &row.sealed).ok_or_else(|| {
            let detail = format!("secret `{name}` is damaged in the store; set it again with `dsg secret set {name}`");
            Failure::conflict("secret_damaged", detail)
        })?;
        values.insert(name, STANDARD.encode(value));
    }
    tracing::debug!(%attempt, %runner, names = ?values.keys(), "secrets were given out");
    let mut answer = Json(SecretValues { values }).into_response();
    answer.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok(answer)
}

impl Shared {
    /// Says so where secrets cannot be had, as after a restore without their key.
    pub async fn look_at_secrets(&self) -> Reply<()> {
        let locked: Vec<String> =
            all(self).await?.into_iter().filter(|secret| secret.locked.is_some()).map(|secret| secret.name).collect();
        match &locked[..] {
            [] => self.banners.hide("secrets"),
            [first, ..] => {
                let path = self.vault.path().display();
                let text = format!(
                    "{} of the secrets, {first} among them, were sealed with another key than {path} has: jobs that need them wait. Bring that file back and restart the server, or set them again.",
                    locked.len()
                );
                tracing::warn!("{text}");
                self.banners.show("secrets", text);
            }
        }
        Ok(())
    }
}
