//! How much space the disk has left, and what the server leaves be below two marks: first uploads, then starts.
use std::fmt;
use std::io;
use std::path::Path;
use std::sync::Arc;

pub use dsg_schemas::mark::Mark;
use http::StatusCode;

use crate::app::Shared;
use crate::failure::{Failure, Reply};

pub const LOW: Mark = Mark::of(5, 2 << 30);
pub const CRITICAL: Mark = Mark::of(2, 512 << 20);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Space {
    pub free_bytes: u64,
    pub total_bytes: u64,
}

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
            left(space, higher(self.config.disk_low, self.config.disk_critical, space))
        );
        Err(Failure::new(StatusCode::INSUFFICIENT_STORAGE, "disk_low", detail))
    }
}

/// The one that wants more of this disk.
fn higher(one: Mark, other: Mark, space: Space) -> Mark {
    if one.bytes(space.total_bytes) >= other.bytes(space.total_bytes) { one } else { other }
}

/// `300 MiB are free, 2048 MiB should be`.
fn left(space: Space, mark: Mark) -> String {
    let mib = |bytes: u64| bytes >> 20;
    format!("{} MiB are free, {} MiB should be", mib(space.free_bytes), mib(mark.bytes(space.total_bytes)))
}

/// The banner, and why nothing starts if nothing does.
pub fn told(level: Level, space: Space, low: Mark, critical: Mark, data: &Path) -> (Option<String>, Option<String>) {
    let (data, until) = (data.display(), left(space, higher(low, critical, space)));
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
    fn two_marks_make_three_levels() {
        let (low, critical) = ("2GiB".parse().expect("a mark"), "1GiB".parse().expect("a mark"));
        let at = |free_bytes| level(Space { free_bytes, total_bytes: 1 << 40 }, low, critical);
        assert_eq!((at(2 << 30), at((2 << 30) - 1)), (Level::Fine, Level::Low));
        assert_eq!((at(1 << 30), at((1 << 30) - 1), at(0)), (Level::Low, Level::Critical, Level::Critical));
    }
}
