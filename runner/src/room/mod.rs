//! How much room the disks have: below one mark what this runner brought is removed, oldest use first, until another is reached; below
//! a third it takes nothing new.
mod clean;
mod stock;

use std::path::Path;

use dsg_schemas::mark::Mark;
use dsg_schemas::units::Bytes;

pub use clean::Cleaner;
pub use stock::{Hold, Stock};

/// Where it is full, in the words of a sentence.
pub const OF_THE_ENGINE: &str = "where its engine keeps images and containers";
pub const OF_THE_STATE: &str = "where the runner keeps its state";

/// One disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Space {
    pub free_bytes: u64,
    pub total_bytes: u64,
    /// Tells whether two folders lie on the same.
    pub device: u64,
}

/// What is to be free.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Marks {
    /// With less, what can be had again is removed …
    pub clean: Mark,
    /// … until so much is free.
    pub until: Mark,
    /// With less, nothing new is taken.
    pub stop: Mark,
}

impl Default for Marks {
    fn default() -> Marks {
        Marks { clean: Mark::of(10, 20 << 30), until: Mark::of(20, 40 << 30), stop: Mark::of(5, 2 << 30) }
    }
}

impl Space {
    /// Around a folder of this host; `None` where the system does not say.
    pub fn around(folder: &Path) -> Option<Space> {
        let disk = rustix::fs::statvfs(folder).ok()?;
        let bytes = |blocks: u64| blocks.saturating_mul(disk.f_frsize);
        let device = rustix::fs::stat(folder).ok()?.st_dev;
        Some(Space { free_bytes: bytes(disk.f_bavail), total_bytes: bytes(disk.f_blocks), device })
    }

    /// 0 to 100; full is only what is full.
    pub fn used_percent(&self) -> u64 {
        let used = u128::from(self.total_bytes.saturating_sub(self.free_bytes));
        (used * 100).checked_div(self.total_bytes.into()).unwrap_or(0) as u64
    }
}

impl Marks {
    /// Why nothing new is taken, if so little is free. Whoever stopped goes on with an eighth more than the mark: a disk on its border does
    /// not turn work on and off.
    pub fn stops(&self, space: Space, place: &str, stopped: bool) -> Option<String> {
        let mark = self.stop.bytes(space.total_bytes);
        let needed = if stopped { mark + mark / 8 } else { mark };
        (space.free_bytes < needed).then(|| {
            // A size that changes with every byte would be told anew each time.
            let percent = space.used_percent();
            format!(
                "its disk is at {percent} %, {place}; it goes on by itself once {} are free",
                rounded(mark + mark / 8)
            )
        })
    }

    /// Bytes to free, if any. `begun`: it fell below the first mark before, and has not reached the second yet.
    pub fn wanted(&self, space: Space, begun: bool) -> Option<u64> {
        let begin = self.clean.bytes(space.total_bytes);
        let until = self.until.bytes(space.total_bytes).max(begin);
        let below = space.free_bytes < begin || (begun && space.free_bytes < until);
        below.then(|| until - space.free_bytes)
    }
}

/// `12.6GiB`: for people.
pub fn rounded(bytes: u64) -> String {
    for (unit, name) in [(1u64 << 40, "TiB"), (1 << 30, "GiB"), (1 << 20, "MiB")] {
        if bytes >= unit && !bytes.is_multiple_of(unit) {
            return format!("{:.1}{name}", bytes as f64 / unit as f64);
        }
    }
    Bytes(bytes).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    const GIB: u64 = 1 << 30;

    fn marks(clean: &str, until: &str, stop: &str) -> Marks {
        let mark = |text: &str| text.parse().expect("a mark");
        Marks { clean: mark(clean), until: mark(until), stop: mark(stop) }
    }

    fn with(free_gib: u64) -> Space {
        Space { free_bytes: free_gib * GIB, total_bytes: 100 * GIB, device: 1 }
    }

    #[test]
    fn it_stops_below_its_mark_and_goes_on_above_it_with_some_room() {
        let marks = marks("20%", "30%", "8%");
        assert_eq!(marks.stops(with(8), "here", false), None);
        let why = "its disk is at 93 %, here; it goes on by itself once 9GiB are free";
        assert_eq!(marks.stops(with(7), "here", false).as_deref(), Some(why));
        for (free, stopped, stops) in [(8, true, true), (9, true, false), (8, false, false), (0, false, true)] {
            assert_eq!(marks.stops(with(free), "here", stopped).is_some(), stops, "{free} after {stopped}");
        }
    }

    #[test]
    fn cleaning_begins_below_one_mark_and_ends_at_the_other() {
        let right = marks("20%", "30%", "5%");
        for (free, begun, wanted) in
            [(20, false, None), (19, false, Some(11)), (25, true, Some(5)), (25, false, None), (30, true, None)]
        {
            assert_eq!(right.wanted(with(free), begun), wanted.map(|gib: u64| gib * GIB), "{free} after {begun}");
        }
        let reversed = marks("20%", "10%", "5%");
        assert_eq!(reversed.wanted(with(19), false), Some(GIB), "to the first mark at least");
    }

    #[test]
    fn a_disk_nobody_knows_is_not_full() {
        assert_eq!(Marks::default().stops(Space::default(), "here", true), None);
        assert_eq!(Marks::default().wanted(Space::default(), true), None);
        assert_eq!((Space::default().used_percent(), with(3).used_percent()), (0, 97));
    }
}
