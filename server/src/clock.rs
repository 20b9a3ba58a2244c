//! The one clock of the server: Unix milliseconds that never go back.
use std::time::{Instant, SystemTime, UNIX_EPOCH};

/// The monotonic clock laid over Unix time at start, so that a leap of the wall clock moves no lease.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    started_ms: u64,
    started: Instant,
    /// Shows what a test says.
    #[cfg(test)]
    hand: Option<&'static std::sync::atomic::AtomicU64>,
}

impl Clock {
    pub fn start() -> Clock {
        let unix = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Clock {
            started_ms: unix.as_millis() as u64,
            started: Instant::now(),
            #[cfg(test)]
            hand: None,
        }
    }
    #[cfg(test)]
    pub fn by_hand(hand: &'static std::sync::atomic::AtomicU64) -> Clock {
        Clock { hand: Some(hand), ..Clock::start() }
    }
    pub fn now_ms(&self) -> u64 {
        #[cfg(test)]
        if let Some(hand) = self.hand {
            return hand.load(std::sync::atomic::Ordering::SeqCst);
        }
        self.started_ms + self.started.elapsed().as_millis() as u64
    }
}
