//! Getting the rows back: the newest good snapshot, and every commit that the redo log has after it.
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use redb::{Database, ReadableDatabase};

use super::copy::check_all;
use super::disk::{self, Disk, Folder, REDO, ROWS};
use super::error::tell;
use super::guarded::guarded;
use super::open::{create_for, durably, identity, open_checked, version};
use super::overlay::Overlay;
use super::redo::{self, Chain, Ending, Record};
use super::snapshot::{self, Snapshot, create_private};
use super::steps::apply;
use super::tables::{Reached, VERSION};
use super::trouble::Trouble;
use super::{StoreError, changes::unix_ms};

const CACHE_BYTES: usize = 32 << 20;
/// Steps that are done in one transaction.
const BATCH_BYTES: usize = 16 << 20;

#[derive(Debug, thiserror::Error)]
pub enum RestoreError {
    #[error("a server is using {0}; stop it first: nothing was changed")]
    Running(PathBuf),
    #[error("there is no folder {0}; name the server's data directory with --data")]
    NoFolder(PathBuf),
    #[error("there is no snapshot {name} in {folder}; `dsg-server restore --list` shows those that there are")]
    NoSnapshot { name: String, folder: PathBuf },
    #[error(
        "{0} has no good snapshot, and no redo log that goes back to an empty store: nothing was changed; copy the folders snapshots and redo of a backup there and try again, or, if nothing was ever stored here, move {ROWS} away"
    )]
    Nothing(PathBuf),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("cannot use {path}: {source}")]
    File { path: PathBuf, source: io::Error },
}

/// What `restore --list` shows: name, commit and size, newest first.
pub fn snapshots(data: &Path) -> Result<Vec<(String, u64, u64)>, RestoreError> {
    let list = snapshot::list(data)?;
    Ok(list
        .into_iter()
        .map(|snapshot| {
            let bytes = fs::metadata(snapshot.path(data)).map(|file| file.len()).unwrap_or_default();
            (snapshot.name, snapshot.revision, bytes)
        })
        .collect())
}

/// Tells what it does and what came of it, sentence by sentence.
pub fn restore(data: &Path, named: Option<&str>, mut say: impl FnMut(String)) -> Result<(), RestoreError> {
    if !data.is_dir() {
        return Err(RestoreError::NoFolder(data.to_owned()));
    }
    let wrap = |path: &Path| {
        let path = path.to_owned();
        move |source| RestoreError::File { path, source }
    };
    let lock = disk::lock(data).map_err(wrap(data))?;
    let _lock = lock.ok_or_else(|| RestoreError::Running(data.to_owned()))?;
    let claims = claims(&data.join(ROWS));
    let new = data.join("dsg.redb.new");
    let (base, database) = base(data, named, &new, &mut say)?;
    // Another grid's file says nothing about this one.
    let damaged = claims.filter(|(_, grid)| *grid == base.1).map(|(reached, _)| reached);
    let disk = Folder(data.to_owned());
    let (reached, chain) = roll_forward(&disk, &database, base).map_err(|trouble| tell(&new, trouble))?;
    drop(database);

    let stamp = unix_ms() / 1000;
    let rows = data.join(ROWS);
    if rows.exists() {
        let aside = data.join(format!("{ROWS}.damaged-{stamp}"));
        // Under both names until the new one takes its place: a server that is started now finds one or the other.
        fs::hard_link(&rows, &aside).map_err(wrap(&aside))?;
        say(format!("the file that was there is kept as {}", aside.display()));
    }
    fs::rename(&new, &rows).map_err(wrap(&rows))?;
    for file in unreachable(data, &disk, &chain, reached).map_err(wrap(data))? {
        let mut aside = file.clone().into_os_string();
        aside.push(format!(".damaged-{stamp}"));
        fs::rename(&file, &aside).map_err(wrap(&file))?;
        say(format!("{} cannot be used any more and is kept as {}", file.display(), Path::new(&aside).display()));
    }
    disk::sync_dir(data).map_err(wrap(data))?;
    say(format!("restored up to commit {}, of {}", reached.revision, when(reached.at_ms)));
    say(lost(&chain, reached, damaged));
    Ok(())
}

/// The snapshot to begin with, as a file of its own that can be written; or an empty store, where the log begins with one.
fn base(
    data: &Path,
    named: Option<&str>,
    new: &Path,
    say: &mut impl FnMut(String),
) -> Result<((Reached, String), Database), RestoreError> {
    let mut all = snapshot::list(data)?;
    if let Some(name) = named {
        let name = name.trim_end_matches(".redb");
        all.retain(|snapshot| snapshot.name == name);
        if all.is_empty() {
            return Err(RestoreError::NoSnapshot { name: name.to_owned(), folder: snapshot::folder(data) });
        }
    }
    for snapshot in &all {
        match begin_with(data, snapshot, new) {
            Ok(found) => {
                say(format!("snapshot {} is good", snapshot.name));
                return Ok(found);
            }
            Err(trouble) => {
                say(format!("snapshot {} cannot be used: {}", snapshot.name, tell(&snapshot.path(data), trouble)));
            }
        }
    }
    let disk = Folder(data.to_owned());
    let header = match named {
        Some(_) => None,
        None => {
            redo::begins_with_nothing(&disk).map_err(|source| RestoreError::File { path: data.join(REDO), source })?
        }
    };
    let Some(header) = header else { return Err(RestoreError::Nothing(data.to_owned())) };
    say("there is no snapshot yet; the redo log goes back to the very beginning".to_owned());
    let made = create_private(new).map_err(Trouble::Io).and_then(|()| {
        let database = open_checked(|builder| builder.create(new), CACHE_BYTES)?;
        durably(&database, |write| create_for(write, &header.grid))?;
        Ok(database)
    });
    let database = made.map_err(|trouble| tell(new, trouble))?;
    Ok(((Reached::default(), header.grid), database))
}

