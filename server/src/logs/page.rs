//! Logs as lines: any page of them, the last ones, and what is unfinished.
use dsg_schemas::api::{LogLine, LogPage};
use dsg_schemas::ids::AttemptId;
use dsg_schemas::wire::log::Stream;
use serde::Deserialize;

use super::lines::{Line, Tip};
use super::log::Log;
use super::record::Records;
use super::segment::{self, Segment};
use super::store::{LogError, LogStore};

/// Lines of one page.
const LINES: usize = 5000;
/// A page ends when its text is this long.
const PAGE_BYTES: usize = 2 << 20;

/// What to show. `tail` wins over `from`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LogQuery {
    pub from: Option<u64>,
    pub limit: Option<usize>,
    pub tail: Option<usize>,
    /// Only lines of this stream; their numbers stay.
    pub stream: Option<Stream>,
}

impl LogStore {
    pub fn page(&self, attempt: AttemptId, query: LogQuery) -> Result<LogPage, LogError> {
        self.read(attempt, |log| match query.tail {
            Some(count) => tail(log, count.min(LINES), query.stream),
            None => page(log, query.from.unwrap_or(0), query.limit.unwrap_or(1000).clamp(1, LINES), query.stream),
        })
    }
}

/// Collects lines until there are enough.
struct Lines {
    from: u64,
    limit: usize,
    stream: Option<Stream>,
    found: Vec<LogLine>,
    bytes: usize,
}

impl Lines {
    fn is_full(&self) -> bool {
        self.found.len() >= self.limit || self.bytes >= PAGE_BYTES
    }
    fn take(&mut self, line: Line<'_>) {
        let wanted = line.n >= self.from && self.stream.is_none_or(|stream| stream == line.stream);
        if wanted && !self.is_full() {
            let Line { n, time_ms, stream, bytes, cut } = line;
            self.bytes += bytes.len();
            let text = String::from_utf8_lossy(bytes).into_owned();
            self.found.push(LogLine { n, time_ms, stream, text, cut });
        }
    }
}

fn page(log: &Log, from: u64, limit: usize, stream: Option<Stream>) -> Result<LogPage, LogError> {
    let mut lines = Lines { from, limit, stream, found: Vec::new(), bytes: 0 };
    let first = log.segments.partition_point(|segment| segment.begin.line <= from).saturating_sub(1);
    for (at, segment) in log.segments.iter().enumerate().skip(first) {
        if lines.is_full() {
            break;
        }
        if segment.end.line > from {
            read_lines(log, segment, at + 1 == log.segments.len(), &mut lines)?;
        }
    }
    let unfinished = unfinished(log);
    if log.closed {
        unfinished.iter().for_each(|line| lines.take(as_line(line)));
    }
    let is_full = lines.is_full();
    Ok(around(log, lines.found, unfinished, is_full))
}

/// The last lines, from the newest segment backwards.
fn tail(log: &Log, count: usize, stream: Option<Stream>) -> Result<LogPage, LogError> {
    let unfinished = unfinished(log);
    let all = |from| Lines { from, limit: usize::MAX, stream, found: Vec::new(), bytes: 0 };
    let mut last = all(0);
    if log.closed {
        unfinished.iter().for_each(|line| last.take(as_line(line)));
    }
    let mut found = last.found;
    for segment in log.segments.iter().rev() {
        if found.len() >= count || found.iter().map(|line| line.text.len()).sum::<usize>() > PAGE_BYTES {
            break;
        }
        // Of one stream the wanted lines may be anywhere in the segment.
        let from = if stream.is_some() { 0 } else { segment.end.line.saturating_sub(count as u64) };
        let mut lines = all(from);
        read_lines(log, segment, false, &mut lines)?;
        lines.found.append(&mut found);
        found = lines.found;
    }
    found.drain(..found.len().saturating_sub(count));
    Ok(around(log, found, unfinished, false))
}

fn read_lines(log: &Log, segment: &Segment, is_last: bool, lines: &mut Lines) -> Result<(), LogError> {
    let bytes = log.read_segment(segment)?;
    let (mut tip, mut at) = segment::opening(&bytes).ok_or(LogError::Moved)?;
    if is_last && let Some((line, point)) = log.points.iter().rev().find(|(line, _)| *line <= lines.from) {
        tip = Tip { next_line: *line, ..Tip::default() };
        at = *point as usize;
    }
    for record in Records::new(&bytes, at) {
        if lines.is_full() {
            break;
        }
        tip.take(&record, &mut |line| lines.take(line));
    }
    Ok(())
}

/// What each stream wrote after its last newline, numbered as if it were complete, older first.
fn unfinished(log: &Log) -> Vec<LogLine> {
    let streams = [Stream::Stdout, Stream::Stderr].map(|stream| (stream, log.tip.of(stream)));
    let mut open: Vec<_> = streams.into_iter().filter(|(_, tip)| !tip.open.is_empty()).collect();
    open.sort_by_key(|(_, tip)| tip.open_ms);
    let line = |(n, (stream, tip)): (u64, (Stream, &super::lines::StreamTip))| {
        let text = String::from_utf8_lossy(&tip.open).into_owned();
        LogLine { n, time_ms: tip.open_ms, stream, text, cut: false }
    };
    (log.tip.next_line..).zip(open).map(line).collect()
}

fn as_line(line: &LogLine) -> Line<'_> {
    Line { n: line.n, time_ms: line.time_ms, stream: line.stream, bytes: line.text.as_bytes(), cut: line.cut }
}

fn around(log: &Log, lines: Vec<LogLine>, unfinished: Vec<LogLine>, is_full: bool) -> LogPage {
    let total = log.tip.next_line + if log.closed { unfinished.len() as u64 } else { 0 };
    let next = lines.last().filter(|_| is_full).map_or(total, |line| line.n + 1);
    let have = log.tip.have();
    let missing_bytes = log.missing().iter().sum();
    let open = if log.closed { Vec::new() } else { unfinished };
    LogPage {
        lines,
        next,
        total,
        stdout_bytes: have.stdout,
        stderr_bytes: have.stderr,
        open,
        ended: log.closed,
        missing_bytes,
        // Its row knows.
        unheard: false,
    }
}
