//! A pack: the closed short logs of up to a thousand attempts in one file, so that a million chunks are not a million files.
use std::collections::HashMap;
use std::fs;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;

use super::record::number;
use super::store::LogError;
use crate::checksum::checksum;

const MAGIC: &[u8; 4] = b"DSGP";
/// Magic, attempt u64, length u32, checksum u32 of the bytes, checksum u32 of this head.
const HEAD: usize = 24;

/// Entries one after the other; an attempt's last one counts. Complete on disk up to the last [`Pack::sync`].
#[derive(Debug)]
pub struct Pack {
    path: Arc<Path>,
    /// Open for writing, once something was written, and without a torn end since then.
    file: Option<fs::File>,
    bytes: u64,
    entries: HashMap<u64, Packed>,
}

/// Where a packed log is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Packed {
    path: Arc<Path>,
    at: u64,
    pub length: u64,
    sum: u32,
}

impl Packed {
    fn read(&self) -> Result<Vec<u8>, LogError> {
        let mut bytes = vec![0; self.length as usize];
        let file = fs::File::open(&self.path).map_err(LogError::io("open", &self.path))?;
        file.read_exact_at(&mut bytes, self.at).map_err(LogError::io("read", &self.path))?;
        Ok(bytes)
    }

    /// Refused if the bytes are not those that were packed: torn by a power cut, or the pack was written anew.
    pub fn read_whole(&self) -> Result<Vec<u8>, LogError> {
        match self.read() {
            Ok(bytes) if checksum(&[&bytes]) == self.sum => Ok(bytes),
            Ok(_) => Err(LogError::Moved),
            Err(LogError::File { source, .. })
                if matches!(source.kind(), io::ErrorKind::NotFound | io::ErrorKind::UnexpectedEof) =>
            {
                Err(LogError::Moved)
            }
            Err(error) => Err(error),
        }
    }
}

impl Pack {
    pub fn open(home: &Path) -> Result<Pack, LogError> {
        let mut pack = Pack { path: home.join("pack").into(), file: None, bytes: 0, entries: HashMap::new() };
        let file = match fs::File::open(&pack.path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(pack),
            Err(error) => return Err(LogError::io("open", &pack.path)(error)),
        };
        let size = file.metadata().map_err(LogError::io("look at", &pack.path))?.len();
        let mut head = [0; HEAD];
        while pack.bytes + HEAD as u64 <= size {
            file.read_exact_at(&mut head, pack.bytes).map_err(LogError::io("read", &pack.path))?;
            let (attempt, length) = (number(&head[4..12]), number(&head[12..16]));
            let whole = &head[..4] == MAGIC && number(&head[20..]) as u32 == checksum(&[&head[..20]]);
            let at = pack.bytes + HEAD as u64;
            if !whole || at + length > size {
                break;
            }
            let sum = number(&head[16..20]) as u32;
            pack.entries.insert(attempt, Packed { path: pack.path.clone(), at, length, sum });
            pack.bytes = at + length;
        }
        Ok(pack)
    }

    pub fn find(&self, attempt: u64) -> Option<&Packed> {
        self.entries.get(&attempt)
    }

    /// After the last whole entry.
    pub fn append(&mut self, attempt: u64, bytes: &[u8]) -> Result<Packed, LogError> {
        let entry = entry(attempt, bytes);
        let file = match self.file.take() {
            Some(file) => file,
            None => self.open_whole()?,
        };
        file.write_all_at(&entry, self.bytes).map_err(LogError::io("write", &self.path))?;
        // After an error the next one begins with the torn end.
        self.file = Some(file);
        let (at, length) = (self.bytes + HEAD as u64, bytes.len() as u64);
        let packed = Packed { path: self.path.clone(), at, length, sum: checksum(&[bytes]) };
        self.bytes = at + length;
        self.entries.insert(attempt, packed.clone());
        Ok(packed)
    }

