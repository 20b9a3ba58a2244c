//! The output of one attempt, kept until the server has it: segments of wire frames in a folder of their own.
//!
//! A segment begins with the last bytes of each stream before it, so that the place in the engine's own log can be found again even
//! where all earlier segments are gone.
//! If more than the cap waits, segments between the oldest (the head) and the newest (the tail) are dropped; the server
//! learns of the hole from an empty frame at the higher offset.
use std::collections::VecDeque;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use dsg_schemas::limits::{LOG_HEAD_BYTES, LOG_TAIL_BYTES};
use dsg_schemas::wire::log::{self, LogHave, Piece, Stream};

/// So many last bytes of a stream are always there. More than Docker holds back of a line that has not ended yet (16 KiB).
pub const TAIL_BYTES: usize = 17 << 10;
const SEGMENT_BYTES: u64 = 512 << 10;
const FRAME_BYTES: usize = 64 << 10;
const HEAD_SEGMENTS: usize = (LOG_HEAD_BYTES / SEGMENT_BYTES) as usize;
const TAIL_SEGMENTS: usize = (LOG_TAIL_BYTES / SEGMENT_BYTES) as usize;

#[derive(Debug)]
struct Segment {
    number: u64,
    /// Offsets after its last frame.
    end: LogHave,
}

#[derive(Debug)]
pub struct LogSpool {
    folder: PathBuf,
    segments: VecDeque<Segment>,
    /// The newest segment and its size; made with the first byte.
    open: Option<(File, u64)>,
    written: LogHave,
    acknowledged: LogHave,
    tails: [Vec<u8>; 2],
}

impl LogSpool {
    /// Continues what is there; a frame that was cut by a crash is cut away.
    pub fn open(folder: PathBuf) -> io::Result<LogSpool> {
        let zero = LogHave::default();
        let mut spool = LogSpool {
            folder,
            segments: VecDeque::new(),
            open: None,
            written: zero,
            acknowledged: zero,
            tails: Default::default(),
        };
        let mut numbers: Vec<u64> = match fs::read_dir(&spool.folder) {
            Ok(entries) => entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok()).collect(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(spool),
            Err(error) => return Err(error),
        };
        numbers.sort_unstable();
        for number in numbers {
            let path = spool.path(number);
            let mut bytes = fs::read(&path)?;
            if let Err(broken) = log::pieces(&bytes) {
                bytes.truncate(broken.at);
                OpenOptions::new().write(true).open(&path)?.set_len(broken.at as u64)?;
            }
            for piece in log::pieces(&bytes).unwrap_or_default() {
                if piece.offset > *of(&mut spool.written, piece.stream) {
                    // Behind a hole; what was before it is no neighbour of what comes.
                    spool.tails[at(piece.stream)].clear();
                }
                let known = of(&mut spool.written, piece.stream).saturating_sub(piece.offset) as usize;
                *of(&mut spool.written, piece.stream) = piece.offset + piece.bytes.len() as u64;
                spool.remember(piece.stream, piece.bytes.get(known..).unwrap_or_default());
            }
            spool.segments.push_back(Segment { number, end: spool.written });
        }
        if let Some(last) = spool.segments.back() {
            let file = OpenOptions::new().append(true).open(spool.path(last.number))?;
            let size = file.metadata()?.len();
            spool.open = Some((file, size));
        }
        Ok(spool)
    }

    /// Bytes of each stream that were taken in.
    pub fn written(&self) -> LogHave {
        self.written
    }

    pub fn acknowledged(&self) -> LogHave {
        self.acknowledged
    }

    /// The last bytes of a stream.
    pub fn tail(&self, stream: Stream) -> &[u8] {
        &self.tails[at(stream)]
    }

    fn remember(&mut self, stream: Stream, bytes: &[u8]) {
        let tail = &mut self.tails[at(stream)];
        tail.extend_from_slice(&bytes[bytes.len().saturating_sub(TAIL_BYTES)..]);
        tail.drain(..tail.len().saturating_sub(TAIL_BYTES));
    }

    /// Something of this stream is lost, and nobody knows how much: it counts as one byte, so that the hole shows, at the end of a
    /// log, too.
    pub fn lose(&mut self, stream: Stream, time_ms: u64) -> io::Result<()> {
        *of(&mut self.written, stream) += 1;
        self.tails[at(stream)].clear();
        let mut frame = Vec::new();
        let offset = *of(&mut self.written, stream);
        log::push(&mut frame, &Piece { stream, time_ms, offset, bytes: &[] });
        self.keep(time_ms, &frame)
    }

    /// What cannot be stored is counted all the same, so that the hole shows.
    pub fn append(&mut self, stream: Stream, time_ms: u64, bytes: &[u8]) -> io::Result<()> {
        let mut outcome = Ok(());
        for part in bytes.chunks(FRAME_BYTES) {
            let offset = *of(&mut self.written, stream);
            let mut frame = Vec::with_capacity(part.len() + 64);
            log::push(&mut frame, &Piece { stream, time_ms, offset, bytes: part });
            let stored = self.store(time_ms, &frame);
            *of(&mut self.written, stream) = offset + part.len() as u64;
            self.remember(stream, part);
            match (stored, self.segments.back_mut()) {
                (Ok(()), Some(last)) => last.end = self.written,
                (stored, _) => outcome = outcome.and(stored),
            }
        }
        outcome
    }

