//! JSON bodies in and out, whose refusals are problems like all others.
use axum::extract::{FromRequest, Request};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use http::{HeaderValue, StatusCode, header};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::failure::Failure;

/// As axum's `Json`, with our errors.
#[derive(Debug)]
pub struct Json<T>(pub T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for Json<T> {
    type Rejection = Failure;
    async fn from_request(request: Request, state: &S) -> Result<Json<T>, Failure> {
        let kind = request.headers().get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
        // Forms of foreign pages can be sent as text/plain, never as this.
        if kind.split(';').next().map(str::trim) != Some("application/json") {
            let detail = "send the body with content-type: application/json";
            return Err(Failure::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "wrong_content_type", detail));
        }
        let bytes = body(request, state).await?;
        serde_json::from_slice(&bytes)
            .map(Json)
            .map_err(|error| Failure::bad_request(format!("the body cannot be understood: {error}")))
    }
}

/// The whole body, as far as the route's limit allows.
pub async fn body<S: Send + Sync>(request: Request, state: &S) -> Result<Bytes, Failure> {
    Bytes::from_request(request, state).await.map_err(|refusal| match refusal.status() {
        StatusCode::PAYLOAD_TOO_LARGE => Failure::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            "body_too_large",
            "the body is larger than this route takes; send less, or send files as blobs",
        ),
        status => Failure::new(status, "body_broken", "the body did not arrive whole; send it again"),
    })
}

impl<T: Serialize> IntoResponse for Json<T> {
    fn into_response(self) -> Response {
        match serde_json::to_vec(&self.0) {
            Ok(bytes) => {
                ([(header::CONTENT_TYPE, HeaderValue::from_static("application/json"))], bytes).into_response()
            }
            Err(error) => Failure::internal("write the answer as JSON", error).into_response(),
        }
    }
}
