//! The manifest of a job: one JSON line per chunk, kept beside the results, read line by line however long it is.
use std::fs::File;
use std::io::{BufRead, BufReader, BufWriter, Write};
use std::path::Path;
use std::time::Duration;

use dsg_schemas::api::ManifestLine;
use dsg_schemas::ids::JobId;
use reqwest::Method;
use tokio::time::{sleep, timeout};

use crate::client::{self, Client, Patience, SILENCE};
use crate::exit::{Exit, Failure};

/// Tries to get it whole. It is made anew for each, so there is nothing to go on from.
const TRIES: u32 = 5;

/// Puts the manifest at `to`, whole or not at all.
pub async fn download(client: &Client, job: JobId, to: &Path) -> Result<(), Failure> {
    let part = to.with_extension("jsonl.dsg-part");
    let mut tried = 0;
    loop {
        tried += 1;
        match once(client, job, &part).await {
            Ok(()) => return std::fs::rename(&part, to).map_err(|error| Failure::file("write", to, &error)),
            Err(failure) if failure.exit == Exit::Unreachable && tried < TRIES => sleep(Duration::from_secs(1)).await,
            Err(failure) => {
                let _ = std::fs::remove_file(&part);
                return Err(failure);
            }
        }
    }
}

async fn once(client: &Client, job: JobId, part: &Path) -> Result<(), Failure> {
    let attempted = format!("fetch the manifest of job {job}");
    let path = format!("/api/v1/jobs/{job}/manifest");
    let mut response = client.send(&attempted, Patience::Long, || client.request(Method::GET, &path)).await?;
    let fail = |error: std::io::Error| Failure::file("write", part, &error);
    let mut file = BufWriter::new(File::create(part).map_err(fail)?);
    loop {
        let broke = |why: String| Failure::new(Exit::Unreachable, format!("cannot {attempted}: it broke off: {why}"));
        match timeout(SILENCE, response.chunk()).await {
            Ok(Ok(Some(piece))) => file.write_all(&piece).map_err(fail)?,
            Ok(Ok(None)) => return file.flush().map_err(fail),
            Ok(Err(error)) => return Err(broke(client::root_cause(&error))),
            Err(_) => return Err(broke("the server fell silent".to_owned())),
        }
    }
}

/// The lines of a manifest on disk.
pub fn lines(path: &Path) -> Result<impl Iterator<Item = Result<ManifestLine, Failure>> + use<>, Failure> {
    let shown = path.to_owned();
    let file = File::open(path).map_err(|error| Failure::file("read", path, &error))?;
    Ok(BufReader::new(file).lines().filter(|line| line.as_ref().map_or(true, |line| !line.trim().is_empty())).map(
        move |line| {
            let line = line.map_err(|error| Failure::file("read", &shown, &error))?;
            serde_json::from_str(&line).map_err(|error| {
                Failure::other(format!("this dsg does not understand the manifest in {}: {error}", shown.display()))
                    .hint("use the dsg of the server's version")
            })
        },
    ))
}
