//! Snapshots: the rows of one commit, copied into a file of their own while the server goes on.
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::PoisonError;
use std::time::{Duration, SystemTime};

use redb::{Database, ReadTransaction, ReadableDatabase};

use super::copy::copy_all;
use super::disk::{self, ROWS};
use super::open::{durably, identity};
use super::redo;
use super::tables::Reached;
use super::trouble::Trouble;
use super::{Store, StoreError};

const FOLDER: &str = "snapshots";
const SUFFIX: &str = ".redb";
const EVERY: Duration = Duration::from_secs(3600);
/// A log that has grown so far wants a snapshot before the hour is over: it bounds how long a restore takes.
const LOG_BYTES: u64 = 256 << 20;
/// Of that many hours with a snapshot, the newest of each is kept; and of that many days.
const HOURS: usize = 24;
const DAYS: usize = 7;
/// Whatever their age: should the newest one be damaged, there is another.
const ALWAYS: usize = 2;
/// The log goes back to the oldest hourly snapshot, unless that takes more than this; to the last two in any case.
const ALL_LOGS_BYTES: u64 = 4 << 30;
/// What a snapshot leaves free.
const SPARE_BYTES: u64 = 64 << 20;
/// The copy is written from one end to the other: it needs no large cache.
const CACHE_BYTES: usize = 8 << 20;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Snapshot {
    /// `2026-11-25T20-09-10Z-4711`: when it was taken, in UTC, and after which commit.
    pub name: String,
    pub revision: u64,
}

impl Snapshot {
    fn new(at_ms: u64, revision: u64) -> Snapshot {
        let at =
            i64::try_from(at_ms).ok().and_then(|ms| jiff::Timestamp::from_millisecond(ms).ok()).unwrap_or_default();
        Snapshot { name: format!("{}-{revision}", at.strftime("%Y-%m-%dT%H-%M-%SZ")), revision }
    }
    fn of(file: &str) -> Option<Snapshot> {
        let name = file.strip_suffix(SUFFIX)?;
        let (at, revision) = name.split_once("Z-")?;
        let (is_time, revision) = (at.len() == "2026-11-25T20-09-10".len() && at.is_ascii(), revision.parse().ok()?);
        is_time.then(|| Snapshot { name: name.to_owned(), revision })
    }
    pub fn path(&self, data: &Path) -> PathBuf {
        folder(data).join(format!("{}{SUFFIX}", self.name))
    }
    fn hour(&self) -> &str {
        &self.name[..13]
    }
    fn day(&self) -> &str {
        &self.name[..10]
    }
}

pub fn folder(data: &Path) -> PathBuf {
    data.join(FOLDER)
}

/// Those that there are, newest first.
pub fn list(data: &Path) -> Result<Vec<Snapshot>, StoreError> {
    let wrap = |source| StoreError::File { path: folder(data), source };
    let mut found: Vec<_> =
        disk::names(&folder(data)).map_err(wrap)?.iter().filter_map(|name| Snapshot::of(name)).collect();
    found.sort_by(|one, other| (other.revision, &other.name).cmp(&(one.revision, &one.name)));
    Ok(found)
}

/// What came of the wish for a snapshot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Taken {
    Written(String),
    /// Nothing has changed since the last one.
    Unchanged,
    NoRoom {
        needed: u64,
        free: u64,
    },
}

impl Store {
    /// `up_for`: how long this server has been running.
    pub fn wants_snapshot(&self, up_for: Duration) -> Result<bool, StoreError> {
        let writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        let (reached, must) = (writer.reached, writer.needs_snapshot || writer.log.bytes() > LOG_BYTES);
        drop(writer);
        let Some(last) = list(&self.dir)?.into_iter().next() else { return Ok(must || up_for >= EVERY) };
        let age = fs::metadata(last.path(&self.dir)).and_then(|file| file.modified()).ok();
        let age = age.and_then(|at| SystemTime::now().duration_since(at).ok()).unwrap_or(EVERY);
        Ok(must || (age >= EVERY && last.revision < reached.revision))
    }

    /// Takes one, and removes what is no longer needed. Slow; the writer goes on meanwhile.
    pub fn snapshot(&self) -> Result<Taken, StoreError> {
        let read = self.begin_read()?;
        let (reached, _) = identity(&read).map_err(|trouble| self.tell(trouble))?;
        if list(&self.dir)?.first().is_some_and(|last| last.revision >= reached.revision) {
            return Ok(Taken::Unchanged);
        }
        let tell = |error| self.tell(Trouble::Io(error));
        let needed = fs::metadata(self.dir.join(ROWS)).map_err(tell)?.len() + SPARE_BYTES;
        let space = rustix::fs::statvfs(&self.dir).map_err(|error| tell(error.into()))?;
        let free = space.f_bavail.saturating_mul(space.f_frsize);
        #[cfg(test)]
        let free = self.only_free_bytes.lock().unwrap_or_else(PoisonError::into_inner).unwrap_or(free);
        if free < needed {
            return Ok(Taken::NoRoom { needed, free });
        }
        let taken = self.write_snapshot(read, reached)?;
        let mut writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        writer.log.rotate();
        writer.needs_snapshot = false;
        drop(writer);
        self.thin_out()?;
        Ok(Taken::Written(taken.name))
    }

    /// Without holding up whoever wants to open the store again: the transaction then ends with an error.
    fn begin_read(&self) -> Result<ReadTransaction, StoreError> {
        let place = self.database.read().unwrap_or_else(PoisonError::into_inner);
        let database = place.as_ref().ok_or(StoreError::Closed)?;
        database.begin_read().map_err(|error| self.wrap(error))
    }

