//! The blob store: bytes addressed by their sha256.
use std::io;
use std::path::Path;

pub struct BlobStore;

impl BlobStore {
    pub fn open(_dir: &Path) -> io::Result<BlobStore> {
        Ok(BlobStore)
    }
}
