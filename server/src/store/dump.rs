//! All rows as text, one a line: table, key and JSON. Of what opens doors only the first letters are shown.
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use dsg_schemas::api::ChunkState;
use redb::{Database, ReadTransaction, ReadableDatabase, ReadableTable, TableError, TableHandle};
use serde_json::{Value, json};

use super::StoreError;
use super::checked::{check, is_version, masked, shown};
use super::disk::{self, Folder, ROWS};
use super::error::tell;
use super::open::{identity, open_checked, version};
use super::overlay::Overlay;
use super::restore::roll_forward;
use super::tables::{BLOCKS, Definition, VERSION, Visitor, each_table};
use super::trouble::Trouble;

const CACHE_BYTES: usize = 8 << 20;

#[derive(Debug, thiserror::Error)]
pub enum DumpError {
    #[error("a server is using {0}; stop it first")]
    Running(PathBuf),
    #[error("there is no store {0}; name the server's data directory with --data")]
    NoStore(PathBuf),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("cannot write the dump: {0}")]
    Output(io::Error),
    #[error("{0} rows are damaged; get them back with `dsg-server restore`")]
    Damaged(u64),
}

/// Changes nothing in the data directory.
pub fn dump(data: &Path, out: &mut impl Write) -> Result<(), DumpError> {
    let path = data.join(ROWS);
    if !path.is_file() {
        return Err(DumpError::NoStore(path));
    }
    let tell = |trouble| DumpError::Store(tell(&path, trouble));
    let lock = disk::lock(data).map_err(|error| tell(Trouble::Io(error)))?;
    let _lock = lock.ok_or_else(|| DumpError::Running(data.to_owned()))?;
    let database = up_to_date(data, &path).map_err(tell)?;
    rows(&database, &path, out)
}

/// The rows as the next start would find them: repaired and brought up to the log, in memory only.
fn up_to_date(data: &Path, path: &Path) -> Result<Database, Trouble> {
    let overlay = Overlay::open(path)?;
    let database = open_checked(|builder| builder.create_with_backend(overlay), CACHE_BYTES)?;
    let base = {
        let read = database.begin_read()?;
        match version(&read)? {
            Some(VERSION) => identity(&read)?,
            Some(_) | None => {
                return Err(Trouble::Garbled(
                    "it is of another version; a start of the server brings it to the present one",
                ));
            }
        }
    };
    roll_forward(&Folder(data.to_owned()), &database, base)?;
    Ok(database)
}

fn rows(database: &impl ReadableDatabase, path: &Path, out: &mut impl Write) -> Result<(), DumpError> {
    let read = database.begin_read().map_err(|error| tell(path, error.into()))?;
    let mut dumping = Dumping { read, path, out, damaged: 0 };
    each_table(&mut dumping)?;
    match dumping.damaged {
        0 => Ok(()),
        damaged => Err(DumpError::Damaged(damaged)),
    }
}

struct Dumping<'a, W: Write> {
    read: ReadTransaction,
    path: &'a Path,
    out: &'a mut W,
    damaged: u64,
}

impl<W: Write> Visitor for Dumping<'_, W> {
    type Error = DumpError;

    fn table<K: redb::Key + 'static>(&mut self, table: Definition<K>) -> Result<(), DumpError> {
        let tell = |trouble| DumpError::Store(tell(self.path, trouble));
        let rows = match self.read.open_table(table) {
            Err(TableError::TableDoesNotExist(_)) => return Ok(()),
            rows => rows.map_err(|error| tell(error.into()))?,
        };
        for entry in rows.iter().map_err(|error| tell(error.into()))? {
            let (key, value) = entry.map_err(|error| tell(error.into()))?;
            let key = key.value();
            let text = match check(table, &key, value.value()) {
                Ok(payload) => shown_row(table.name(), payload),
                Err(_) if is_version::<K>(&key) => String::from_utf8_lossy(value.value()).into_owned(),
                Err(_) => {
                    self.damaged += 1;
                    "damaged: its checksum does not match".to_owned()
                }
            };
            writeln!(self.out, "{}\t{}\t{text}", table.name(), shown(table, &key)).map_err(DumpError::Output)?;
        }
        Ok(())
    }
}

fn shown_row(table: &str, payload: &[u8]) -> String {
    if table == BLOCKS.name() {
        return runs(payload).to_string();
    }
    match serde_json::from_slice::<Value>(payload) {
        Ok(mut row) => {
            if let Some(hash) = row.get_mut("credential_sha256") {
                *hash = hash.as_str().map(masked).into();
            }
            // Of secrets the rows are maps of what is sealed.
            for secret in row.as_object_mut().into_iter().flat_map(|row| row.values_mut()) {
                if let Some(sealed) = secret.get_mut("sealed") {
                    *sealed = "…".into();
                }
            }
            row.to_string()
        }
        Err(_) => json!(String::from_utf8_lossy(payload)).to_string(),
    }
}

/// States in the order of their chunks, equal neighbours counted.
fn runs(states: &[u8]) -> Value {
    states
        .chunk_by(|one, next| one == next)
        .map(|run| {
            let state = ChunkState::ALL.into_iter().find(|state| *state as u8 == run[0]);
            json!([run.len(), state.map_or_else(|| json!(run[0]), |state| json!(state))])
        })
        .collect()
}