    fn write_snapshot(&self, read: ReadTransaction, reached: Reached) -> Result<Snapshot, StoreError> {
        let folder = folder(&self.dir);
        let new = folder.join("new");
        let snapshot = Snapshot::new(super::changes::unix_ms(), reached.revision);
        let tell = |source| StoreError::File { path: new.clone(), source };
        disk::make_private(&folder).map_err(tell)?;
        create_private(&new).map_err(tell)?;
        let copied = Database::builder()
            .set_cache_size(CACHE_BYTES)
            .create(&new)
            .map_err(Trouble::from)
            .and_then(|copy| durably(&copy, |write| copy_all(&read, write)));
        if let Err(trouble) = copied {
            // What is left of it would only take space.
            let _ = fs::remove_file(&new);
            return Err(self.tell(trouble));
        }
        let synced = fs::File::open(&new).and_then(|file| file.sync_all());
        synced.and_then(|()| fs::rename(&new, snapshot.path(&self.dir))).map_err(tell)?;
        disk::sync_dir(&folder).and_then(|()| disk::sync_dir(&self.dir)).map_err(tell)?;
        Ok(snapshot)
    }

    /// Removes snapshots that nobody will want, and logs that only led away from those.
    fn thin_out(&self) -> Result<(), StoreError> {
        let all = list(&self.dir)?;
        let (kept, hourly) = kept(&all);
        for snapshot in all.iter().filter(|snapshot| !kept.contains(&snapshot.revision)) {
            fs::remove_file(snapshot.path(&self.dir)).map_err(|error| self.tell(Trouble::Io(error)))?;
        }
        let last = all.get(ALWAYS - 1).or(all.last()).map(|snapshot| snapshot.revision).unwrap_or_default();
        self.thin_out_log(hourly, last).map_err(|error| self.tell(Trouble::Io(error)))
    }

    fn thin_out_log(&self, hourly: u64, last: u64) -> std::io::Result<()> {
        // What the rows on disk have not got yet is nowhere but in the log.
        let durable = self.writer.lock().unwrap_or_else(PoisonError::into_inner).durable;
        let (hourly, last) = (hourly.min(durable), last.min(durable));
        let files = redo::files(&*self.disk)?;
        let sizes: Vec<u64> = files.iter().map(|(_, name)| self.disk.redo_bytes(name)).collect::<Result<_, _>>()?;
        let mut total: u64 = sizes.iter().sum();
        for (pair, size) in files.windows(2).zip(sizes) {
            let ends = pair[1].0 - 1;
            if ends <= hourly || (ends <= last && total > ALL_LOGS_BYTES) {
                self.disk.remove_redo(&pair[0].1)?;
                total -= size;
            } else {
                break;
            }
        }
        Ok(())
    }
}

/// Those to keep, and the oldest one that stands for an hour. `all` is in order, newest first.
fn kept(all: &[Snapshot]) -> (BTreeSet<u64>, u64) {
    let (mut hours, mut days, mut kept, mut oldest) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new(), 0);
    for (place, snapshot) in all.iter().enumerate() {
        let hourly = hours.len() < HOURS && hours.insert(snapshot.hour());
        let daily = days.len() < DAYS && days.insert(snapshot.day());
        if place < ALWAYS || hourly {
            oldest = snapshot.revision;
        }
        if place < ALWAYS || hourly || daily {
            kept.insert(snapshot.revision);
        }
    }
    (kept, oldest)
}

/// An empty file, for our eyes only.
pub fn create_private(path: &Path) -> std::io::Result<()> {
    use std::os::unix::fs::OpenOptionsExt;
    let _ = fs::remove_file(path);
    fs::OpenOptions::new().create_new(true).write(true).mode(0o600).open(path).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_day_of_hours_and_a_week_of_days_are_kept() {
        let hour_ms = 3_600_000;
        let begin = 1_795_600_000_000;
        // Two an hour, for ten days.
        let mut all: Vec<_> = (0..480u64).map(|half| Snapshot::new(begin + half * hour_ms / 2, half + 1)).collect();
        all.reverse();
        let (kept, oldest) = kept(&all);
        let left: Vec<_> = all.iter().filter(|snapshot| kept.contains(&snapshot.revision)).collect();
        let hours: BTreeSet<_> = left.iter().map(|snapshot| snapshot.hour()).collect();
        let days: BTreeSet<_> = left.iter().map(|snapshot| snapshot.day()).collect();
        assert_eq!(days.len(), 7, "{left:?}");
        assert!((24..=24 + 7).contains(&hours.len()) && left.len() <= hours.len() + 1, "{left:?}");
        assert_eq!(left[0].revision, 480);
        let logged = left.iter().filter(|snapshot| snapshot.revision >= oldest).count();
        assert!((24..=25).contains(&logged), "the log goes back a day: {logged}");
    }

    #[test]
    fn a_name_says_when_and_after_which_commit() {
        let snapshot = Snapshot::new(1_795_637_350_000, 4711);
        assert_eq!(snapshot.name, "2026-11-25T20-09-10Z-4711");
        assert_eq!(Snapshot::of("2026-11-25T20-09-10Z-4711.redb"), Some(snapshot));
        for other in
            ["new", "2026-11-25T20-09-10Z-4711.redb.damaged-1", "2026-11-25Z-4711.redb", "2026-11-25T20-09-10Z-x.redb"]
        {
            assert_eq!(Snapshot::of(other), None, "{other}");
        }
    }
}
