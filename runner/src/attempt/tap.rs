//! Where output comes in: from attach, from the engine's log after a restart, and again from its log after the end. Each is a
//! tap that counts from byte 0; only what is beyond the spooled bytes is taken.
use std::sync::{Mutex, MutexGuard, PoisonError};

use dsg_schemas::wire::log::{LogHave, Stream};
use tokio::sync::Notify;

use crate::container::Piece;
use crate::now_ms;
use crate::spool::LogSpool;

/// The log of one attempt, between its taps and its upload.
pub struct Log {
    spool: Mutex<LogSpool>,
    /// Something came, or no more will come.
    pub news: Notify,
}

impl Log {
    pub fn new(spool: LogSpool) -> Log {
        Log { spool: Mutex::new(spool), news: Notify::new() }
    }

    pub fn spool(&self) -> MutexGuard<'_, LogSpool> {
        self.spool.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One reading of a container's output from its beginning.
#[derive(Debug, Default)]
pub struct Tap {
    seen: LogHave,
}

impl Tap {
    pub fn take(&mut self, log: &Log, piece: &Piece) {
        let mut spool = log.spool();
        let written = spool.written();
        let (seen, written) = match piece.stream {
            Stream::Stdout => (&mut self.seen.stdout, written.stdout),
            Stream::Stderr => (&mut self.seen.stderr, written.stderr),
        };
        let known = written.saturating_sub(*seen).min(piece.bytes.len() as u64) as usize;
        *seen += piece.bytes.len() as u64;
        let fresh = &piece.bytes[known..];
        if fresh.is_empty() {
            return;
        }
        if let Err(error) = spool.append(piece.stream, now_ms(), fresh) {
            tracing::warn!(%error, bytes = fresh.len(), "cannot spool output; these bytes will be missing in the log");
        }
        drop(spool);
        log.news.notify_one();
    }
}
