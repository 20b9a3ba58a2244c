//! Which attempts have a life here: their folders are theirs.
use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use dsg_schemas::ids::AttemptId;

#[derive(Clone, Debug, Default)]
pub struct Living {
    attempts: Arc<Mutex<BTreeSet<AttemptId>>>,
}

/// Until this is dropped, the attempt lives.
#[derive(Debug)]
pub struct Alive {
    living: Living,
    attempt: AttemptId,
}

impl Living {
    pub fn begin(&self, attempt: AttemptId) -> Alive {
        self.lock().insert(attempt);
        Alive { living: self.clone(), attempt }
    }

    pub fn has(&self, attempt: AttemptId) -> bool {
        self.lock().contains(&attempt)
    }

    fn lock(&self) -> MutexGuard<'_, BTreeSet<AttemptId>> {
        self.attempts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Alive {
    fn drop(&mut self) {
        self.living.lock().remove(&self.attempt);
    }
}
