//! What stands before every route: the Host check against DNS rebinding, the CSRF layer, and the headers of every answer.
//!
//! Requests without browser headers (`dsg`, runners) pass the CSRF layer; a browser's cross-site request never does. The Host check holds
//! on loopback, too: a page of a stranger's can make a browser send requests to 127.0.0.1 under the stranger's name.
use std::collections::BTreeSet;
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::middleware::{Next, from_fn, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use http::{HeaderName, HeaderValue, StatusCode, header};
use tower_http::catch_panic::CatchPanicLayer;
use tower_http::csrf::CsrfLayer;

use crate::failure::Failure;

/// Strict: no inline script or style, nothing from elsewhere, no framing, Trusted Types without any policy.
const CONTENT_SECURITY_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; \
     font-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'";

const HEADERS: [(HeaderName, &str); 5] = [
    (header::CONTENT_SECURITY_POLICY, CONTENT_SECURITY_POLICY),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::REFERRER_POLICY, "no-referrer"),
    (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
    (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
];

/// `names`: under which this server may be addressed, as in its certificate.
pub fn guard(routes: Router, names: impl IntoIterator<Item = String>) -> Router {
    let names: Arc<BTreeSet<String>> = Arc::new(names.into_iter().map(|name| name.to_ascii_lowercase()).collect());
    let csrf = CsrfLayer::new().with_rejection_response(|_| {
        let detail = "the request came from a page of another site; use the dashboard itself";
        Failure::new(StatusCode::FORBIDDEN, "cross_site", detail).into_response()
    });
    routes
        .layer(CatchPanicLayer::custom(|panic: Box<dyn std::any::Any + Send>| {
            let text = panic.downcast_ref::<String>().map(String::as_str).or(panic.downcast_ref::<&str>().copied());
            Failure::internal("answer this request", text.unwrap_or("a panic")).into_response()
        }))
        .layer(csrf)
        .layer(from_fn_with_state(names, only_known_hosts))
        .layer(from_fn(add_headers))
}

/// The name in `Host` (HTTP/1) or in the request's authority (HTTP/2), without port and brackets.
fn host_of(request: &Request) -> Option<String> {
    let header = request.headers().get(header::HOST).and_then(|value| value.to_str().ok());
    let text = request.uri().authority().map(|authority| authority.as_str()).or(header)?;
    let name = match text.strip_prefix('[') {
        Some(rest) => rest.split_once(']')?.0,
        None => text.rsplit_once(':').map_or(text, |(name, _)| name),
    };
    Some(name.trim_end_matches('.').to_ascii_lowercase())
}

async fn only_known_hosts(State(names): State<Arc<BTreeSet<String>>>, request: Request, next: Next) -> Response {
    let host = host_of(&request);
    if host.as_ref().is_some_and(|host| names.contains(host)) {
        return next.run(request).await;
    }
    let shown: String = host.unwrap_or_default().escape_debug().take(100).collect();
    let detail =
        format!("this server does not answer to the name {shown:?}; if it should, start it with --public-name");
    Failure::new(StatusCode::MISDIRECTED_REQUEST, "unknown_host", detail).into_response()
}

/// A handler that has said something stricter (raw logs, blobs) keeps it.
async fn add_headers(request: Request, next: Next) -> Response<Body> {
    let mut response = next.run(request).await;
    for (name, value) in HEADERS {
        response.headers_mut().entry(name).or_insert(HeaderValue::from_static(value));
    }
    response
}

#[cfg(test)]
mod tests {
    use axum::routing::{get, post};
    use tower::ServiceExt as _;

    use super::*;

    async fn panics() -> &'static str {
        panic!("secret detail")
    }

    async fn ask(request: http::request::Builder) -> (StatusCode, http::HeaderMap, String) {
        let routes = Router::new()
            .route("/", get(|| async { "hello" }))
            .route("/act", post(|| async { "done" }))
            .route("/panic", get(panics));
        let guarded = guard(routes, ["localhost".to_owned(), "::1".to_owned(), "Lab.example.org".to_owned()]);
        let response = guarded.oneshot(request.body(Body::empty()).expect("a request")).await.expect("an answer");
        let (parts, body) = response.into_parts();
        let body = axum::body::to_bytes(body, 1 << 16).await.expect("a body");
        (parts.status, parts.headers, String::from_utf8_lossy(&body).into_owned())
    }

    #[tokio::test]
    async fn only_known_hosts_are_answered() {
        for (host, status) in [
            ("localhost:8420", 200),
            ("localhost", 200),
            ("LOCALHOST.:1", 200),
            ("[::1]:8420", 200),
            ("lab.example.org", 200),
            ("evil.test", 421),
            ("localhost.evil.test", 421),
            ("", 421),
        ] {
            let (seen, headers, _) = ask(Request::get("/").header("host", host)).await;
            assert_eq!(seen.as_u16(), status, "{host:?}");
            assert_eq!(headers[header::CONTENT_SECURITY_POLICY], CONTENT_SECURITY_POLICY);
            assert_eq!(headers[header::X_CONTENT_TYPE_OPTIONS], "nosniff");
        }
        assert_eq!(ask(Request::get("/")).await.0, 421, "no Host at all");
    }

    #[tokio::test]
    async fn cross_site_posts_are_refused_and_plain_clients_pass() {
        let to = |name: &str, value: &str| Request::post("/act").header("host", "localhost").header(name, value);
        assert_eq!(
            ask(Request::post("/act").header("host", "localhost")).await.0,
            200,
            "dsg and runners send neither header"
        );
        assert_eq!(ask(to("sec-fetch-site", "same-origin")).await.0, 200);
        assert_eq!(ask(to("sec-fetch-site", "cross-site")).await.0, 403);
        assert_eq!(ask(to("origin", "https://evil.test")).await.0, 403);
        assert!(ask(to("sec-fetch-site", "cross-site")).await.2.contains("cross_site"));
    }

    #[tokio::test]
    async fn a_panic_is_told_without_its_detail() {
        let (status, _, body) = ask(Request::get("/panic").header("host", "localhost")).await;
        assert_eq!(status, 500);
        assert!(!body.contains("secret"), "{body}");
    }
}
