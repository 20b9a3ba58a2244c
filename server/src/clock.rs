//! The one clock of the server: Unix milliseconds that never go back.
use std::time::{Instant, SystemTime, UNIX_EPOCH};

/// The monotonic clock laid over Unix time at start, so that a leap of the wall clock moves no lease.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    started_ms: u64,
    started: Instant,
}

impl Clock {
    pub fn start() -> Clock {
        let unix = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Clock { started_ms: unix.as_millis() as u64, started: Instant::now() }
    }
    pub fn now_ms(&self) -> u64 {
        self.started_ms + self.started.elapsed().as_millis() as u64
    }
}
