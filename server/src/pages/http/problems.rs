//! Problems as pages, for people in front of a browser; programs get them as JSON.
use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use dsg_schemas::api::Role;
use http::{HeaderMap, header};

use super::super::frame::Frame;
use super::super::{login, problem};
use super::visit::whoami;
use crate::app::App;
use crate::auth::door::Visitor;
use crate::failure::Failure;
use crate::web::access;

/// A layer over all routes: it redraws what the handlers refused.
pub async fn problems(State(app): State<App>, request: Request, next: Next) -> Response {
    let path = request.uri().path().to_owned();
    let wanted = !path.starts_with("/api/") && wants_page(request.headers());
    let headers = wanted.then(|| request.headers().clone());
    let response = next.run(request).await;
    match (headers, response.extensions().get::<Failure>()) {
        (Some(headers), Some(failure)) => drawn(&app, &path, &headers, failure.clone()),
        _ => response,
    }
}

fn wants_page(headers: &HeaderMap) -> bool {
    headers
        .get(header::ACCEPT)
        .and_then(|accept| accept.to_str().ok())
        .is_some_and(|accept| accept.contains("text/html"))
}

fn drawn(app: &App, path: &str, headers: &HeaderMap, failure: Failure) -> Response {
    let now_ms = app.clock.now_ms();
    let visitor = access::secret(headers, app.cookie_name()).and_then(|secret| app.doors.visitor(secret, now_ms).ok());
    let viewer = match visitor {
        Some(Visitor::Caller(caller)) if caller.role != Role::Runner => Some(whoami(app, &caller)),
        _ => None,
    };
    let frame = Frame { viewer: viewer.as_ref(), banners: &app.banners.all(), flash: None, now_ms };
    let status = failure.status();
    let page = match path {
        "/login" => login::page(Frame { viewer: None, ..frame }, &app.grid, Some(&failure.0.detail)),
        _ => problem::page(frame, &failure.0),
    };
    (status, page).into_response()
}
