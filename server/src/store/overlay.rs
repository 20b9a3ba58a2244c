//! A file that is looked at as if it could be written: what redb repairs stays in memory, the file stays as it is.
use std::collections::HashMap;
use std::fmt;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};

use redb::StorageBackend;

const BLOCK: u64 = 4096;

pub struct Overlay {
    file: File,
    changed: Mutex<Changed>,
}

struct Changed {
    bytes: u64,
    /// What of the file still counts: it may have been cut, and have grown again with zeros.
    of_file: u64,
    blocks: HashMap<u64, Vec<u8>>,
}

impl Overlay {
    pub fn open(path: &Path) -> io::Result<Overlay> {
        let file = File::open(path)?;
        let bytes = file.metadata()?.len();
        Ok(Overlay { file, changed: Mutex::new(Changed { bytes, of_file: bytes, blocks: HashMap::new() }) })
    }

    fn changed(&self) -> MutexGuard<'_, Changed> {
        self.changed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A block as it is now.
    fn block(&self, changed: &Changed, number: u64) -> io::Result<Vec<u8>> {
        if let Some(block) = changed.blocks.get(&number) {
            return Ok(block.clone());
        }
        let mut block = vec![0; BLOCK as usize];
        let there = changed.of_file.saturating_sub(number * BLOCK).min(BLOCK) as usize;
        self.file.read_exact_at(&mut block[..there], number * BLOCK)?;
        Ok(block)
    }

    /// The pieces of a range, block by block: which one, from where in it, and how many bytes.
    fn pieces(offset: u64, bytes: usize) -> impl Iterator<Item = (u64, usize, usize)> {
        let (mut at, end) = (offset, offset + bytes as u64);
        std::iter::from_fn(move || {
            let (number, from) = (at / BLOCK, at % BLOCK);
            let length = (BLOCK - from).min(end - at);
            at += length;
            (length > 0).then_some((number, from as usize, length as usize))
        })
    }
}

impl fmt::Debug for Overlay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Overlay")
    }
}

impl StorageBackend for Overlay {
    fn len(&self) -> io::Result<u64> {
        Ok(self.changed().bytes)
    }
    fn read(&self, offset: u64, mut out: &mut [u8]) -> io::Result<()> {
        let changed = self.changed();
        if offset + out.len() as u64 > changed.bytes {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        for (number, from, length) in Overlay::pieces(offset, out.len()) {
            let (piece, rest) = out.split_at_mut(length);
            piece.copy_from_slice(&self.block(&changed, number)?[from..from + length]);
            out = rest;
        }
        Ok(())
    }
    fn set_len(&self, len: u64) -> io::Result<()> {
        let mut changed = self.changed();
        if len < changed.bytes {
            changed.of_file = changed.of_file.min(len);
            changed.blocks.retain(|number, _| number * BLOCK < len);
            if let Some(last) = changed.blocks.get_mut(&(len / BLOCK)) {
                last[(len % BLOCK) as usize..].fill(0);
            }
        }
        changed.bytes = len;
        Ok(())
    }
    fn sync_data(&self) -> io::Result<()> {
        Ok(())
    }
    fn write(&self, offset: u64, mut data: &[u8]) -> io::Result<()> {
        let mut changed = self.changed();
        for (number, from, length) in Overlay::pieces(offset, data.len()) {
            let mut block = self.block(&changed, number)?;
            let (piece, rest) = data.split_at(length);
            block[from..from + length].copy_from_slice(piece);
            changed.blocks.insert(number, block);
            data = rest;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_reads_as_a_written_file_would_and_writes_nothing() {
        let dir = tempfile::tempdir().expect("a directory");
        let (path, copy) = (dir.path().join("file"), dir.path().join("copy"));
        let bytes: Vec<u8> = (0..30_000u32).map(|byte| byte as u8).collect();
        std::fs::write(&path, &bytes).expect("written");
        std::fs::write(&copy, &bytes).expect("written");
        let overlay = Overlay::open(&path).expect("opened");
        let real = File::options().read(true).write(true).open(&copy).expect("opened");
        let mut dice = crate::store::torture::Dice(1);
        for _ in 0..500 {
            let len = overlay.len().expect("a length");
            match dice.roll(5) {
                0 => {
                    let len = dice.roll(60_000);
                    overlay.set_len(len).and_then(|()| real.set_len(len)).expect("cut");
                }
                1 | 2 => {
                    let at = dice.roll(len + 1);
                    let data = vec![dice.roll(256) as u8; dice.roll(9_000).min(len - at) as usize];
                    overlay.write(at, &data).and_then(|()| real.write_all_at(&data, at)).expect("written");
                }
                _ => {
                    let at = dice.roll(len + 1);
                    let mut one = vec![0; dice.roll(9_000).min(len - at) as usize];
                    let mut other = one.clone();
                    overlay.read(at, &mut one).and_then(|()| real.read_exact_at(&mut other, at)).expect("read");
                    assert!(one == other, "{} bytes at {at}", one.len());
                }
            }
        }
        assert!(overlay.read(overlay.len().expect("a length"), &mut [0]).is_err());
        assert!(std::fs::read(&path).expect("read") == bytes);
    }
}
