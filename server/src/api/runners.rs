//! How a runner becomes known: join once, hello at each start.
use axum::extract::State;
use dsg_core::event::{Answer, Event, Join};
use dsg_schemas::limits;
use dsg_schemas::wire::{HelloAnswer, HelloRequest, JoinAnswer, JoinRequest, PROTOCOL};
use http::StatusCode;

use crate::app::App;
use crate::auth::secret::{self, Prefix};
use crate::auth::{Caller, Joiner};
use crate::engine::EnrolRequest;
use crate::failure::{Failure, Reply};
use crate::web::Json;

const NAME_CHARS: usize = 63;

pub async fn join(
    State(app): State<App>,
    joiner: Joiner,
    Json(request): Json<JoinRequest>,
) -> Reply<(StatusCode, Json<JoinAnswer>)> {
    let name = request.name.trim().to_owned();
    let plain = name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.'));
    if name.is_empty() || name.len() > NAME_CHARS || !plain {
        let detail = format!("{name:?} is no name for a runner; use up to {NAME_CHARS} letters, digits, dots, - and _");
        return Err(Failure::bad_request(detail));
    }
    let credential = secret::fresh(Prefix::Runner);
    let credential_sha256 = secret::sha256(&credential);
    let request = EnrolRequest { token_sha256: joiner.secret_sha256, name, credential_sha256 };
    match app.engine.enrol(request).await? {
        Answer::Enrolled { runner, name } => {
            tracing::info!(%runner, ?name, "a runner joined");
            let grid = app.grid.clone();
            Ok((StatusCode::CREATED, Json(JoinAnswer { runner, name, credential, grid })))
        }
        other => Err(Failure::internal("let a runner join", format!("unexpected answer {other:?}"))),
    }
}

pub async fn hello(
    State(app): State<App>,
    caller: Caller,
    Json(request): Json<HelloRequest>,
) -> Reply<Json<HelloAnswer>> {
    let runner = caller.runner()?;
    let HelloRequest { protocol, version, nonce, host, facts } = request;
    if protocol != PROTOCOL {
        let detail = format!(
            "this server speaks version {PROTOCOL} of the protocol, the runner {protocol}; update the older of the two"
        );
        return Err(Failure::conflict("protocol", detail));
    }
    let hello = Join::Hello { runner, nonce, host, version, facts: Box::new(facts) };
    match app.engine.apply(Event::Join(hello)).await? {
        Answer::Session { runner, name, session } => {
            let (grid, lease_ms, renew_ms) =
                (app.grid.clone(), app.config.lease_ms, app.config.lease_ms / limits::RENEWALS);
            Ok(Json(HelloAnswer { runner, name, grid, session, lease_ms, renew_ms }))
        }
        other => Err(Failure::internal("greet a runner", format!("unexpected answer {other:?}"))),
    }
}
