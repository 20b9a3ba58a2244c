//! Why nothing new should be taken: the engine does not answer, the disk is nearly full, or the self-test failed. Looked at now
//! and then, told when it changes.
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use dsg_schemas::units::Bytes;
use tokio::sync::watch;

use crate::container::Engine;

const EVERY: Duration = Duration::from_secs(15);
/// Below both of these, new work would only fail.
const FREE_BYTES_MIN: u64 = 1 << 30;
const FREE_PERCENT_MIN: u64 = 5;

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Health {
    /// Why nothing new should be taken.
    pub no_more: Option<String>,
    /// Where containers live, or else where the runner's state is.
    pub disk_free_bytes: u64,
}

/// Ends when the receiver is dropped. `unfit` is a reason that stays.
pub fn watch(engine: Arc<dyn Engine>, state: PathBuf, unfit: Option<String>) -> watch::Receiver<Health> {
    let disk_free_bytes = space(&state).map_or(0, |(free, _)| free);
    let (sender, receiver) = watch::channel(Health { no_more: unfit.clone(), disk_free_bytes });
    // What is unfit from the beginning must be told from the beginning.
    let mut told = None;
    tokio::spawn(async move {
        loop {
            let seen = examine(&*engine, &state, unfit.clone()).await;
            let changed = told != seen.no_more;
            if let (true, Some(why)) = (changed, &seen.no_more) {
                tracing::warn!(why, "taking nothing new");
            }
            told.clone_from(&seen.no_more);
            sender.send_if_modified(|health| {
                *health = seen;
                changed
            });
            tokio::select! {
                () = tokio::time::sleep(EVERY) => {}
                () = sender.closed() => return,
            }
        }
    });
    receiver
}

async fn examine(engine: &dyn Engine, state: &Path, unfit: Option<String>) -> Health {
    let (free, total) = space(state).unwrap_or((0, 0));
    if let Err(failure) = engine.facts().await {
        let why = format!("the container engine does not answer: {failure}");
        return Health { no_more: Some(why), disk_free_bytes: free };
    }
    let engine_free = engine.disk_free().await.ok().flatten();
    let engine_full = engine_free
        .filter(|free| *free < FREE_BYTES_MIN)
        .map(|free| format!("only {} are free where the engine keeps containers", Bytes(free)));
    let no_more = unfit.or(engine_full).or_else(|| full(free, total));
    Health { no_more, disk_free_bytes: engine_free.unwrap_or(free) }
}

fn space(state: &Path) -> Option<(u64, u64)> {
    let disk = rustix::fs::statvfs(state).ok()?;
    Some((disk.f_bavail * disk.f_frsize, disk.f_blocks * disk.f_frsize))
}

fn full(free: u64, total: u64) -> Option<String> {
    let low = free < FREE_BYTES_MIN && free < total / 100 * FREE_PERCENT_MIN;
    low.then(|| format!("only {} of {} are free in the runner's state folder", Bytes(free), Bytes(total)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_disk_is_full_when_little_is_left_in_both_senses() {
        for (free, total, is_full) in
            [(0, 100 << 30, true), (2 << 30, 100 << 30, false), (900 << 20, 1 << 30, false), (20 << 20, 1 << 30, true)]
        {
            assert_eq!(full(free, total).is_some(), is_full, "{free} of {total}");
        }
    }
}
