//! Gets one file from the server: goes on where it broke off, and is only believed when its sha256 is the promised one.
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use dsg_schemas::api::ManifestLine;
use dsg_schemas::wire::StoredFile;
use reqwest::{Method, Response};
use sha2::{Digest, Sha256};
use tokio::time::{sleep, timeout};

use crate::clean;
use crate::client::{self, Client, Patience, SILENCE};
use crate::exit::{Exit, Failure};
use crate::hash;

/// Broken connections in a row that brought nothing.
const IDLE_TRIES: u32 = 8;
/// Bytes of one part of a path; file systems end there.
const PART_BYTES: usize = 200;

/// A file and where it goes, relative to the results' folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    pub to: PathBuf,
    pub size: u64,
    pub sha256: String,
}

impl Wanted {
    fn at(folder: PathBuf, stored: &StoredFile) -> Wanted {
        Wanted { to: folder.join(safe(&stored.file)), size: stored.size, sha256: stored.sha256.clone() }
    }
}

/// The files of one chunk: `main/<index>/<file>`; where two of its outputs have one file name, `main/<index>/<output>/<file>`.
pub fn of_chunk(line: &ManifestLine) -> Vec<Wanted> {
    distinct(Path::new("main").join(line.index.to_string()), &line.outputs)
}

/// The gathered files: beside `main`. What would take the place of something else goes into `gathered/`.
pub fn of_gathered(stored: &[StoredFile]) -> Vec<Wanted> {
    let taken = |wanted: &Wanted| {
        let first = wanted.to.components().next().map(|part| part.as_os_str().to_owned());
        first.is_some_and(|first| {
            first == "main" || first == "gathered" || first == "manifest.jsonl" || first == ".dsg-job"
        })
    };
    let mut all = distinct(PathBuf::new(), stored);
    for wanted in all.iter_mut().filter(|wanted| taken(wanted)) {
        wanted.to = Path::new("gathered").join(&wanted.to);
    }
    all
}

fn distinct(folder: PathBuf, stored: &[StoredFile]) -> Vec<Wanted> {
    let place = |stored: &StoredFile| safe(&stored.file);
    stored
        .iter()
        .map(|this| match stored.iter().filter(|other| place(other) == place(this)).count() {
            1 => Wanted::at(folder.clone(), this),
            _ => Wanted::at(folder.join(safe(&this.name)), this),
        })
        .collect()
}

/// A path that stays where it is put, whatever the server says.
fn safe(file: &str) -> PathBuf {
    let part = |part: &str| {
        let mut clean: String = part
            .chars()
            .map(|c| if clean::name(c.encode_utf8(&mut [0; 4])) == c.to_string() { c } else { '_' })
            .collect();
        while clean.len() > PART_BYTES {
            clean.pop();
        }
        match clean.as_str() {
            ".." | "." => "_".to_owned(),
            _ => clean,
        }
    };
    let path: PathBuf = file.split('/').filter(|part| !part.is_empty()).map(part).collect();
    if path.as_os_str().is_empty() { PathBuf::from("_") } else { path }
}

/// What happened to a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    Fetched,
    /// It was there already, and right.
    There,
}

/// Puts the file at its place below `folder`. Something else in its place is only replaced if `replace`.
pub async fn file(
    client: &Client,
    folder: &Path,
    wanted: &Wanted,
    replace: bool,
    seen: &impl Fn(u64),
) -> Result<Outcome, Failure> {
    let to = folder.join(&wanted.to);
    if is_there(&to, wanted).await? {
        seen(wanted.size);
        return Ok(Outcome::There);
    }
    if !replace && to.symlink_metadata().is_ok() {
        return Err(Failure::new(
            Exit::Conflict,
            format!("{} is in the way: it is not what the job made", to.display()),
        )
        .hint("fetch into another folder with -o, or replace it with --force"));
    }
    if let Some(above) = to.parent() {
        fs::create_dir_all(above).map_err(|error| Failure::file("create", above, &error))?;
    }
    let mut part = Part::open(&to, wanted).await?;
    seen(part.have);
    part.complete(client, seen).await?;
    part.settle(&to).await?;
    Ok(Outcome::Fetched)
}

async fn is_there(to: &Path, wanted: &Wanted) -> Result<bool, Failure> {
    match fs::metadata(to) {
        Ok(about) if about.is_file() && about.len() == wanted.size => {}
        _ => return Ok(false),
    }
    let path = to.to_owned();
    let read = blocking(move || hash::of_file(&path, |_| ())).await;
    let (_, sha256) = read.map_err(|error| Failure::file("read", to, &error))?;
    Ok(sha256 == wanted.sha256)
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> io::Result<T> + Send + 'static) -> io::Result<T> {
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|error| Err(io::Error::other(error)))
}

/// What has come of a file so far. It stays on disk when we are stopped.
struct Part<'a> {
    wanted: &'a Wanted,
    path: PathBuf,
    file: File,
    hasher: Sha256,
    have: u64,
}

