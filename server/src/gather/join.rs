//! Joining files into one blob, streaming: byte after byte, or as CSV with one header.
use std::io::{Read, Seek, SeekFrom};

use dsg_schemas::ids::ChunkId;
use dsg_schemas::spec::GatherMode;
use dsg_schemas::wire::StoredFile;

use crate::blobs::{BlobError, BlobHash, BlobStore, BlobWriter};

const COPY_BYTES: usize = 256 << 10;
/// No honest header is longer; bounds memory.
const HEADER_BYTES: u64 = 1 << 20;
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// A file that a chunk left.
pub struct Part<'a> {
    pub chunk: ChunkId,
    pub file: &'a StoredFile,
}

#[derive(Debug, thiserror::Error)]
pub enum JoinError {
    #[error("the header of {file} from chunk {chunk} differs from that of {difference}")]
    OtherHeader { chunk: ChunkId, file: String, difference: String },
    #[error("the header of {file} from chunk {chunk} cannot be read: {why}")]
    NoHeader { chunk: ChunkId, file: String, why: String },
    #[error("{file} from chunk {chunk} has no valid sha256")]
    Address { chunk: ChunkId, file: String },
    #[error(transparent)]
    Blob(#[from] BlobError),
    #[error("cannot read {file} from chunk {chunk}: {source}")]
    Read { chunk: ChunkId, file: String, source: std::io::Error },
}

/// The joined file while it grows.
pub struct Joined<'a> {
    writer: BlobWriter<'a>,
    is_csv: bool,
    first: Option<Header>,
    ends_in_newline: bool,
    extension: Option<String>,
}

struct Header {
    chunk: ChunkId,
    file: String,
    fields: Vec<Vec<u8>>,
}

