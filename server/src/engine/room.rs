//! A disk that has refused a commit for want of space: whether to try it again. Each refused commit costs a load of all rows, because
//! memory is ahead of them by then; so nothing is tried before a small write says that there is room.
use std::time::{Duration, Instant};

/// Between two looks, at first; doubled while what was found to have room refuses the next commit all the same, up to the last.
const LOOK_EVERY: Duration = Duration::from_secs(1);
const LOOK_LATEST: Duration = Duration::from_secs(8);
/// A refusal so long after the last one is a new story.
const FORGOTTEN: Duration = Duration::from_secs(60);

#[derive(Debug, Default)]
pub struct Room {
    /// When to look again. `None`: as far as is known there is room.
    look_at: Option<Instant>,
    refused_at: Option<Instant>,
    wait: Duration,
}

impl Room {
    /// A commit was refused.
    pub fn refused(&mut self, now: Instant) {
        let again = self.refused_at.is_some_and(|last| now.saturating_duration_since(last) < FORGOTTEN);
        self.wait = if again { (self.wait * 2).min(LOOK_LATEST) } else { LOOK_EVERY };
        self.refused_at = Some(now);
        self.look_at = Some(now + self.wait);
    }

    pub fn is_full(&self) -> bool {
        self.look_at.is_some()
    }

    pub fn look_at(&self) -> Option<Instant> {
        self.look_at
    }

    /// What a look found.
    pub fn looked(&mut self, now: Instant, has_room: bool) {
        self.look_at = (!has_room).then(|| now + self.wait);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_disk_that_refuses_again_and_again_is_tried_ever_more_seldom_and_forgiven_later() {
        let (mut room, mut now) = (Room::default(), Instant::now());
        assert!(!room.is_full());
        for seconds in [1, 2, 4, 8, 8] {
            room.refused(now);
            let wait = Duration::from_secs(seconds);
            assert_eq!(room.look_at(), Some(now + wait));
            now += wait;
            room.looked(now, false);
            assert_eq!(room.look_at(), Some(now + wait), "still full");
            room.looked(now, true);
            assert!(!room.is_full());
        }
        now += FORGOTTEN;
        room.refused(now);
        assert_eq!(room.look_at(), Some(now + LOOK_EVERY));
    }
}