impl<'a> Part<'a> {
    async fn open(to: &Path, wanted: &'a Wanted) -> Result<Part<'a>, Failure> {
        // Named after place and content: two files never share one, and other content never goes on from it.
        let name = hash::of_bytes(format!("{}\n{}", wanted.to.display(), wanted.sha256).as_bytes());
        let path = to.with_file_name(format!(".{}.dsg-part", &name[..32]));
        let fail = |error: io::Error| Failure::file("write", &path, &error);
        let file = OpenOptions::new().append(true).create(true).open(&path).map_err(fail)?;
        let begun = path.clone();
        let (have, hasher) = blocking(move || hash::begun(&begun)).await.map_err(fail)?;
        Ok(Part { wanted, path, file, hasher, have })
    }

    fn restart(&mut self) -> Result<(), Failure> {
        self.file.set_len(0).map_err(|error| Failure::file("write", &self.path, &error))?;
        (self.have, self.hasher) = (0, Sha256::new());
        Ok(())
    }

    /// Goes on until all is there and right.
    async fn complete(&mut self, client: &Client, seen: &impl Fn(u64)) -> Result<(), Failure> {
        let mut idle = 0;
        let mut wrong = false;
        loop {
            if self.have > self.wanted.size {
                self.restart()?;
            }
            if self.have == self.wanted.size {
                if hash::hex(&self.hasher.clone().finalize()) == self.wanted.sha256 {
                    return Ok(());
                }
                self.restart()?;
                // What we had may have been bad on this disk; what came anew must be right.
                if std::mem::replace(&mut wrong, true) {
                    let _ = fs::remove_file(&self.path);
                    return Err(Failure::other(format!(
                        "{} came twice, but not with the sha256 that was promised",
                        self.wanted.to.display()
                    ))
                    .hint("the server's disk may be failing: tell its admin"));
                }
            }
            let before = self.have;
            match self.go_on(client, seen).await {
                Ok(()) => {}
                Err(failure) if failure.exit == Exit::Unreachable && idle < IDLE_TRIES => {
                    idle = if self.have > before { 0 } else { idle + 1 };
                    sleep(Duration::from_millis(100 << idle)).await;
                }
                Err(failure) => return Err(failure),
            }
        }
    }

    /// One connection's worth.
    async fn go_on(&mut self, client: &Client, seen: &impl Fn(u64)) -> Result<(), Failure> {
        let attempted = format!("fetch {}", self.wanted.to.display());
        let path = format!("/api/v1/blobs/sha256/{}", self.wanted.sha256);
        let have = self.have;
        let build = || match have {
            0 => client.request(Method::GET, &path),
            have => client.request(Method::GET, &path).header("range", format!("bytes={have}-")),
        };
        let mut response = client.answer(&attempted, Patience::Long, build).await?;
        match response.status().as_u16() {
            206 if starts_at(&response) == Some(have) => {}
            200 | 206 | 416 if have > 0 => {
                self.restart()?;
                if response.status().as_u16() != 200 {
                    return Ok(());
                }
            }
            200 => {}
            _ => return Err(client::refusal(&attempted, response).await),
        }
        let broke = |why: String| Failure::new(Exit::Unreachable, format!("cannot {attempted}: it broke off: {why}"));
        loop {
            match timeout(SILENCE, response.chunk()).await {
                Ok(Ok(Some(piece))) => {
                    self.file.write_all(&piece).map_err(|error| Failure::file("write", &self.path, &error))?;
                    self.hasher.update(&piece);
                    self.have += piece.len() as u64;
                    seen(piece.len() as u64);
                }
                Ok(Ok(None)) if self.have < self.wanted.size => {
                    return Err(broke("it is shorter than promised".to_owned()));
                }
                Ok(Ok(None)) => return Ok(()),
                Ok(Err(error)) => return Err(broke(client::root_cause(&error))),
                Err(_) => return Err(broke("the server fell silent".to_owned())),
            }
        }
    }

    /// On the disk for good, and only then under its name.
    async fn settle(self, to: &Path) -> Result<(), Failure> {
        let Part { path, file, .. } = self;
        let target = to.to_owned();
        let settle = blocking(move || {
            file.sync_all()?;
            fs::rename(&path, &target)
        });
        settle.await.map_err(|error| Failure::file("write", to, &error))
    }
}

fn starts_at(response: &Response) -> Option<u64> {
    let range = response.headers().get("content-range")?.to_str().ok()?;
    range.strip_prefix("bytes ")?.split('-').next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stored(name: &str, file: &str) -> StoredFile {
        StoredFile { name: name.to_owned(), file: file.to_owned(), size: 1, sha256: "a".repeat(64) }
    }

    fn places(wanted: &[Wanted]) -> Vec<String> {
        wanted.iter().map(|wanted| wanted.to.display().to_string()).collect()
    }

    #[test]
    fn no_name_leads_out_of_the_folder() {
        let cases = [
            ("a.csv", "a.csv"),
            ("plots/a.png", "plots/a.png"),
            ("../../etc/passwd", "_/_/etc/passwd"),
            ("/etc/passwd", "etc/passwd"),
            ("a/./b", "a/_/b"),
            ("..", "_"),
            ("", "_"),
            ("///", "_"),
            ("a\nb\u{1b}[2J\0", "a_b_[2J_"),
            (".hidden", ".hidden"),
        ];
        for (file, place) in cases {
            assert_eq!(safe(file), PathBuf::from(place), "{file:?}");
        }
        assert!(safe(&"ü".repeat(500)).as_os_str().len() <= PART_BYTES);
    }

    #[test]
    fn every_file_has_a_place_of_its_own() {
        let gathered = [stored("table", "table.csv"), stored("odd", "main"), stored("list", "manifest.jsonl")];
        assert_eq!(places(&of_gathered(&gathered)), ["table.csv", "gathered/main", "gathered/manifest.jsonl"]);
        let gathered = [stored("a", "out.csv"), stored("b", "out.csv"), stored("c", "c.csv")];
        assert_eq!(places(&of_gathered(&gathered)), ["a/out.csv", "b/out.csv", "c.csv"]);
    }
}
