//! Uploads: pieces that go on where the last one stopped, over lost connections and restarts.
use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use dsg_schemas::api::BlobHave;
use futures_util::{Stream, StreamExt};
use sha2::{Digest, Sha256};
use tokio::sync::{Mutex, OwnedMutexGuard};

use super::disk;
use super::hash::BlobHash;
use super::store::{BlobError, BlobStore};
use crate::logs::recent::Recent;

/// By hash; the lock makes uploads of the same blob take turns.
pub type Uploads = Recent<BlobHash, UploadLock>;

#[derive(Default)]
pub struct UploadLock(Arc<Mutex<Option<Upload>>>);

/// What came so far, and its hash state, so that nothing is read twice.
pub struct Upload {
    file: File,
    have: u64,
    hasher: Sha256,
}

type Guard = OwnedMutexGuard<Option<Upload>>;

/// Written at once.
const WRITE_BYTES: usize = 256 << 10;
/// A sender that is silent for so long loses its turn.
const SILENCE: Duration = Duration::from_secs(30);

impl BlobStore {
    /// Takes a piece of a blob of `size` bytes. What came before an error is kept.
    pub async fn piece<E: std::fmt::Display>(
        self: &Arc<Self>,
        hash: BlobHash,
        offset: u64,
        size: u64,
        body: impl Stream<Item = Result<Bytes, E>>,
    ) -> Result<BlobHave, BlobError> {
        let lock = self.uploads.get(hash);
        let guard = lock.0.clone().lock_owned().await;
        let store = self.clone();
        let begun = blocking(move || store.begin(guard, hash, offset, size)).await;
        let mut body = std::pin::pin!(body);
        let mut guard = match begun {
            Ok((guard, have)) if !have.complete => guard,
            early => {
                let early = early.map(|(_, have)| have);
                drain(body).await;
                return early;
            }
        };
        let mut buffer = Vec::new();
        let mut room = size - offset;
        loop {
            let next = tokio::time::timeout(SILENCE, body.next()).await;
            let ended = match next {
                Ok(Some(Ok(bytes))) => {
                    let fits = bytes.len() as u64 <= room;
                    buffer.extend_from_slice(&bytes[..bytes.len().min(usize::try_from(room).unwrap_or(usize::MAX))]);
                    room = room.saturating_sub(bytes.len() as u64);
                    if fits { None } else { Some(Err(BlobError::TooLong { size })) }
                }
                Ok(Some(Err(error))) => Some(Err(BlobError::Body(error.to_string()))),
                Ok(None) => Some(Ok(())),
                Err(_) => Some(Err(BlobError::Body(format!("nothing came for {} s", SILENCE.as_secs())))),
            };
            if ended.is_some() || buffer.len() >= WRITE_BYTES {
                let (store, bytes) = (self.clone(), std::mem::take(&mut buffer));
                guard = blocking(move || store.put(guard, hash, &bytes)).await?;
            }
            match ended {
                None => {}
                Some(Err(error)) => return Err(error),
                Some(Ok(())) => break,
            }
        }
        let store = self.clone();
        blocking(move || store.settle(guard, hash, size)).await
    }

    /// Opens what came before, reading it once where its hash state is not in memory.
    fn begin(&self, mut guard: Guard, hash: BlobHash, offset: u64, size: u64) -> Result<(Guard, BlobHave), BlobError> {
        if let Some(have) = self.size(hash)? {
            return Ok((guard, BlobHave { have, complete: true }));
        }
        let upload = match guard.take() {
            Some(upload) => upload,
            None => self.resume(hash)?,
        };
        let have = BlobHave { have: upload.have, complete: false };
        *guard = Some(upload);
        if have.have > size {
            // An earlier sender spoke of another size: one of the two is wrong, and only the bytes can tell.
            self.forget(&mut guard, hash)?;
            return Err(BlobError::Elsewhere(BlobHave { have: 0, complete: false }));
        }
        if offset != have.have {
            return Err(BlobError::Elsewhere(have));
        }
        disk::room(self.root(), size - offset)?;
        Ok((guard, have))
    }

    fn resume(&self, hash: BlobHash) -> Result<Upload, BlobError> {
        let path = self.partial(hash);
        let mut options = File::options();
        let mut file = options
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path)
            .map_err(BlobError::io("open", &path))?;
        let (mut hasher, mut have, mut buffer) = (Sha256::new(), 0, vec![0; WRITE_BYTES]);
        loop {
            match file.read(&mut buffer).map_err(BlobError::io("read", &path))? {
                0 => return Ok(Upload { file, have, hasher }),
                count => {
                    hasher.update(&buffer[..count]);
                    have += count as u64;
                }
            }
        }
    }

    /// The guard travels with the bytes, so that a caller who leaves meanwhile does not let the next one in too early.
    fn put(&self, mut guard: Guard, hash: BlobHash, bytes: &[u8]) -> Result<Guard, BlobError> {
        if let Some(mut upload) = guard.take() {
            // After an error the file is read again: it says how much of this was written.
            upload.file.write_all_at(bytes, upload.have).map_err(BlobError::io("write", &self.partial(hash)))?;
            upload.hasher.update(bytes);
            upload.have += bytes.len() as u64;
            *guard = Some(upload);
        }
        Ok(guard)
    }

    /// If all of it is there: verified, forced to disk and put in place.
    fn settle(&self, mut guard: Guard, hash: BlobHash, size: u64) -> Result<BlobHave, BlobError> {
        let have = guard.as_ref().map_or(0, |upload| upload.have);
        if have < size {
            return Ok(BlobHave { have, complete: false });
        }
        if let Some(upload) = guard.take() {
            let found = BlobHash::from_hasher(upload.hasher);
            if found != hash {
                self.forget(&mut guard, hash)?;
                return Err(BlobError::WrongHash { wanted: hash, found });
            }
            let path = self.partial(hash);
            upload.file.sync_all().map_err(BlobError::io("sync", &path))?;
            self.install(&path, hash)?;
        }
        Ok(BlobHave { have, complete: true })
    }

    fn forget(&self, guard: &mut Guard, hash: BlobHash) -> Result<(), BlobError> {
        **guard = None;
        let path = self.partial(hash);
        match fs::remove_file(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            done => done.map_err(BlobError::io("remove", &path)),
        }
    }
}

/// A client that is still sending hears no answer, only that its connection broke: so it sends to the end, to nobody.
pub async fn drain<E>(mut body: impl Stream<Item = Result<Bytes, E>> + Unpin) {
    while let Ok(Some(Ok(_))) = tokio::time::timeout(SILENCE, body.next()).await {}
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, BlobError> + Send + 'static,
) -> Result<T, BlobError> {
    let done = tokio::task::spawn_blocking(work).await;
    done.unwrap_or_else(|error| Err(BlobError::Body(format!("the server stopped while it wrote: {error}"))))
}
