//! Pretended containers that are frozen: no time passes for them.
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

use super::PretendEngine;
use crate::container::State;

/// Returns while it is not frozen.
pub(super) async fn thawed(mut frozen: watch::Receiver<bool>) {
    // An error says that the container is gone.
    drop(frozen.wait_for(|frozen| !*frozen).await);
}

/// Sleeps so long, pauses not counted.
pub(super) async fn sleep(mut frozen: watch::Receiver<bool>, time: Duration) {
    let mut left = time;
    loop {
        thawed(frozen.clone()).await;
        let since = Instant::now();
        tokio::select! {
            () = tokio::time::sleep(left) => return,
            told = frozen.wait_for(|frozen| *frozen) => if told.is_err() { return },
        }
        left = left.saturating_sub(since.elapsed());
    }
}

impl PretendEngine {
    pub(super) fn frozen(&self, id: &str) -> watch::Receiver<bool> {
        let container = |container: &super::Container| container.frozen.subscribe();
        self.containers().get(id).map_or_else(|| watch::channel(false).1, container)
    }

    pub(super) fn set_frozen(&self, id: &str, frozen: bool) {
        if let Some(container) = self.containers().get(id) {
            let since_ms = container.started_ms;
            let state = container.state.borrow().clone();
            match (state, frozen) {
                (State::Running { .. }, true) => _ = container.state.send_replace(State::Paused),
                (State::Paused, false) => _ = container.state.send_replace(State::Running { since_ms }),
                _ => return,
            }
            container.frozen.send_replace(frozen);
        }
        self.changed();
    }

    /// Whether the container is frozen now.
    pub fn is_frozen(&self, name: &str) -> bool {
        self.containers().get(name).is_some_and(|container| *container.state.borrow() == State::Paused)
    }

    /// Lines that it has written so far.
    pub fn lines(&self, name: &str) -> usize {
        self.containers().get(name).map_or(0, |container| container.dropped + container.log.len())
    }
}