/// A copy of the snapshot in which every row is what was written.
fn begin_with(data: &Path, snapshot: &Snapshot, new: &Path) -> Result<((Reached, String), Database), Trouble> {
    create_private(new)?;
    io::copy(&mut fs::File::open(snapshot.path(data))?, &mut fs::OpenOptions::new().write(true).open(new)?)?;
    let database = open_checked(|builder| builder.create(new), CACHE_BYTES)?;
    let read = database.begin_read()?;
    match version(&read)? {
        Some(VERSION) => {}
        Some(_) | None => return Err(Trouble::Garbled("it is of another version")),
    }
    check_all(&read)?;
    let found = identity(&read)?;
    read.close().map_err(|_| Trouble::Garbled("it cannot be closed"))?;
    Ok((found, database))
}

/// Does every commit that the log has after these rows.
pub fn roll_forward(
    disk: &dyn Disk,
    database: &Database,
    base: (Reached, String),
) -> Result<(Reached, Chain), Trouble> {
    let (mut reached, grid) = base;
    let mut batch: Vec<Record> = Vec::new();
    let flush = |batch: &mut Vec<Record>| {
        durably(database, |write| {
            batch.drain(..).try_for_each(|record| apply(write, &record.steps, record.reached).map(drop))
        })
    };
    let mut bytes = 0;
    let chain = Chain::walk(disk, &grid, reached.revision, |record, _| {
        reached = record.reached;
        bytes += record.steps.len();
        batch.push(record);
        if bytes >= BATCH_BYTES {
            bytes = 0;
            flush(&mut batch)?;
        }
        Ok(true)
    })?;
    if !batch.is_empty() {
        flush(&mut batch)?;
    }
    Ok((reached, chain))
}

/// How far the damaged file says that it had come, where it can still say so. It is evidence: nothing of it is changed.
fn claims(rows: &Path) -> Option<(Reached, String)> {
    let ask = || {
        let overlay = Overlay::open(rows).ok()?;
        let database = Database::builder().create_with_backend(overlay).ok()?;
        let read = database.begin_read().ok()?;
        identity(&read).ok()
    };
    guarded(ask).ok().flatten()
}

/// Files of a past that is not this store's: logs behind a gap, and snapshots of commits that are lost.
fn unreachable(data: &Path, disk: &dyn Disk, chain: &Chain, reached: Reached) -> io::Result<Vec<PathBuf>> {
    let logs = redo::files(disk)?.into_iter().filter(|(first, _)| *first > reached.revision + 1);
    let mut files: Vec<_> = logs.map(|(_, name)| data.join(REDO).join(name)).collect();
    if let Ending::Gap { file, .. } | Ending::Foreign { file, .. } = &chain.ending {
        let file = data.join(REDO).join(file);
        if !files.contains(&file) {
            files.push(file);
        }
    }
    let snapshots = snapshot::list(data).unwrap_or_default();
    files.extend(snapshots.iter().filter(|one| one.revision > reached.revision).map(|one| one.path(data)));
    Ok(files)
}

fn lost(chain: &Chain, reached: Reached, damaged: Option<Reached>) -> String {
    let next = reached.revision + 1;
    if let Some(claimed) = damaged.filter(|claimed| claimed.revision > reached.revision) {
        let (last, at) = (claimed.revision, when(claimed.at_ms));
        return format!("LOST: commits {next} to {last}; the damaged file says that the last one was made at {at}");
    }
    match &chain.ending {
        Ending::Clean => "nothing that was acknowledged is lost: the redo log ends with this commit".to_owned(),
        Ending::Torn { file, at, bytes } => format!(
            "the redo log {file} ends at byte {at} with {bytes} bytes that are no whole commit: one that was being written when the server ended and that nobody was told of, or, if the disk damaged the log, LOST: commits from {next} on"
        ),
        Ending::Gap { file, next: found } => {
            format!(
                "LOST: commits from {next} on; the redo log goes on in {file} with commit {found}, and what lies between is missing or damaged"
            )
        }
        Ending::Foreign { file, grid } => {
            format!(
                "the redo log {file} belongs to another grid ({grid}) and was left out; if this grid's own log is missing, LOST: commits from {next} on"
            )
        }
    }
}

/// For people, in UTC.
fn when(at_ms: u64) -> String {
    let at = i64::try_from(at_ms).ok().and_then(|ms| jiff::Timestamp::from_millisecond(ms).ok());
    match at.filter(|_| at_ms > 0) {
        Some(at) => at.strftime("%Y-%m-%d %H:%M:%S UTC").to_string(),
        None => "an unknown time".to_owned(),
    }
}
