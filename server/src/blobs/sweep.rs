//! Sweeping: what no row speaks of any more, and nobody asked for lately, goes.
use std::collections::HashSet;
use std::fs;
use std::io;
use std::path::Path;
use std::sync::PoisonError;
use std::time::Duration;

use super::hash::BlobHash;
use super::store::{BlobError, BlobStore};

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Swept {
    pub files: u64,
    pub bytes: u64,
    /// Files that would have gone, had nobody asked for them lately.
    pub too_young: u64,
}

impl BlobStore {
    /// Removes blobs that are not in `keep` and uploads that nobody finished, if they are older than this. A blob that is asked
    /// for or uploaded again counts as new, so that a job on its way in keeps its files.
    pub fn sweep(
        &self,
        keep: &HashSet<[u8; 32]>,
        older_than: impl Fn(BlobHash) -> Duration,
    ) -> Result<Swept, BlobError> {
        let mut swept = Swept::default();
        for folder in list(self.root())? {
            let is_partial = folder.ends_with("partial");
            for path in list(&folder)? {
                let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
                let Ok(hash) = name.parse::<BlobHash>() else { continue };
                if is_partial || !keep.contains(&hash.0) {
                    self.sweep_one(&path, older_than(hash), &mut swept)?;
                }
            }
        }
        Ok(swept)
    }

    fn sweep_one(&self, path: &Path, older_than: Duration, swept: &mut Swept) -> Result<(), BlobError> {
        let _alone = self.sweeping.write().unwrap_or_else(PoisonError::into_inner);
        let Ok(data) = fs::metadata(path) else { return Ok(()) };
        let age = data.modified().ok().and_then(|time| time.elapsed().ok()).unwrap_or_default();
        if age >= older_than {
            fs::remove_file(path).map_err(BlobError::io("remove", path))?;
            swept.files += 1;
            swept.bytes += data.len();
        } else {
            swept.too_young += 1;
        }
        Ok(())
    }
}

fn list(folder: &Path) -> Result<Vec<std::path::PathBuf>, BlobError> {
    let entries = match fs::read_dir(folder) {
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
            return Ok(Vec::new());
        }
        entries => entries.map_err(BlobError::io("list", folder))?,
    };
    let paths: io::Result<Vec<_>> = entries.map(|entry| entry.map(|entry| entry.path())).collect();
    paths.map_err(BlobError::io("list", folder))
}
