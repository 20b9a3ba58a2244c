//! Following a log: each page as soon as there is something new in it.
use dsg_schemas::api::LogPage;
use dsg_schemas::ids::AttemptId;
use dsg_schemas::wire::log::Stream;
use tokio::sync::watch;

use super::page::LogQuery;
use super::store::{LogError, LogStore};

/// One who reads along. Holds no lines: a slow one reads larger pages later.
pub struct Follower {
    store: LogStore,
    attempt: AttemptId,
    stream: Option<Stream>,
    next: u64,
    /// What the last page had: next line, and bytes of both streams.
    shown: Option<(u64, u64)>,
    changed: watch::Receiver<()>,
}

impl LogStore {
    pub fn follow(&self, attempt: AttemptId, from: u64, stream: Option<Stream>) -> Follower {
        let changed = self.watch(attempt);
        Follower { store: self.clone(), attempt, stream, next: from, shown: None, changed }
    }
}

impl Follower {
    /// Waits for something new; the first page comes at once. The last page says `ended`.
    pub async fn next(&mut self) -> Result<LogPage, LogError> {
        loop {
            self.changed.mark_unchanged();
            let page = self.read().await?;
            let state = (page.next, page.stdout_bytes + page.stderr_bytes);
            if page.ended || self.shown != Some(state) {
                self.shown = Some(state);
                self.next = page.next;
                return Ok(page);
            }
            if self.changed.changed().await.is_err() {
                self.changed = self.store.watch(self.attempt);
            }
        }
    }

    async fn read(&self) -> Result<LogPage, LogError> {
        let (store, attempt) = (self.store.clone(), self.attempt);
        let query = LogQuery { from: Some(self.next), stream: self.stream, ..LogQuery::default() };
        let read = tokio::task::spawn_blocking(move || store.page(attempt, query)).await;
        read.unwrap_or(Err(LogError::Moved))
    }
}
