//! Which images this runner itself brought into its engine, and when each was last used. A list that is lost, cannot be read, or is of
//! another engine says "none": what is not on it is never removed.
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::file::write_durably;

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Brought {
    /// Names under which we brought it. One that it has beside them is somebody else's.
    pub names: BTreeSet<String>,
    pub bytes: u64,
    pub used_ms: u64,
}

/// By their ids in the engine.
pub type Images = BTreeMap<String, Brought>;

/// The file, and the engine that it is about.
#[derive(Clone, Debug)]
pub struct BroughtFile {
    path: PathBuf,
    engine: String,
}

#[derive(Serialize, Deserialize)]
struct Written {
    engine: String,
    images: Images,
}

impl BroughtFile {
    /// `engine`: what tells it from all others.
    pub fn new(state: &Path, engine: String) -> BroughtFile {
        BroughtFile { path: state.join("images.json"), engine }
    }

    pub fn load(&self) -> Images {
        let bytes = match std::fs::read(&self.path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Images::new(),
            Err(error) => return self.none(&error),
        };
        match serde_json::from_slice::<Written>(&bytes) {
            Ok(Written { engine, images }) if engine == self.engine => images,
            Ok(Written { engine, .. }) => self.none(&format!("it is about {engine}, and this is {}", self.engine)),
            Err(error) => self.none(&error),
        }
    }

    fn none(&self, why: &dyn std::fmt::Display) -> Images {
        let path = self.path.display();
        tracing::warn!(%path, %why, "the list of images that this runner brought does not count: none of them is removed");
        Images::new()
    }

    pub fn save(&self, images: &Images) -> io::Result<()> {
        let written = Written { engine: self.engine.clone(), images: images.clone() };
        write_durably(&self.path, &serde_json::to_vec(&written)?, 0o600)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_counts_for_its_own_engine_and_only_whole() {
        let folder = tempfile::tempdir().expect("dir");
        let file = BroughtFile::new(folder.path(), "docker at /data/docker".to_owned());
        assert_eq!(file.load(), Images::new(), "there is none yet");
        let brought = Brought { names: ["lab/x:1".to_owned()].into(), bytes: 7, used_ms: 3 };
        let images = Images::from([("sha256:1".to_owned(), brought)]);
        file.save(&images).expect("written");
        assert_eq!(file.load(), images);
        let other = BroughtFile::new(folder.path(), "docker at /data/other".to_owned());
        assert_eq!(other.load(), Images::new());
        std::fs::write(folder.path().join("images.json"), "{\"engine\":").expect("written");
        assert_eq!(file.load(), Images::new());
    }
}
