//! What must hold of the committed rows, beside what `Grid::check` proves of the memory.
use std::collections::{BTreeMap, BTreeSet};

use dsg_core::{Effects, Grid, Key, Millis, QueueFilter, Row};
use dsg_schemas::ids::{AttemptId, ChunkId};
use dsg_schemas::reason::EndReason;
use dsg_schemas::spec::RetryAction;

use crate::disk::Disk;

/// What has been seen committed, to hold later commits against.
#[derive(Default)]
pub struct Proof {
    /// Containers that really ended well.
    pub succeeded: BTreeSet<AttemptId>,
    accepted: BTreeMap<ChunkId, AttemptId>,
    pub successes: u64,
}

impl Proof {
    /// Called with each batch of rows before it is committed; `retried` if a person's retry (or a delete) is among its events.
    pub fn look(&mut self, disk: &Disk, effects: &Effects, retried: bool) {
        for (key, row) in &effects.rows {
            match (key, row) {
                (Key::Chunk(id), Some(Row::Chunk(row))) => {
                    let before = self.accepted.get(id).copied();
                    if before != row.accepted {
                        assert!(
                            before.is_none() || retried,
                            "{id} had succeeded as {before:?}, now {:?}",
                            row.accepted
                        );
                        match row.accepted {
                            Some(attempt) => _ = self.accepted.insert(*id, attempt),
                            None => _ = self.accepted.remove(id),
                        }
                        self.successes += u64::from(row.accepted.is_some());
                    }
                    if let Some(attempt) = row.accepted {
                        let accepts = accepts(disk, effects, *id);
                        assert!(
                            self.succeeded.contains(&attempt) || accepts,
                            "{id} counts {attempt}, which did not succeed"
                        );
                        assert!(row.attempts.contains(&attempt), "{id} counts an attempt of its own");
                    }
                }
                (Key::Attempt(id), Some(Row::Attempt(row))) => {
                    let well = row.ended.as_ref().is_some_and(|ended| ended.reason == EndReason::Succeeded);
                    assert!(!well || self.succeeded.contains(id), "attempt {id} did not succeed");
                }
                _ => {}
            }
        }
        self.accepted.retain(|id, _| !effects.removed_jobs.contains(&id.job));
    }

    /// A restart shows the same work waiting in the same order, and has nothing to write.
    pub fn same_after_load(live: &Grid, loaded: &mut Grid, now: Millis) {
        loaded.check();
        let order = |grid: &Grid| -> Vec<_> {
            let (entries, _) = grid.queue(now, &QueueFilter { limit: 500, ..QueueFilter::default() });
            entries.into_iter().map(|entry| (entry.first, entry.waiting, entry.priority, entry.needs)).collect()
        };
        assert_eq!(order(live), order(loaded), "the queue after a restart");
        let mut effects = Effects::default();
        loaded.apply(now, dsg_core::Event::Tick, &mut effects).expect("a tick");
        assert!(effects.rows.is_empty(), "a restart alone changes {:?}", effects.rows);
        loaded.check();
    }
}

/// Whether the job has a rule that counts a failure as success.
fn accepts(disk: &Disk, effects: &Effects, id: ChunkId) -> bool {
    let key = Key::Job(id.job);
    let row = effects.rows.get(&key).and_then(|row| row.as_ref()).or_else(|| disk.rows.get(&key));
    let Some(Row::Job(row)) = row else { return false };
    let gather = row.gather.as_ref().and_then(|gather| gather.run.as_ref());
    let mut rules = row.main.retry.rules.iter().chain(gather.into_iter().flat_map(|policy| &policy.retry.rules));
    rules.any(|rule| rule.action == RetryAction::Accept)
}
