//! Which attempts of a home may have a folder of their own in it: one listing in place of a look at the disk for each attempt. Most
//! are asked for when they end, and those that wrote nothing, or whose log is packed, have none.
use std::collections::HashSet;
use std::fs;
use std::io;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use super::store::LogError;

/// `None`: not listed yet.
#[derive(Default)]
pub struct Folders(Mutex<Option<HashSet<u64>>>);

impl Folders {
    /// That it has one must be said before it is made.
    pub fn expect(&self, home: &Path, attempt: u64) -> Result<(), LogError> {
        self.with(home, |folders| _ = folders.insert(attempt))
    }

    /// False only if there is none.
    pub fn may_have(&self, home: &Path, attempt: u64) -> Result<bool, LogError> {
        self.with(home, |folders| folders.contains(&attempt))
    }

    fn with<T>(&self, home: &Path, with: impl FnOnce(&mut HashSet<u64>) -> T) -> Result<T, LogError> {
        let mut folders = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if folders.is_none() {
            *folders = Some(list(home).map_err(LogError::io("list", home))?);
        }
        Ok(with(folders.get_or_insert_default()))
    }
}

fn list(home: &Path) -> io::Result<HashSet<u64>> {
    let entries = match fs::read_dir(home) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(HashSet::new()),
        entries => entries?,
    };
    let mut folders = HashSet::new();
    for entry in entries {
        folders.extend(entry?.file_name().to_str().and_then(|name| name.parse::<u64>().ok()));
    }
    Ok(folders)
}
