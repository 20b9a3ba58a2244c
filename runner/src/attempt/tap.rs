//! Where output comes in: from attach, from the engine's log after a restart, and again from its log after the end. Each is a
//! tap; only what is beyond the spooled bytes is taken.
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use dsg_schemas::wire::log::{LogHave, Stream};
use tokio::sync::Notify;

use super::masked;
use super::place::{Place, Search};
use crate::container::{Engine, Failure, Piece, Reading};
use crate::now_ms;
use crate::secrets::Mask;
use crate::spool::LogSpool;

/// The log of one attempt, between its taps and its upload.
pub struct Log {
    spool: Mutex<LogSpool>,
    /// `None`: nothing of it is secret.
    mask: Option<Arc<Mask>>,
    /// Something came, or no more will come.
    pub news: Notify,
}

impl Log {
    pub fn new(spool: LogSpool, mask: Option<Arc<Mask>>) -> Log {
        Log { spool: Mutex::new(spool), mask, news: Notify::new() }
    }

    pub fn mask(&self) -> Option<&Arc<Mask>> {
        self.mask.as_ref()
    }

    /// The engine's own log, masked as what came live is.
    pub async fn of_engine(&self, engine: &dyn Engine, container: &str, follow: bool) -> Result<Reading, Failure> {
        Ok(masked::reading(self.mask(), engine.logs(container, follow).await?))
    }

    pub fn spool(&self) -> MutexGuard<'_, LogSpool> {
        self.spool.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One reading of a container's output, and what of each stream is known already.
#[derive(Debug, Default)]
pub struct Tap {
    stdout: Place,
    stderr: Place,
}

impl Tap {
    pub fn at(stdout: Place, stderr: Place) -> Tap {
        Tap { stdout, stderr }
    }

    pub fn take(&mut self, log: &Log, piece: &Piece) {
        let place = match piece.stream {
            Stream::Stdout => &mut self.stdout,
            Stream::Stderr => &mut self.stderr,
        };
        let known = place.skip.min(piece.bytes.len() as u64);
        place.skip -= known;
        let fresh = &piece.bytes[known as usize..];
        if fresh.is_empty() {
            return;
        }
        let mut spool = log.spool();
        if std::mem::take(&mut place.gap)
            && let Err(error) = spool.lose(piece.stream, now_ms())
        {
            tracing::warn!(%error, "cannot keep that output was lost; the server sees it by the count of bytes");
        }
        if let Err(error) = spool.append(piece.stream, now_ms(), fresh) {
            tracing::warn!(%error, bytes = fresh.len(), "cannot spool output; these bytes will be missing in the log");
        }
        drop(spool);
        log.news.notify_one();
    }
}

/// Reads the engine's own log to its present end, and looks for the places where the spool ends.
pub async fn search(engine: &dyn Engine, container: &str, log: &Log) -> Result<(Search, Search), Failure> {
    let (mut stdout, mut stderr) = {
        let spool = log.spool();
        let LogHave { stdout, stderr } = spool.written();
        (
            Search::new(stdout, spool.tail(Stream::Stdout).to_vec()),
            Search::new(stderr, spool.tail(Stream::Stderr).to_vec()),
        )
    };
    let mut pieces = log.of_engine(engine, container, false).await?;
    while let Some(piece) = pieces.recv().await {
        let piece = piece?;
        match piece.stream {
            Stream::Stdout => stdout.look(&piece.bytes),
            Stream::Stderr => stderr.look(&piece.bytes),
        }
    }
    Ok((stdout, stderr))
}

/// How much an engine's own log has, and whether its counts mean anything: Docker's log holds text, and puts three bytes (U+FFFD) in the
/// place of each byte that is no UTF-8, so that it seems to have more than the container wrote.
#[derive(Debug, Default)]
pub struct Census {
    seen: LogHave,
    /// The last bytes of each stream: a character may come in two pieces.
    ends: [Vec<u8>; 2],
    replaced: bool,
}

impl Census {
    pub fn count(&mut self, piece: &Piece) {
        let (seen, end) = match piece.stream {
            Stream::Stdout => (&mut self.seen.stdout, &mut self.ends[0]),
            Stream::Stderr => (&mut self.seen.stderr, &mut self.ends[1]),
        };
        *seen += piece.bytes.len() as u64;
        end.extend_from_slice(&piece.bytes);
        self.replaced |= end.windows(3).any(|bytes| bytes == "\u{fffd}".as_bytes());
        let keep = end.len().saturating_sub(2);
        end.drain(..keep);
    }

    pub fn seen(&self) -> LogHave {
        self.seen
    }

    /// Whether the engine's log has what arrived, as far as its counts can tell.
    pub fn agrees_with(&self, written: LogHave) -> bool {
        self.replaced || self.seen == written
    }

    /// Whether something of the container's output did not arrive.
    pub fn is_more_than(&self, written: LogHave) -> bool {
        !self.replaced && (self.seen.stdout > written.stdout || self.seen.stderr > written.stderr)
    }
}

#[cfg(test)]
mod census_tests {
    use bytes::Bytes;

    use super::*;

    #[test]
    fn more_is_more_unless_the_engine_replaced_bytes() {
        let census = |pieces: &[&'static [u8]]| {
            let mut census = Census::default();
            for bytes in pieces {
                census.count(&Piece { stream: Stream::Stdout, bytes: Bytes::from_static(bytes) });
            }
            census
        };
        let written = |stdout| LogHave { stdout, stderr: 0 };
        assert!(!census(&[b"abc"]).is_more_than(written(3)));
        assert!(census(&[b"ab", b"cd"]).is_more_than(written(3)));
        assert!(!census(&[b"a\xef", b"\xbf\xbdb"]).is_more_than(written(3)), "one byte became three");
    }
}
