//! The one sweep after the end: what the server gets is compared with the engine's own log, and what is missing is taken from there. An
//! engine that cannot show its log, or shows another one each time, is asked again for a while; then the log is declared incomplete.
use dsg_schemas::ids::AttemptId;
use dsg_schemas::wire::log::{LogHave, Stream};
use tokio::time::Instant;

use super::Shared;
use super::place::Search;
use super::tap::{Census, Log, Tap, search};
use crate::container::Failure;
use crate::now_ms;

/// Answers that refuse, or do not agree, before the engine is believed to have no better one.
const ANSWERS: u32 = 5;

pub struct Sweep<'a> {
    pub shared: &'a Shared,
    pub attempt: AttemptId,
    pub container: &'a str,
    pub log: &'a Log,
}

/// What one comparison says.
enum Compared {
    /// All is there, or declared lost.
    Settled,
    /// The engine's log had so much. That may be all of it: a log that was cut off looks like a shorter one.
    Unsure(LogHave),
}

impl Sweep<'_> {
    /// Read only once where all of it came in one stream.
    pub async fn sweep(&self, in_one_stream: bool) {
        let patience = &self.shared.patience;
        let (begun, mut answers, mut failures, mut before) = (Instant::now(), 0, 0, None);
        while answers < ANSWERS && begun.elapsed() < patience.engine_gone {
            match self.compare(in_one_stream, before).await {
                Ok(Compared::Settled) => return,
                Ok(Compared::Unsure(seen)) => {
                    before = Some(seen);
                    answers += 1;
                }
                Err(failure) => {
                    tracing::debug!(attempt = %self.attempt, %failure, "cannot compare the output with the engine's log yet");
                    answers += u32::from(!failure.engine_gone);
                }
            }
            tokio::time::sleep(patience.after(failures)).await;
            failures += 1;
        }
        tracing::warn!(attempt = %self.attempt, "the engine does not show its log as it is; the output is declared incomplete");
        let mut spool = self.log.spool();
        for stream in [Stream::Stdout, Stream::Stderr] {
            if let Err(error) = spool.lose(stream, now_ms()) {
                tracing::warn!(%error, "cannot keep that output was lost; the server sees it by the count of bytes");
            }
        }
        drop(spool);
        self.log.news.notify_one();
    }

    /// `before`: what the engine's log had the last time.
    async fn compare(&self, in_one_stream: bool, before: Option<LogHave>) -> Result<Compared, Failure> {
        let engine = &*self.shared.engine;
        if in_one_stream {
            let census = self.read(|_| ()).await?;
            let written = self.log.spool().written();
            // Less than what came live, twice: so it is, after a rotation or behind a NUL byte.
            if census.agrees_with(written) || (!census.is_more_than(written) && before == Some(census.seen())) {
                return Ok(Compared::Settled);
            }
            if !census.is_more_than(written) {
                return Ok(Compared::Unsure(census.seen()));
            }
        }
        let (stdout, stderr) = search(engine, self.container, self.log).await?;
        let seen = LogHave { stdout: stdout.seen(), stderr: stderr.seen() };
        // Nothing in common: that is believed only when it is said again.
        if (stdout.place().is_none() || stderr.place().is_none()) && before != Some(seen) {
            return Ok(Compared::Unsure(seen));
        }
        let places = [&stdout, &stderr].map(|search| search.place().unwrap_or(Search::LOST));
        let is_more = stdout.has_more(places[0]) || stderr.has_more(places[1]);
        let mut tap = Tap::at(places[0], places[1]);
        let again = self
            .read(|piece| {
                if is_more {
                    tap.take(self.log, piece)
                }
            })
            .await?;
        Ok(if again.seen() == seen { Compared::Settled } else { Compared::Unsure(again.seen()) })
    }

    async fn read(&self, mut take: impl FnMut(&crate::container::Piece)) -> Result<Census, Failure> {
        let mut census = Census::default();
        let mut pieces = self.log.of_engine(&*self.shared.engine, self.container, false).await?;
        while let Some(piece) = pieces.recv().await {
            let piece = piece?;
            census.count(&piece);
            take(&piece);
        }
        Ok(census)
    }
}
