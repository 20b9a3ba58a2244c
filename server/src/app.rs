//! What every handler can reach.
use std::collections::BTreeSet;
use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use crate::api::sync::HeldSyncs;
use crate::auth::Doors;
use crate::blobs::BlobStore;
use crate::clock::Clock;
use crate::config::{Config, Tls};
use crate::engine::{Banners, Engine};
use crate::failure::{Failure, Reply};
use crate::logs::LogStore;
use crate::plans::Plans;
use crate::retention::Retention;
use crate::store::{Reader, Store, StoreError};
use crate::tls::Authority;
use crate::vault::Vault;

/// As axum's `State<App>`: cheap to clone.
pub type App = Arc<Shared>;

pub struct Shared {
    pub config: Config,
    pub clock: Clock,
    pub engine: Engine,
    pub store: Arc<Store>,
    pub blobs: Arc<BlobStore>,
    pub logs: Arc<LogStore>,
    pub doors: Arc<Doors>,
    pub banners: Arc<Banners>,
    pub plans: Plans,
    pub syncs: HeldSyncs,
    pub retention: Retention,
    pub vault: Vault,
    /// Id of the grid.
    pub grid: String,
    /// Where people and runners reach it, without a slash at the end.
    pub url: String,
    /// The names that it answers to.
    pub names: BTreeSet<String>,
    /// The CA of its own making.
    pub authority: Option<Authority>,
    /// Cancelled when the server stops: whatever waits or streams ends then.
    pub stopping: CancellationToken,
}

impl Shared {
    /// Reads rows where blocking is allowed: `app.read(move |rows| rows.job(id)).await?`.
    pub async fn read<T: Send + 'static>(
        &self,
        read: impl FnOnce(&Reader<'_>) -> Result<T, StoreError> + Send + 'static,
    ) -> Reply<T> {
        let store = self.store.clone();
        match tokio::task::spawn_blocking(move || store.read(read)).await {
            Ok(Ok(found)) => Ok(found),
            Ok(Err(StoreError::Closed)) => Err(Failure::store()),
            Ok(Err(error)) if error.is_damage() => {
                let text = format!("Rows of the store are damaged. Stop the server and get them back: {error}.");
                self.banners.show("damage", text);
                Err(Failure::damaged(error))
            }
            Ok(Err(error)) => Err(Failure::internal("read the store", error)),
            Err(error) => Err(Failure::internal("read the store", error)),
        }
    }

    /// Does what blocks, off the threads that answer.
    pub async fn blocking<T: Send + 'static>(
        &self,
        attempted: &'static str,
        work: impl FnOnce() -> Reply<T> + Send + 'static,
    ) -> Reply<T> {
        tokio::task::spawn_blocking(work).await.map_err(|error| Failure::internal(attempted, error))?
    }

    /// `__Host-` binds the cookie to this very host; browsers take it over TLS only.
    pub fn cookie_name(&self) -> &'static str {
        match self.config.tls {
            Tls::Own | Tls::Files { .. } => "__Host-dsg",
            Tls::Off => "dsg",
        }
    }

    /// A secret as it is shown: with the fingerprint of our CA behind it, so that whoever gets it needs to trust nothing else.
    pub fn shown(&self, secret: &str) -> String {
        match &self.authority {
            Some(authority) => format!("{secret}.{}", authority.fingerprint),
            None => secret.to_owned(),
        }
    }
}
