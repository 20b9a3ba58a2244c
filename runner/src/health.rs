//! Why nothing new should be taken: the engine does not answer, or the disk is nearly full. Looked at now and then, told when
//! it changes.
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

/// Ends when the receiver is dropped.
pub fn watch(engine: Arc<dyn Engine>, state: PathBuf) -> watch::Receiver<Option<String>> {
    let (sender, receiver) = watch::channel(None);
    tokio::spawn(async move {
        loop {
            let seen = examine(&*engine, &state).await;
            sender.send_if_modified(|told| {
                let changed = *told != seen;
                if let (true, Some(why)) = (changed, &seen) {
                    tracing::warn!(why, "taking nothing new");
                }
                *told = seen;
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

async fn examine(engine: &dyn Engine, state: &Path) -> Option<String> {
    if let Err(failure) = engine.facts().await {
        return Some(format!("the container engine does not answer: {failure}"));
    }
    if let Ok(Some(free)) = engine.disk_free().await
        && free < FREE_BYTES_MIN
    {
        return Some(format!("only {} are free where the engine keeps containers", Bytes(free)));
    }
    let disk = rustix::fs::statvfs(state).ok()?;
    full(disk.f_bavail * disk.f_frsize, disk.f_blocks * disk.f_frsize)
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
