//! Takes files out of the tar that an engine gives for a path. The archive is somebody else's: only regular files, never a
//! link, never a name as a path; each goes into a numbered scratch file and is hashed on the way.
use std::fs::File;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use bytes::Bytes;
use dsg_schemas::limits::OUTPUT_FILES;
use sha2::{Digest, Sha256};
use tokio::sync::mpsc;

use crate::container::Failure;
use crate::hex;

/// What to take.
#[derive(Clone, Debug)]
pub enum Wanted {
    /// The archive's one file.
    Itself,
    /// Files directly in the archive's folder whose name matches; `*` and `?`.
    Matching(String),
}

#[derive(Debug, PartialEq, Eq)]
pub struct Taken {
    pub file: String,
    pub scratch: PathBuf,
    pub size: u64,
    pub sha256: String,
}

#[derive(Debug, thiserror::Error)]
pub enum UnpackError {
    #[error("it is {0}, not a file")]
    NotAFile(&'static str),
    #[error("more than {OUTPUT_FILES} files match")]
    TooMany,
    #[error("the name {0:?} is not UTF-8")]
    Name(String),
    #[error("{0}")]
    Engine(Failure),
    #[error("{0}")]
    Archive(io::Error),
    #[error("{0}")]
    Disk(io::Error),
}

type Pieces = mpsc::Receiver<Result<Bytes, Failure>>;

/// Blocks: for a thread of its own.
pub fn unpack(pieces: Pieces, wanted: &Wanted, scratch: &Path) -> Result<Vec<Taken>, UnpackError> {
    let mut archive = tar::Archive::new(Reader { pieces, piece: Bytes::new(), failure: None, zeros_at_end: 0 });
    let mut taken = take(&mut archive, wanted, scratch);
    let mut reader = archive.into_inner();
    // A list of files is whole only if the archive has its end; one file proves itself by its size.
    if let (Ok(_), Wanted::Matching(_)) = (&taken, wanted)
        && let Err(error) = reader.read_out()
    {
        taken = Err(UnpackError::Archive(error));
    }
    // A broken archive is the engine's failure, if it told one.
    match (taken, reader.failure) {
        (Err(UnpackError::Archive(_)), Some(failure)) => Err(UnpackError::Engine(failure)),
        (taken, _) => taken,
    }
}

fn take(archive: &mut tar::Archive<Reader>, wanted: &Wanted, scratch: &Path) -> Result<Vec<Taken>, UnpackError> {
    let mut taken = Vec::new();
    for entry in archive.entries().map_err(UnpackError::Archive)? {
        let mut entry = entry.map_err(UnpackError::Archive)?;
        let kind = entry.header().entry_type();
        let path = entry.path_bytes().into_owned();
        let parts: Vec<&[u8]> = path.split(|c| *c == b'/').filter(|part| !part.is_empty() && *part != b".").collect();
        let name = parts.last().copied().unwrap_or_default();
        let regular = kind.is_file() || kind.is_contiguous() || kind.is_gnu_sparse();
        match wanted {
            Wanted::Itself if !regular => return Err(UnpackError::NotAFile(what(kind))),
            Wanted::Itself => {}
            Wanted::Matching(pattern) => {
                if !regular || parts.len() != 2 || !matches(pattern.as_bytes(), name) {
                    continue;
                }
            }
        }
        if taken.len() == OUTPUT_FILES {
            return Err(UnpackError::TooMany);
        }
        let file = std::str::from_utf8(name)
            .map_err(|_| UnpackError::Name(String::from_utf8_lossy(name).into_owned()))?
            .to_owned();
        let scratch = scratch.join(taken.len().to_string());
        let promised = entry.size();
        let (size, sha256) = store(&mut entry, &scratch)?;
        if size != promised {
            return Err(UnpackError::Archive(io::Error::other("the archive ends in the middle of a file")));
        }
        taken.push(Taken { file, scratch, size, sha256 });
        if matches!(wanted, Wanted::Itself) {
            break;
        }
    }
    taken.sort_by(|one, other| one.file.cmp(&other.file));
    Ok(taken)
}

fn store(from: &mut impl Read, path: &Path) -> Result<(u64, String), UnpackError> {
    let mut file = File::create(path).map_err(UnpackError::Disk)?;
    let mut hash = Sha256::new();
    let mut buffer = vec![0; 64 << 10];
    let mut size = 0;
    loop {
        let read = from.read(&mut buffer).map_err(UnpackError::Archive)?;
        if read == 0 {
            return Ok((size, hex(&hash.finalize())));
        }
        hash.update(&buffer[..read]);
        file.write_all(&buffer[..read]).map_err(UnpackError::Disk)?;
        size += read as u64;
    }
}

fn what(kind: tar::EntryType) -> &'static str {
    if kind.is_dir() {
        "a folder"
    } else if kind.is_symlink() {
        "a symbolic link"
    } else if kind.is_hard_link() {
        "a hard link"
    } else {
        "something special"
    }
}

