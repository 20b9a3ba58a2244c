//! What every handler can reach.
use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use crate::blobs::BlobStore;
use crate::clock::Clock;
use crate::config::Config;
use crate::failure::{Failure, Reply};
use crate::logs::LogStore;
use crate::store::{Reader, Store, StoreError};

/// As axum's `State<App>`: cheap to clone.
pub type App = Arc<Shared>;

pub struct Shared {
    pub config: Config,
    pub clock: Clock,
    pub store: Arc<Store>,
    pub blobs: Arc<BlobStore>,
    pub logs: Arc<LogStore>,
    /// Cancelled when the server stops: whatever waits or streams ends then.
    pub stopping: CancellationToken,
}

impl Shared {
    /// Reads rows where blocking is allowed.
    pub async fn read<T: Send + 'static>(
        &self,
        read: impl FnOnce(&Reader<'_>) -> Result<T, StoreError> + Send + 'static,
    ) -> Reply<T> {
        let store = self.store.clone();
        match tokio::task::spawn_blocking(move || store.read(read)).await {
            Ok(Ok(found)) => Ok(found),
            Ok(Err(StoreError::Closed)) => Err(Failure::store()),
            Ok(Err(error)) => Err(Failure::internal("read the store", error)),
            Err(error) => Err(Failure::internal("read the store", error)),
        }
    }
}
