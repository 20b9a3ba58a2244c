//! Outputs: copied out of the ended container, hashed, and stored on the server before anything is called a success.
use std::io::{self, Read, Seek, SeekFrom};
use std::path::Path;

use bytes::Bytes;
use dsg_schemas::limits::BLOB_PIECE_BYTES;
use dsg_schemas::reason::EndReason;
use dsg_schemas::wire::{Ended, OutputOrder, StartOrder, StoredFile};

use super::unpack::{Taken, UnpackError, Wanted, unpack};
use super::{Shared, disk, failed};
use crate::spool::Folder;

/// What is stored, and which required output was not there.
#[derive(Debug, Default)]
pub struct Stored {
    pub outputs: Vec<StoredFile>,
    pub missing: Option<String>,
}

/// All that was declared, stored; or why that cannot be. After the first required output that is missing nothing more is worth
/// storing, unless a retry rule accepts just that.
pub async fn store(shared: &Shared, folder: &Folder, container: &str, order: &StartOrder) -> Result<Stored, Ended> {
    let goes_on = order.accept.takes(EndReason::OutputMissing, None);
    let mut stored = Stored::default();
    for (index, output) in order.outputs.iter().enumerate() {
        let scratch = folder.part("outputs").and_then(|_| folder.part(&format!("outputs/{index}")));
        let scratch = scratch.map_err(|error| disk("store outputs", &error))?;
        let taken = match copy_surely(shared, container, output, &scratch).await {
            Ok(taken) if taken.is_empty() && output.required => {
                let next = "is not there at the end; write it there, or declare it `required: false`";
                stored.missing.get_or_insert(missing(output, next).message);
                taken
            }
            Ok(taken) => taken,
            Err(Ended { reason: EndReason::OutputMissing, message, .. }) => {
                stored.missing.get_or_insert(message);
                Vec::new()
            }
            Err(ended) => return Err(ended),
        };
        if stored.missing.is_some() && !goes_on {
            return Ok(Stored { outputs: Vec::new(), ..stored });
        }
        for file in taken {
            upload(shared, output, &file).await?;
            // Freed as soon as the server has it.
            drop(std::fs::remove_file(&file.scratch));
            let Taken { file, scratch: _, size, sha256 } = file;
            stored.outputs.push(StoredFile { name: output.name.clone(), file, size, sha256 });
        }
    }
    folder.clear("outputs");
    Ok(stored)
}

/// An engine that is still tidying up after the container may show nothing, or half of it, for a moment (seen with Podman 4.3). That
/// nothing is there is believed only when it is said again.
async fn copy_surely(
    shared: &Shared,
    container: &str,
    output: &OutputOrder,
    scratch: &Path,
) -> Result<Vec<Taken>, Ended> {
    let more_tries = if output.required { 2 } else { 1 };
    for tried in 0..more_tries {
        match copy(shared, container, output, scratch).await {
            Ok(taken) if taken.is_empty() => {}
            Err(ended) if ended.reason == EndReason::EngineError => {
                tracing::warn!(output = output.name, why = ended.message, "cannot copy an output; it is tried again");
            }
            done => return done,
        }
        tokio::time::sleep(shared.patience.after(tried)).await;
    }
    copy(shared, container, output, scratch).await
}

async fn copy(shared: &Shared, container: &str, output: &OutputOrder, scratch: &Path) -> Result<Vec<Taken>, Ended> {
    let (path, wanted) = match output.path.rsplit_once('/') {
        Some((folder, name)) if name.contains(['*', '?']) => {
            (if folder.is_empty() { "/" } else { folder }, Wanted::Matching(name.to_owned()))
        }
        _ => (output.path.as_str(), Wanted::Itself),
    };
    let (mut failures, begun) = (0, tokio::time::Instant::now());
    let pieces = loop {
        match shared.engine.copy_out(container, path).await {
            Ok(pieces) => break pieces,
            // Known to have ended well: an engine that comes back still has the files.
            Err(failure) if failure.engine_gone && begun.elapsed() < shared.patience.engine_gone => {
                tokio::time::sleep(shared.patience.after(failures)).await;
                failures += 1;
            }
            Err(failure) => return Err(failed(failure)),
        }
    };
    let Some(pieces) = pieces else { return Ok(Vec::new()) };
    let scratch = scratch.to_owned();
    let unpacked = tokio::task::spawn_blocking(move || unpack(pieces, &wanted, &scratch)).await;
    match unpacked {
        Ok(Ok(taken)) => Ok(taken),
        Ok(Err(error)) => Err(not_taken(output, error)),
        Err(error) => Err(disk("unpack outputs", &io::Error::other(error))),
    }
}

fn not_taken(output: &OutputOrder, error: UnpackError) -> Ended {
    match error {
        UnpackError::NotAFile(_) | UnpackError::TooMany | UnpackError::Name(_) => missing(output, &error.to_string()),
        UnpackError::Engine(failure) => failed(failure),
        UnpackError::Archive(error) => Ended::before_start(
            EndReason::EngineError,
            format!("output {}: the engine's archive of {} is broken: {error}", output.name, output.path),
        ),
        UnpackError::Disk(error) => disk("store outputs", &error),
    }
}

fn missing(output: &OutputOrder, why: &str) -> Ended {
    Ended::before_start(EndReason::OutputMissing, format!("output {}: {} {why}", output.name, output.path))
}

async fn upload(shared: &Shared, output: &OutputOrder, file: &Taken) -> Result<(), Ended> {
    let (mut offset, mut failures) = (0, 0);
    loop {
        let turn = shared.transfers.acquire().await;
        let piece = piece(&file.scratch, offset, file.size).map_err(|error| disk("read outputs", &error))?;
        let answer = shared.link.put_blob(&file.sha256, offset, file.size, piece).await;
        drop(turn);
        match answer {
            Ok(have) if have.complete => return Ok(()),
            Ok(have) if have.have != offset && have.have <= file.size => {
                (offset, failures) = (have.have, 0);
                continue;
            }
            Ok(_) => {}
            Err(error) if error.passes() => {
                tracing::debug!(output = output.name, %error, "cannot store an output; it is tried again");
            }
            Err(error) => {
                let message = format!("output {}: {} could not be stored: {error}", output.name, file.file);
                return Err(Ended::before_start(EndReason::EngineError, message));
            }
        }
        tokio::time::sleep(shared.patience.after(failures)).await;
        failures += 1;
    }
}

fn piece(path: &Path, offset: u64, size: u64) -> io::Result<Bytes> {
    let length = (size - offset).min(BLOB_PIECE_BYTES);
    let mut file = std::fs::File::open(path)?;
    file.seek(SeekFrom::Start(offset))?;
    let mut bytes = Vec::with_capacity(length as usize);
    file.take(length).read_to_end(&mut bytes)?;
    Ok(bytes.into())
}
