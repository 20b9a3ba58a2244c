//! What the host does, as syncs tell it: looked at off the loop that minds the leases.
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use dsg_schemas::wire::Load;
use tokio::sync::Semaphore;
use tokio::time::Instant;

use crate::config::LoadSource;

/// How long a sync waits for a look.
const PATIENCE: Duration = Duration::from_millis(500);
/// Syncs that follow each other within this tell the same: they are many where containers are short.
const FRESH: Duration = Duration::from_secs(1);

pub struct Sampled {
    source: LoadSource,
    fresh: Duration,
    last: Mutex<(Load, Option<Instant>)>,
    /// One look at a time: a driver that hangs must not take one thread after the other.
    turn: Arc<Semaphore>,
}

impl Sampled {
    pub fn new(source: LoadSource) -> Sampled {
        Sampled { source, fresh: FRESH, last: Mutex::default(), turn: Arc::new(Semaphore::new(1)) }
    }

    /// What is known already where it is fresh, or where a driver takes its time, which must cost no lease.
    pub async fn load(self: &Arc<Self>) -> Load {
        let fresh = self.last().1.is_some_and(|at| at.elapsed() < self.fresh);
        if !fresh && let Ok(turn) = self.turn.clone().try_acquire_owned() {
            let sampled = self.clone();
            let look = tokio::task::spawn_blocking(move || {
                let load = (sampled.source)();
                *sampled.last.lock().unwrap_or_else(PoisonError::into_inner) = (load, Some(Instant::now()));
                drop(turn);
            });
            drop(tokio::time::timeout(PATIENCE, look).await);
        }
        self.last().0
    }

    fn last(&self) -> (Load, Option<Instant>) {
        self.last.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn looks(fresh: Duration) -> u64 {
        let looks = Arc::new(Mutex::new(0));
        let counted = looks.clone();
        let source: LoadSource = Arc::new(move || {
            *counted.lock().expect("a lock") += 1;
            Load { memory_used_bytes: 7, ..Load::default() }
        });
        let sampled = Arc::new(Sampled { fresh, ..Sampled::new(source) });
        for _ in 0..3 {
            assert_eq!(sampled.load().await.memory_used_bytes, 7);
        }
        *looks.lock().expect("a lock")
    }

    #[tokio::test]
    async fn a_look_serves_all_that_ask_while_it_is_fresh() {
        assert_eq!(looks(Duration::from_secs(3600)).await, 1);
        assert_eq!(looks(Duration::ZERO).await, 3);
    }
}
