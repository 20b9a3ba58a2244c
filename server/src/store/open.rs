//! Opening the store: alone, checked, readable by nobody else, and up to its last acknowledged change.
use std::path::Path;
use std::sync::{Mutex, PoisonError, RwLock};
use std::time::{Duration, Instant};

use redb::{
    Database, DatabaseError, Durability, ReadTransaction, ReadableDatabase, ReadableTable, StorageError, TableError,
    WriteTransaction,
};

use super::checked::Checked;
use super::disk::{self, Disk, Folder, ROWS};
use super::guarded::guarded;
use super::redo::{self, Chain, Ending};
use super::sealed::seal;
use super::steps::apply;
use super::tables::{Definition, META, META_GRID, META_REVISION, META_VERSION, Reached, VERSION, Visitor, each_table};
use super::trouble::Trouble;
use super::{Store, StoreError, Writer, migrate, snapshot};
use crate::auth::secret;

/// After a kill -9 the lock of the dead process may live for some milliseconds; an old server may be stopping.
const LOCK_PATIENCE: Duration = Duration::from_secs(5);

/// Makes a directory that only we may enter, whatever the umask.
pub fn private_dir(path: &Path) -> Result<(), StoreError> {
    disk::make_private(path).map_err(|source| StoreError::File { path: path.to_owned(), source })
}

impl Store {
    pub fn open(dir: &Path, cache_bytes: usize) -> Result<Store, StoreError> {
        Store::open_on(Box::new(Folder(dir.to_owned())), dir, cache_bytes)
    }

    pub(crate) fn open_on(disk: Box<dyn Disk>, dir: &Path, cache_bytes: usize) -> Result<Store, StoreError> {
        private_dir(dir)?;
        let store = Store {
            dir: dir.to_owned(),
            path: dir.join(ROWS),
            cache_bytes,
            disk,
            lock: Mutex::default(),
            database: RwLock::new(None),
            writer: Mutex::new(Writer::new(String::new(), Reached::default(), false)),
            #[cfg(test)]
            fail_next_commit: Default::default(),
            #[cfg(test)]
            only_free_bytes: Default::default(),
            #[cfg(test)]
            reopened: Default::default(),
        };
        store.reopen()?;
        Ok(store)
    }

    /// Opens the files anew: what memory thought of them no longer counts.
    pub fn reopen(&self) -> Result<(), StoreError> {
        #[cfg(test)]
        self.reopened.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
        let mut place = self.database.write().unwrap_or_else(PoisonError::into_inner);
        *place = None;
        self.take_lock()?;
        if !self.disk.has_rows() && self.has_history()? {
            return Err(StoreError::Missing { path: self.path.clone() });
        }
        let database = self.checked()?;
        let (reached, grid) = self.prepared(&database)?;
        self.catch_up(&database, reached, grid)?;
        *place = Some(database);
        Ok(())
    }

