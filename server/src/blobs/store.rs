//! Where blobs are, and whether they are complete. A file at a blob's place is always whole: it is renamed to there.
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{PoisonError, RwLock};
use std::time::{Duration, SystemTime};

use dsg_schemas::api::BlobHave;

use super::disk::{self, NoRoom};
use super::hash::BlobHash;
use super::upload::Uploads;
use crate::logs::recent::Recent;

/// Unfinished uploads in memory; of more than these the part that came is read again.
const UPLOADS: usize = 1024;
/// Asking for a blob keeps it from being swept; its time is set at most this often.
const TOUCH: Duration = Duration::from_secs(600);

#[derive(Debug, thiserror::Error)]
pub enum BlobError {
    #[error("the upload goes on at byte {}, not where this piece begins; send from there", .0.have)]
    Elsewhere(BlobHave),
    #[error(
        "the uploaded bytes have sha256 {found}, not {wanted}: they changed on the way or in the file; upload it again"
    )]
    WrongHash { wanted: BlobHash, found: BlobHash },
    #[error("more bytes were sent than the announced {size}")]
    TooLong { size: u64 },
    #[error("the server's disk cannot take this blob ({0}); free space there and try again")]
    DiskFull(#[from] NoRoom),
    #[error("the upload broke off ({0}); go on where it stopped")]
    Body(String),
    #[error("there is no blob {0}")]
    Missing(BlobHash),
    #[error("cannot {doing} {path} of the blob store")]
    File {
        doing: &'static str,
        path: PathBuf,
        #[source]
        source: io::Error,
    },
}

impl BlobError {
    pub(super) fn io<'a>(doing: &'static str, path: &'a Path) -> impl Fn(io::Error) -> BlobError + 'a {
        move |source| match disk::is_full(&source) {
            true => BlobError::DiskFull(NoRoom { wanted: 1, free: 0 }),
            false => BlobError::File { doing, path: path.to_owned(), source },
        }
    }
}

impl From<BlobError> for io::Error {
    fn from(error: BlobError) -> io::Error {
        match error {
            BlobError::File { source, .. } => source,
            BlobError::Missing(_) => io::Error::new(io::ErrorKind::NotFound, error),
            BlobError::DiskFull(_) => io::Error::new(io::ErrorKind::StorageFull, error),
            BlobError::Elsewhere(_) | BlobError::WrongHash { .. } | BlobError::TooLong { .. } | BlobError::Body(_) => {
                io::Error::other(error)
            }
        }
    }
}

/// But for uploads everything here blocks on files: call it where blocking is allowed.
pub struct BlobStore {
    root: PathBuf,
    pub(super) uploads: Uploads,
    counter: AtomicU64,
    /// Held for reading while a blob is marked as used, for writing while one is swept.
    pub(super) sweeping: RwLock<()>,
}

impl BlobStore {
    pub fn open(dir: &Path) -> io::Result<BlobStore> {
        let partial = dir.join("partial");
        fs::create_dir_all(&partial)?;
        for entry in fs::read_dir(&partial)? {
            let entry = entry?;
            // Of the server's own writing; uploads go on where they stopped.
            if entry.file_name().to_string_lossy().starts_with("new-") {
                fs::remove_file(entry.path())?;
            }
        }
        let (root, counter) = (dir.to_owned(), AtomicU64::new(0));
        Ok(BlobStore { root, uploads: Recent::new(UPLOADS), counter, sweeping: RwLock::new(()) })
    }

    /// The size of a complete blob. Marks it as used.
    pub fn size(&self, hash: BlobHash) -> Result<Option<u64>, BlobError> {
        let path = self.path(hash);
        let _used = self.sweeping.read().unwrap_or_else(PoisonError::into_inner);
        let data = match fs::metadata(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            data => data.map_err(BlobError::io("look at", &path))?,
        };
        let age = data.modified().ok().and_then(|time| time.elapsed().ok()).unwrap_or_default();
        if age > TOUCH {
            let touch = || File::options().append(true).open(&path)?.set_modified(SystemTime::now());
            touch().map_err(BlobError::io("touch", &path))?;
        }
        Ok(Some(data.len()))
    }

    /// Complete and of this size. A disk that cannot say so does not have it.
    pub fn has(&self, hash: BlobHash, size: u64) -> bool {
        match self.size(hash) {
            Ok(found) => found == Some(size),
            Err(error) => {
                tracing::error!(%hash, cause = ?error, "cannot look for a blob");
                false
            }
        }
    }

    /// The bytes and their count. An open file stays readable even if the blob is removed.
    pub fn read(&self, hash: BlobHash) -> Result<(File, u64), BlobError> {
        let path = self.path(hash);
        let _used = self.size(hash)?.ok_or(BlobError::Missing(hash))?;
        let file = File::open(&path).map_err(BlobError::io("open", &path))?;
        let size = file.metadata().map_err(BlobError::io("look at", &path))?.len();
        Ok((file, size))
    }

    /// Stores the server's own bytes.
    pub fn write(&self, bytes: &[u8]) -> Result<(BlobHash, u64), BlobError> {
        let mut writer = self.writer()?;
        writer.put(bytes)?;
        writer.finish()
    }

    pub fn remove(&self, hash: BlobHash) -> Result<(), BlobError> {
        let path = self.path(hash);
        match fs::remove_file(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            done => done.map_err(BlobError::io("remove", &path)),
        }
    }

    /// Moves a complete, synced file to its place.
    pub(super) fn install(&self, from: &Path, hash: BlobHash) -> Result<(), BlobError> {
        let path = self.path(hash);
        let folder = self.folder(hash);
        if !folder.is_dir() {
            fs::create_dir_all(&folder).map_err(BlobError::io("make", &folder))?;
            sync(&self.root)?;
        }
        fs::rename(from, &path).map_err(BlobError::io("put in place", &path))?;
        sync(&folder)
    }

    pub(super) fn root(&self) -> &Path {
        &self.root
    }
    pub(super) fn path(&self, hash: BlobHash) -> PathBuf {
        self.folder(hash).join(hash.to_string())
    }
    pub(super) fn partial(&self, hash: BlobHash) -> PathBuf {
        self.root.join("partial").join(hash.to_string())
    }
    pub(super) fn new_path(&self) -> PathBuf {
        self.root.join("partial").join(format!("new-{}", self.counter.fetch_add(1, Ordering::Relaxed)))
    }
    /// 256 folders, so that none grows too large.
    fn folder(&self, hash: BlobHash) -> PathBuf {
        self.root.join(format!("{:02x}", hash.0[0]))
    }
}

fn sync(folder: &Path) -> Result<(), BlobError> {
    File::open(folder).and_then(|file| file.sync_all()).map_err(BlobError::io("sync", folder))
}
