//! The table as a service, inside the layers that every answer passes.
use axum::Router;
use axum::extract::{DefaultBodyLimit, Request};
use axum::middleware::{Next, from_fn, from_fn_with_state};
use axum::response::Response;
use http::{HeaderValue, StatusCode, Uri, header};

use super::table;
use crate::app::App;
use crate::failure::Failure;
use crate::guard::guard;
use crate::pages::http::problems;
use crate::web::{Gate, admit};

pub fn router(app: App) -> Router {
    let mut router = Router::new();
    for route in table() {
        let gate = Gate { app: app.clone(), access: route.access, surface: route.surface, query: route.query };
        let limit = DefaultBodyLimit::max(route.body_bytes);
        router = router.route(route.path, route.handler.layer(limit).layer(from_fn_with_state(gate, admit)));
    }
    let names = app.names.clone();
    let router = router
        .fallback(|uri: Uri| async move { Failure::not_found(format!("there is nothing at {}", uri.path())) })
        .method_not_allowed_fallback(|uri: Uri| async move {
            let detail = format!("{} does not take this method", uri.path());
            Failure::new(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", detail)
        })
        .layer(from_fn_with_state(app.clone(), problems))
        .layer(from_fn(keep_nothing))
        .with_state(app);
    guard(router, names)
}

/// Answers are of this moment and for this caller; what may be kept says so itself.
async fn keep_nothing(request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    response.headers_mut().entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    response
}
