//! Brings the spooled output of one attempt to the server: batches, each continuing what the server says it has.
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use dsg_schemas::ids::AttemptId;
use dsg_schemas::limits::LOG_BATCH_BYTES;
use dsg_schemas::wire::log::LogAnswer;
use tokio_util::task::AbortOnDropHandle;

use super::Shared;
use super::tap::Log;

/// Ends its upload when dropped; the spool stays.
pub struct Shipment {
    log: Arc<Log>,
    closed: Arc<AtomicBool>,
    upload: AbortOnDropHandle<()>,
}

impl Shipment {
    pub fn begin(shared: Arc<Shared>, attempt: AttemptId, log: Arc<Log>) -> Shipment {
        let closed = Arc::new(AtomicBool::new(false));
        let upload = tokio::spawn(ship(shared, attempt, log.clone(), closed.clone()));
        Shipment { log, closed, upload: AbortOnDropHandle::new(upload) }
    }

    /// No more will come: returns when the server has everything, or wants nothing.
    pub async fn finish(self) {
        self.closed.store(true, Ordering::Release);
        self.log.news.notify_one();
        drop(self.upload.await);
    }
}

async fn ship(shared: Arc<Shared>, attempt: AttemptId, log: Arc<Log>, closed: Arc<AtomicBool>) {
    let mut failures = 0;
    // A later life of the runner asks the server what it has by sending from the oldest spooled byte on.
    loop {
        let last = closed.load(Ordering::Acquire);
        match send_all(&shared, attempt, &log).await {
            Ok(()) => failures = 0,
            Err(true) => {
                tokio::time::sleep(shared.patience.after(failures)).await;
                failures += 1;
                continue;
            }
            Err(false) => return,
        }
        if last {
            return;
        }
        log.news.notified().await;
        if !closed.load(Ordering::Acquire) {
            // Whoever closes does not wait for the flush.
            drop(tokio::time::timeout(shared.patience.flush, closing(&log, &closed)).await);
        }
    }
}

async fn closing(log: &Log, closed: &AtomicBool) {
    while !closed.load(Ordering::Acquire) {
        log.news.notified().await;
    }
}

/// `Err(true)`: later; `Err(false)`: never.
async fn send_all(shared: &Shared, attempt: AttemptId, log: &Log) -> Result<(), bool> {
    loop {
        let turn = shared.transfers.acquire().await;
        let (from, batch) = {
            let spool = log.spool();
            (spool.acknowledged(), spool.batch(spool.acknowledged(), LOG_BATCH_BYTES - (64 << 10)))
        };
        let batch =
            batch.map_err(|error| tracing::error!(%attempt, %error, "cannot read the log spool")).or(Err(false))?;
        let Some(batch) = batch else { return Ok(()) };
        let answer = shared.link.log(attempt, batch).await;
        drop(turn);
        match answer {
            Ok(LogAnswer { have, durable }) => {
                log.spool().acknowledge(have, durable);
                if have == from {
                    tracing::warn!(%attempt, ?have, "the server took nothing of a log batch");
                    return Err(true);
                }
            }
            Err(error) if error.passes() => {
                tracing::debug!(%attempt, %error, "log upload failed; it is tried again");
                return Err(true);
            }
            Err(error) => {
                tracing::warn!(%attempt, %error, "the server does not want this log");
                return Err(false);
            }
        }
    }
}
