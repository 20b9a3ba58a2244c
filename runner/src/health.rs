//! What may change while the runner lives: why nothing new should be taken (the engine does not answer, the disk is nearly full,
//! the self-test failed), how much disk is free, which GPUs still work. Looked at now and then, told when it changes.
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use dsg_schemas::units::Bytes;
use dsg_schemas::wire::{Check, Facts};
use tokio::sync::watch;

use crate::attempt::Shared;
use crate::proof::Proof;
use crate::room::{Marks, OF_THE_ENGINE, OF_THE_STATE, Space};
use crate::selftest::disk;

/// For the engine to say who it is. With the time between two looks, the quarter of a minute after which a hang is seen.
const ANSWER: Duration = Duration::from_secs(8);
const STEP_BYTES: u64 = 1 << 30;

#[derive(Clone, Debug, Default, PartialEq)]
pub struct Health {
    /// Why nothing new should be taken.
    pub no_more: Option<String>,
    /// Where containers live, or else where the runner's state is.
    pub disk_free_bytes: u64,
    /// A disk is too full for more.
    pub low: bool,
    /// What is offered now.
    pub facts: Facts,
}

/// What is looked at.
pub struct Watched {
    pub shared: Arc<Shared>,
    pub state: PathBuf,
    /// To be made again while something failed.
    pub proof: Option<Proof>,
    /// Why nothing is taken, by the last one.
    pub unfit: Option<String>,
    /// As proved last. A disk of 0 bytes: what is free is offered.
    pub facts: Facts,
    /// What stays the owner's of the disk.
    pub reserve_bytes: u64,
    pub marks: Marks,
}

/// Looks once, and then goes on by itself until the receiver is dropped.
pub async fn watch(mut watched: Watched) -> watch::Receiver<Health> {
    let (sender, receiver) = watch::channel(watched.examine(None).await);
    tell(None, &receiver.borrow());
    tokio::spawn(async move {
        loop {
            tokio::select! {
                () = tokio::time::sleep(watched.shared.patience.health) => {}
                () = sender.closed() => return,
            }
            watched.prove_again().await;
            let before = sender.borrow().clone();
            let seen = watched.examine(Some(&before)).await;
            sender.send_if_modified(|health| {
                tell(Some(health), &seen);
                let changed = health.no_more != seen.no_more || health.facts != seen.facts;
                *health = seen;
                changed
            });
        }
    });
    receiver
}

/// For the log of the host.
fn tell(before: Option<&Health>, now: &Health) {
    if let (true, Some(why)) = (before.is_none_or(|before| before.no_more != now.no_more), &now.no_more) {
        tracing::warn!(why, "taking nothing new");
    }
    for gpu in &now.facts.gpus {
        let old = before.and_then(|before| before.facts.gpus.iter().find(|old| old.uuid == gpu.uuid));
        match (old.and_then(|old| old.unhealthy.as_ref()), &gpu.unhealthy) {
            (None, Some(why)) => tracing::warn!(gpu = gpu.uuid, why, "a GPU is not offered any more"),
            (Some(_), None) => tracing::info!(gpu = gpu.uuid, "a GPU is offered again"),
            (Some(_), Some(_)) | (None, None) => {}
        }
    }
}

impl Watched {
    /// An engine that does not answer proves nothing.
    async fn prove_again(&mut self) {
        let Some(proof) = self.proof.as_mut().filter(|proof| proof.is_due(&self.shared)) else { return };
        if self.shared.engine.facts().await.is_ok() {
            (self.facts, self.unfit) = proof.make(&self.shared).await;
            self.shared.gpus.begin(&self.facts.gpus);
            self.shared.offer.set(&self.facts);
        }
    }

    async fn examine(&self, before: Option<&Health>) -> Health {
        let state = Space::around(&self.state).unwrap_or_default();
        let engine = &self.shared.engine;
        let silent = match tokio::time::timeout(ANSWER, engine.facts()).await {
            Ok(Ok(_)) => None,
            Ok(Err(failure)) => Some(format!("the container engine does not answer: {failure}")),
            Err(_) => Some(format!("the container engine does not answer within {} s", ANSWER.as_secs())),
        };
        let engine_disk = match silent {
            None => engine.disk().await.ok().flatten(),
            Some(_) => None,
        };
        let disk_free_bytes = engine_disk.unwrap_or(state).free_bytes;
        let was_low = before.is_some_and(|before| before.low);
        let low = low_disk(engine_disk, state, self.reserve_bytes, &self.marks, was_low);
        let mut facts = self.facts.clone();
        // Only where a self-test was made. Without figures: facts are kept, and told anew whenever they change. It keeps nothing
        // away: `no_more` does, until there is room again.
        if !facts.checks.is_empty() {
            let check = disk(low.as_ref().map(|_| "too little is free for new work"));
            facts.checks.push(Check { blocks: None, ..check });
        }
        let is_low = low.is_some();
        let no_more = silent.or_else(|| self.unfit.clone()).or(low);
        if facts.disk_bytes == 0 {
            let left = (disk_free_bytes + self.shared.usage.total()).saturating_sub(self.reserve_bytes);
            facts.disk_bytes = offered(left, before.map(|before| before.facts.disk_bytes));
        }
        self.shared.gpus.look().await;
        self.shared.gpus.mark(&mut facts.gpus);
        Health { no_more, disk_free_bytes, low: is_low, facts }
    }
}

/// In whole steps below what is there, so that the server need not keep every change; and not up again for less than a step and a
/// half, so that a value on the border does not go to and fro.
fn offered(bytes: u64, before: Option<u64>) -> u64 {
    let step = if bytes < STEP_BYTES { STEP_BYTES / 16 } else { STEP_BYTES };
    match before {
        Some(before) if before <= bytes && bytes < before + step + step / 2 => before,
        Some(_) | None => bytes / step * step,
    }
}

/// Why nothing new should be taken, where a disk is the reason. `before`: it was so at the last look.
pub fn low_disk(
    engine: Option<Space>,
    state: Space,
    reserve_bytes: u64,
    marks: &Marks,
    before: bool,
) -> Option<String> {
    let engine_full = engine.and_then(|disk| marks.stops(disk, OF_THE_ENGINE, before));
    let state_full = || marks.stops(state, OF_THE_STATE, before);
    engine_full.or_else(state_full).or_else(|| kept(engine.unwrap_or(state).free_bytes, reserve_bytes))
}

fn kept(free: u64, reserve: u64) -> Option<String> {
    let low = reserve > 0 && free < reserve;
    low.then(|| format!("only {} are free on its disk, and its owner keeps {}", Bytes(free), Bytes(reserve)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn free_space_is_offered_in_steps_that_do_not_go_to_and_fro() {
        const MIB: u64 = 1 << 20;
        for (free, before, offer) in [
            (2_500, None, 2_048),
            (2_040, Some(2_048), 1_024),
            (2_060, Some(1_024), 1_024),
            (2_559, Some(1_024), 1_024),
            (2_560, Some(1_024), 2_048),
            (900, Some(1_024), 896),
            (0, Some(64), 0),
        ] {
            assert_eq!(offered(free * MIB, before.map(|mib| mib * MIB)), offer * MIB, "{free} after {before:?}");
        }
    }

    #[test]
    fn the_owners_part_of_the_disk_is_left_alone() {
        assert_eq!(kept(9, 10).as_deref(), Some("only 9B are free on its disk, and its owner keeps 10B"));
        assert_eq!((kept(10, 10), kept(0, 0)), (None, None));
    }
}
