//! Output with its secrets masked, before anything else sees it: what is spooled, sent, counted and compared is masked already.
use std::sync::Arc;

use bytes::Bytes;
use dsg_schemas::wire::log;
use tokio::sync::mpsc;

use crate::container::{Piece, Reading};
use crate::secrets::{Mask, Stream};

/// One reading of a container's output.
struct Masked {
    stdout: Stream,
    stderr: Stream,
}

impl Masked {
    fn new(mask: &Arc<Mask>) -> Masked {
        Masked { stdout: Stream::new(mask.clone()), stderr: Stream::new(mask.clone()) }
    }

    /// `None`: all of it waits for more.
    fn take(&mut self, piece: &Piece) -> Option<Piece> {
        let stream = match piece.stream {
            log::Stream::Stdout => &mut self.stdout,
            log::Stream::Stderr => &mut self.stderr,
        };
        self::piece(piece.stream, stream.take(&piece.bytes))
    }

    fn finish(mut self) -> impl Iterator<Item = Piece> {
        let rest = [(log::Stream::Stdout, self.stdout.finish()), (log::Stream::Stderr, self.stderr.finish())];
        rest.into_iter().filter_map(|(stream, bytes)| piece(stream, bytes))
    }
}

fn piece(stream: log::Stream, bytes: Vec<u8>) -> Option<Piece> {
    (!bytes.is_empty()).then(|| Piece { stream, bytes: Bytes::from(bytes) })
}

pub fn pieces(mask: Option<&Arc<Mask>>, mut pieces: mpsc::Receiver<Piece>) -> mpsc::Receiver<Piece> {
    let Some(mask) = mask else { return pieces };
    let (mut masked, (sender, receiver)) = (Masked::new(mask), mpsc::channel(1));
    tokio::spawn(async move {
        while let Some(piece) = pieces.recv().await {
            if let Some(piece) = masked.take(&piece)
                && sender.send(piece).await.is_err()
            {
                return;
            }
        }
        for piece in masked.finish() {
            // An error says that nobody reads any more.
            drop(sender.send(piece).await);
        }
    });
    receiver
}

/// The same where the engine may break it off: then what is held back is not told, because more would have come.
pub fn reading(mask: Option<&Arc<Mask>>, mut reading: Reading) -> Reading {
    let Some(mask) = mask else { return reading };
    let (mut masked, (sender, receiver)) = (Masked::new(mask), mpsc::channel(1));
    tokio::spawn(async move {
        while let Some(piece) = reading.recv().await {
            let piece = match piece {
                Ok(piece) => masked.take(&piece).map(Ok),
                Err(failure) => return drop(sender.send(Err(failure)).await),
            };
            if let Some(piece) = piece
                && sender.send(piece).await.is_err()
            {
                return;
            }
        }
        for piece in masked.finish() {
            drop(sender.send(Ok(piece)).await);
        }
    });
    receiver
}
