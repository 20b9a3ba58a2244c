//! A container's output, live and from the engine's own log. A stream that ends is not a container that ended: look with inspect.
use std::pin::Pin;
use std::time::Duration;

use bollard::container::LogOutput;
use bollard::query_parameters::{AttachContainerOptionsBuilder, LogsOptionsBuilder};
use dsg_schemas::wire::log::Stream as From;
use futures_util::{Stream, StreamExt};
use tokio::sync::mpsc;

use super::DockerEngine;
use super::failure::{Trouble, start_reason};
use crate::container::{Failure, Piece, Reading};

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

    pub(super) async fn open_logs(&self, id: &str, follow: bool) -> Result<Reading, Failure> {
        let options = LogsOptionsBuilder::default().stdout(true).stderr(true).follow(follow).build();
        // A container that lives may be silent for days; what is written already comes at once, or does not come.
        let silence = (!follow).then_some(self.plain.deadline);
        Ok(reading(Box::pin(self.long.logs(id, Some(options))), silence))
    }
}

/// Live output: whether all of it came is for the engine's own log to tell.
fn pieces(mut outputs: Outputs) -> mpsc::Receiver<Piece> {
    let (sender, receiver) = mpsc::channel(PIECES);
    tokio::spawn(async move {
        while let Some(Ok(piece)) = next(&mut outputs).await {
            // A receiver that is gone closes the stream; an open one that nobody reads would block the container.
            if sender.send(piece).await.is_err() {
                return;
            }
        }
    });
    receiver
}

fn reading(mut outputs: Outputs, silence: Option<Duration>) -> Reading {
    let (sender, receiver) = mpsc::channel(PIECES);
    tokio::spawn(async move {
        loop {
            let came = match silence {
                Some(silence) => tokio::time::timeout(silence, next(&mut outputs)).await,
                None => Ok(next(&mut outputs).await),
            };
            let came = came.unwrap_or_else(|_| Some(Err(Trouble::Silent("no more came in time".to_owned()))));
            let Some(came) = came else { return };
            let broke_off = came.is_err();
            let piece = came.map_err(|trouble| trouble.failed("read the container's log to its end"));
            if sender.send(piece).await.is_err() || broke_off {
                return;
            }
        }
    });
    receiver
}

/// `None`: the stream ended as streams end.
async fn next(outputs: &mut Outputs) -> Option<Result<Piece, Trouble>> {
    loop {
        let (stream, bytes) = match outputs.next().await? {
            Ok(LogOutput::StdOut { message }) => (From::Stdout, message),
            Ok(LogOutput::StdErr { message }) => (From::Stderr, message),
            // No container of ours has a terminal or an input: this is the rest of a frame that was cut.
            Ok(LogOutput::StdIn { .. } | LogOutput::Console { .. }) => {
                return Some(Err(Trouble::Silent("it broke off within a piece".to_owned())));
            }
            Err(error) => {
                tracing::debug!(error = %error, "a container's output stream broke off");
                return Some(Err(Trouble::from(error)));
            }
        };
        if !bytes.is_empty() {
            return Some(Ok(Piece { stream, bytes }));
        }
    }
}
