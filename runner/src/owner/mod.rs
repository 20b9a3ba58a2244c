//! When the owner of this host wants it back, and what then becomes of what runs: hours of the week, and whether anybody uses it. The
//! runner keeps to it by itself; the server is told why.
mod hours;
mod idle;
mod probe;
mod watch;

use std::time::Duration;

pub use hours::{Hours, Window, zone};
pub use probe::Probe;
pub(crate) use watch::watch;

use jiff::Timestamp;

/// As `runner.toml` says; all of it may be left out.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Owner {
    /// When the grid may use this host; `None`: always.
    pub hours: Option<Hours>,
    pub only_when_idle: Option<OnlyWhenIdle>,
    pub at_end: AtEnd,
}

/// Nobody but the grid uses the host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OnlyWhenIdle {
    /// What others may use of the processors.
    pub cpu_percent: u32,
    /// So long nobody has used more, and nobody typed.
    pub quiet: Duration,
}

/// What becomes of what runs when the owner wants the host back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AtEnd {
    /// It ends by itself.
    #[default]
    Finish,
    Pause,
    Evict,
}

/// What was seen of the host.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Seen {
    pub now: Timestamp,
    /// Since others used more of the processors than they may; `None`: they did not as far as anybody knows.
    pub busy_ago: Option<Duration>,
    /// What others use now, in percent of all processors.
    pub others_percent: u32,
    /// Since somebody typed; `None`: nobody is logged in.
    pub typed_ago: Option<Duration>,
}

/// What the owner wants now.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Word {
    /// Why nothing new is taken; `None`: the grid may use the host.
    pub why: Option<String>,
    /// And what runs is to be frozen, or stopped.
    pub then: AtEnd,
}

impl Owner {
    pub fn is_empty(&self) -> bool {
        self.hours.is_none() && self.only_when_idle.is_none()
    }

    /// Pure: the same facts, the same word. Hours come first, because they are what people can plan with.
    pub fn decide(&self, seen: &Seen) -> Word {
        let closed = self.hours.as_ref().and_then(|hours| hours.closed(seen.now));
        let why = closed.or_else(|| self.only_when_idle.and_then(|idle| idle.used(seen)));
        let then = if why.is_some() { self.at_end } else { AtEnd::Finish };
        Word { why, then }
    }

    /// Until when it may go on as it is, if the hours say so: for people.
    pub fn open_until(&self, now: Timestamp) -> Option<String> {
        self.hours.as_ref()?.open_until(now)
    }
}
