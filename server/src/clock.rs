//! The one clock of the server: Unix milliseconds that never go back.
use std::time::{Instant, SystemTime, UNIX_EPOCH};

/// The monotonic clock laid over Unix time at start, so that a leap of the wall clock moves no lease; and never behind what the rows
/// speak of, so that a wall clock that was set back while the server was down makes no chunk rest for a day.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    started_ms: u64,
    started: Instant,
    /// Shows what a test says.
    #[cfg(test)]
    hand: Option<&'static std::sync::atomic::AtomicU64>,
}

impl Clock {
    /// `latest_ms`: the last moment that the store knows of.
    pub fn start(latest_ms: u64) -> Clock {
        let unix = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let unix_ms = unix.as_millis() as u64;
        if unix_ms < latest_ms {
            let behind_s = (latest_ms - unix_ms) / 1000;
            tracing::warn!(
                behind_s,
                "the clock of this machine is behind the server's own rows; times go on from these"
            );
        }
        Clock {
            started_ms: unix_ms.max(latest_ms),
            started: Instant::now(),
            #[cfg(test)]
            hand: None,
        }
    }
    #[cfg(test)]
    pub fn by_hand(hand: &'static std::sync::atomic::AtomicU64) -> Clock {
        Clock { hand: Some(hand), ..Clock::start(0) }
    }
    pub fn now_ms(&self) -> u64 {
        #[cfg(test)]
        if let Some(hand) = self.hand {
            return hand.load(std::sync::atomic::Ordering::SeqCst);
        }
        self.started_ms + self.started.elapsed().as_millis() as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_starts_at_the_rows_if_the_wall_clock_is_behind_them() {
        let today = Clock::start(0).now_ms();
        let tomorrow = today + 86_400_000;
        assert!(Clock::start(tomorrow).now_ms() >= tomorrow);
        assert!(Clock::start(1).now_ms() < tomorrow, "rows of the past do not hold it up");
    }
}
