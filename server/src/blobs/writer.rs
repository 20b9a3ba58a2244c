//! Writing a blob whose hash is not known before: tables, joined files, manifests.
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::PathBuf;

use sha2::{Digest, Sha256};

use super::disk;
use super::hash::BlobHash;
use super::store::{BlobError, BlobStore};

/// Looks at the free disk again after this many bytes.
const LOOK_BYTES: u64 = 16 << 20;

/// Dropped before [`BlobWriter::finish`], it leaves nothing behind.
pub struct BlobWriter<'a> {
    store: &'a BlobStore,
    path: PathBuf,
    file: Option<File>,
    hasher: Sha256,
    size: u64,
    looked_at: u64,
}

impl BlobStore {
    pub fn writer(&self) -> Result<BlobWriter<'_>, BlobError> {
        disk::room(self.root(), 1)?;
        let path = self.new_path();
        let file = File::create_new(&path).map_err(BlobError::io("make", &path))?;
        Ok(BlobWriter { store: self, path, file: Some(file), hasher: Sha256::new(), size: 0, looked_at: 0 })
    }
}

impl BlobWriter<'_> {
    pub fn put(&mut self, bytes: &[u8]) -> Result<(), BlobError> {
        if self.size - self.looked_at > LOOK_BYTES {
            disk::room(self.store.root(), bytes.len() as u64)?;
            self.looked_at = self.size;
        }
        if let Some(file) = &mut self.file {
            file.write_all(bytes).map_err(BlobError::io("write", &self.path))?;
        }
        self.hasher.update(bytes);
        self.size += bytes.len() as u64;
        Ok(())
    }

    /// On disk and in place when this returns.
    pub fn finish(mut self) -> Result<(BlobHash, u64), BlobError> {
        if let Some(file) = self.file.take() {
            file.sync_all().map_err(BlobError::io("sync", &self.path))?;
        }
        let hash = BlobHash::from_hasher(std::mem::take(&mut self.hasher));
        if self.store.size(hash)?.is_none() {
            self.store.install(&self.path, hash)?;
        }
        Ok((hash, self.size))
    }
}

impl Drop for BlobWriter<'_> {
    fn drop(&mut self) {
        match fs::remove_file(&self.path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                tracing::warn!(path = ?self.path, cause = ?error, "an unfinished blob could not be removed");
            }
            Ok(()) | Err(_) => {}
        }
    }
}
