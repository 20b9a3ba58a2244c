//! Sends the files beside a job file: hashed here, sent once, gone on with where it broke off.
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::time::Duration;

use dsg_schemas::api::{BlobHave, Upload, Uploads};
use dsg_schemas::limits::BLOB_PIECE_BYTES;
use futures_util::{StreamExt, TryStreamExt, stream};
use reqwest::{Method, StatusCode};

use crate::client::{self, Client, Patience};
use crate::exit::{Exit, Failure};
use crate::hash;
use crate::local::{Files, Local};
use crate::output::Output;
use crate::progress::Bar;

/// Files sent at once: enough to hide the way to the server, few enough for a slow line.
const AT_ONCE: usize = 4;
/// A piece over the slowest line that makes sense.
const PIECE: Duration = Duration::from_secs(600);
/// Answers in a row that bring nothing forward.
const PATIENCE: u32 = 5;

/// Reads every file once.
pub async fn hashes(output: &Output, files: &Files) -> Result<Uploads, Failure> {
    let bar = Bar::of_bytes(output, "reading", files.bytes());
    let mut uploads = Uploads::new();
    for (path, local) in &files.found {
        let (file, shown) = (local.file.clone(), local.file.clone());
        let read = tokio::task::spawn_blocking(move || hash::of_file(&file, |_| ())).await;
        let read = read.map_err(|error| Failure::other(format!("cannot read {}: {error}", shown.display())))?;
        let (size, sha256) = read.map_err(|error| Failure::file("read", &shown, &error))?;
        bar.advance(size);
        uploads.insert(path.clone(), Upload { size, sha256 });
    }
    Ok(uploads)
}

/// Makes sure that the server has every file. What it has already is not sent again.
pub async fn send(client: &Client, output: &Output, files: &Files, uploads: &Uploads) -> Result<(), Failure> {
    let bar = Bar::of_bytes(output, "sending", uploads.values().map(|upload| upload.size).sum());
    let wanted = uploads.iter().filter_map(|(path, upload)| Some((path, upload, files.found.get(path)?)));
    let bar = &bar;
    stream::iter(wanted)
        .map(|(path, upload, local)| send_one(client, path, upload, local, bar))
        .buffer_unordered(AT_ONCE)
        .try_collect::<Vec<()>>()
        .await
        .map(drop)
}

async fn send_one(client: &Client, path: &str, upload: &Upload, local: &Local, bar: &Bar<'_>) -> Result<(), Failure> {
    let attempted = format!("send {path}");
    let at = format!("/api/v1/blobs/sha256/{}", upload.sha256);
    let changed = || {
        Failure::new(Exit::Conflict, format!("{path} changed while it was being sent"))
            .hint("submit again once it is whole")
    };
    match client.send(&attempted, Patience::Long, || client.request(Method::HEAD, &at).timeout(PIECE)).await {
        Ok(_) => {
            bar.advance(upload.size);
            return Ok(());
        }
        Err(failure) if failure.exit == Exit::NotFound => {}
        Err(failure) => return Err(failure),
    }
    let file = File::open(&local.file).map_err(|error| Failure::file("read", &local.file, &error))?;
    let (mut have, mut idle) = (0, 0);
    loop {
        let length = (upload.size - have).min(BLOB_PIECE_BYTES);
        let mut piece = vec![0; length as usize];
        file.read_exact_at(&mut piece, have).map_err(|error| match error.kind() {
            std::io::ErrorKind::UnexpectedEof => changed(),
            _ => Failure::file("read", &local.file, &error),
        })?;
        let answer = put(client, &attempted, &at, have, upload.size, bytes::Bytes::from(piece)).await?;
        if answer.complete {
            bar.advance(upload.size - have);
            return Ok(());
        }
        if answer.have > upload.size {
            return Err(changed());
        }
        idle = if answer.have > have { 0 } else { idle + 1 };
        if idle >= PATIENCE || (answer.have == upload.size && idle > 0) {
            return Err(Failure::other(format!(
                "cannot {attempted}: the server does not go on from byte {}",
                answer.have
            )));
        }
        bar.advance(answer.have.saturating_sub(have));
        have = answer.have;
    }
}

async fn put(
    client: &Client,
    attempted: &str,
    at: &str,
    offset: u64,
    size: u64,
    piece: bytes::Bytes,
) -> Result<BlobHave, Failure> {
    let path = format!("{at}?offset={offset}&size={size}");
    let build = || {
        client
            .request(Method::PUT, &path)
            .header("content-type", "application/octet-stream")
            .body(piece.clone())
            .timeout(PIECE)
    };
    let (status, body) = client.exchange(attempted, Patience::Long, build).await?;
    // 409: it has more, or less, than we thought. It says how much.
    match StatusCode::from_u16(status) {
        Ok(StatusCode::CONFLICT) | Err(_) => {}
        Ok(status) if status.is_success() => {}
        Ok(status) => return Err(client::refusal_of(attempted, status, &body)),
    }
    client::understand(attempted, client::json(attempted, &body)?)
}
