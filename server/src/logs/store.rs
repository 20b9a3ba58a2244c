//! All logs: finds, opens and guards the one that is asked for, and wakes who follows it.
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use dsg_schemas::ids::AttemptId;
use dsg_schemas::wire::log::{LogAnswer, LogHave, Piece};
use tokio::sync::watch;

use super::folders::Folders;
use super::log::{Caps, Closed, Log, Place, sync};
use super::pack::Pack;
use super::recent::Recent;
use crate::blobs::disk;

/// Attempts that share a folder and a pack.
pub(super) const SHARED: u64 = 1000;
/// States of logs in memory, a few hundred bytes each. More live attempts than this are read from their files again.
const LOGS: usize = 4096;
/// Packs in memory, each with an open file and up to a hundred kilobytes of places.
const PACKS: usize = 64;
/// Unfinished lines in memory, over all logs.
const OPEN_BYTES: usize = 32 << 20;
/// How often what was written is forced to disk. Runners keep what is not there yet, so that a power cut loses nothing.
const FLUSH: Duration = Duration::from_secs(2);
/// Above this many written files one sync of the whole file system is cheaper than one for each.
const FILES_PER_FLUSH: usize = 32;
/// No honest stream is longer.
const STREAM_BYTES: u64 = 1 << 60;

#[derive(Debug, thiserror::Error)]
pub enum LogError {
    #[error(
        "the server's disk is full: no log is taken until space is freed; the runner keeps what it has and tries again"
    )]
    DiskFull,
    #[error("the log piece at offset {offset} lies beyond any honest log; the runner that sent it is at fault")]
    Absurd { offset: u64 },
    /// Read again from a fresh state: the log was packed, cut or removed in between.
    #[error("the log changed while it was read; try again")]
    Moved,
    #[error("cannot {doing} {path} of the log store")]
    File {
        doing: &'static str,
        path: PathBuf,
        #[source]
        source: io::Error,
    },
}

impl LogError {
    pub(super) fn io<'a>(doing: &'static str, path: &'a Path) -> impl Fn(io::Error) -> LogError + 'a {
        move |source| match source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => LogError::DiskFull,
            _ => LogError::File { doing, path: path.to_owned(), source },
        }
    }
}

/// Cheap to clone. Everything here blocks on files: call it where blocking is allowed.
#[derive(Clone)]
pub struct LogStore(Arc<Inner>);

struct Inner {
    root: PathBuf,
    caps: Caps,
    logs: Recent<u64, Mutex<Option<Log>>>,
    packs: Recent<u64, Shared>,
    watchers: Mutex<HashMap<u64, watch::Sender<()>>>,
    /// Written since the last flush.
    written: Mutex<Written>,
    /// How much of each log is on disk for certain. Forgetting one is always sound: then nothing of it is promised.
    durable: Mutex<HashMap<u64, LogHave>>,
}

#[derive(Default)]
struct Written {
    files: BTreeSet<PathBuf>,
    /// How much there was of these logs after the last write.
    logs: BTreeMap<u64, LogHave>,
}

/// What the attempts of a folder share. `synced` is locked before `pack`, and never while `pack` is held. Who makes a folder holds
/// this until it is there: what nobody holds may be forgotten, and is then what lies on disk.
#[derive(Default)]
struct Shared {
    folders: Folders,
    pack: Mutex<Option<Pack>>,
    /// The pack is on disk up to here.
    synced: Mutex<u64>,
}

impl LogStore {
    pub fn open(dir: &Path) -> io::Result<LogStore> {
        LogStore::with_caps(dir, Caps::default())
    }

    pub(super) fn with_caps(dir: &Path, caps: Caps) -> io::Result<LogStore> {
        fs::create_dir_all(dir)?;
        let inner = Inner {
            root: dir.to_owned(),
            caps,
            logs: Recent::new(LOGS),
            packs: Recent::new(PACKS),
            watchers: Mutex::default(),
            written: Mutex::default(),
            durable: Mutex::default(),
        };
        let store = LogStore(Arc::new(inner));
        let weak = Arc::downgrade(&store.0);
        std::thread::Builder::new().name("log-flush".to_owned()).spawn(move || keep(&weak))?;
        Ok(store)
    }

