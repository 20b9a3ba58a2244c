//! What containers write into their own layer: measured now and then where a job gave a limit, because neither engine bounds it on
//! every kind of storage.
use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use dsg_schemas::ids::AttemptId;
use tokio::time::sleep;

use super::Shared;

/// What each measured container was last seen to have written, at most what it may.
#[derive(Debug, Default)]
pub struct Usage {
    bytes: Mutex<BTreeMap<AttemptId, u64>>,
}

impl Usage {
    /// Of the space that these containers reserved, so much is not free any more.
    pub fn total(&self) -> u64 {
        self.bytes.lock().unwrap_or_else(PoisonError::into_inner).values().sum()
    }

    fn set(&self, attempt: AttemptId, bytes: u64) {
        self.bytes.lock().unwrap_or_else(PoisonError::into_inner).insert(attempt, bytes);
    }

    pub fn forget(&self, attempt: AttemptId) {
        self.bytes.lock().unwrap_or_else(PoisonError::into_inner).remove(&attempt);
    }
}

/// Returns when the container has written more than `limit_bytes`; never where there is no limit.
pub async fn beyond(shared: &Shared, attempt: AttemptId, container: &str, limit_bytes: Option<u64>) {
    let Some(limit_bytes) = limit_bytes else { return std::future::pending().await };
    let mut pause = shared.patience.look / 3;
    loop {
        sleep(pause).await;
        pause = shared.patience.look;
        match shared.engine.written(container).await {
            Ok(Some(bytes)) => {
                shared.usage.set(attempt, bytes.min(limit_bytes));
                if bytes > limit_bytes {
                    return;
                }
            }
            Ok(None) => {}
            Err(failure) => tracing::debug!(%attempt, %failure, "cannot measure what a container has written"),
        }
    }
}
