//! Where the values lie: on a file system in memory, so that they reach no disk, in a folder that only the runner's own user enters.
//! Within it they can be read by whatever user a container runs as: what else runs in that container may read them anyway.
//!
//! ```text
//! BASE/<grid>-<runner>/  0700, ours      <attempt>/  0755      <name>  0444
//! ```
use std::collections::BTreeSet;
use std::fs::{self, DirBuilder, OpenOptions, Permissions};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use dsg_schemas::ids::{AttemptId, RunnerId};

/// Of `statfs`: tmpfs and ramfs.
const IN_MEMORY: [u32; 2] = [0x0102_1994, 0x8584_58f6];

#[derive(Debug, thiserror::Error)]
pub enum PlaceError {
    #[error("cannot {what} {path}, where secrets lie while containers run: {source}", path = path.display())]
    Folder { what: &'static str, path: PathBuf, source: io::Error },
    #[error("{path} is not in memory (tmpfs), and secrets are written to no disk", path = .0.display())]
    OnDisk(PathBuf),
    #[error("{path} belongs to another user, or others may write it", path = .0.display())]
    NotOurs(PathBuf),
}

#[derive(Clone, Debug)]
pub struct Place {
    base: PathBuf,
    root: PathBuf,
}

impl Place {
    pub fn new(base: &Path, grid: &str, runner: RunnerId) -> Place {
        Place { base: base.to_owned(), root: base.join(format!("{grid}-{runner}")) }
    }

    /// Makes the folder if it is not there, and looks whether it may hold secrets.
    pub fn ready(&self) -> Result<&Path, PlaceError> {
        let fail = |what, path: &Path| {
            let path = path.to_owned();
            move |source| PlaceError::Folder { what, path, source }
        };
        DirBuilder::new().recursive(true).mode(0o700).create(&self.base).map_err(fail("make", &self.base))?;
        let base = fs::metadata(&self.base).map_err(fail("look at", &self.base))?;
        let us = rustix::process::geteuid().as_raw();
        if (base.uid() != us && base.uid() != 0) || base.mode() & 0o022 != 0 {
            return Err(PlaceError::NotOurs(self.base.clone()));
        }
        match DirBuilder::new().mode(0o700).create(&self.root) {
            Err(error) if error.kind() != ErrorKind::AlreadyExists => return Err(fail("make", &self.root)(error)),
            Ok(()) | Err(_) => {}
        }
        let root = fs::symlink_metadata(&self.root).map_err(fail("look at", &self.root))?;
        if !root.is_dir() || root.uid() != us {
            return Err(PlaceError::NotOurs(self.root.clone()));
        }
        fs::set_permissions(&self.root, Permissions::from_mode(0o700)).map_err(fail("close", &self.root))?;
        if !in_memory(&self.root) {
            drop(fs::remove_dir(&self.root));
            return Err(PlaceError::OnDisk(self.base.clone()));
        }
        Ok(&self.root)
    }

    /// Anew, whatever an earlier try left.
    pub fn put(&self, attempt: AttemptId, name: &str, value: &[u8]) -> Result<PathBuf, PlaceError> {
        let folder = self.ready()?.join(attempt.to_string());
        let path = folder.join(name);
        let write = || {
            fs::create_dir_all(&folder)?;
            fs::set_permissions(&folder, Permissions::from_mode(0o755))?;
            match fs::remove_file(&path) {
                Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
                Ok(()) | Err(_) => {}
            }
            let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path)?;
            file.write_all(value)?;
            file.set_permissions(Permissions::from_mode(0o444))
        };
        write().map_err(|source| PlaceError::Folder { what: "write to", path: folder.clone(), source })?;
        Ok(path)
    }

    pub fn get(&self, attempt: AttemptId, name: &str) -> Result<Vec<u8>, PlaceError> {
        let path = self.root.join(attempt.to_string()).join(name);
        fs::read(&path).map_err(|source| PlaceError::Folder { what: "read", path, source })
    }

    /// The container is over, or never came to be.
    pub fn clear(&self, attempt: AttemptId) {
        remove(&self.root.join(attempt.to_string()));
    }

    /// What a life of the runner left that ended too early to do it.
    pub fn sweep(&self, running: &BTreeSet<AttemptId>) {
        let Ok(entries) = fs::read_dir(&self.root) else { return };
        for entry in entries.flatten() {
            let attempt = entry.file_name().to_str().and_then(|name| name.parse().ok()).map(AttemptId);
            if attempt.is_none_or(|attempt| !running.contains(&attempt)) {
                remove(&entry.path());
            }
        }
    }

    /// Whoever only wanted to look leaves nothing; what is in use stays.
    pub fn leave(&self) {
        drop(fs::remove_dir(&self.root).and_then(|()| fs::remove_dir(&self.base)));
    }
}

fn remove(path: &Path) {
    if let Err(error) = fs::remove_dir_all(path)
        && error.kind() != ErrorKind::NotFound
    {
        tracing::error!(path = %path.display(), %error, "cannot remove secrets; the next start tries again");
    }
}

