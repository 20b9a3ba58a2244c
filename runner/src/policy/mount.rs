//! A folder of the host that jobs may name. Where it leads is looked at when the runner starts and again each time it is used, so that
//! no link, put there later, leads a container elsewhere.
use std::path::{Path, PathBuf};

use dsg_schemas::policy::MountRule;

/// Neither these, nor what lies in them or around them: who can read them has the host.
const NEVER: [&str; 14] = [
    "/etc",
    "/proc",
    "/sys",
    "/dev",
    "/run",
    "/var/run",
    "/boot",
    "/usr",
    "/bin",
    "/sbin",
    "/lib",
    "/lib64",
    "/var/lib/docker",
    "/var/lib/containers",
];
/// Not these themselves, and nothing around them; a folder in a home may be named.
const HOMES: [&str; 2] = ["/root", "/home"];

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mount {
    written: PathBuf,
    /// Without links.
    real: PathBuf,
    write: bool,
}

impl Mount {
    /// `own`: folders of the runner itself.
    pub fn at_start(name: &str, path: &Path, write: bool, own: &[&Path]) -> Result<Mount, String> {
        let real = resolved(path)?;
        let shown = path.display();
        let leads = if real == path { String::new() } else { format!(", which leads to {}", real.display()) };
        let never = NEVER.iter().map(Path::new).chain(own.iter().copied());
        for folder in never.map(|folder| folder.canonicalize().unwrap_or_else(|_| folder.to_owned())) {
            if real.starts_with(&folder) || folder.starts_with(&real) {
                let why =
                    format!("cannot be a mount for containers: {} must stay out of their reach", folder.display());
                return Err(format!("{shown}{leads}, {why}"));
            }
        }
        let home = |folder: &str| Path::new(folder).starts_with(&real) || real.parent() == Some(Path::new("/home"));
        if HOMES.iter().any(|folder| home(folder)) {
            return Err(format!("{shown}{leads} is a home; name a folder in it, not all of it"));
        }
        tracing::debug!(mount = name, path = %real.display(), write, "a folder that jobs may name");
        Ok(Mount { written: path.to_owned(), real, write })
    }

    pub fn rule(&self) -> MountRule {
        MountRule { write: self.write }
    }

    /// Where it is now: still there, where it was.
    pub fn now(&self) -> Result<PathBuf, String> {
        // Not what or where: that would tell others how the host is laid out.
        let real = resolved(&self.written).map_err(|why| {
            tracing::warn!(why, "a mount of the policy");
            "its folder is not there any more".to_owned()
        })?;
        if real == self.real {
            return Ok(real);
        }
        Err("its folder leads elsewhere now than when the runner started; restart the runner if that is meant"
            .to_owned())
    }

    /// What a container may write could be turned into a link under the other.
    pub fn is_beneath_writable(&self, other: &Mount) -> bool {
        other.write && self.real != other.real && self.real.starts_with(&other.real)
    }
}

fn resolved(path: &Path) -> Result<PathBuf, String> {
    if !path.is_absolute() {
        return Err(format!("{} is not an absolute path", path.display()));
    }
    let real = path.canonicalize().map_err(|error| format!("{} cannot be used: {error}", path.display()))?;
    if real.is_dir() { Ok(real) } else { Err(format!("{} is not a folder", path.display())) }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn a_link_that_changes_after_the_start_leads_nowhere() {
        let dir = tempfile::tempdir().expect("dir");
        let root = dir.path().canonicalize().expect("real");
        let (data, link) = (root.join("data"), root.join("link"));
        fs::create_dir(&data).expect("a folder");
        symlink(&data, &link).expect("a link");
        let mount = Mount::at_start("data", &link, false, &[]).expect("fine");
        assert_eq!(mount.now(), Ok(data.clone()), "the engine is given the folder itself");
        fs::remove_file(&link).expect("gone");
        assert!(mount.now().is_err_and(|why| why.contains("not there any more") && !why.contains('/')));
        symlink("/etc", &link).expect("a link");
        assert!(mount.now().is_err_and(|why| why.contains("leads elsewhere")));
        // The same from further up.
        let nested = root.join("a");
        fs::create_dir_all(nested.join("b")).expect("folders");
        let mount = Mount::at_start("b", &nested.join("b"), false, &[]).expect("fine");
        fs::rename(&nested, root.join("moved")).expect("moved");
        fs::create_dir_all(root.join("other/b")).expect("folders");
        symlink(root.join("other"), &nested).expect("a link");
        assert!(mount.now().is_err());
    }

    #[test]
    fn what_would_give_the_host_away_cannot_be_named() {
        let dir = tempfile::tempdir().expect("dir");
        let root = dir.path().canonicalize().expect("real");
        let state = root.join("state");
        fs::create_dir_all(state.join("attempts")).expect("folders");
        let link = root.join("innocent");
        symlink("/etc", &link).expect("a link");
        let dots = root.join("../../../../../../../etc");
        let file = root.join("file");
        fs::write(&file, "").expect("a file");
        let own = [state.as_path()];
        for path in
            ["/", "/etc", "/etc/ssl", "/proc/self", "/dev", "/var", "/var/run", "/run", "/usr/share", "/root", "/home"]
                .map(Path::new)
                .into_iter()
                .chain([link.as_path(), &dots, &file, &state, &state.join("attempts"), &root, Path::new("data")])
        {
            assert!(Mount::at_start("x", path, false, &own).is_err(), "{}", path.display());
        }
        fs::create_dir(root.join("data")).expect("a folder");
        assert!(Mount::at_start("x", &root.join("data"), true, &own).is_ok());
    }

    #[test]
    fn nothing_lies_in_what_containers_write() {
        let dir = tempfile::tempdir().expect("dir");
        let inner = dir.path().join("inner");
        fs::create_dir(&inner).expect("a folder");
        let mount = |path: &Path, write| Mount::at_start("x", path, write, &[]).expect("fine");
        assert!(mount(&inner, false).is_beneath_writable(&mount(dir.path(), true)));
        assert!(!mount(&inner, false).is_beneath_writable(&mount(dir.path(), false)));
        assert!(!mount(dir.path(), true).is_beneath_writable(&mount(dir.path(), true)));
    }
}
