//! What must not be forgotten of one attempt: a record a line, appended before the next thing is done. One file, since each new one costs
//! several flushes and an inode.
use std::borrow::Cow;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;

use dsg_schemas::reason::EndReason;
use dsg_schemas::wire::{Ended, StartOrder};
use serde::{Deserialize, Serialize};

use super::folder::{Pauses, Started};

/// What is new; a later record of the same kind takes the place of an earlier one.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Record<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub order: Option<Cow<'a, StartOrder>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub started: Option<Cow<'a, Started>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pauses: Option<Pauses>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub killing: Option<EndReason>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ended: Option<Cow<'a, Ended>>,
}

/// Durable when this returns, with all that was written before.
pub(super) fn append(path: &Path, record: &Record<'_>) -> io::Result<()> {
    write(path, record)?.sync_data()?;
    // Nobody knows here whether an earlier record was durable, and so the name of the file.
    path.parent().map_or(Ok(()), |parent| File::open(parent)?.sync_all())
}

/// Outlives this process when this returns, but not the machine.
pub(super) fn write(path: &Path, record: &Record<'_>) -> io::Result<File> {
    let mut line = serde_json::to_vec(record)?;
    line.push(b'\n');
    let mut file = OpenOptions::new().read(true).append(true).create(true).mode(0o600).open(path)?;
    let before = file.metadata()?.len();
    if breaks_off(&file, before)? {
        line.insert(0, b'\n');
    }
    // What did not fit a full disk must not take what others need; if it stays, it is a line that broke off.
    file.write_all(&line).inspect_err(|_| drop(file.set_len(before)))?;
    Ok(file)
}

/// A line that a crash cut must not spoil the next.
fn breaks_off(file: &File, length: u64) -> io::Result<bool> {
    let Some(last) = length.checked_sub(1) else { return Ok(false) };
    let mut byte = [0];
    file.read_exact_at(&mut byte, last)?;
    Ok(byte != *b"\n")
}

/// All that is whole, oldest first. A file that is not there has nothing.
pub(super) fn read(path: &Path) -> io::Result<Vec<Record<'static>>> {
    let bytes = bytes(path)?.unwrap_or_default();
    let lines = bytes.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
    let whole = lines.filter_map(|line| match serde_json::from_slice(line) {
        Ok(record) => Some(Ok(record)),
        // Whole, and of a runner that knows more than this one.
        Err(error) if error.is_data() => Some(Err(error.into())),
        Err(error) => {
            tracing::warn!(path = %path.display(), %error, "left out a record that was cut off");
            None
        }
    });
    whole.collect()
}

/// `None`: there is no such file.
pub(super) fn bytes(path: &Path) -> io::Result<Option<Vec<u8>>> {
    match std::fs::read(path) {
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => Ok(None),
        read => read.map(Some),
    }
}
