//! Logs as raw bytes, with a range: what the container wrote, and a sentence where something is missing.
use dsg_schemas::ids::AttemptId;
use dsg_schemas::wire::log::Stream;

use super::lines::index;
use super::log::Log;
use super::record::Records;
use super::segment::{self, Segment};
use super::store::{LogError, LogStore};

/// A log as it was at one moment. What is appended later changes nothing before its end, so a download may go on with a
/// range, as long as the tag is the same.
pub struct RawLog {
    log: Log,
    stream: Option<Stream>,
    parts: Vec<Part>,
    pub length: u64,
    /// Changes when the bytes that were there change: when the cap dropped some.
    pub tag: String,
}

struct Part {
    start: u64,
    length: u64,
    what: What,
}

enum What {
    Segment(Box<Segment>),
    Hole(String),
}

impl LogStore {
    /// Both streams in order of arrival, or one of them.
    pub fn raw(&self, attempt: AttemptId, stream: Option<Stream>) -> Result<RawLog, LogError> {
        self.read(attempt, |log| Ok(RawLog::new(attempt, log, stream)))
    }
}

impl RawLog {
    fn new(attempt: AttemptId, log: &Log, stream: Option<Stream>) -> RawLog {
        let pick = |both: [u64; 2]| stream.map_or(both[0] + both[1], |stream| both[index(stream)]);
        let hole = log.hole();
        let mut parts = Vec::new();
        let mut start = 0;
        let mut push = |length: u64, what| {
            parts.push(Part { start, length, what });
            start += length;
        };
        for (at, segment) in log.segments.iter().enumerate() {
            push(pick(segment.raw), What::Segment(Box::new(segment.clone())));
            if let Some(hole) = hole.filter(|hole| hole.after == at && pick(hole.bytes) > 0) {
                let text = format!(
                    "\n[dsg: {} bytes are missing here: the log is longer than what is kept]\n",
                    pick(hole.bytes)
                );
                push(text.len() as u64, What::Hole(text));
            }
        }
        let name = match stream {
            None => "both",
            Some(Stream::Stdout) => "stdout",
            Some(Stream::Stderr) => "stderr",
        };
        let dropped = hole.map_or(0, |hole| hole.bytes.iter().sum());
        let tag = format!("\"log-{attempt}-{name}-{dropped}\"");
        RawLog { log: log.clone(), stream, length: start, parts, tag }
    }

    /// Bytes from `at` on, at most up to `end`, as many as are convenient; none only where `at` is not before `end`.
    pub fn read(&self, at: u64, end: u64) -> Result<Vec<u8>, LogError> {
        let end = end.min(self.length);
        let Some(part) = self.parts.iter().find(|part| at < part.start + part.length).filter(|_| at < end) else {
            return Ok(Vec::new());
        };
        let mut bytes = match &part.what {
            What::Hole(text) => text.clone().into_bytes(),
            What::Segment(segment) => self.bytes(segment)?,
        };
        bytes.truncate((end - part.start).min(part.length) as usize);
        bytes.drain(..(at - part.start) as usize);
        Ok(bytes)
    }

    fn bytes(&self, segment: &Segment) -> Result<Vec<u8>, LogError> {
        let bytes = self.log.read_segment(segment)?;
        let (_, at) = segment::opening(&bytes).ok_or(LogError::Moved)?;
        let wanted = |stream| self.stream.is_none_or(|only| only == stream);
        let records = Records::new(&bytes, at).filter(|record| wanted(record.stream));
        Ok(records.fold(Vec::new(), |mut all, record| {
            all.extend_from_slice(record.bytes);
            all
        }))
    }
}
