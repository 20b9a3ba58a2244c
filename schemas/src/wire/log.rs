//! Log pieces on the wire: `PATCH /api/v1/attempts/{id}/log`, a sequence of binary frames.
//!
//! A frame is a 21-byte head (stream u8, time u64, offset u64, length u32, all big-endian) and the bytes as the container
//! wrote them. The server answers with what it has; the runner goes on from there, so a lost answer harms nothing.
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub const CONTENT_TYPE: &str = "application/vnd.dsg.log";
const HEAD: usize = 21;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Stream {
    Stdout,
    Stderr,
}

/// Bytes received at one moment from one stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Piece<'a> {
    pub stream: Stream,
    /// When the runner received them, as Unix milliseconds.
    pub time_ms: u64,
    /// Bytes of this stream before these.
    pub offset: u64,
    pub bytes: &'a [u8],
}

/// How many bytes of each stream the server has: the offsets to go on from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct LogHave {
    pub stdout: u64,
    pub stderr: u64,
}

/// The answer to an append.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct LogAnswer {
    pub have: LogHave,
    /// As much of it is on the server's disk for certain: only so far may the runner drop what it keeps. A power cut of the
    /// server can take the rest, and then `have` goes back.
    #[serde(default)]
    pub durable: LogHave,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("log frames are broken at byte {at}: {why}")]
pub struct BrokenFrame {
    pub at: usize,
    pub why: &'static str,
}

/// Appends one frame to a batch.
pub fn push(batch: &mut Vec<u8>, piece: &Piece<'_>) {
    batch.push(match piece.stream {
        Stream::Stdout => 1,
        Stream::Stderr => 2,
    });
    batch.extend_from_slice(&piece.time_ms.to_be_bytes());
    batch.extend_from_slice(&piece.offset.to_be_bytes());
    batch.extend_from_slice(&(piece.bytes.len() as u32).to_be_bytes());
    batch.extend_from_slice(piece.bytes);
}

/// The frames of a batch, or where it is broken.
pub fn pieces(batch: &[u8]) -> Result<Vec<Piece<'_>>, BrokenFrame> {
    let mut found = Vec::new();
    let mut at = 0;
    while at < batch.len() {
        let broken = |why| BrokenFrame { at, why };
        let head = batch.get(at..at + HEAD).ok_or(broken("the head is cut"))?;
        let number = |from: usize| u64::from_be_bytes(head[from..from + 8].try_into().expect("eight bytes"));
        let stream = match head[0] {
            1 => Stream::Stdout,
            2 => Stream::Stderr,
            _ => return Err(broken("no such stream")),
        };
        let length = u32::from_be_bytes(head[17..21].try_into().expect("four bytes")) as usize;
        let bytes = batch.get(at + HEAD..).and_then(|rest| rest.get(..length)).ok_or(broken("the bytes are cut"))?;
        found.push(Piece { stream, time_ms: number(1), offset: number(9), bytes });
        at += HEAD + length;
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_come_back_and_broken_ones_are_named() {
        let sent = [
            Piece { stream: Stream::Stdout, time_ms: 7, offset: 0, bytes: b"hello\n" },
            Piece { stream: Stream::Stderr, time_ms: 8, offset: 99, bytes: b"" },
            Piece { stream: Stream::Stdout, time_ms: 9, offset: 6, bytes: &[0, 255, 10] },
        ];
        let mut batch = Vec::new();
        for piece in &sent {
            push(&mut batch, piece);
        }
        assert_eq!(pieces(&batch).expect("whole"), sent);
        let whole: Vec<usize> = [0, 27, 48, 72].to_vec();
        for cut in 0..=batch.len() {
            assert_eq!(pieces(&batch[..cut]).is_ok(), whole.contains(&cut), "cut at {cut}");
        }
        batch[0] = 3;
        assert_eq!(pieces(&batch), Err(BrokenFrame { at: 0, why: "no such stream" }));
    }
}
