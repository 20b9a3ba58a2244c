//! The files beside a job file: found, measured, and never from outside its folder.
use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Component, Path, PathBuf};

use dsg_schemas::limits::UPLOADS;
use globset::GlobBuilder;

use crate::exit::{Exit, Failure};

/// A file to send.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Local {
    /// Where it really is.
    pub file: PathBuf,
    pub size: u64,
}

/// How to go through a folder.
struct Walk<'a> {
    wanted: &'a dyn Fn(&str) -> bool,
    /// Folders below each other; a pattern without `**` looks no deeper than it is long.
    depth: usize,
    /// A folder that lies elsewhere is an error; a pattern just does not look into it.
    strict: bool,
}

/// What a job file refers to, by path relative to it, with `/` between the parts.
pub struct Files {
    base: PathBuf,
    pub found: BTreeMap<String, Local>,
}

impl Files {
    /// Of the job files in this folder.
    pub fn beside(folder: &Path) -> Result<Files, Failure> {
        let base = folder.canonicalize().map_err(|error| Failure::file("look into", folder, &error))?;
        Ok(Files { base, found: BTreeMap::new() })
    }

    /// One file. A file that is not there is left out: the check of the job file says so, with the line.
    pub fn add_file(&mut self, path: &str) -> Result<(), Failure> {
        match self.real(path)? {
            Some(real) => self.take(path.trim_start_matches("./"), real),
            None => Ok(()),
        }
    }

    /// Everything in a folder.
    pub fn add_folder(&mut self, path: &str) -> Result<(), Failure> {
        self.walk(
            path.trim_end_matches('/'),
            &mut Vec::new(),
            &Walk { wanted: &|_| true, depth: usize::MAX, strict: true },
        )
    }

    /// Everything that a pattern matches; `*` stays within a folder, `**` does not.
    pub fn add_glob(&mut self, pattern: &str) -> Result<(), Failure> {
        let wrong = |error: globset::Error| Failure::new(Exit::Invalid, format!("{pattern:?} is no pattern: {error}"));
        let matcher = GlobBuilder::new(pattern)
            .literal_separator(true)
            .backslash_escape(false)
            .build()
            .map_err(wrong)?
            .compile_matcher();
        let special = |part: &str| part.contains(['*', '?', '[', '{']);
        let parts: Vec<&str> = pattern.split('/').collect();
        let fixed = parts.iter().position(|part| special(part)).unwrap_or(parts.len().saturating_sub(1));
        let depth = if pattern.contains("**") { usize::MAX } else { parts.len() - fixed };
        let walk = Walk { wanted: &|path| matcher.is_match(path), depth, strict: false };
        self.walk(&parts[..fixed].join("/"), &mut Vec::new(), &walk)
    }

    pub fn bytes(&self) -> u64 {
        self.found.values().map(|local| local.size).sum()
    }

    /// What a job file's `rows:` reads.
    pub fn read(&self, path: &str) -> io::Result<Vec<u8>> {
        match self.found.get(path.trim_start_matches("./")) {
            Some(local) => fs::read(&local.file),
            None => Err(io::ErrorKind::NotFound.into()),
        }
    }

    /// Where a relative path really leads; none if there is nothing.
    fn real(&self, path: &str) -> Result<Option<PathBuf>, Failure> {
        let outside = || {
            Failure::new(
                Exit::Invalid,
                format!("{path:?} leads out of the job file's folder; only what is in it is sent"),
            )
            .hint(format!("copy it into {}", self.base.display()))
        };
        if !Path::new(path).components().all(|part| matches!(part, Component::Normal(_) | Component::CurDir)) {
            return Err(outside());
        }
        match self.base.join(path).canonicalize() {
            Ok(real) if real.starts_with(&self.base) => Ok(Some(real)),
            Ok(_) => Err(outside()),
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => Ok(None),
            Err(error) => Err(Failure::file("read", &self.base.join(path), &error)),
        }
    }

    fn take(&mut self, path: &str, real: PathBuf) -> Result<(), Failure> {
        let about = fs::metadata(&real).map_err(|error| Failure::file("read", &real, &error))?;
        if about.is_dir() {
            // Named as a file: the check of the job file says that it is not one.
            return Ok(());
        }
        if !about.is_file() {
            return Err(Failure::new(Exit::Invalid, format!("{path:?} is no regular file and cannot be sent")));
        }
        self.found.insert(path.to_owned(), Local { file: real, size: about.len() });
        match self.found.len() > UPLOADS {
            true => Err(Failure::new(
                Exit::Invalid,
                format!("{path:?} is one file too many: a job can be sent {UPLOADS} files"),
            )
            .hint("pack them into an archive, or put them where the runners can read them")),
            false => Ok(()),
        }
    }

