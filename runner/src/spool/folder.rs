//! The folder of one attempt: its order before anything is done, its end before it is told.
use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use dsg_schemas::reason::EndReason;
use dsg_schemas::wire::{Ended, StartOrder};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::file::write_durably;
use super::log::LogSpool;

#[derive(Clone, Debug)]
pub struct Folder {
    path: PathBuf,
}

/// Written before the engine is asked to start: from then on the command may have run, and is never run again by this attempt.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Started {
    pub container: String,
    pub image_id: String,
    /// Boot id of the machine.
    pub boot: String,
    /// Which life of the engine it was; `None` where containers outlive it.
    #[serde(default)]
    pub engine_life: Option<String>,
}

/// How long its container was frozen, by the clock of the wall: that does not count against its time limits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pauses {
    /// When it was started: the engine does not say that of a frozen one.
    pub started_ms: u64,
    /// Pauses that are over.
    pub past_ms: u64,
    /// Since when it is frozen.
    pub since_ms: Option<u64>,
}

impl Pauses {
    /// Frozen so far.
    pub fn total_ms(&self, now_ms: u64) -> u64 {
        self.past_ms + self.since_ms.map_or(0, |since| now_ms.saturating_sub(since))
    }
}

/// What an earlier life of the runner left of an attempt.
#[derive(Clone, Debug)]
pub struct Left {
    pub order: StartOrder,
    pub started: Option<Started>,
    pub ended: Option<Ended>,
}

impl Folder {
    pub(super) fn new(path: PathBuf) -> Folder {
        Folder { path }
    }

    /// Durable before anything is done for the attempt.
    pub fn begin(&self, order: &StartOrder) -> io::Result<()> {
        fs::create_dir_all(&self.path)?;
        self.put("order.json", order)
    }

    pub fn started(&self, started: &Started) -> io::Result<()> {
        self.put("started.json", started)
    }

    pub fn keep_pauses(&self, pauses: &Pauses) -> io::Result<()> {
        self.put("pauses.json", pauses)
    }

    /// Most were never frozen.
    pub fn pauses(&self) -> Pauses {
        match self.path.join("pauses.json").exists() {
            true => self.get("pauses.json").unwrap_or_default(),
            false => Pauses::default(),
        }
    }

    /// Why we end it ourselves, kept before the engine is asked: the next life must not take our own signal for somebody else's.
    pub fn killing(&self, reason: EndReason) -> io::Result<()> {
        self.put("killing.json", &reason)
    }

    pub fn killed(&self) -> Option<EndReason> {
        self.get("killing.json")
    }

    /// Durable before it is told.
    pub fn ended(&self, ended: &Ended) -> io::Result<()> {
        self.put("ended.json", ended)
    }

    /// `None`: there is no readable order.
    pub(super) fn left(&self) -> Option<Left> {
        Some(Left { order: self.get("order.json")?, started: self.get("started.json"), ended: self.get("ended.json") })
    }

    pub fn log(&self) -> io::Result<LogSpool> {
        LogSpool::open(self.path.join("log"))
    }

    /// A folder for scratch files, readable by whatever user a container runs as.
    pub fn part(&self, name: &str) -> io::Result<PathBuf> {
        let path = self.path.join(name);
        fs::create_dir_all(&path)?;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755))?;
        Ok(path)
    }

    /// Scratch is not needed once the attempt is over.
    pub fn clear(&self, name: &str) {
        remove(&self.path.join(name));
    }

    pub fn remove(&self) {
        remove(&self.path);
    }

    fn put(&self, name: &str, value: &impl Serialize) -> io::Result<()> {
        write_durably(&self.path.join(name), &serde_json::to_vec(value)?, 0o600)
    }

    fn get<T: DeserializeOwned>(&self, name: &str) -> Option<T> {
        let path = self.path.join(name);
        let bytes = fs::read(&path).ok()?;
        serde_json::from_slice(&bytes)
            .inspect_err(|error| tracing::warn!(path = %path.display(), %error, "cannot understand a spooled file"))
            .ok()
    }
}

fn remove(path: &Path) {
    if let Err(error) = fs::remove_dir_all(path)
        && error.kind() != io::ErrorKind::NotFound
    {
        tracing::warn!(path = %path.display(), %error, "cannot remove a spool folder; the next start tries again");
    }
}