    /// Gives the files free for the next process; whoever still reads is waited for, whoever comes later is refused.
    pub fn close(&self) {
        // Without it the next start would do the same.
        if let Some(database) = &*self.database.read().unwrap_or_else(PoisonError::into_inner)
            && let Err(trouble) = durably(database, |_| Ok(()))
        {
            tracing::warn!(error = %self.tell(trouble), "the store was not closed well; its redo log has what is missing");
        }
        self.let_go();
        *self.lock.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// Until it is opened again.
    pub(super) fn let_go(&self) {
        *self.database.write().unwrap_or_else(PoisonError::into_inner) = None;
    }

    fn take_lock(&self) -> Result<(), StoreError> {
        let mut place = self.lock.lock().unwrap_or_else(PoisonError::into_inner);
        let patience = Instant::now() + LOCK_PATIENCE;
        while place.is_none() {
            *place = disk::lock(&self.dir).map_err(|error| self.tell(Trouble::Io(error)))?;
            if place.is_none() {
                if Instant::now() >= patience {
                    return Err(StoreError::Locked(self.dir.clone()));
                }
                std::thread::sleep(Duration::from_millis(50));
            }
        }
        Ok(())
    }

    /// There were rows here once.
    fn has_history(&self) -> Result<bool, StoreError> {
        let redo = redo::files(&*self.disk).map_err(|error| self.tell(Trouble::Io(error)))?;
        Ok(!redo.is_empty() || !snapshot::list(&self.dir)?.is_empty())
    }

    /// Every page is looked at: a plain open trusts a file that was closed well, and serves what a bad disk made of it.
    fn checked(&self) -> Result<Database, StoreError> {
        let patience = Instant::now() + LOCK_PATIENCE;
        loop {
            match open_checked(|builder| self.disk.rows(builder), self.cache_bytes) {
                Ok(database) => return Ok(database),
                // Of a version that locks nothing else.
                Err(DatabaseError::DatabaseAlreadyOpen) if Instant::now() < patience => {
                    std::thread::sleep(Duration::from_millis(50));
                }
                Err(DatabaseError::DatabaseAlreadyOpen) => return Err(StoreError::Locked(self.dir.clone())),
                Err(error) => return Err(self.wrap(error)),
            }
        }
    }

    /// Every table is there, in the form of today, and the grid has its name. Writes only if there is something to write: a
    /// full disk must not keep anybody from reading.
    fn prepared(&self, database: &Database) -> Result<(Reached, String), StoreError> {
        let read = || database.begin_read().map_err(|error| self.wrap(error));
        match version(&read()?).map_err(|trouble| self.tell(trouble))? {
            Some(found) if found > VERSION => return Err(StoreError::Version { found, known: VERSION }),
            Some(VERSION) => {}
            Some(found) => {
                tracing::info!(found, now = VERSION, "the store is brought to a newer form");
                // With a first commit, so that nobody takes its log for one that begins with an empty store.
                let first = Reached { revision: 1, at_ms: super::changes::unix_ms() };
                self.prepare(database, |write| {
                    migrate::seal_all(database, write)?;
                    apply(write, &[], first).map(drop)
                })?;
            }
            None => self.prepare(database, create)?,
        }
        identity(&read()?).map_err(|trouble| self.tell(trouble))
    }

    fn prepare(
        &self,
        database: &Database,
        work: impl FnOnce(&WriteTransaction) -> Result<(), Trouble>,
    ) -> Result<(), StoreError> {
        durably(database, work).map_err(|trouble| self.tell(trouble))
    }

    /// Does what is in the log and not in the rows: it was promised, or about to be.
    fn catch_up(&self, database: &Database, mut reached: Reached, grid: String) -> Result<(), StoreError> {
        let mut writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        let failed = writer.failed.take();
        let (have, mut ahead, mut cut) = (reached.revision, Vec::new(), None);
        let chain = Chain::walk(&*self.disk, &grid, have, |record, spot| {
            if failed == Some(record.reached.revision) {
                cut = Some((spot.file.to_owned(), spot.at));
                return Ok(false);
            }
            ahead.push(record);
            Ok(true)
        });
        let chain = chain.map_err(|trouble| self.tell(trouble))?;
        if let Some((file, at)) = cut {
            // Whoever asked for it was told that it failed.
            let result = self.disk.cut_redo(&file, at);
            if let Err(error) = result {
                writer.failed = failed;
                return Err(self.tell(Trouble::Io(error)));
            }
        }
        match &chain.ending {
            Ending::Clean => {}
            Ending::Torn { file, at, bytes } => {
                tracing::warn!(
                    file,
                    at,
                    bytes,
                    "the redo log ends with a commit that was not written whole; it is left out"
                );
            }
            Ending::Gap { next, .. } => {
                return Err(self.behind(chain.last, format!("its redo log goes on with commit {next}")));
            }
            Ending::Foreign { file, grid } => {
                return Err(StoreError::Foreign { path: self.path.clone(), file: file.clone(), grid: grid.clone() });
            }
        }
        if let Some(last) = ahead.last() {
            tracing::warn!(from = have, to = chain.last, "the store was behind its redo log and is brought up to it");
            let to = last.reached;
            // Not to the disk yet: it may be full, and what was promised must be there to be read all the same.
            let work = |write: &WriteTransaction| {
                ahead.iter().try_for_each(|record| apply(write, &record.steps, record.reached).map(drop))
            };
            commit(database, Durability::None, work).map_err(|trouble| self.tell(trouble))?;
            reached = to;
        }
        // Two histories must never be mixed: the next restore would begin with a snapshot of the other one.
        if let Some(newest) = snapshot::list(&self.dir)?.first().filter(|newest| newest.revision > reached.revision) {
            return Err(self.behind(reached.revision, format!("there is a snapshot {}", newest.name)));
        }
        let needs_snapshot = !self.can_be_restored(reached.revision, chain.seen)?;
        *writer = Writer::new(grid, reached, needs_snapshot);
        writer.durable = have;
        Ok(())
    }

    fn behind(&self, have: u64, later: String) -> StoreError {
        StoreError::Behind { path: self.path.clone(), have, later }
    }

    /// The newest snapshot (or nothing at all) and a log that goes on from there and ends with `logged` lead to these rows.
    fn can_be_restored(&self, revision: u64, logged: u64) -> Result<bool, StoreError> {
        let files = redo::files(&*self.disk).map_err(|error| self.tell(Trouble::Io(error)))?;
        let base = snapshot::list(&self.dir)?.first().map(|snapshot| snapshot.revision).unwrap_or_default();
        let goes_on = files.first().is_some_and(|(first, _)| *first <= base + 1);
        Ok(base >= revision || (goes_on && logged >= revision))
    }
}

/// Opens rows with a look at every page.
pub fn open_checked(
    open: impl FnOnce(&redb::Builder) -> Result<Database, DatabaseError>,
    cache_bytes: usize,
) -> Result<Database, DatabaseError> {
    let mut builder = Database::builder();
    builder.set_cache_size(cache_bytes).set_check_integrity_on_open(true);
    guarded(|| open(&builder)).unwrap_or_else(|words| Err(DatabaseError::Storage(StorageError::Corrupted(words))))
}

/// One durable transaction.
pub fn durably(
    database: &Database,
    work: impl FnOnce(&WriteTransaction) -> Result<(), Trouble>,
) -> Result<(), Trouble> {
    commit(database, Durability::Immediate, work)
}

fn commit(
    database: &Database,
    durability: Durability,
    work: impl FnOnce(&WriteTransaction) -> Result<(), Trouble>,
) -> Result<(), Trouble> {
    let mut write = database.begin_write()?;
    write.set_two_phase_commit(matches!(durability, Durability::Immediate));
    write.set_durability(durability)?;
    work(&write)?;
    Ok(write.commit()?)
}

/// `None`: there is nothing in it yet.
pub fn version(read: &ReadTransaction) -> Result<Option<u64>, Trouble> {
    let meta = match read.open_table(META) {
        Err(TableError::TableDoesNotExist(_)) => return Ok(None),
        meta => meta?,
    };
    let Some(bytes) = ReadableTable::get(&meta, META_VERSION)? else { return Ok(None) };
    let version = serde_json::from_slice(bytes.value());
    version.map(Some).map_err(|source| Trouble::Row { row: META_VERSION.to_owned(), source })
}

/// How far the rows have come, and whose they are.
pub fn identity(read: &ReadTransaction) -> Result<(Reached, String), Trouble> {
    let meta = Checked::open(read, META)?;
    let reached = match meta.get(META_REVISION)? {
        Some(bytes) => serde_json::from_slice(bytes.bytes())
            .map_err(|source| Trouble::Row { row: META_REVISION.to_owned(), source })?,
        None => Reached::default(),
    };
    let grid = meta.get(META_GRID)?.map(|bytes| String::from_utf8_lossy(bytes.bytes()).into_owned());
    Ok((reached, grid.unwrap_or_default()))
}

/// What an empty store begins with.
fn create(write: &WriteTransaction) -> Result<(), Trouble> {
    create_for(write, &secret::random_hex(8))
}

pub fn create_for(write: &WriteTransaction, grid: &str) -> Result<(), Trouble> {
    let mut meta = write.open_table(META)?;
    meta.insert(META_VERSION, VERSION.to_string().as_bytes())?;
    meta.insert(META_GRID, seal("meta", META_GRID.as_bytes(), grid.as_bytes()).as_slice())?;
    drop(meta);
    each_table(&mut Creating(write))
}

struct Creating<'w>(&'w WriteTransaction);

impl Visitor for Creating<'_> {
    type Error = Trouble;

    fn table<K: redb::Key + 'static>(&mut self, table: Definition<K>) -> Result<(), Trouble> {
        Ok(self.0.open_table(table).map(drop)?)
    }
}
