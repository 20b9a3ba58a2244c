//! Blobs over HTTP: whether there is one, its bytes, and pieces of an upload.
use std::io::SeekFrom;

use axum::body::Body;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use dsg_schemas::api::BlobHave;
use dsg_schemas::limits::BLOB_PIECE_BYTES;
use http::{HeaderMap, StatusCode};
use http_body_util::Limited;
use serde::Deserialize;
use tokio::io::{AsyncReadExt, AsyncSeekExt};
use tokio_util::io::ReaderStream;

use crate::app::App;
use crate::auth::Caller;
use crate::blobs::serve::{Answer, Served};
use crate::blobs::{BlobError, BlobHash, drain};
use crate::failure::{Failure, Reply};
use crate::web::{Ask, In, Json};

/// Read from the disk at once.
const READ_BYTES: usize = 256 << 10;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Name {
    /// What a browser saves it as.
    name: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Place {
    offset: u64,
    size: u64,
}

impl From<BlobError> for Failure {
    fn from(error: BlobError) -> Failure {
        let refuse = |status, code| Failure::new(status, code, error.to_string());
        match &error {
            BlobError::Elsewhere(_) => refuse(StatusCode::CONFLICT, "wrong_offset"),
            BlobError::WrongHash { .. } => refuse(StatusCode::UNPROCESSABLE_ENTITY, "wrong_hash"),
            BlobError::TooLong { .. } => refuse(StatusCode::BAD_REQUEST, "too_long"),
            BlobError::DiskFull(_) => refuse(StatusCode::INSUFFICIENT_STORAGE, "disk_full"),
            BlobError::Body(_) => refuse(StatusCode::BAD_REQUEST, "body_broken"),
            BlobError::Missing(_) => refuse(StatusCode::NOT_FOUND, "not_found"),
            BlobError::File { source, .. } => Failure::internal("use the blob store", format!("{error}: {source}")),
        }
    }
}

/// Also answers HEAD. A runner may read any blob: whoever knows a hash, which nobody can guess, was given it with an order.
pub async fn get(
    State(app): State<App>,
    In(hash): In<String>,
    Ask(Name { name }): Ask<Name>,
    headers: HeaderMap,
) -> Reply<Response> {
    let hash = parse(&hash)?;
    let blobs = app.blobs.clone();
    let (file, length) = app.blocking("open a blob", move || Ok(blobs.read(hash)?)).await?;
    let served = Served {
        content_type: "application/octet-stream",
        file_name: name.unwrap_or_else(|| hash.to_string()),
        tag: format!("\"{hash}\""),
        length,
        is_final: true,
    };
    let (head, range) = match served.answer(&headers) {
        Answer::Bytes(head, range) => (head, range),
        Answer::Nothing(response) => return Ok(*response),
    };
    let mut file = tokio::fs::File::from_std(file);
    let broken = |error: std::io::Error| Failure::internal("read a blob", error);
    file.seek(SeekFrom::Start(range.start)).await.map_err(broken)?;
    let bytes = ReaderStream::with_capacity(file.take(range.end - range.start), READ_BYTES);
    head.body(Body::from_stream(bytes)).map_err(|error| Failure::internal("answer with a blob", error))
}

/// Takes a piece. The answer says where to go on; 409 with the same content if this piece began elsewhere.
pub async fn put(
    State(app): State<App>,
    caller: Caller,
    In(hash): In<String>,
    Ask(Place { offset, size }): Ask<Place>,
    body: Body,
) -> Reply<Response> {
    let hash = parse(&hash)?;
    if offset > size {
        return Err(Failure::bad_request(format!("the piece begins at {offset}, behind the blob's end at {size}")));
    }
    let limited = Body::new(Limited::new(body, 2 * BLOB_PIECE_BYTES as usize));
    // Results of what runs are taken as long as they fit.
    if caller.runner.is_none()
        && let Err(low) = app.room_for_uploads()
    {
        drain(limited.into_data_stream()).await;
        return Err(low);
    }
    let (status, have): (StatusCode, BlobHave) =
        match app.blobs.piece(hash, offset, size, limited.into_data_stream()).await {
            Ok(have) => (StatusCode::OK, have),
            Err(BlobError::Elsewhere(have)) => (StatusCode::CONFLICT, have),
            Err(error) => return Err(error.into()),
        };
    Ok((status, Json(have)).into_response())
}

fn parse(text: &str) -> Reply<BlobHash> {
    text.parse().map_err(|error| Failure::not_found(format!("there is no blob {text:?}: {error}")))
}