    /// Takes what is new of these pieces and answers with what it has then. What lies beyond a gap is not taken, unless an
    /// empty piece at a higher offset says that the bytes before it are lost.
    pub fn append(&self, attempt: AttemptId, pieces: &[Piece<'_>]) -> Result<LogAnswer, LogError> {
        if let Some(piece) = pieces.iter().find(|piece| piece.offset > STREAM_BYTES) {
            return Err(LogError::Absurd { offset: piece.offset });
        }
        disk::room(&self.0.root, pieces.iter().map(|piece| piece.bytes.len() as u64).sum())
            .map_err(|_| LogError::DiskFull)?;
        let mut written = Vec::new();
        let home = attempt.0 / SHARED;
        let shared = self.0.packs.get(home);
        shared.folders.expect(&self.home(home), attempt.0)?;
        let have = self.change(attempt, |log| log.append(pieces, &mut written))?;
        if !written.is_empty() {
            {
                let mut all = lock(&self.0.written);
                all.files.extend(written);
                all.logs.insert(attempt.0, have);
            }
            self.wake(attempt);
        }
        let durable = lock(&self.0.durable).get(&attempt.0).copied().unwrap_or_default();
        Ok(LogAnswer { have, durable })
    }

    pub fn have(&self, attempt: AttemptId) -> Result<LogHave, LogError> {
        self.change(attempt, |log| Ok(log.tip.have()))
    }

    /// The attempt ended after it wrote this much. Closes the log if all of it is here; otherwise says how much is missing.
    pub fn end(&self, attempt: AttemptId, wrote: LogHave) -> Result<LogHave, LogError> {
        let have = self.have(attempt)?;
        let stdout = wrote.stdout.saturating_sub(have.stdout);
        let stderr = wrote.stderr.saturating_sub(have.stderr);
        if stdout == 0 && stderr == 0 {
            self.close(attempt, have)?;
        }
        Ok(LogHave { stdout, stderr })
    }

    /// No more will come. What the attempt wrote beyond what came is marked as lost. Of use where the runner is lost, too:
    /// with a `wrote` of nothing. An attempt that comes back all the same may append again.
    pub fn close(&self, attempt: AttemptId, wrote: LogHave) -> Result<(), LogError> {
        self.close_all(&[(attempt, wrote)])
    }

    /// The same for several, which share what it costs to force them to disk.
    pub fn close_all(&self, ended: &[(AttemptId, LogHave)]) -> Result<(), LogError> {
        let now_ms = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis() as u64;
        let mut packed = Vec::new();
        let mut ends: BTreeMap<u64, u64> = BTreeMap::new();
        for (attempt, wrote) in ended {
            let home = attempt.0 / SHARED;
            let shared = self.0.packs.get(home);
            let (closed, end) = self.change(*attempt, |log| {
                if log.tip.have() != *wrote {
                    // That bytes are lost is written down.
                    shared.folders.expect(&self.home(home), attempt.0)?;
                }
                self.with_pack(home, &shared, |pack| Ok((log.close(*wrote, now_ms, pack)?, pack.bytes())))
            })?;
            if let Closed::Packed(folder) = closed {
                packed.push((*attempt, folder));
                ends.insert(home, end);
            }
            self.wake(*attempt);
            lock(&self.0.durable).remove(&attempt.0);
        }
        for (home, end) in ends {
            self.sync_pack(home, &self.0.packs.get(home), end)?;
        }
        for (attempt, folder) in packed {
            // Unless the attempt came back meanwhile.
            self.change(attempt, |log| match (&log.place, folder.exists()) {
                (Place::Pack(_), true) => {
                    fs::remove_dir_all(&folder).map_err(LogError::io("remove the packed log", &folder))
                }
                (Place::Pack(_) | Place::Nowhere | Place::Folder(_), _) => Ok(()),
            })?;
        }
        Ok(())
    }

    /// Wakes when something was appended, or the log was closed, after this call. Subscribe first, read then.
    pub fn watch(&self, attempt: AttemptId) -> watch::Receiver<()> {
        let mut watchers = lock(&self.0.watchers);
        watchers.entry(attempt.0).or_insert_with(|| watch::channel(()).0).subscribe()
    }

    /// Removes logs for good.
    pub fn remove(&self, attempts: &[AttemptId]) -> Result<(), LogError> {
        let mut homes: HashMap<u64, Vec<u64>> = HashMap::new();
        for attempt in attempts {
            homes.entry(attempt.0 / SHARED).or_default().push(attempt.0);
        }
        for (home, attempts) in homes {
            let path = self.home(home);
            for attempt in &attempts {
                let slot = self.0.logs.get(*attempt);
                let mut log = lock(&slot);
                *log = None;
                let folder = path.join(attempt.to_string());
                if folder.is_dir() {
                    fs::remove_dir_all(&folder).map_err(LogError::io("remove", &folder))?;
                }
            }
            let shared = self.0.packs.get(home);
            {
                let mut synced = lock(&shared.synced);
                self.with_pack(home, &shared, |pack| pack.remove(&attempts))?;
                *synced = 0;
            }
            // Their places in the pack have changed.
            for (_, slot) in self.0.logs.all().into_iter().filter(|(attempt, _)| attempt / SHARED == home) {
                *lock(&slot) = None;
            }
            // Refused by the system unless it is empty, and that is what is wanted.
            let _kept_unless_empty = fs::remove_dir(&path);
        }
        Ok(())
    }

    /// Reads from a snapshot, and once more from a fresh one where the files moved below it.
    pub(super) fn read<T>(
        &self,
        attempt: AttemptId,
        read: impl Fn(&Log) -> Result<T, LogError>,
    ) -> Result<T, LogError> {
        for _ in 0..4 {
            let snapshot = self.change(attempt, |log| Ok(log.clone()))?;
            match read(&snapshot) {
                Err(LogError::Moved) => {}
                other => return other,
            }
        }
        // Somebody else has changed the files: believe them, not our memory.
        *lock(&self.0.logs.get(attempt.0)) = None;
        read(&self.change(attempt, |log| Ok(log.clone()))?)
    }

    /// Forces to disk what was written since the last time.
    pub fn flush(&self) -> Result<(), LogError> {
        let Written { files, logs } = std::mem::take(&mut *lock(&self.0.written));
        if let Err(error) = self.sync_files(&files) {
            // They are still to be forced to disk.
            let mut all = lock(&self.0.written);
            all.files.extend(files);
            for (attempt, have) in logs {
                all.logs.entry(attempt).or_insert(have);
            }
            return Err(error);
        }
        let mut durable = lock(&self.0.durable);
        if durable.len() > LOGS {
            durable.clear();
        }
        durable.extend(logs);
        Ok(())
    }

    fn sync_files(&self, files: &BTreeSet<PathBuf>) -> Result<(), LogError> {
        if files.len() > FILES_PER_FLUSH {
            let root = fs::File::open(&self.0.root).map_err(LogError::io("open", &self.0.root))?;
            return rustix::fs::syncfs(root).map_err(|error| LogError::io("sync", &self.0.root)(error.into()));
        }
        let mut folders = BTreeSet::new();
        for path in files {
            // Packed or removed meanwhile: then somebody else has taken care of it.
            if path.exists() {
                sync(path)?;
                folders.extend(path.ancestors().skip(1).take_while(|folder| folder.starts_with(&self.0.root)));
            }
        }
        folders.into_iter().filter(|folder| folder.exists()).try_for_each(sync)
    }

    fn change<T>(
        &self,
        attempt: AttemptId,
        change: impl FnOnce(&mut Log) -> Result<T, LogError>,
    ) -> Result<T, LogError> {
        let slot = self.0.logs.get(attempt.0);
        let mut place = lock(&slot);
        let mut log = match place.take() {
            Some(log) => log,
            None => {
                let (home, path) = (attempt.0 / SHARED, self.home(attempt.0 / SHARED));
                let shared = self.0.packs.get(home);
                let may_be_live = shared.folders.may_have(&path, attempt.0)?;
                self.with_pack(home, &shared, |pack| Log::open(&path, attempt.0, pack, may_be_live, self.0.caps))?
            }
        };
        // After an error memory may be ahead of the files: the next one reads them again.
        let done = change(&mut log)?;
        *place = Some(log);
        Ok(done)
    }

    fn with_pack<T>(
        &self,
        home: u64,
        shared: &Shared,
        with: impl FnOnce(&mut Pack) -> Result<T, LogError>,
    ) -> Result<T, LogError> {
        let mut place = lock(&shared.pack);
        let mut pack = match place.take() {
            Some(pack) => pack,
            None => Pack::open(&self.home(home))?,
        };
        let done = with(&mut pack)?;
        *place = Some(pack);
        Ok(done)
    }

    /// Many ends at once share one sync: who waits for the lock finds its own bytes on disk already.
    fn sync_pack(&self, home: u64, shared: &Shared, end: u64) -> Result<(), LogError> {
        let mut synced = lock(&shared.synced);
        if *synced < end {
            let path = self.home(home).join("pack");
            let size = fs::metadata(&path).map_err(LogError::io("look at", &path))?.len();
            sync(&path)?;
            if *synced == 0 {
                sync(&self.home(home))?;
                sync(&self.0.root)?;
            }
            *synced = size;
        }
        Ok(())
    }

    pub(super) fn root(&self) -> &Path {
        &self.0.root
    }

    pub(super) fn home(&self, home: u64) -> PathBuf {
        self.0.root.join(format!("{home:08}"))
    }

    fn wake(&self, attempt: AttemptId) {
        let mut watchers = lock(&self.0.watchers);
        if let Some(sender) = watchers.get(&attempt.0)
            && sender.send(()).is_err()
        {
            watchers.remove(&attempt.0);
        }
    }
}

fn keep(store: &Weak<Inner>) {
    loop {
        std::thread::sleep(FLUSH);
        let Some(store) = store.upgrade().map(LogStore) else { return };
        if let Err(error) = store.flush() {
            tracing::warn!(cause = ?error, "log bytes could not be forced to disk; a power cut may lose them");
        }
        let logs = store.0.logs.all();
        let open = |slot: &Arc<Mutex<Option<Log>>>| lock(slot).as_ref().map_or(0, |log| log.tip.open_bytes());
        if logs.iter().map(|(_, slot)| open(slot)).sum::<usize>() > OPEN_BYTES {
            let most = logs.len() / 2;
            drop(logs);
            store.0.logs.shrink(most);
        }
        // Who followed and left without another append to notice it.
        lock(&store.0.watchers).retain(|_, sender| sender.receiver_count() > 0);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
