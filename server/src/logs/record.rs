//! Records of a segment: bytes of one stream as they came, or the mark of bytes that will never come.
use dsg_schemas::wire::log::Stream;

use crate::checksum::checksum;

/// Kind and stream u8, time u64, offset u64, length u32, checksum u32; big-endian.
pub const HEAD: usize = 25;
/// Longer pieces are cut into several records, so that segments stay near their size.
pub const RECORD_BYTES: usize = 64 << 10;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The container wrote these bytes; `offset` is that of the first.
    Written,
    /// The bytes before `offset` are lost; the record's bytes say so to a reader.
    Lost,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record<'a> {
    pub kind: Kind,
    pub stream: Stream,
    pub time_ms: u64,
    pub offset: u64,
    pub bytes: &'a [u8],
}

impl Record<'_> {
    pub fn write(&self, out: &mut Vec<u8>) {
        let start = out.len();
        out.push(match (self.kind, self.stream) {
            (Kind::Written, Stream::Stdout) => 1,
            (Kind::Written, Stream::Stderr) => 2,
            (Kind::Lost, Stream::Stdout) => 3,
            (Kind::Lost, Stream::Stderr) => 4,
        });
        out.extend_from_slice(&self.time_ms.to_be_bytes());
        out.extend_from_slice(&self.offset.to_be_bytes());
        out.extend_from_slice(&(self.bytes.len() as u32).to_be_bytes());
        let sum = checksum(&[&out[start..], self.bytes]);
        out.extend_from_slice(&sum.to_be_bytes());
        out.extend_from_slice(self.bytes);
    }
}

/// The whole records at the beginning of `bytes`; ends silently at the first torn one.
pub struct Records<'a> {
    bytes: &'a [u8],
    /// Everything before is whole.
    pub at: usize,
}

impl<'a> Records<'a> {
    pub fn new(bytes: &'a [u8], at: usize) -> Records<'a> {
        Records { bytes, at }
    }
}

impl<'a> Iterator for Records<'a> {
    type Item = Record<'a>;
    fn next(&mut self) -> Option<Record<'a>> {
        let head = self.bytes.get(self.at..self.at + HEAD)?;
        let (kind, stream) = match head[0] {
            1 => (Kind::Written, Stream::Stdout),
            2 => (Kind::Written, Stream::Stderr),
            3 => (Kind::Lost, Stream::Stdout),
            4 => (Kind::Lost, Stream::Stderr),
            _ => return None,
        };
        let length = number(&head[17..21]) as usize;
        let bytes = self.bytes.get(self.at + HEAD..)?.get(..length)?;
        if number(&head[21..25]) as u32 != checksum(&[&head[..21], bytes]) {
            return None;
        }
        self.at += HEAD + length;
        Some(Record { kind, stream, time_ms: number(&head[1..9]), offset: number(&head[9..17]), bytes })
    }
}

/// Big-endian, of at most eight bytes.
pub fn number(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0, |sum, byte| sum << 8 | u64::from(*byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_torn_record_ends_the_reading_and_no_whole_one_is_lost() {
        let sent = [
            Record { kind: Kind::Written, stream: Stream::Stdout, time_ms: 7, offset: 0, bytes: b"hello\n" },
            Record { kind: Kind::Lost, stream: Stream::Stderr, time_ms: 8, offset: 99, bytes: b"gap\n" },
            Record { kind: Kind::Written, stream: Stream::Stderr, time_ms: 9, offset: 99, bytes: &[0, 255, 10] },
        ];
        let mut bytes = Vec::new();
        let mut ends = Vec::new();
        for record in &sent {
            record.write(&mut bytes);
            ends.push(bytes.len());
        }
        for cut in 0..=bytes.len() {
            let mut records = Records::new(&bytes[..cut], 0);
            let found: Vec<Record<'_>> = records.by_ref().collect();
            let whole = ends.iter().filter(|end| **end <= cut).count();
            assert_eq!(found, sent[..whole], "cut at {cut}");
            assert_eq!(records.at, if whole == 0 { 0 } else { ends[whole - 1] });
        }
        for broken in 0..bytes.len() {
            let mut copy = bytes.clone();
            copy[broken] ^= 0x40;
            let intact = ends.iter().filter(|end| **end <= broken).count();
            assert_eq!(Records::new(&copy, 0).count(), intact, "byte {broken}");
        }
    }
}