    fn keep(&mut self, time_ms: u64, frame: &[u8]) -> io::Result<()> {
        self.store(time_ms, frame)?;
        if let Some(last) = self.segments.back_mut() {
            last.end = self.written;
        }
        Ok(())
    }

    fn store(&mut self, time_ms: u64, frame: &[u8]) -> io::Result<()> {
        if self.open.as_ref().is_none_or(|(_, size)| *size >= SEGMENT_BYTES) {
            self.roll(time_ms)?;
        }
        if let Some((file, size)) = &mut self.open {
            if let Err(error) = file.write_all(frame) {
                // Half a frame would spoil what follows.
                file.set_len(*size)?;
                return Err(error);
            }
            *size += frame.len() as u64;
        }
        Ok(())
    }

    /// Frames that continue `from`, about `bytes_max` of them. `None`: there is nothing beyond.
    pub fn batch(&self, from: LogHave, bytes_max: usize) -> io::Result<Option<Vec<u8>>> {
        let mut have = from;
        let mut batch = Vec::new();
        for segment in self.segments.iter().filter(|segment| beyond(segment.end, from)) {
            let bytes = fs::read(self.path(segment.number))?;
            for piece in log::pieces(&bytes).unwrap_or_default() {
                let next = of(&mut have, piece.stream);
                let end = piece.offset + piece.bytes.len() as u64;
                if end <= *next {
                    continue;
                }
                if batch.len() + piece.bytes.len() > bytes_max && !batch.is_empty() {
                    return Ok(Some(batch));
                }
                let skip = next.saturating_sub(piece.offset);
                if piece.offset > *next {
                    log::push(&mut batch, &Piece { bytes: &[], ..piece.clone() });
                }
                if let Some(rest) = piece.bytes.get(skip as usize..)
                    && !rest.is_empty()
                {
                    log::push(&mut batch, &Piece { offset: piece.offset + skip, bytes: rest, ..piece });
                }
                *next = end;
            }
        }
        Ok(if batch.is_empty() { None } else { Some(batch) })
    }

    /// The server has this much, and so much of it on disk: older segments are dropped, the newest stays for its offsets.
    /// After a power cut the server may have less than it once said; then what follows is sent again.
    pub fn acknowledge(&mut self, have: LogHave, durable: LogHave) {
        self.acknowledged = have;
        while self.segments.len() > 1 && self.segments.front().is_some_and(|oldest| !beyond(oldest.end, durable)) {
            self.drop_segment(0);
        }
    }

    fn roll(&mut self, time_ms: u64) -> io::Result<()> {
        fs::create_dir_all(&self.folder)?;
        let number = self.segments.back().map_or(0, |last| last.number + 1);
        let mut file = OpenOptions::new().create(true).append(true).open(self.path(number))?;
        let mut marks = Vec::new();
        for stream in [Stream::Stdout, Stream::Stderr] {
            let tail = &self.tails[at(stream)];
            let offset = *of(&mut self.written, stream) - tail.len() as u64;
            log::push(&mut marks, &Piece { stream, time_ms, offset, bytes: tail });
        }
        file.write_all(&marks)?;
        self.open = Some((file, marks.len() as u64));
        self.segments.push_back(Segment { number, end: self.written });
        if self.segments.len() > HEAD_SEGMENTS + TAIL_SEGMENTS {
            self.drop_segment(HEAD_SEGMENTS);
        }
        Ok(())
    }

    fn drop_segment(&mut self, at: usize) {
        if let Some(segment) = self.segments.remove(at) {
            let path = self.path(segment.number);
            if let Err(error) = fs::remove_file(&path) {
                tracing::warn!(path = %path.display(), %error, "cannot remove a log segment");
            }
        }
    }

    fn path(&self, number: u64) -> PathBuf {
        Path::new(&self.folder).join(format!("{number:010}"))
    }
}

fn at(stream: Stream) -> usize {
    match stream {
        Stream::Stdout => 0,
        Stream::Stderr => 1,
    }
}

fn of(have: &mut LogHave, stream: Stream) -> &mut u64 {
    match stream {
        Stream::Stdout => &mut have.stdout,
        Stream::Stderr => &mut have.stderr,
    }
}

