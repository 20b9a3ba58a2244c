//! Where the files of the store lie: in a folder; in tests also on a disk that loses power, is slow or is full.
use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use redb::{Builder, Database, DatabaseError};

pub trait Disk: Send + Sync {
    /// Whether there is a file with rows.
    fn has_rows(&self) -> bool;
    /// Opens the rows, or makes the file for them.
    fn rows(&self, builder: &Builder) -> Result<Database, DatabaseError>;
    /// The names of the files of the redo log, in no order.
    fn redo_files(&self) -> io::Result<Vec<String>>;
    fn read_redo(&self, name: &str) -> io::Result<Box<dyn Read>>;
    /// Makes a file of the redo log that begins like this; it and its name are on disk when this returns.
    fn create_redo(&self, name: &str, begins: &[u8]) -> io::Result<Box<dyn Append>>;
    fn cut_redo(&self, name: &str, bytes: u64) -> io::Result<()>;
    fn remove_redo(&self, name: &str) -> io::Result<()>;
    fn redo_bytes(&self, name: &str) -> io::Result<u64>;
    /// Writes so much beside the rest, and removes it again.
    fn try_room(&self, bytes: usize) -> io::Result<()>;
}

pub trait Append: Send {
    /// The bytes are on disk when this returns.
    fn append(&mut self, bytes: &[u8]) -> io::Result<()>;
}

pub const ROWS: &str = "dsg.redb";
pub const REDO: &str = "redo";

/// The data directory.
pub struct Folder(pub PathBuf);

impl Folder {
    fn redo(&self) -> PathBuf {
        self.0.join(REDO)
    }
}

impl Disk for Folder {
    fn has_rows(&self) -> bool {
        fs::metadata(self.0.join(ROWS)).is_ok_and(|file| file.len() > 0)
    }
    fn rows(&self, builder: &Builder) -> Result<Database, DatabaseError> {
        let path = self.0.join(ROWS);
        OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .mode(0o600)
            .open(&path)
            .and_then(|file| file.set_permissions(fs::Permissions::from_mode(0o600)))?;
        builder.create(path)
    }
    fn redo_files(&self) -> io::Result<Vec<String>> {
        names(&self.redo())
    }
    fn read_redo(&self, name: &str) -> io::Result<Box<dyn Read>> {
        Ok(Box::new(io::BufReader::with_capacity(1 << 20, File::open(self.redo().join(name))?)))
    }
    fn create_redo(&self, name: &str, begins: &[u8]) -> io::Result<Box<dyn Append>> {
        make_private(&self.redo())?;
        let path = self.redo().join(name);
        let mut file = OpenOptions::new().create(true).truncate(true).write(true).mode(0o600).open(path)?;
        file.write_all(begins)?;
        file.sync_all()?;
        sync_dir(&self.redo())?;
        sync_dir(&self.0)?;
        Ok(Box::new(file))
    }
    fn cut_redo(&self, name: &str, bytes: u64) -> io::Result<()> {
        let file = OpenOptions::new().write(true).open(self.redo().join(name))?;
        file.set_len(bytes)?;
        file.sync_all()
    }
    fn remove_redo(&self, name: &str) -> io::Result<()> {
        fs::remove_file(self.redo().join(name))
    }
    fn redo_bytes(&self, name: &str) -> io::Result<u64> {
        Ok(fs::metadata(self.redo().join(name))?.len())
    }
    fn try_room(&self, bytes: usize) -> io::Result<()> {
        let path = self.0.join("room");
        let file = OpenOptions::new().create(true).truncate(true).write(true).mode(0o600).open(&path);
        let tried = file.and_then(|mut file| file.write_all(&vec![1; bytes]).and_then(|()| file.sync_all()));
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => tried.and(Err(error)),
            Ok(()) | Err(_) => tried,
        }
    }
}

impl Append for File {
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.write_all(bytes)?;
        self.sync_data()
    }
}

/// The names in a folder; none where there is no folder.
pub fn names(folder: &Path) -> io::Result<Vec<String>> {
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    entries.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned())).collect()
}

pub fn make_private(folder: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    fs::set_permissions(folder, fs::Permissions::from_mode(0o700))
}

/// Names are on disk only once their folder is.
pub fn sync_dir(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

/// Keeps a second process away from a data directory, whatever happens to the files in it. `None`: another one has it.
pub fn lock(data: &Path) -> io::Result<Option<File>> {
    let file = OpenOptions::new().create(true).truncate(false).write(true).mode(0o600).open(data.join("lock"))?;
    match file.try_lock() {
        Ok(()) => Ok(Some(file)),
        Err(TryLockError::WouldBlock) => Ok(None),
        Err(TryLockError::Error(error)) => Err(error),
    }
}
