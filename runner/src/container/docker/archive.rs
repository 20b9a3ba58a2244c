//! Files into a container before it starts and out of it after it ended, as tar.
use std::time::Duration;

use bollard::body_full;
use bollard::query_parameters::{DownloadFromContainerOptionsBuilder, UploadToContainerOptionsBuilder};
use bytes::Bytes;
use dsg_schemas::reason::EndReason;
use futures_util::StreamExt;
use tokio::sync::mpsc;

use super::failure::Trouble;
use super::{DockerEngine, Kind};
use crate::container::{Failure, State};

/// Pieces in flight: the reader hashes and stores, and the engine waits for it.
const PIECES: usize = 16;
/// How long Podman may take to put a container's storage to rest: ten seconds, looked at in short steps.
const CLEANUP_LOOKS: u32 = 200;
const CLEANUP_LOOK: Duration = Duration::from_millis(50);

type Pieces = mpsc::Receiver<Result<Bytes, Failure>>;

impl DockerEngine {
    /// Folders that anybody in the container may write to, whoever it runs as. A volume or a host folder would do as well, but
    /// would not be counted, copied and removed with the container.
    pub(super) async fn make_folders(&self, id: &str, folders: &[String]) -> Result<(), Failure> {
        if folders.is_empty() {
            return Ok(());
        }
        let attempted = format!("make {} in the container", folders.join(", "));
        let tar = folders_tar(folders).map_err(|error| Trouble::Strange(error.to_string()).failed(&attempted))?;
        let options = UploadToContainerOptionsBuilder::default().path("/").build();
        let uploaded = self.short.upload_to_container(id, Some(options), body_full(tar.into())).await;
        uploaded.map_err(|error| Trouble::from(error).failed(&attempted))
    }

    /// Podman calls a container exited as soon as its process has ended, and takes its file system down a moment later in a process of
    /// its own; a copy that meets that moment finds nothing (seen with 4.3: 6 of 24 copies on a busy host). Its own inspect tells the
    /// two apart: `stopped` before, `exited` after.
    async fn storage_at_rest(&self, id: &str) {
        if self.kind == Kind::Docker {
            return;
        }
        let path = format!("/v4.0.0/libpod/containers/{id}/json");
        for _ in 0..CLEANUP_LOOKS {
            match self.plain.get(&path).await {
                Ok(found) if found["State"]["Status"] == "stopped" => tokio::time::sleep(CLEANUP_LOOK).await,
                // Whatever else it says is what the copy itself will meet.
                Ok(_) | Err(_) => return,
            }
        }
    }

    pub(super) async fn download(&self, id: &str, path: &str) -> Result<Option<Pieces>, Failure> {
        let attempted = format!("copy {path} out of the container");
        self.storage_at_rest(id).await;
        let options = DownloadFromContainerOptionsBuilder::default().path(path).build();
        let mut stream = Box::pin(self.long.download_from_container(id, Some(options)));
        let first = match stream.next().await {
            Some(Ok(bytes)) => bytes,
            Some(Err(error)) => {
                let trouble = Trouble::from(error);
                if !no_such_path(&trouble) {
                    return Err(trouble.failed(&attempted));
                }
                // The same 404 tells that the container itself is gone.
                return match self.look(id).await? {
                    State::Gone => Err(Failure {
                        reason: EndReason::RunnerLost,
                        message: format!("failed to {attempted}: there is no such container any more"),
                        engine_gone: false,
                    }),
                    State::Created | State::Running { .. } | State::Paused | State::Exited(_) => Ok(None),
                };
            }
            None => return Ok(None),
        };
        let (sender, receiver) = mpsc::channel(PIECES);
        tokio::spawn(async move {
            if sender.send(Ok(first)).await.is_err() {
                return;
            }
            while let Some(piece) = stream.next().await {
                let piece = piece.map_err(|error| Trouble::from(error).failed(&attempted));
                if sender.send(piece).await.is_err() {
                    return;
                }
            }
        });
        Ok(Some(receiver))
    }
}

fn no_such_path(trouble: &Trouble) -> bool {
    trouble.missing() || trouble.says(&["could not find the file", "no such file or directory", "could not be found"])
}

fn folders_tar(folders: &[String]) -> std::io::Result<Vec<u8>> {
    let mut tar = tar::Builder::new(Vec::new());
    for folder in folders {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(tar::EntryType::Directory);
        header.set_mode(0o1777);
        header.set_uid(0);
        header.set_gid(0);
        header.set_size(0);
        tar.append_data(&mut header, format!("{}/", folder.trim_matches('/')), std::io::empty())?;
    }
    tar.into_inner()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_are_sticky_and_open_and_stay_inside() {
        let tar = folders_tar(&["/out".to_owned(), "/data/deep/".to_owned()]).expect("a tar");
        let mut archive = tar::Archive::new(tar.as_slice());
        let made = archive.entries().expect("entries").map(|entry| {
            let entry = entry.expect("an entry");
            let path = entry.path().expect("a path").display().to_string();
            (path, entry.header().mode().expect("a mode"), entry.header().entry_type().is_dir())
        });
        let made: Vec<_> = made.collect();
        assert_eq!(made, [("out/".to_owned(), 0o1777, true), ("data/deep/".to_owned(), 0o1777, true)]);
        assert!(folders_tar(&["/../etc".to_owned()]).is_err());
    }
}