    /// For writing, without what a crash left behind its last whole entry.
    fn open_whole(&self) -> Result<fs::File, LogError> {
        let open = || fs::OpenOptions::new().write(true).create(true).truncate(false).open(&self.path);
        let file = match open() {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let home = self.path.parent().unwrap_or(&self.path);
                fs::create_dir_all(home).and_then(|()| open())
            }
            other => other,
        };
        let file = file.map_err(LogError::io("open", &self.path))?;
        file.set_len(self.bytes).map_err(LogError::io("cut the torn end off", &self.path))?;
        Ok(file)
    }

    /// Writes the pack anew without these attempts; without any left, the file goes.
    pub fn remove(&mut self, attempts: &[u64]) -> Result<(), LogError> {
        if !attempts.iter().any(|attempt| self.entries.contains_key(attempt)) {
            return Ok(());
        }
        let mut kept: Vec<(u64, Packed)> = self.entries.iter().map(|(id, packed)| (*id, packed.clone())).collect();
        kept.retain(|(id, _)| !attempts.contains(id));
        kept.sort_unstable_by_key(|(_, packed)| packed.at);
        if kept.is_empty() {
            fs::remove_file(&self.path).map_err(LogError::io("remove", &self.path))?;
        } else {
            let new = self.path.with_extension("new");
            let mut out = Vec::new();
            for (attempt, packed) in kept {
                out.extend_from_slice(&entry(attempt, &packed.read()?));
            }
            fs::write(&new, out).map_err(LogError::io("write", &new))?;
            super::log::sync(&new)?;
            fs::rename(&new, &self.path).map_err(LogError::io("rename", &new))?;
        }
        *self = Pack::open(self.path.parent().unwrap_or(&self.path))?;
        Ok(())
    }

    /// Attempts and the lengths of their logs.
    pub fn sizes(&self) -> impl Iterator<Item = (u64, u64)> {
        self.entries.iter().map(|(attempt, packed)| (*attempt, packed.length))
    }

    pub fn bytes(&self) -> u64 {
        self.bytes
    }
}

fn entry(attempt: u64, bytes: &[u8]) -> Vec<u8> {
    let mut entry = MAGIC.to_vec();
    entry.extend_from_slice(&attempt.to_be_bytes());
    entry.extend_from_slice(&(bytes.len() as u32).to_be_bytes());
    entry.extend_from_slice(&checksum(&[bytes]).to_be_bytes());
    let sum = checksum(&[&entry]);
    entry.extend_from_slice(&sum.to_be_bytes());
    entry.extend_from_slice(bytes);
    entry
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_torn_entry_is_written_over_and_removal_keeps_the_rest() {
        let home = tempfile::tempdir().expect("a folder");
        let mut pack = Pack::open(home.path()).expect("opens");
        for attempt in 1..=3u64 {
            pack.append(attempt, format!("log of {attempt}").as_bytes()).expect("appends");
        }
        let path = home.path().join("pack");
        let whole = fs::read(&path).expect("reads");
        let last = whole.len() - HEAD - 8;
        for cut in last..whole.len() {
            fs::write(&path, &whole[..cut]).expect("writes");
            let mut torn = Pack::open(home.path()).expect("opens");
            assert!(torn.find(3).is_none(), "cut at {cut}");
            assert_eq!(torn.find(2).expect("there").read().expect("reads"), b"log of 2");
            torn.append(4, b"new").expect("appends");
            let again = Pack::open(home.path()).expect("opens");
            assert_eq!(again.find(4).expect("there").read().expect("reads"), b"new", "cut at {cut}");
        }
        let mut pack = Pack::open(home.path()).expect("opens");
        pack.remove(&[1, 9]).expect("removes");
        assert!(pack.find(1).is_none());
        assert_eq!(pack.find(4).expect("there").read().expect("reads"), b"new");
        pack.remove(&[2, 4]).expect("removes");
        assert!(!path.exists());
    }
}
