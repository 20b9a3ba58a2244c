//! Opening the store: alone, checked, readable by nobody else.
use std::fs::{self, OpenOptions, Permissions};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::RwLock;
use std::time::{Duration, Instant};

use redb::{Database, DatabaseError, ReadableTable, StorageError};

use super::tables::{ATTEMPTS, AUTH, BLOCKS, CHUNKS, JOBS, META, META_GRID, META_VERSION, RUNNERS, SPECS, VERSION};
use super::{Store, StoreError};
use crate::auth::secret;

/// After a kill -9 the lock of the dead process may live for some milliseconds; an old server may be stopping.
const LOCK_PATIENCE: Duration = Duration::from_secs(5);

/// Makes a directory that only we may enter, whatever the umask.
pub fn private_dir(path: &Path) -> Result<(), StoreError> {
    fs::create_dir_all(path)
        .and_then(|()| fs::set_permissions(path, Permissions::from_mode(0o700)))
        .map_err(|source| StoreError::File { path: path.to_owned(), source })
}

impl Store {
    pub fn open(dir: &Path, cache_bytes: usize) -> Result<Store, StoreError> {
        private_dir(dir)?;
        let store = Store {
            path: dir.join("dsg.redb"),
            cache_bytes,
            database: RwLock::new(None),
            #[cfg(test)]
            fail_next_commit: Default::default(),
        };
        store.reopen()?;
        Ok(store)
    }

    /// Opens the file anew: what memory thought of it no longer counts.
    pub fn reopen(&self) -> Result<(), StoreError> {
        let mut place = self.database.write().unwrap_or_else(|poison| poison.into_inner());
        *place = None;
        private_file(&self.path)?;
        let mut database = self.locked()?;
        match database.check_integrity() {
            Ok(true) => {}
            // A commit soon after a repair can be lost unless the file is opened once more in between.
            Ok(false) => {
                tracing::warn!(path = %self.path.display(), "the store was repaired");
                drop(database);
                database = self.locked()?;
            }
            Err(error) => return Err(self.damaged(error)),
        }
        self.prepare(&database)?;
        *place = Some(database);
        Ok(())
    }

    /// Gives the file free for the next process; whoever still reads is waited for, whoever comes later is refused.
    pub fn close(&self) {
        *self.database.write().unwrap_or_else(|poison| poison.into_inner()) = None;
    }

    fn locked(&self) -> Result<Database, StoreError> {
        let patience = Instant::now() + LOCK_PATIENCE;
        loop {
            match Database::builder().set_cache_size(self.cache_bytes).create(&self.path) {
                Ok(database) => return Ok(database),
                Err(DatabaseError::DatabaseAlreadyOpen) if Instant::now() < patience => {
                    std::thread::sleep(Duration::from_millis(50));
                }
                Err(DatabaseError::DatabaseAlreadyOpen) => return Err(StoreError::Locked(self.path.clone())),
                Err(error) => return Err(self.damaged(error)),
            }
        }
    }

    fn damaged(&self, error: DatabaseError) -> StoreError {
        match error {
            DatabaseError::Storage(StorageError::Corrupted(why)) => {
                StoreError::Damaged { path: self.path.clone(), why }
            }
            other => self.wrap(other),
        }
    }

    /// Every table is there, the version is ours, and the grid has its name.
    fn prepare(&self, database: &Database) -> Result<(), StoreError> {
        let mut write = database.begin_write().map_err(|error| self.wrap(error))?;
        write.set_two_phase_commit(true);
        {
            let mut meta = write.open_table(META).map_err(|error| self.wrap(error))?;
            let found = meta.get(META_VERSION).map_err(|error| self.wrap(error))?.map(|bytes| bytes.value().to_vec());
            match found {
                Some(bytes) => {
                    let found = serde_json::from_slice(&bytes)
                        .map_err(|source| StoreError::Row { row: META_VERSION.to_owned(), source })?;
                    if found > VERSION {
                        return Err(StoreError::Version { found, known: VERSION });
                    }
                }
                None => {
                    let version = VERSION.to_string();
                    meta.insert(META_VERSION, version.as_bytes()).map_err(|error| self.wrap(error))?;
                    let grid = secret::random_hex(8);
                    meta.insert(META_GRID, grid.as_bytes()).map_err(|error| self.wrap(error))?;
                }
            }
            write.open_table(JOBS).map_err(|error| self.wrap(error))?;
            write.open_table(SPECS).map_err(|error| self.wrap(error))?;
            write.open_table(BLOCKS).map_err(|error| self.wrap(error))?;
            write.open_table(CHUNKS).map_err(|error| self.wrap(error))?;
            write.open_table(ATTEMPTS).map_err(|error| self.wrap(error))?;
            write.open_table(RUNNERS).map_err(|error| self.wrap(error))?;
            write.open_table(AUTH).map_err(|error| self.wrap(error))?;
        }
        write.commit().map_err(|error| self.wrap(error))
    }
}

fn private_file(path: &PathBuf) -> Result<(), StoreError> {
    OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .mode(0o600)
        .open(path)
        .and_then(|file| file.set_permissions(Permissions::from_mode(0o600)))
        .map_err(|source| StoreError::File { path: path.clone(), source })
}