/// Whether `end` holds something that `have` does not.
pub fn beyond(end: LogHave, have: LogHave) -> bool {
    end.stdout > have.stdout || end.stderr > have.stderr
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stdout(spool: &LogSpool, mut have: LogHave) -> (Vec<u8>, Vec<(u64, u64)>) {
        let (mut text, mut holes) = (Vec::new(), Vec::new());
        while let Some(batch) = spool.batch(have, 1 << 20).expect("read") {
            for piece in log::pieces(&batch).expect("whole frames") {
                let at = of(&mut have, piece.stream);
                if piece.bytes.is_empty() {
                    holes.push((*at, piece.offset));
                } else {
                    assert_eq!(piece.offset, *at, "frames follow each other");
                }
                *at = piece.offset + piece.bytes.len() as u64;
                if piece.stream == Stream::Stdout {
                    text.extend_from_slice(piece.bytes);
                }
            }
        }
        (text, holes)
    }

    #[test]
    fn what_was_written_is_sent_from_any_offset_and_survives_a_restart() {
        let dir = tempfile::tempdir().expect("dir");
        let mut spool = LogSpool::open(dir.path().join("log")).expect("open");
        let mut all = Vec::new();
        for n in 0..40_000u32 {
            let line = format!("line {n}\n");
            spool.append(Stream::Stdout, n.into(), line.as_bytes()).expect("append");
            all.extend_from_slice(line.as_bytes());
        }
        spool.append(Stream::Stderr, 1, b"oh").expect("append");
        assert!(spool.segments.len() > 1, "it rolls");
        for from in [0, 1, 7, 100_000, all.len()] {
            let have = LogHave { stdout: from as u64, stderr: 0 };
            assert_eq!(stdout(&spool, have), (all[from..].to_vec(), vec![]));
        }
        spool.acknowledge(spool.written(), LogHave { stdout: 7, stderr: 0 });
        assert!(spool.segments.len() > 1, "the server could still lose what is not on its disk");
        assert_eq!(spool.batch(spool.acknowledged(), 1 << 20).expect("read"), None);
        let lost = LogHave { stdout: 7, stderr: 0 };
        spool.acknowledge(lost, lost);
        assert_eq!(stdout(&spool, spool.acknowledged()), (all[7..].to_vec(), vec![]), "and then it is sent again");
        spool.acknowledge(spool.written(), spool.written());
        assert_eq!(spool.segments.len(), 1, "only the newest stays");
        let mut again = LogSpool::open(dir.path().join("log")).expect("open");
        assert_eq!(
            (again.tail(Stream::Stdout), again.tail(Stream::Stderr)),
            (&all[all.len() - TAIL_BYTES..], &b"oh"[..])
        );
        assert_eq!(again.written(), LogHave { stdout: all.len() as u64, stderr: 2 });
        assert_eq!(again.batch(again.written(), 1 << 20).expect("read"), None);
        let have = again.written();
        again.lose(Stream::Stdout, 2).expect("lost");
        assert_eq!(stdout(&again, have), (vec![], vec![(have.stdout, have.stdout + 1)]), "a hole at the end shows");
        again.append(Stream::Stdout, 2, b"later").expect("append");
        let again = LogSpool::open(dir.path().join("log")).expect("open");
        assert_eq!(stdout(&again, have), (b"later".to_vec(), vec![(have.stdout, have.stdout + 1)]), "the hole is kept");
        assert_eq!(again.tail(Stream::Stdout), b"later");
    }

    #[test]
    fn a_frame_cut_by_a_crash_is_cut_away_at_every_byte() {
        let dir = tempfile::tempdir().expect("dir");
        let mut spool = LogSpool::open(dir.path().join("log")).expect("open");
        spool.append(Stream::Stdout, 1, b"first").expect("append");
        let path = dir.path().join("log/0000000000");
        let whole = fs::read(&path).expect("read").len();
        spool.append(Stream::Stdout, 2, b"second").expect("append");
        let bytes = fs::read(&path).expect("read");
        for cut in whole..bytes.len() {
            fs::write(&path, &bytes[..cut]).expect("cut");
            let mut again = LogSpool::open(dir.path().join("log")).expect("open");
            assert_eq!(again.written().stdout, 5, "cut at {cut}");
            again.append(Stream::Stdout, 3, b"!").expect("append");
            assert_eq!(stdout(&again, LogHave::default()).0, b"first!");
        }
    }

    #[test]
    fn above_the_cap_the_middle_goes_and_the_hole_is_declared() {
        let dir = tempfile::tempdir().expect("dir");
        let mut spool = LogSpool::open(dir.path().join("log")).expect("open");
        let piece = vec![b'x'; 1 << 20];
        for n in 0..64 {
            spool.append(Stream::Stdout, n, &piece).expect("append");
        }
        let on_disk: u64 = fs::read_dir(dir.path().join("log"))
            .expect("list")
            .map(|entry| entry.expect("entry").metadata().expect("metadata").len())
            .sum();
        assert!(on_disk <= (LOG_HEAD_BYTES + LOG_TAIL_BYTES) * 9 / 8 + (1 << 20), "{on_disk}");
        let (text, holes) = stdout(&spool, LogHave::default());
        let [(from, to)] = holes[..] else { panic!("one hole, not {holes:?}") };
        assert!(from >= LOG_HEAD_BYTES, "the head stays");
        assert_eq!(text.len() as u64 + (to - from), 64 << 20, "every byte is sent or declared lost");
    }
}