/// `*` and `?` within one name; linear but for backtracking to the last star.
pub fn matches(pattern: &[u8], name: &[u8]) -> bool {
    let (mut p, mut n) = (0, 0);
    let mut star = None;
    while n < name.len() {
        match pattern.get(p) {
            Some(b'*') => {
                star = Some((p, n));
                p += 1;
            }
            Some(c) if *c == b'?' || *c == name[n] => {
                p += 1;
                n += 1;
            }
            _ => match &mut star {
                Some((at, from)) => {
                    *from += 1;
                    (p, n) = (*at + 1, *from);
                }
                None => return false,
            },
        }
    }
    pattern[p..].iter().all(|c| *c == b'*')
}

struct Reader {
    pieces: Pieces,
    piece: Bytes,
    failure: Option<Failure>,
    /// Zero bytes that came last so far.
    zeros_at_end: usize,
}

impl Reader {
    /// Reads what is left. An archive ends with two blocks of zeros; one without was cut.
    fn read_out(&mut self) -> io::Result<()> {
        io::copy(self, &mut io::sink())?;
        match self.zeros_at_end >= 1024 {
            true => Ok(()),
            false => Err(io::Error::other("the archive has no end")),
        }
    }
}

impl Read for Reader {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        while self.piece.is_empty() {
            match self.pieces.blocking_recv() {
                Some(Ok(piece)) => {
                    let zeros = piece.iter().rev().take_while(|byte| **byte == 0).count();
                    self.zeros_at_end = if zeros == piece.len() { self.zeros_at_end + zeros } else { zeros };
                    self.piece = piece;
                }
                Some(Err(failure)) => {
                    self.failure = Some(failure.clone());
                    return Err(io::Error::other(failure));
                }
                None => return Ok(0),
            }
        }
        let part = self.piece.split_to(self.piece.len().min(into.len()));
        into[..part.len()].copy_from_slice(&part);
        Ok(part.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    enum Entry<'a> {
        File(&'a str, &'a [u8]),
        Link(&'a str, tar::EntryType),
    }
    use Entry::{File as F, Link as L};

    fn run(entries: &[Entry<'_>], wanted: &Wanted) -> Result<Vec<(String, Vec<u8>)>, String> {
        let dir = tempfile::tempdir().expect("dir");
        let mut builder = tar::Builder::new(Vec::new());
        for entry in entries {
            let mut header = tar::Header::new_gnu();
            let (name, bytes) = match entry {
                F(name, bytes) => (name, *bytes),
                L(name, kind) => {
                    header.set_entry_type(*kind);
                    header.set_link_name("/etc/passwd").expect("link");
                    (name, &b""[..])
                }
            };
            header.as_old_mut().name[..name.len()].copy_from_slice(name.as_bytes());
            header.set_size(bytes.len() as u64);
            header.set_cksum();
            builder.append(&header, bytes).expect("append");
        }
        let bytes = builder.into_inner().expect("tar");
        let (sender, pieces) = mpsc::channel(1024);
        for piece in bytes.chunks(700) {
            sender.try_send(Ok(Bytes::copy_from_slice(piece))).expect("room");
        }
        drop(sender);
        let taken = unpack(pieces, wanted, dir.path()).map_err(|error| error.to_string())?;
        Ok(taken
            .into_iter()
            .map(|taken| {
                let bytes = std::fs::read(&taken.scratch).expect("scratch");
                assert_eq!((taken.size, taken.sha256), (bytes.len() as u64, hex(&Sha256::digest(&bytes))));
                assert_eq!(taken.scratch.parent(), Some(dir.path()), "scratch only");
                (taken.file, bytes)
            })
            .collect())
    }

    #[test]
    fn only_regular_files_of_the_folder_are_taken() {
        let big = vec![7; 100_000];
        let entries = [
            L("out/", tar::EntryType::Directory),
            F("out/b.csv", b"b"),
            F("out/a.csv", &big),
            F("out/a.txt", b"other"),
            F("out/deep/c.csv", b"deeper"),
            F("../d.csv", b"outside, and harmless: names are never paths"),
            L("out/s.csv", tar::EntryType::Symlink),
            L("out/h.csv", tar::EntryType::Link),
            L("out/f.csv", tar::EntryType::Fifo),
        ];
        let taken = run(&entries, &Wanted::Matching("*.csv".to_owned())).expect("unpacked");
        let names: Vec<_> = taken.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["a.csv", "b.csv", "d.csv"]);
        assert_eq!(taken[0].1, big);
    }

    #[test]
    fn a_path_must_be_a_file() {
        assert_eq!(run(&[F("x", b"1")], &Wanted::Itself), Ok(vec![("x".to_owned(), b"1".to_vec())]));
        let refused = |kind| run(&[L("x", kind)], &Wanted::Itself).expect_err("refused");
        assert_eq!(refused(tar::EntryType::Directory), "it is a folder, not a file");
        assert_eq!(refused(tar::EntryType::Symlink), "it is a symbolic link, not a file");
    }

    #[test]
    fn a_cut_archive_is_an_error_and_not_a_short_file() {
        let (sender, pieces) = mpsc::channel(4);
        let mut header = tar::Header::new_gnu();
        header.set_path("x").expect("path");
        header.set_size(1000);
        header.set_cksum();
        sender.try_send(Ok(Bytes::copy_from_slice(header.as_bytes()))).expect("room");
        sender.try_send(Ok(Bytes::from_static(&[1; 100]))).expect("room");
        drop(sender);
        let dir = tempfile::tempdir().expect("dir");
        assert!(unpack(pieces, &Wanted::Itself, dir.path()).is_err());
    }

    #[test]
    fn a_list_of_files_that_was_cut_between_two_of_them_is_an_error() {
        let mut builder = tar::Builder::new(Vec::new());
        for name in ["out/a.csv", "out/b.csv"] {
            let mut header = tar::Header::new_gnu();
            header.set_size(3);
            header.set_mode(0o644);
            builder.append_data(&mut header, name, &b"1,2"[..]).expect("append");
        }
        let bytes = builder.into_inner().expect("tar");
        let wanted = Wanted::Matching("*.csv".to_owned());
        for (length, whole) in [(0, false), (1024, false), (2048, false), (2048 + 512, false), (bytes.len(), true)] {
            let (sender, pieces) = mpsc::channel(4);
            sender.try_send(Ok(Bytes::copy_from_slice(&bytes[..length]))).expect("room");
            drop(sender);
            let dir = tempfile::tempdir().expect("dir");
            assert_eq!(unpack(pieces, &wanted, dir.path()).is_ok(), whole, "{length} of {}", bytes.len());
        }
    }

    #[test]
    fn stars_and_question_marks_match_within_a_name() {
        for (pattern, name, fine) in [
            ("*.csv", "a.csv", true),
            ("*.csv", "a.csv2", false),
            ("a?c", "abc", true),
            ("a?c", "ac", false),
            ("*", "", true),
            ("**a*b*", "xxaxxbxx", true),
            ("a*b*c", "a_b_b_c", true),
            ("a*b*c", "a_b_b_", false),
            ("[a]", "a", false),
        ] {
            assert_eq!(matches(pattern.as_bytes(), name.as_bytes()), fine, "{pattern} {name}");
        }
    }
}
