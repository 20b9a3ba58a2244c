//! Tokens from a browser. What was made is shown in the answer itself: a secret belongs in no address and no cookie.
use axum::response::Response;
use dsg_schemas::api::{CreateToken, CreatedToken};
use http::StatusCode;
use serde::Deserialize;

use super::super::tokens::{KINDS, page};
use super::super::url::SafeUrl;
use super::visit::{Visit, redirect};
use crate::api::{secrets, tokens};
use crate::failure::{Failure, Reply};
use crate::web::{Filled, In};

pub async fn list(visit: Visit) -> Reply<Response> {
    drawn(&visit, StatusCode::OK, None).await
}

async fn drawn(visit: &Visit, status: StatusCode, created: Option<&CreatedToken>) -> Reply<Response> {
    let secrets = secrets::all(&visit.app).await?;
    Ok(visit.page_as(status, page(visit.frame(), &tokens::all(&visit.app), &secrets, created)))
}

#[derive(Deserialize)]
pub struct Wanted {
    kind: String,
    name: String,
    #[serde(default)]
    hours: String,
    #[serde(default)]
    uses: String,
}

pub async fn create(visit: Visit, Filled(wanted): Filled<Wanted>) -> Reply<Response> {
    let kind = KINDS.iter().find(|(_, word, _)| *word == wanted.kind).map(|(kind, _, _)| *kind);
    let kind = kind.ok_or_else(|| Failure::bad_request(format!("there is no kind of token {:?}", wanted.kind)))?;
    let (hours, uses) = (number("hours", &wanted.hours)?, number("joins", &wanted.uses)?);
    let created = tokens::created(&visit.app, CreateToken { kind, name: wanted.name, hours, uses }).await?;
    drawn(&visit, StatusCode::CREATED, Some(&created)).await
}

/// An empty field says nothing.
fn number<T: std::str::FromStr>(field: &str, text: &str) -> Reply<Option<T>> {
    match text.trim() {
        "" => Ok(None),
        text => text.parse().map(Some).map_err(|_| Failure::bad_request(format!("{text:?} is no number of {field}"))),
    }
}

pub async fn revoke(visit: Visit, In(id): In<String>) -> Reply<Response> {
    tokens::revoked(&visit.app, id).await?;
    Ok(redirect(&SafeUrl::fixed("/tokens"), true, "The token was revoked: whoever holds it is shut out."))
}
