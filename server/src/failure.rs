//! What a handler answers when it cannot: a problem with a code for programs and a sentence for people.
use axum::response::{IntoResponse, Response};
use dsg_core::event::Refusal;
use dsg_schemas::api::{Problem, SpecProblem};
use http::{HeaderValue, StatusCode, header};

use crate::engine::Refused;

pub type Reply<T> = Result<T, Failure>;

#[derive(Clone, Debug, PartialEq)]
pub struct Failure(pub Box<Problem>);

impl Failure {
    /// `detail` says what was attempted, why it failed and what to do next.
    pub fn new(status: StatusCode, code: &str, detail: impl Into<String>) -> Failure {
        let title = status.canonical_reason().unwrap_or("Error").to_owned();
        let (code, status) = (code.to_owned(), status.as_u16());
        Failure(Box::new(Problem { code, title, status, detail: detail.into(), problems: Vec::new() }))
    }
    pub fn bad_request(detail: impl Into<String>) -> Failure {
        Failure::new(StatusCode::BAD_REQUEST, "bad_request", detail)
    }
    pub fn not_found(detail: impl Into<String>) -> Failure {
        Failure::new(StatusCode::NOT_FOUND, "not_found", detail)
    }
    pub fn forbidden(detail: impl Into<String>) -> Failure {
        Failure::new(StatusCode::FORBIDDEN, "forbidden", detail)
    }
    pub fn unauthorized(detail: impl Into<String>) -> Failure {
        Failure::new(StatusCode::UNAUTHORIZED, "unauthorized", detail)
    }
    pub fn conflict(code: &str, detail: impl Into<String>) -> Failure {
        Failure::new(StatusCode::CONFLICT, code, detail)
    }
    /// Our fault: the cause goes to the log, not to the caller.
    pub fn internal(attempted: &str, cause: impl std::fmt::Display) -> Failure {
        tracing::error!(attempted, cause = ?cause.to_string(), "internal error");
        let detail = format!("the server failed to {attempted}; its log says why");
        Failure::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", detail)
    }
    /// The store could not be written: nothing of what was asked for has happened.
    pub fn store() -> Failure {
        let detail = "the server could not write its store, so nothing was done; its log says why; try again";
        Failure::new(StatusCode::SERVICE_UNAVAILABLE, "store_failed", detail)
    }
    /// Reading found what nobody wrote.
    pub fn damaged(cause: impl std::fmt::Display) -> Failure {
        tracing::error!(cause = ?cause.to_string(), "the store is damaged");
        let detail = "the server's store is damaged: what was asked for cannot be shown as it was written; its log says where, and `dsg-server restore` gets it back";
        Failure::new(StatusCode::INTERNAL_SERVER_ERROR, "store_damaged", detail)
    }
    pub fn spec(problems: Vec<SpecProblem>) -> Failure {
        let mut failure = Failure::new(
            StatusCode::UNPROCESSABLE_ENTITY,
            "spec_invalid",
            "the job file was refused; correct what is listed and submit it again",
        );
        failure.0.problems = problems;
        failure
    }
    pub fn status(&self) -> StatusCode {
        StatusCode::from_u16(self.0.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let body = serde_json::to_vec(&self.0).unwrap_or_default();
        let mut response = (self.status(), body).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        if self.status() == StatusCode::UNAUTHORIZED {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        // The layers that turn problems into pages for browsers find it here.
        response.extensions_mut().insert(self);
        response
    }
}

/// The one table from refusals of the core to HTTP.
impl From<Refusal> for Failure {
    fn from(refusal: Refusal) -> Failure {
        let detail = refusal.to_string();
        match refusal {
            Refusal::UnknownJob(_)
            | Refusal::UnknownChunk(_)
            | Refusal::UnknownRunner(_)
            | Refusal::UnknownImage(_)
            | Refusal::UnknownSecret(_)
            | Refusal::NotYourAttempt(_)
            | Refusal::NotLoaded(_)
            | Refusal::ChunksNotLoaded(_) => Failure::not_found(detail),
            Refusal::HelloFirst => Failure::conflict("hello_first", detail),
            Refusal::StaleSeq => Failure::conflict("stale_seq", detail),
            Refusal::Cloned { .. } => Failure::conflict("cloned", detail),
            Refusal::NotEnded(_) => Failure::conflict("not_ended", detail),
            Refusal::Ended(_) | Refusal::EndedAsItWas(_) => Failure::conflict("ended", detail),
            Refusal::NoPlaces(_) => Failure::new(StatusCode::UNPROCESSABLE_ENTITY, "no_places", detail),
            Refusal::NotHeld(_) => Failure::conflict("not_held", detail),
            Refusal::StillRunning { .. } => Failure::conflict("still_running", detail),
            Refusal::OtherShape { .. } => Failure::conflict("other_shape", detail),
            Refusal::WouldMix { .. } => Failure::conflict("would_mix", detail),
            Refusal::RanAgain(_) => Failure::conflict("ran_again", detail),
            Refusal::OutputsRemoved { .. } => Failure::conflict("outputs_removed", detail),
            Refusal::StillHolding(_) => Failure::conflict("still_holding", detail),
            Refusal::NoSecret(_) => Failure::conflict("no_secret", detail),
            Refusal::TooManySecrets(_) => Failure::conflict("too_many_secrets", detail),
            Refusal::ImageInUse { .. } => Failure::conflict("image_in_use", detail),
            Refusal::TooManyImages(_) => Failure::conflict("too_many_images", detail),
            Refusal::ImageName(_) => Failure::new(StatusCode::UNPROCESSABLE_ENTITY, "image_name", detail),
            Refusal::TooManyChunks(_) => Failure::new(StatusCode::UNPROCESSABLE_ENTITY, "too_many_chunks", detail),
        }
    }
}

impl From<Refused> for Failure {
    fn from(refused: Refused) -> Failure {
        let detail = refused.to_string();
        match refused {
            Refused::Refusal(refusal) => refusal.into(),
            Refused::Join(_) => Failure::unauthorized(detail),
            Refused::Store => Failure::store(),
            Refused::DiskFull => Failure::new(StatusCode::INSUFFICIENT_STORAGE, "disk_full", detail),
            Refused::Busy => Failure::new(StatusCode::SERVICE_UNAVAILABLE, "busy", detail),
            Refused::Stopping => Failure::new(StatusCode::SERVICE_UNAVAILABLE, "stopping", detail),
        }
    }
}
