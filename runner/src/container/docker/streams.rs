//! A container's output, live and from the engine's own log. A stream that ends is not a container that ended: look with inspect.
use std::pin::Pin;

use bollard::container::LogOutput;
use bollard::query_parameters::{AttachContainerOptionsBuilder, LogsOptionsBuilder};
use dsg_schemas::wire::log::Stream as From;
use futures_util::{Stream, StreamExt};
use tokio::sync::mpsc;

use super::DockerEngine;
use super::failure::{Trouble, start_reason};
use crate::container::{Failure, Piece};

/// Pieces between the engine and the spool, of 16 KiB at most each as engines cut them. When it is full the container's own write
/// waits: that is the back-pressure, and nothing is lost.
const PIECES: usize = 64;

type Outputs = Pin<Box<dyn Stream<Item = Result<LogOutput, bollard::errors::Error>> + Send>>;

impl DockerEngine {
    /// Opened before start, nothing is lost on either engine; opened later, both lose the tail now and then.
    pub(super) async fn open_attach(&self, id: &str) -> Result<mpsc::Receiver<Piece>, Failure> {
        let options = AttachContainerOptionsBuilder::default().stdout(true).stderr(true).stream(true).build();
        let attached = self.long.attach_container(id, Some(options));
        let attached = tokio::time::timeout(self.plain.deadline, attached).await;
        let attached = attached.map_err(|_| Trouble::Silent("no answer in time".to_owned()));
        let attached = attached.and_then(|attached| attached.map_err(Trouble::from));
        // Podman prepares the container for this, so that a command it cannot find or a GPU it does not have is told here already.
        let attached = attached.map_err(|trouble| {
            let reason = start_reason(&trouble);
            trouble.sorted("start the container, with its output attached", reason)
        })?;
        Ok(pieces(attached.output))
    }

    pub(super) async fn open_logs(&self, id: &str, follow: bool) -> Result<mpsc::Receiver<Piece>, Failure> {
        // A missing container is told at once; the stream itself could only end.
        let path = format!("/containers/{}/json", super::plain::escaped_path(id));
        self.plain.get(&path).await.map_err(|trouble| trouble.failed("read the container's log"))?;
        let options = LogsOptionsBuilder::default().stdout(true).stderr(true).follow(follow).build();
        Ok(pieces(Box::pin(self.long.logs(id, Some(options)))))
    }
}

fn pieces(mut outputs: Outputs) -> mpsc::Receiver<Piece> {
    let (sender, receiver) = mpsc::channel(PIECES);
    tokio::spawn(async move {
        while let Some(output) = outputs.next().await {
            let (stream, bytes) = match output {
                Ok(LogOutput::StdOut { message }) => (From::Stdout, message),
                Ok(LogOutput::StdErr { message }) => (From::Stderr, message),
                // No container of ours has a terminal or an input: this is the rest of a frame that was cut.
                Ok(LogOutput::StdIn { .. } | LogOutput::Console { .. }) => continue,
                Err(error) => {
                    tracing::debug!(error = %error, "a container's output stream broke off");
                    return;
                }
            };
            // A receiver that is gone closes the stream; an open one that nobody reads would block the container.
            if !bytes.is_empty() && sender.send(Piece { stream, bytes }).await.is_err() {
                return;
            }
        }
    });
    receiver
}
