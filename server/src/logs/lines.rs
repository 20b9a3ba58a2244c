//! From bytes to lines: the state between two records of a log, and how a record moves it on.
use dsg_schemas::limits::LOG_LINE_BYTES;
use dsg_schemas::wire::log::{LogHave, Stream};

use super::record::{Kind, Record};

/// Where a log is after some record. Lines are numbered in the order in which they were completed over both streams.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tip {
    pub next_line: u64,
    pub streams: [StreamTip; 2],
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StreamTip {
    /// Bytes that the container wrote before here, lost ones counted.
    pub offset: u64,
    /// Of these, bytes that the runner lost.
    pub lost: u64,
    /// When the first byte of the unfinished line came.
    pub open_ms: u64,
    /// The unfinished line: at most [`LOG_LINE_BYTES`].
    pub open: Vec<u8>,
}

/// A completed line, without its newline.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Line<'a> {
    pub n: u64,
    pub time_ms: u64,
    pub stream: Stream,
    pub bytes: &'a [u8],
    /// It was too long: the stream's next line goes on with it.
    pub cut: bool,
}

pub fn index(stream: Stream) -> usize {
    match stream {
        Stream::Stdout => 0,
        Stream::Stderr => 1,
    }
}

impl Tip {
    pub fn of(&self, stream: Stream) -> &StreamTip {
        &self.streams[index(stream)]
    }

    pub fn have(&self) -> LogHave {
        LogHave { stdout: self.of(Stream::Stdout).offset, stderr: self.of(Stream::Stderr).offset }
    }

    pub fn open_bytes(&self) -> usize {
        self.streams.iter().map(|stream| stream.open.len()).sum()
    }

    /// Moves on by one record and hands out the lines that it completes.
    pub fn take(&mut self, record: &Record<'_>, emit: &mut dyn FnMut(Line<'_>)) {
        let stream = &mut self.streams[index(record.stream)];
        match record.kind {
            Kind::Written => stream.offset += record.bytes.len() as u64,
            Kind::Lost => {
                stream.lost += record.offset.saturating_sub(stream.offset);
                stream.offset = stream.offset.max(record.offset);
            }
        }
        let mut rest = record.bytes;
        while !rest.is_empty() {
            rest = stream.feed(record.stream, record.time_ms, rest, &mut self.next_line, emit);
        }
    }
}

impl StreamTip {
    /// Takes up to one line and gives back the rest. One byte more than a line may hold is looked at before it is cut, so that
    /// the cut is at the same place however the bytes came, and never within a character.
    fn feed<'a>(
        &mut self,
        stream: Stream,
        time_ms: u64,
        bytes: &'a [u8],
        next_line: &mut u64,
        emit: &mut dyn FnMut(Line<'_>),
    ) -> &'a [u8] {
        if self.open.is_empty() {
            self.open_ms = time_ms;
        }
        let window = &bytes[..bytes.len().min(LOG_LINE_BYTES + 1 - self.open.len())];
        let Some(end) = window.iter().position(|byte| *byte == b'\n') else {
            self.open.extend_from_slice(window);
            if self.open.len() > LOG_LINE_BYTES {
                let cut = boundary(&self.open);
                let time_ms = std::mem::replace(&mut self.open_ms, time_ms);
                emit(Line { n: *next_line, time_ms, stream, bytes: &self.open[..cut], cut: true });
                *next_line += 1;
                self.open.drain(..cut);
            }
            return &bytes[window.len()..];
        };
        let line = if self.open.is_empty() {
            &window[..end]
        } else {
            self.open.extend_from_slice(&window[..end]);
            &self.open
        };
        emit(Line { n: *next_line, time_ms: self.open_ms, stream, bytes: line, cut: false });
        *next_line += 1;
        self.open.clear();
        &bytes[end + 1..]
    }
}

/// The last place at or before the limit where no UTF-8 character is split; the limit itself if that is no UTF-8.
fn boundary(bytes: &[u8]) -> usize {
    let is_start = |at: &usize| bytes[*at] & 0xc0 != 0x80;
    (LOG_LINE_BYTES - 3..=LOG_LINE_BYTES).rev().find(is_start).unwrap_or(LOG_LINE_BYTES)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(parts: &[&[u8]]) -> (Vec<(u64, usize, bool)>, Tip) {
        let mut tip = Tip::default();
        let mut found = Vec::new();
        let mut offset = 0;
        for bytes in parts {
            let record = Record { kind: Kind::Written, stream: Stream::Stdout, time_ms: offset, offset, bytes };
            tip.take(&record, &mut |line| found.push((line.n, line.bytes.len(), line.cut)));
            offset += bytes.len() as u64;
        }
        (found, tip)
    }

    #[test]
    fn a_line_is_cut_at_its_limit_wherever_the_pieces_are_cut() {
        let full = vec![b'x'; LOG_LINE_BYTES];
        let exact = [&full[..], b"\n"].concat();
        assert_eq!(lines(&[&exact]).0, [(0, LOG_LINE_BYTES, false)]);
        let longer = [&full[..], b"y\n"].concat();
        let expected = [(0, LOG_LINE_BYTES, true), (1, 1, false)];
        for cut in [0, 1, LOG_LINE_BYTES - 1, LOG_LINE_BYTES, LOG_LINE_BYTES + 1, longer.len()] {
            assert_eq!(lines(&[&longer[..cut], &longer[cut..]]).0, expected, "cut at {cut}");
        }
        let umlaut = [&full[..LOG_LINE_BYTES - 1], "ä\n".as_bytes()].concat();
        assert_eq!(lines(&[&umlaut]).0, [(0, LOG_LINE_BYTES - 1, true), (1, 2, false)]);
        let binary = vec![0x80; 3 * LOG_LINE_BYTES];
        let (found, tip) = lines(&[&binary]);
        assert_eq!(found, [(0, LOG_LINE_BYTES, true), (1, LOG_LINE_BYTES, true)]);
        assert_eq!(tip.open_bytes(), LOG_LINE_BYTES);
    }

    #[test]
    fn streams_do_not_mix_and_a_lost_part_moves_the_offset() {
        let mut tip = Tip::default();
        let mut found = Vec::new();
        let mut take = |kind, stream, offset, bytes: &[u8]| {
            let record = Record { kind, stream, time_ms: 1, offset, bytes };
            tip.take(&record, &mut |line| found.push(format!("{} {:?} {:?}", line.n, line.stream, line.bytes)));
        };
        take(Kind::Written, Stream::Stdout, 0, b"a");
        take(Kind::Written, Stream::Stderr, 0, b"b\n");
        take(Kind::Lost, Stream::Stdout, 10, b"\n");
        take(Kind::Written, Stream::Stdout, 10, b"c\n");
        assert_eq!(found, ["0 Stderr [98]", "1 Stdout [97]", "2 Stdout [99]"]);
        assert_eq!(tip.have(), LogHave { stdout: 12, stderr: 2 });
        assert_eq!(tip.of(Stream::Stdout).lost, 9);
    }
}
