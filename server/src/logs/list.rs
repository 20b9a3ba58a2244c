//! Which logs there are on disk, and how large they are.
use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::Path;

use dsg_schemas::ids::AttemptId;

use super::pack::Pack;
use super::store::{LogError, LogStore, SHARED};

impl LogStore {
    /// The folder that the log of an attempt lies in, by number.
    pub fn home_of(attempt: AttemptId) -> u64 {
        attempt.0 / SHARED
    }

    /// All such folders there are.
    pub fn homes(&self) -> Result<Vec<u64>, LogError> {
        let mut homes: Vec<u64> = names(self.root())?.iter().filter_map(|name| name.parse().ok()).collect();
        homes.sort_unstable();
        Ok(homes)
    }

    /// The attempts that have a log there, with its size; of the last moments perhaps a little more or less.
    pub fn in_home(&self, home: u64) -> Result<Vec<(AttemptId, u64)>, LogError> {
        let path = self.home(home);
        let mut sizes: BTreeMap<u64, u64> = Pack::open(&path)?.sizes().collect();
        for attempt in names(&path)?.iter().filter_map(|name| name.parse::<u64>().ok()) {
            let folder = path.join(attempt.to_string());
            let files = names(&folder)?;
            let bytes = files
                .iter()
                .filter_map(|name| fs::metadata(folder.join(name)).ok())
                .map(|data| data.len())
                .sum::<u64>();
            *sizes.entry(attempt).or_default() += bytes;
        }
        Ok(sizes.into_iter().map(|(attempt, bytes)| (AttemptId(attempt), bytes)).collect())
    }
}

fn names(folder: &Path) -> Result<Vec<String>, LogError> {
    let entries = match fs::read_dir(folder) {
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
            return Ok(Vec::new());
        }
        entries => entries.map_err(LogError::io("list", folder))?,
    };
    let names = entries.map(|entry| entry.map(|entry| entry.file_name().to_string_lossy().into_owned()));
    names.collect::<io::Result<_>>().map_err(LogError::io("list", folder))
}