    /// `above` are the folders that we are in, so that a link to one of them is not followed round and round.
    fn walk(&mut self, path: &str, above: &mut Vec<PathBuf>, walk: &Walk<'_>) -> Result<(), Failure> {
        let real = match self.real(path) {
            Ok(Some(real)) => real,
            Ok(None) => return Ok(()),
            Err(_) if !walk.strict && !above.is_empty() => return Ok(()),
            Err(failure) => return Err(failure),
        };
        if !real.is_dir() || above.contains(&real) || above.len() >= walk.depth {
            return Ok(());
        }
        let list = fs::read_dir(&real).map_err(|error| Failure::file("list", &real, &error))?;
        above.push(real.clone());
        for entry in list {
            let entry = entry.map_err(|error| Failure::file("list", &real, &error))?;
            let name = entry.file_name().into_string().map_err(|name| {
                Failure::new(
                    Exit::Invalid,
                    format!("the name of {:?} in {} is not UTF-8; rename it", name, real.display()),
                )
            })?;
            let below = match path.trim_start_matches("./") {
                "" | "." => name,
                path => format!("{path}/{name}"),
            };
            if entry.path().is_dir() {
                self.walk(&below, above, walk)?;
            } else if (walk.wanted)(&below)
                && let Some(real) = self.real(&below)?
            {
                self.take(&below, real)?;
            }
        }
        above.pop();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place() -> tempfile::TempDir {
        let folder = tempfile::tempdir().expect("a folder");
        for (path, text) in
            [("job/a.csv", "1,2"), ("job/data/x.txt", "x"), ("job/data/deep/y.txt", "yy"), ("secret", "s")]
        {
            let path = folder.path().join(path);
            fs::create_dir_all(path.parent().expect("a folder")).expect("created");
            fs::write(path, text).expect("written");
        }
        folder
    }

    fn found(files: &Files) -> Vec<(&str, u64)> {
        files.found.iter().map(|(path, local)| (path.as_str(), local.size)).collect()
    }

    #[test]
    fn files_folders_and_patterns_are_found() {
        let folder = place();
        type Add = fn(&mut Files) -> Result<(), Failure>;
        let cases: [(Add, Vec<(&str, u64)>); 8] = [
            (|files| files.add_file("a.csv"), vec![("a.csv", 3)]),
            (|files| files.add_file("./a.csv"), vec![("a.csv", 3)]),
            (|files| files.add_file("not-there.csv"), vec![]),
            (|files| files.add_folder("data/"), vec![("data/deep/y.txt", 2), ("data/x.txt", 1)]),
            (|files| files.add_folder("not-there/"), vec![]),
            (|files| files.add_glob("data/*.txt"), vec![("data/x.txt", 1)]),
            (|files| files.add_glob("data/**/*.txt"), vec![("data/deep/y.txt", 2), ("data/x.txt", 1)]),
            (|files| files.add_glob("*.csv"), vec![("a.csv", 3)]),
        ];
        for (number, (add, expected)) in cases.into_iter().enumerate() {
            let mut files = Files::beside(&folder.path().join("job")).expect("a folder");
            add(&mut files).expect("listed");
            assert_eq!(found(&files), expected, "case {number}");
        }
        let mut files = Files::beside(&folder.path().join("job")).expect("a folder");
        files.add_file("a.csv").expect("listed");
        assert_eq!(files.read("a.csv").expect("read"), b"1,2");
        assert!(files.read("data/x.txt").is_err(), "only what the job file names is read");
    }

    #[test]
    fn nothing_from_outside_is_sent() {
        let folder = place();
        let job = folder.path().join("job");
        std::os::unix::fs::symlink("../secret", job.join("link")).expect("linked");
        std::os::unix::fs::symlink("..", job.join("up")).expect("linked");
        std::os::unix::fs::symlink("../../secret", job.join("data/link.txt")).expect("linked");
        let mut files = Files::beside(&job).expect("a folder");
        for path in ["../secret", "link", "up/secret", "/etc/passwd", "data/../../secret"] {
            assert_eq!(files.add_file(path).expect_err(path).exit, Exit::Invalid, "{path}");
        }
        assert!(files.add_folder("data").is_err());
        assert!(files.add_folder("up").is_err());
        assert!(files.add_glob("data/*.txt").is_err());
        assert!(files.add_glob("up/*").is_err());
        assert_eq!(files.add_glob("*/secret"), Ok(()), "a pattern does not look outside");
        assert!(files.found.keys().all(|path| !path.contains("link")), "{:?}", files.found);
    }

    #[test]
    fn links_within_the_folder_are_followed_but_not_in_circles() {
        let folder = place();
        let job = folder.path().join("job");
        std::os::unix::fs::symlink("../a.csv", job.join("data/again.csv")).expect("linked");
        std::os::unix::fs::symlink("..", job.join("data/deep/circle")).expect("linked");
        let mut files = Files::beside(&job).expect("a folder");
        files.add_folder("data").expect("listed");
        assert_eq!(found(&files), [("data/again.csv", 3), ("data/deep/y.txt", 2), ("data/x.txt", 1)]);
    }
}
