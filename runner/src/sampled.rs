//! What the host does, for whoever asks: syncs, and attempts that hold GPUs. Looked at off the loop that minds the leases.
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use dsg_schemas::wire::Load;
use tokio::sync::Semaphore;
use tokio::time::Instant;

use crate::config::LoadSource;

/// How long anybody waits for a look: a driver that takes its time must cost no lease.
const PATIENCE: Duration = Duration::from_millis(500);

pub struct Sampled {
    source: LoadSource,
    /// So old, it serves those who ask meanwhile.
    fresh: Duration,
    last: Mutex<Sample>,
    /// One look at a time: a driver that hangs must not take one thread after the other.
    turn: Arc<Semaphore>,
}

#[derive(Clone, Debug, Default)]
pub struct Sample {
    pub load: Load,
    /// `None`: nothing was ever seen.
    pub at: Option<Instant>,
}

impl Sampled {
    /// `every`: as often as it is asked for by those who ask again and again; each of them shall see something new.
    pub fn new(source: LoadSource, every: Duration) -> Sampled {
        Sampled { source, fresh: every * 4 / 5, last: Mutex::default(), turn: Arc::new(Semaphore::new(1)) }
    }

    /// The newest that is known; an older one where the look takes long.
    pub async fn newest(self: &Arc<Self>) -> Sample {
        let is_fresh = self.last().at.is_some_and(|at| at.elapsed() < self.fresh);
        if !is_fresh && let Ok(turn) = self.turn.clone().try_acquire_owned() {
            let sampled = self.clone();
            let look = tokio::task::spawn_blocking(move || {
                let at = Some(Instant::now());
                let sample = Sample { load: (sampled.source)(), at };
                *sampled.last.lock().unwrap_or_else(PoisonError::into_inner) = sample;
                drop(turn);
            });
            drop(tokio::time::timeout(PATIENCE, look).await);
        }
        self.last()
    }

    fn last(&self) -> Sample {
        self.last.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn looks(every: Duration) -> u64 {
        let looks = Arc::new(Mutex::new(0));
        let counted = looks.clone();
        let source: LoadSource = Arc::new(move || {
            *counted.lock().expect("a lock") += 1;
            Load::default()
        });
        let sampled = Arc::new(Sampled::new(source, every));
        for _ in 0..3 {
            // On a busy machine a look may take longer than anybody waits.
            let before = sampled.last().at;
            sampled.newest().await;
            while every == Duration::ZERO && sampled.last().at == before || sampled.turn.available_permits() == 0 {
                tokio::task::yield_now().await;
            }
        }
        *looks.lock().expect("a lock")
    }

    #[tokio::test]
    async fn a_look_serves_all_that_ask_while_it_is_fresh() {
        assert_eq!(looks(Duration::from_secs(3600)).await, 1);
        assert_eq!(looks(Duration::ZERO).await, 3);
    }
}
