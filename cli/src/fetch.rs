//! Gets one file from the server: goes on where it broke off, and is only believed when its sha256 is the promised one.
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use reqwest::{Method, Response};
use sha2::{Digest, Sha256};
use tokio::time::{sleep, timeout};

use crate::client::{self, Client, Patience, SILENCE};
use crate::exit::{Exit, Failure};
use crate::hash;

/// Broken connections in a row that brought nothing.
const IDLE_TRIES: u32 = 8;

/// A file and where it goes, relative to the results' folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    pub to: PathBuf,
    pub size: u64,
    pub sha256: String,
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
