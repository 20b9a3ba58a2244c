//! A segment: one file of a log, which begins with the state in which it found the log.
use serde::{Deserialize, Serialize};

use super::lines::{Line, Tip, index};
use super::record::{Records, number};
use crate::checksum::checksum;

const MAGIC: &[u8; 8] = b"DSGLOG1\n";
/// Magic, length u32 and checksum u32 of the state that follows.
const PREFIX: usize = 16;

/// What is known of a segment without reading it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Segment {
    /// From 0; the name of the file.
    pub number: u32,
    /// Whole bytes of the file.
    pub bytes: u64,
    pub begin: Mark,
    pub end: Mark,
    /// What a reader of the raw stream gets from this segment.
    pub raw: [u64; 2],
}

/// A place in a log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mark {
    pub line: u64,
    pub offset: [u64; 2],
    pub lost: [u64; 2],
}

impl Mark {
    /// Bytes that came before here, lost ones left out.
    pub fn came(&self, stream: usize) -> u64 {
        self.offset[stream].saturating_sub(self.lost[stream])
    }
}

impl From<&Tip> for Mark {
    fn from(tip: &Tip) -> Mark {
        let Tip { next_line, streams: [stdout, stderr] } = tip;
        Mark { line: *next_line, offset: [stdout.offset, stderr.offset], lost: [stdout.lost, stderr.lost] }
    }
}

/// The first bytes of a new segment.
pub fn preamble(tip: &Tip) -> Vec<u8> {
    let mut state = Vec::with_capacity(64 + tip.open_bytes());
    state.extend_from_slice(&tip.next_line.to_be_bytes());
    for stream in &tip.streams {
        for field in [stream.offset, stream.lost, stream.open_ms, stream.open.len() as u64] {
            state.extend_from_slice(&field.to_be_bytes());
        }
        state.extend_from_slice(&stream.open);
    }
    let mut out = MAGIC.to_vec();
    out.extend_from_slice(&(state.len() as u32).to_be_bytes());
    out.extend_from_slice(&checksum(&[&state]).to_be_bytes());
    out.extend_from_slice(&state);
    out
}

/// The state at the beginning of a segment and where its records begin; `None` if the file was torn before that.
pub fn opening(bytes: &[u8]) -> Option<(Tip, usize)> {
    let prefix = bytes.get(..PREFIX)?;
    let length = number(&prefix[8..12]) as usize;
    let state = bytes.get(PREFIX..)?.get(..length)?;
    if &prefix[..8] != MAGIC || number(&prefix[12..16]) as u32 != checksum(&[state]) {
        return None;
    }
    let mut tip = Tip { next_line: number(state.get(..8)?), ..Tip::default() };
    let mut at = 8;
    for stream in &mut tip.streams {
        let field = |n: usize| Some(number(state.get(at + 8 * n..at + 8 * n + 8)?));
        (stream.offset, stream.lost, stream.open_ms) = (field(0)?, field(1)?, field(2)?);
        let length = field(3)? as usize;
        stream.open = state.get(at + 32..)?.get(..length)?.to_vec();
        at += 32 + length;
    }
    Some((tip, PREFIX + state.len()))
}

/// Reads a whole segment: what is known of it, and the state after its last whole record.
pub fn scan(number: u32, bytes: &[u8], emit: &mut dyn FnMut(Line<'_>)) -> Option<(Segment, Tip)> {
    let (mut tip, at) = opening(bytes)?;
    let begin = Mark::from(&tip);
    let mut raw = [0; 2];
    let mut records = Records::new(bytes, at);
    for record in records.by_ref() {
        raw[index(record.stream)] += record.bytes.len() as u64;
        tip.take(&record, emit);
    }
    Some((Segment { number, bytes: records.at as u64, begin, end: Mark::from(&tip), raw }, tip))
}
