//! One attempt's log: recover it from its files, append to it, close it.
use std::fs;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use dsg_schemas::limits;
use dsg_schemas::wire::log::{LogHave, Piece, Stream};
use serde::{Deserialize, Serialize};

use super::lines::{Tip, index};
use super::pack::{Pack, Packed};
use super::record::{Kind, RECORD_BYTES, Record};
use super::segment::{self, Mark, Segment};
use super::store::LogError;

/// Sizes; the tests use smaller ones.
#[derive(Clone, Copy, Debug)]
pub struct Caps {
    pub segment_bytes: u64,
    pub head_segments: u32,
    pub tail_segments: usize,
    /// A closed log up to this size moves into the pack of its folder.
    pub packed_bytes: u64,
}

impl Default for Caps {
    fn default() -> Caps {
        let segment_bytes = 1 << 20;
        Caps {
            segment_bytes,
            head_segments: (limits::LOG_HEAD_BYTES / segment_bytes) as u32,
            tail_segments: (limits::LOG_TAIL_BYTES / segment_bytes) as usize,
            packed_bytes: 64 << 10,
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// Nothing was written yet.
    Nowhere,
    Folder(PathBuf),
    Pack(Packed),
}

/// The state of a log in memory: small, and always to be had again from its files.
#[derive(Clone, Debug)]
pub struct Log {
    folder: PathBuf,
    attempt: u64,
    caps: Caps,
    pub place: Place,
    /// Oldest first; after the head, numbers may be missing.
    pub segments: Vec<Segment>,
    pub tip: Tip,
    /// Lines and positions in the last segment at which no line is unfinished: reading may begin there.
    pub points: Vec<(u64, u64)>,
    pub closed: bool,
}

/// `end.json` beside the segments of a closed log.
#[derive(Serialize, Deserialize)]
struct End {
    segments: Vec<Segment>,
}

/// So far apart are the points.
const POINT_BYTES: u64 = 16 << 10;

impl Log {
    /// What the files say. `home` is the folder that this attempt shares with others; without `may_be_live` there is none of its own.
    pub fn open(home: &Path, attempt: u64, pack: &Pack, may_be_live: bool, caps: Caps) -> Result<Log, LogError> {
        let folder = home.join(attempt.to_string());
        let (place, segments, tip) = (Place::Nowhere, Vec::new(), Tip::default());
        let mut log = Log { folder, attempt, caps, place, segments, tip, points: Vec::new(), closed: false };
        let is_live = may_be_live && log.folder.is_dir();
        if let Some(packed) = pack.find(attempt) {
            log.take_packed(packed)?;
        }
        if is_live {
            let mut live = Log { place: Place::Folder(log.folder.clone()), segments: Vec::new(), ..log.clone() };
            (live.tip, live.closed) = (Tip::default(), false);
            live.recover()?;
            // Both: a crash came between packing and removing, or the log went on after it was packed.
            if log.closed && log.tip.have() == live.tip.have() {
                fs::remove_dir_all(&log.folder).map_err(LogError::io("remove the packed log", &log.folder))?;
            } else {
                log = live;
            }
        }
        Ok(log)
    }

    /// Changes nothing if a power cut tore the packed bytes; then the folder is still there.
    fn take_packed(&mut self, packed: &Packed) -> Result<(), LogError> {
        let bytes = match packed.read_whole() {
            Err(LogError::Moved) => return Ok(()),
            read => read?,
        };
        if let Some((found, tip)) = segment::scan(0, &bytes, &mut |_| ()) {
            (self.segments, self.tip) = (vec![found], tip);
        }
        (self.place, self.closed) = (Place::Pack(packed.clone()), true);
        Ok(())
    }

    fn recover(&mut self) -> Result<(), LogError> {
        let end: Option<End> = match fs::read(self.folder.join("end.json")) {
            Ok(bytes) => serde_json::from_slice(&bytes).ok(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(LogError::io("read", &self.folder)(error)),
        };
        let mut numbers: Vec<u32> = Vec::new();
        for entry in fs::read_dir(&self.folder).map_err(LogError::io("list", &self.folder))? {
            let entry = entry.map_err(LogError::io("list", &self.folder))?;
            numbers.extend(entry.file_name().to_str().and_then(|name| name.parse::<u32>().ok()));
        }
        numbers.sort_unstable();
        self.closed = end.is_some();
        if let Some(end) = end {
            numbers.retain(|number| end.segments.last().is_some_and(|last| last.number == *number));
            self.segments = end.segments[..end.segments.len().saturating_sub(1)].to_vec();
        }
        let mut torn = false;
        for number in numbers {
            torn = torn || !self.recover_segment(number)?;
            if torn && self.segments.last().is_none_or(|last| last.number != number) {
                // After a torn place nothing is trusted: the runner sends it again.
                let path = self.path(number);
                fs::remove_file(&path).map_err(LogError::io("remove the torn", &path))?;
            }
        }
        Ok(())
    }

    /// Takes the whole records of a segment and cuts the rest off; false if there was a rest.
    fn recover_segment(&mut self, number: u32) -> Result<bool, LogError> {
        let path = self.path(number);
        let bytes = fs::read(&path).map_err(LogError::io("read", &path))?;
        let Some((found, tip)) = segment::scan(number, &bytes, &mut |_| ()) else { return Ok(false) };
        let whole = found.bytes == bytes.len() as u64;
        if !whole {
            let file = fs::OpenOptions::new().write(true).open(&path).map_err(LogError::io("open", &path))?;
            file.set_len(found.bytes).map_err(LogError::io("cut the torn end off", &path))?;
        }
        self.segments.push(found);
        self.tip = tip;
        Ok(whole)
    }

    /// Takes what is new. What lies beyond a gap is left out, unless an empty piece says that the bytes before it are lost.
    /// After an error the state is ahead of the files and must be dropped.
    pub fn append(&mut self, pieces: &[Piece<'_>], written: &mut Vec<PathBuf>) -> Result<LogHave, LogError> {
        let mut pending = Vec::new();
        for piece in pieces {
            let (stream, time_ms, have) = (piece.stream, piece.time_ms, self.tip.of(piece.stream).offset);
            if piece.offset > have {
                if piece.bytes.is_empty() {
                    let text = self.lost_text(stream, piece.offset - have);
                    let (kind, bytes) = (Kind::Lost, text.as_bytes());
                    self.put(&Record { kind, stream, time_ms, offset: piece.offset, bytes }, &mut pending, written)?;
                }
                continue;
            }
            let known = usize::try_from(have - piece.offset).unwrap_or(usize::MAX).min(piece.bytes.len());
            for bytes in piece.bytes[known..].chunks(RECORD_BYTES) {
                let (kind, offset) = (Kind::Written, self.tip.of(stream).offset);
                self.put(&Record { kind, stream, time_ms, offset, bytes }, &mut pending, written)?;
            }
        }
        self.write(&mut pending, written)?;
        Ok(self.tip.have())
    }

    fn lost_text(&self, stream: Stream, count: u64) -> String {
        let name = match stream {
            Stream::Stdout => "stdout",
            Stream::Stderr => "stderr",
        };
        let newline = if self.tip.of(stream).open.is_empty() { "" } else { "\n" };
        match count {
            // A runner that does not know how much is missing says so by one byte.
            1 => format!("{newline}[dsg: log incomplete: some of {name} may be lost here, nobody knows how much]\n"),
            _ => format!("{newline}[dsg: log incomplete: {count} bytes of {name} were lost here]\n"),
        }
    }

    fn put(&mut self, record: &Record<'_>, pending: &mut Vec<u8>, written: &mut Vec<PathBuf>) -> Result<(), LogError> {
        if self.closed {
            self.reopen(written)?;
        }
        let size = self.segments.last().map(|last| last.bytes + pending.len() as u64);
        if size.is_none_or(|size| size >= self.caps.segment_bytes) {
            self.write(pending, written)?;
            self.begin_segment(pending)?;
        }
        record.write(pending);
        self.tip.take(record, &mut |_| ());
        if let Some(last) = self.segments.last_mut() {
            last.end = Mark::from(&self.tip);
            last.raw[index(record.stream)] += record.bytes.len() as u64;
            let at = last.bytes + pending.len() as u64;
            if self.tip.open_bytes() == 0 && at >= self.points.last().map_or(0, |(_, at)| *at) + POINT_BYTES {
                self.points.push((self.tip.next_line, at));
            }
        }
        Ok(())
    }

    /// Writes what is pending to the last segment.
    fn write(&mut self, pending: &mut Vec<u8>, written: &mut Vec<PathBuf>) -> Result<(), LogError> {
        let Some(number) = self.segments.last().map(|last| last.number) else { return Ok(()) };
        if pending.is_empty() {
            return Ok(());
        }
        let path = self.path(number);
        let open = || fs::OpenOptions::new().write(true).create(true).truncate(false).open(&path);
        let file = open().map_err(LogError::io("open", &path))?;
        if let Some(last) = self.segments.last_mut() {
            file.write_all_at(pending, last.bytes).map_err(LogError::io("write", &path))?;
            last.bytes += pending.len() as u64;
        }
        pending.clear();
        written.push(path);
        Ok(())
    }

    /// The next segment; its first bytes are left pending. Above the cap the oldest segment after the head goes.
    fn begin_segment(&mut self, pending: &mut Vec<u8>) -> Result<(), LogError> {
        if self.place == Place::Nowhere {
            fs::create_dir_all(&self.folder).map_err(LogError::io("make", &self.folder))?;
            self.place = Place::Folder(self.folder.clone());
        }
        let number = self.segments.last().map_or(0, |last| last.number + 1);
        let mark = Mark::from(&self.tip);
        self.segments.push(Segment { number, bytes: 0, begin: mark, end: mark, raw: [0; 2] });
        self.points.clear();
        pending.extend_from_slice(&segment::preamble(&self.tip));
        let is_tail = |segment: &Segment| segment.number >= self.caps.head_segments;
        if self.segments.iter().filter(|segment| is_tail(segment)).count() > self.caps.tail_segments
            && let Some(oldest) = self.segments.iter().position(is_tail)
        {
            let number = self.segments.remove(oldest).number;
            let path = self.path(number);
            fs::remove_file(&path).map_err(LogError::io("remove", &path))?;
        }
        Ok(())
    }

    /// A closed log goes on: its attempt was taken for lost and came back.
    fn reopen(&mut self, written: &mut Vec<PathBuf>) -> Result<(), LogError> {
        if let Place::Pack(packed) = self.place.clone() {
            self.place = Place::Nowhere;
            if packed.length > 0 {
                let bytes = packed.read_whole()?;
                fs::create_dir_all(&self.folder).map_err(LogError::io("make", &self.folder))?;
                let path = self.path(0);
                fs::write(&path, bytes).map_err(LogError::io("write", &path))?;
                self.place = Place::Folder(self.folder.clone());
                written.push(path);
            }
        } else {
            let path = self.folder.join("end.json");
            match fs::remove_file(&path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    return Err(LogError::io("remove", &path)(error));
                }
                Ok(()) | Err(_) => {}
            }
        }
        self.closed = false;
        Ok(())
    }

    /// No more will come: bytes up to `declared` that did not are lost. Everything is on disk when this returns, but for the pack,
    /// which the caller syncs before it removes what [`Closed::Packed`] names.
    pub fn close(&mut self, declared: LogHave, time_ms: u64, pack: &mut Pack) -> Result<Closed, LogError> {
        if self.closed {
            return Ok(Closed::Already);
        }
        let piece = |stream, offset| Piece { stream, time_ms, offset, bytes: &[] };
        let lost = [piece(Stream::Stdout, declared.stdout), piece(Stream::Stderr, declared.stderr)];
        self.append(&lost, &mut Vec::new())?;
        self.points = Vec::new();
        match &self.segments[..] {
            [] => self.place = Place::Pack(pack.append(self.attempt, &[])?),
            [only] if only.bytes <= self.caps.packed_bytes => {
                let path = self.path(only.number);
                let bytes = fs::read(&path).map_err(LogError::io("read", &path))?;
                self.place = Place::Pack(pack.append(self.attempt, &bytes)?);
                self.closed = true;
                return Ok(Closed::Packed(self.folder.clone()));
            }
            segments => {
                for segment in segments {
                    sync(&self.path(segment.number))?;
                }
                let end = serde_json::to_vec(&End { segments: segments.to_vec() }).map_err(io::Error::other);
                let path = self.folder.join("end.json");
                let new = self.folder.join("end.new");
                end.and_then(|bytes| fs::write(&new, bytes)).map_err(LogError::io("write", &new))?;
                sync(&new)?;
                fs::rename(&new, &path).map_err(LogError::io("rename", &new))?;
                sync(&self.folder)?;
            }
        }
        self.closed = true;
        Ok(Closed::InPlace)
    }

    /// Bytes of each stream that are missing: lost by the runner, or dropped between head and tail.
    pub fn missing(&self) -> [u64; 2] {
        let hole = self.hole();
        [0, 1].map(|stream| self.tip.streams[stream].lost + hole.map_or(0, |hole| hole.bytes[stream]))
    }

    pub fn hole(&self) -> Option<Hole> {
        let at = self.segments.windows(2).position(|pair| pair[0].number + 1 != pair[1].number)?;
        let (before, after) = (&self.segments[at].end, &self.segments[at + 1].begin);
        let bytes = [0, 1].map(|stream| after.came(stream).saturating_sub(before.came(stream)));
        Some(Hole { after: at, bytes })
    }

    /// The whole records of a segment, as this state knows it.
    pub fn read_segment(&self, segment: &Segment) -> Result<Vec<u8>, LogError> {
        let mut bytes = match &self.place {
            Place::Nowhere => return Err(LogError::Moved),
            Place::Pack(packed) => packed.read_whole()?,
            Place::Folder(folder) => {
                let path = folder.join(name(segment.number));
                match fs::read(&path) {
                    Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(LogError::Moved),
                    read => read.map_err(LogError::io("read", &path))?,
                }
            }
        };
        bytes.truncate(usize::try_from(segment.bytes).unwrap_or(usize::MAX));
        if bytes.len() as u64 == segment.bytes { Ok(bytes) } else { Err(LogError::Moved) }
    }

    fn path(&self, number: u32) -> PathBuf {
        self.folder.join(name(number))
    }
}

#[derive(Debug, PartialEq, Eq)]
pub enum Closed {
    Already,
    InPlace,
    /// Remove this folder once the pack is on disk.
    Packed(PathBuf),
}

/// What the cap dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hole {
    /// It is behind the segment at this position.
    pub after: usize,
    /// Of each stream.
    pub bytes: [u64; 2],
}

fn name(number: u32) -> String {
    format!("{number:06}")
}

pub fn sync(path: &Path) -> Result<(), LogError> {
    fs::File::open(path).and_then(|file| file.sync_all()).map_err(LogError::io("sync", path))
}
