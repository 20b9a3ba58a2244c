//! How much space the disk has left, and what the server leaves be below two marks: first uploads, then starts.
use std::fmt;
use std::io;
use std::path::Path;
use std::str::FromStr;
use std::sync::Arc;

use dsg_schemas::units::Bytes;
use http::StatusCode;

use crate::app::Shared;
use crate::failure::{Failure, Reply};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Space {
    pub free_bytes: u64,
    pub total_bytes: u64,
}

/// So much is to be free: a share of the disk, an amount, or of both whichever is less. Written `5%`, `2GiB`, `5%,2GiB`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mark {
    percent: Option<u8>,
    bytes: Option<u64>,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no mark of a disk; write a share of it, an amount, or both with a comma between, as in 5%,2GiB")]
pub struct NotAMark(String);

/// Measures the space around a folder; tests put their own in its place.
#[derive(Clone)]
pub struct Measure(pub Arc<Measuring>);

type Measuring = dyn Fn(&Path) -> io::Result<Space> + Send + Sync;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    Fine,
    /// What people upload is refused.
    Low,
    /// Nothing new is started either.
    Critical,
}

impl Mark {
    pub const LOW: Mark = Mark { percent: Some(5), bytes: Some(2 << 30) };
    pub const CRITICAL: Mark = Mark { percent: Some(2), bytes: Some(512 << 20) };

    pub fn bytes(&self, total_bytes: u64) -> u64 {
        let share = self.percent.map(|percent| total_bytes / 100 * u64::from(percent));
        [share, self.bytes].into_iter().flatten().min().unwrap_or(0)
    }
}

impl FromStr for Mark {
    type Err = NotAMark;
    fn from_str(text: &str) -> Result<Mark, NotAMark> {
        let wrong = || NotAMark(text.to_owned());
        let mut mark = Mark { percent: None, bytes: None };
        for part in text.split(',') {
            match part.strip_suffix('%') {
                Some(share) if mark.percent.is_none() => {
                    mark.percent = Some(share.parse().ok().filter(|share| *share <= 100).ok_or_else(wrong)?);
                }
                None if mark.bytes.is_none() => mark.bytes = Some(part.parse::<Bytes>().map_err(|_| wrong())?.0),
                Some(_) | None => return Err(wrong()),
            }
        }
        Ok(mark)
    }
}

impl fmt::Display for Mark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let share = self.percent.map(|percent| format!("{percent}%"));
        let parts: Vec<String> = share.into_iter().chain(self.bytes.map(|bytes| Bytes(bytes).to_string())).collect();
        f.write_str(&parts.join(","))
    }
}

impl Measure {
    pub fn of_the_system() -> Measure {
        Measure(Arc::new(|folder| {
            let disk = rustix::fs::statvfs(folder)?;
            let bytes = |blocks: u64| blocks.saturating_mul(disk.f_frsize);
            Ok(Space { free_bytes: bytes(disk.f_bavail), total_bytes: bytes(disk.f_blocks) })
        }))
    }
}

impl fmt::Debug for Measure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Measure")
    }
}

/// By the two marks.
pub fn level(space: Space, low: Mark, critical: Mark) -> Level {
    match space.free_bytes {
        free if free < critical.bytes(space.total_bytes) => Level::Critical,
        free if free < low.bytes(space.total_bytes) => Level::Low,
        _ => Level::Fine,
    }
}

impl Shared {
    pub fn space(&self) -> io::Result<Space> {
        (self.config.measure.0)(&self.config.data)
    }

    /// Refuses what people want to upload while there is little space: it is kept for the results of what runs.
    pub fn room_for_uploads(&self) -> Reply<()> {
        // Where the system does not say, the write itself will.
        let Ok(space) = self.space() else { return Ok(()) };
        if level(space, self.config.disk_low, self.config.disk_critical) == Level::Fine {
            return Ok(());
        }
        let detail = format!(
            "the server's disk is nearly full ({}), so no files are uploaded; delete old jobs or give it more space, then try again",
            left(space, self.config.disk_low.max(self.config.disk_critical, space))
        );
        Err(Failure::new(StatusCode::INSUFFICIENT_STORAGE, "disk_low", detail))
    }
}

impl Mark {
    /// The one that wants more of this disk.
    fn max(self, other: Mark, space: Space) -> Mark {
        if self.bytes(space.total_bytes) >= other.bytes(space.total_bytes) { self } else { other }
    }
}

/// `300 MiB are free, 2048 MiB should be`.
fn left(space: Space, mark: Mark) -> String {
    let mib = |bytes: u64| bytes >> 20;
    format!("{} MiB are free, {} MiB should be", mib(space.free_bytes), mib(mark.bytes(space.total_bytes)))
}

/// The banner, and why nothing starts if nothing does.
pub fn told(level: Level, space: Space, low: Mark, critical: Mark, data: &Path) -> (Option<String>, Option<String>) {
    let (data, until) = (data.display(), left(space, low.max(critical, space)));
    let cure = "Delete old jobs, or give it more space";
    match level {
        Level::Fine => (None, None),
        Level::Low => {
            let banner = format!(
                "The disk of the server is nearly full ({until}, in {data}): no files are uploaded. What runs goes on. {cure}."
            );
            (Some(banner), None)
        }
        Level::Critical => {
            let banner = format!(
                "The disk of the server is almost full ({}, in {data}): nothing new starts, and no files are uploaded. What runs goes on. {cure}; then it goes on by itself.",
                left(space, critical)
            );
            let why = format!("nothing new starts while the server's disk is almost full ({})", left(space, critical));
            (Some(banner), Some(why))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_are_shares_or_amounts_and_the_lesser_counts() {
        let bytes = |text: &str, total: u64| text.parse::<Mark>().map(|mark| mark.bytes(total));
        let (small, large) = (10 << 30, 1 << 40);
        assert_eq!((bytes("5%", small), bytes("2GiB", small)), (Ok((10 << 30) / 100 * 5), Ok(2 << 30)));
        assert_eq!((bytes("5%,2GiB", small), bytes("2GiB,5%", large)), (Ok((10 << 30) / 100 * 5), Ok(2 << 30)));
        assert_eq!(bytes("0%", large), Ok(0));
        for wrong in ["", "5", "101%", "5%,5%", "1GiB,2GiB", "-1%", "5%;2GiB", "5%,"] {
            assert!(wrong.parse::<Mark>().is_err(), "{wrong:?}");
        }
        for mark in [Mark::LOW, Mark::CRITICAL] {
            assert_eq!(mark.to_string().parse(), Ok(mark));
        }
    }

    #[test]
    fn two_marks_make_three_levels() {
        let (low, critical) = ("2GiB".parse().expect("a mark"), "1GiB".parse().expect("a mark"));
        let at = |free_bytes| level(Space { free_bytes, total_bytes: 1 << 40 }, low, critical);
        assert_eq!((at(2 << 30), at((2 << 30) - 1)), (Level::Fine, Level::Low));
        assert_eq!((at(1 << 30), at((1 << 30) - 1), at(0)), (Level::Low, Level::Critical, Level::Critical));
    }
}