impl<'a> Joined<'a> {
    pub fn new(blobs: &'a BlobStore, mode: GatherMode) -> Result<Joined<'a>, BlobError> {
        let is_csv = mode == GatherMode::Csv;
        Ok(Joined { writer: blobs.writer()?, is_csv, first: None, ends_in_newline: true, extension: None })
    }

    pub fn add(&mut self, blobs: &BlobStore, part: &Part<'_>) -> Result<(), JoinError> {
        let (chunk, name) = (part.chunk, &part.file.file);
        let hash: BlobHash = part.file.sha256.parse().map_err(|_| JoinError::Address { chunk, file: name.clone() })?;
        let (mut file, _) = blobs.read(hash)?;
        let broken = |source| JoinError::Read { chunk, file: name.clone(), source };
        if self.extension.is_none() {
            let dot = name.rfind('.').filter(|dot| *dot > 0);
            self.extension = Some(dot.map_or(String::new(), |dot| name[dot..].to_owned()));
        }
        if self.is_csv {
            let mut head = Vec::new();
            file.by_ref().take(HEADER_BYTES).read_to_end(&mut head).map_err(broken)?;
            let Some(start) = self.header(part, &head)? else { return Ok(()) };
            file.seek(SeekFrom::Start(start as u64)).map_err(broken)?;
            if !self.ends_in_newline {
                self.put(b"\n")?;
            }
        }
        let mut buffer = vec![0; COPY_BYTES];
        loop {
            match file.read(&mut buffer).map_err(broken)? {
                0 => return Ok(()),
                count => self.put(&buffer[..count])?,
            }
        }
    }

    /// Where the bytes to copy begin; `None` for a file without anything in it.
    fn header(&mut self, part: &Part<'_>, head: &[u8]) -> Result<Option<usize>, JoinError> {
        let (chunk, file) = (part.chunk, part.file.file.clone());
        let mark = if head.starts_with(BYTE_ORDER_MARK) { BYTE_ORDER_MARK.len() } else { 0 };
        let (fields, length) = match first_record(&head[mark..]) {
            Ok(Some(found)) => found,
            Ok(None) => return Ok(None),
            Err(why) => return Err(JoinError::NoHeader { chunk, file, why }),
        };
        let end = mark + length;
        if end as u64 >= HEADER_BYTES {
            let why = format!("its first line is longer than {HEADER_BYTES} bytes");
            return Err(JoinError::NoHeader { chunk, file, why });
        }
        let Some(first) = &self.first else {
            self.first = Some(Header { chunk, file, fields });
            return Ok(Some(0));
        };
        if first.fields == fields {
            return Ok(Some(end));
        }
        let show = |fields: &[Vec<u8>]| {
            let text: Vec<_> = fields.iter().map(|field| String::from_utf8_lossy(field)).collect();
            text.join(",").chars().take(200).collect::<String>()
        };
        let (found, expected) = (show(&fields), show(&first.fields));
        let difference = format!("{} from chunk {}: {found:?} instead of {expected:?}", first.file, first.chunk);
        Err(JoinError::OtherHeader { chunk, file, difference })
    }

    fn put(&mut self, bytes: &[u8]) -> Result<(), BlobError> {
        if let Some(last) = bytes.last() {
            self.ends_in_newline = *last == b'\n';
        }
        self.writer.put(bytes)
    }

    /// `output` is what the step calls the result; without an ending of its own it takes that of the first file.
    pub fn finish(self, output: &str) -> Result<StoredFile, BlobError> {
        let (hash, size) = self.writer.finish()?;
        let file = match self.extension {
            Some(extension) if !output.contains('.') => format!("{output}{extension}"),
            Some(_) | None => output.to_owned(),
        };
        Ok(StoredFile { name: output.to_owned(), file, size, sha256: hash.to_string() })
    }
}

type Record = (Vec<Vec<u8>>, usize);

/// The fields of the first record, and where the next one begins. Quoted fields may hold newlines.
fn first_record(head: &[u8]) -> Result<Option<Record>, String> {
    let mut reader = csv::ReaderBuilder::new().has_headers(false).flexible(true).from_reader(head);
    let mut record = csv::ByteRecord::new();
    if !reader.read_byte_record(&mut record).map_err(|error| error.to_string())? {
        return Ok(None);
    }
    let mut end = usize::try_from(reader.position().byte()).unwrap_or(head.len()).min(head.len());
    // The reader may stop between the two halves of a line end.
    if end > 0 && head[end - 1] == b'\r' && head.get(end) == Some(&b'\n') {
        end += 1;
    }
    Ok(Some((record.iter().map(<[u8]>::to_vec).collect(), end)))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use dsg_schemas::ids::{JobId, MAIN};

    use super::*;

    fn join(dir: &Path, mode: GatherMode, parts: &[&str]) -> Result<(StoredFile, String), JoinError> {
        let blobs = BlobStore::open(dir).expect("opens");
        let mut joined = Joined::new(&blobs, mode)?;
        for (index, text) in (0u32..).zip(parts) {
            let (hash, size) = blobs.write(text.as_bytes())?;
            let (name, file) = ("table".to_owned(), "part.csv".to_owned());
            let file = StoredFile { name, file, size, sha256: hash.to_string() };
            let chunk = ChunkId { job: JobId(1), stage: MAIN, index };
            joined.add(&blobs, &Part { chunk, file: &file })?;
        }
        let file = joined.finish("all")?;
        let mut text = String::new();
        blobs.read(file.sha256.parse().expect("a hash"))?.0.read_to_string(&mut text).expect("text");
        assert_eq!(text.len() as u64, file.size);
        Ok((file, text))
    }

    #[test]
    fn files_are_joined_in_order_and_a_header_stands_once() {
        let dir = tempfile::tempdir().expect("a folder");
        for (mode, parts, expected) in [
            (GatherMode::Concat, vec!["a\nb", "", "c\n"], "a\nbc\n"),
            (GatherMode::Concat, vec![], ""),
            (GatherMode::Csv, vec!["x,y\n1,2\n", "x,y\n3,4\n"], "x,y\n1,2\n3,4\n"),
            (GatherMode::Csv, vec!["x,y\n1,2", "x,y\n3,4", "x,y\n", "x,y"], "x,y\n1,2\n3,4\n"),
            (GatherMode::Csv, vec!["x,y\r\n1,2\r\n", "x,y\r\n3,4\r\n"], "x,y\r\n1,2\r\n3,4\r\n"),
            (GatherMode::Csv, vec!["", "x,y\n1,2\n", "", "\u{feff}\"x\",y\n3,4\n"], "x,y\n1,2\n3,4\n"),
            (GatherMode::Csv, vec!["\"a\nb\",y\n1,2\n", "\"a\nb\",y\n\"3\n\",4\n"], "\"a\nb\",y\n1,2\n\"3\n\",4\n"),
            (GatherMode::Csv, vec!["x\n1\n", "x\n\n2\n"], "x\n1\n\n2\n"),
        ] {
            let (file, text) = join(dir.path(), mode, &parts).expect("joins");
            assert_eq!(text, expected, "{parts:?}");
            let name = if parts.is_empty() { "all" } else { "all.csv" };
            assert_eq!((&file.name[..], &file.file[..]), ("all", name));
        }
    }

    #[test]
    fn another_header_fails_and_names_the_chunk() {
        let dir = tempfile::tempdir().expect("a folder");
        let error = join(dir.path(), GatherMode::Csv, &["x,y\n1,2\n", "x,y\n", "x,z\n3,4\n"]).expect_err("differs");
        let text = error.to_string();
        assert!(text.contains("chunk 1/2") && text.contains("chunk 1/0"), "{text}");
        assert!(text.contains("\"x,z\" instead of \"x,y\""), "{text}");
        let endless = "x".repeat(HEADER_BYTES as usize + 5);
        let error = join(dir.path(), GatherMode::Csv, &[&endless]).expect_err("no header");
        assert!(matches!(error, JoinError::NoHeader { .. }), "{error}");
        let left = std::fs::read_dir(dir.path().join("partial")).expect("lists").count();
        assert_eq!(left, 0, "nothing unfinished stays behind");
    }
}