/// Where they lie unless `--secrets-dir` says otherwise. Where that is not in memory, as on hosts without systemd, `/dev/shm` mostly is: what
/// others prepared there is refused as everywhere.
pub fn default_base() -> PathBuf {
    let us = rustix::process::geteuid();
    let usual = if us.is_root() {
        PathBuf::from("/run")
    } else {
        let given = std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from).filter(|path| path.is_absolute());
        given.unwrap_or_else(|| PathBuf::from(format!("/run/user/{}", us.as_raw())))
    };
    first_in_memory(&usual, Path::new("/dev/shm"), us.as_raw())
}

fn first_in_memory(usual: &Path, shared: &Path, us: u32) -> PathBuf {
    match (in_memory(usual), in_memory(shared)) {
        (false, true) => shared.join(format!("dsg-runner-{us}")),
        _ => usual.join("dsg-runner"),
    }
}

fn in_memory(path: &Path) -> bool {
    // The type of the field differs between machines; the number itself is one of 32 bits.
    rustix::fs::statfs(path).is_ok_and(|found| IN_MEMORY.contains(&(found.f_type as u32)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn in_memory() -> tempfile::TempDir {
        tempfile::tempdir_in("/dev/shm").expect("a folder in memory")
    }

    fn place(base: &Path) -> Place {
        Place::new(base, "g", RunnerId(3))
    }

    #[test]
    fn values_lie_in_memory_where_nobody_else_enters_and_go_with_their_attempt() {
        let dir = in_memory();
        let place = place(&dir.path().join("new"));
        let path = place.put(AttemptId(7), "token", b"value").expect("written");
        place.put(AttemptId(7), "token", b"again").expect("written anew");
        place.put(AttemptId(8), "token", b"other").expect("written");
        assert_eq!(place.get(AttemptId(7), "token").expect("there"), b"again");
        let mode = |path: &Path| fs::metadata(path).expect("there").mode() & 0o777;
        let folder = path.parent().expect("its folder");
        let root = folder.parent().expect("the runner's folder");
        assert_eq!((mode(root), mode(folder), mode(&path)), (0o700, 0o755, 0o444));
        fs::set_permissions(root, Permissions::from_mode(0o755)).expect("opened");
        place.ready().expect("fine");
        assert_eq!(mode(root), 0o700, "closed again");
        place.clear(AttemptId(7));
        assert!(!folder.exists());
        place.put(AttemptId(9), "token", b"left").expect("written");
        fs::create_dir(root.join("strange")).expect("a folder");
        place.sweep(&[AttemptId(8)].into());
        let left: Vec<_> = fs::read_dir(root).expect("a list").map(|entry| entry.expect("one").file_name()).collect();
        assert_eq!(left, ["8"], "only what runs is kept");
        place.leave();
        assert!(place.get(AttemptId(8), "token").is_ok(), "what is in use stays");
    }

    #[test]
    fn a_disk_is_no_place_for_secrets() {
        let dir = tempfile::tempdir_in(env!("CARGO_MANIFEST_DIR")).expect("a folder on a disk");
        let kind = rustix::fs::statfs(dir.path()).expect("a kind").f_type;
        assert!(!IN_MEMORY.contains(&(kind as u32)), "this test needs a source tree on a disk");
        let place = place(&dir.path().join("new"));
        let refused = place.put(AttemptId(1), "token", b"value").expect_err("no");
        assert!(matches!(refused, PlaceError::OnDisk(_)) && refused.to_string().contains("tmpfs"), "{refused}");
        assert_eq!(fs::read_dir(dir.path().join("new")).expect("a list").count(), 0, "nothing is left");
    }

    #[test]
    fn a_folder_that_others_prepared_is_not_used() {
        let dir = in_memory();
        let open = dir.path().join("open");
        fs::create_dir(&open).expect("a folder");
        fs::set_permissions(&open, Permissions::from_mode(0o777)).expect("open to all");
        assert!(matches!(place(&open).ready(), Err(PlaceError::NotOurs(_))));
        let linked = dir.path().join("linked");
        fs::create_dir(&linked).expect("a folder");
        let elsewhere = in_memory();
        std::os::unix::fs::symlink(elsewhere.path(), linked.join("g-3")).expect("a link");
        assert!(matches!(place(&linked).ready(), Err(PlaceError::NotOurs(_))), "it would lead elsewhere");
    }

    #[test]
    fn the_usual_place_is_taken_unless_only_the_other_is_in_memory() {
        let (memory, disk) = (Path::new("/dev/shm"), Path::new("/proc"));
        assert_eq!(first_in_memory(memory, memory, 7), Path::new("/dev/shm/dsg-runner"));
        assert_eq!(first_in_memory(disk, memory, 7), Path::new("/dev/shm/dsg-runner-7"));
        assert_eq!(first_in_memory(disk, disk, 7), Path::new("/proc/dsg-runner"));
    }
}
