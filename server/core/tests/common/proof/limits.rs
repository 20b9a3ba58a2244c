//! Limits of jobs, owners and runners: no start exceeds them as they are at that time. What ran before they were set may stay.
use std::collections::BTreeMap;

use dsg_core::row::OwnerLimit;
use dsg_core::{EVERYBODY, Key, Row};
use dsg_schemas::ids::{AttemptId, ChunkId, RunnerId};

use super::{Proof, Rows};

/// Where an attempt goes on.
pub(super) type Current = BTreeMap<AttemptId, (ChunkId, RunnerId)>;

impl Proof {
    /// Attempts that go on, by the rows as they are after this event.
    pub(super) fn current(&self, rows: &Rows) -> Current {
        let mut current = self.current.clone();
        for (key, row) in rows.1.rows.range(Key::Attempt(AttemptId(0))..=Key::Attempt(AttemptId(u64::MAX))) {
            if let (Key::Attempt(id), Some(Row::Attempt(row))) = (key, row) {
                match row.ended {
                    None => _ = current.insert(*id, (row.chunk, row.runner)),
                    Some(_) => _ = current.remove(id),
                }
            }
        }
        current.retain(|_, (chunk, _)| !rows.1.removed_jobs.contains(&chunk.job));
        current
    }

    /// After these attempts started, all limits of those who got them hold.
    pub(super) fn limits(&self, rows: &Rows, current: &Current, fresh: &[AttemptId]) {
        for id in fresh {
            let (chunk, runner) = current[id];
            let Some((job, policy)) = rows.job(chunk.job).zip(rows.policy(chunk)) else { continue };
            let of_stage = |other: &&(ChunkId, RunnerId)| (other.0.job, other.0.stage) == (chunk.job, chunk.stage);
            let running = current.values().filter(of_stage).count();
            let most = policy.parallelism.map_or(usize::MAX, |most| most as usize);
            assert!(running <= most, "{chunk} starts, and {running} of its job run where {most} may");
            let here = current.values().filter(of_stage).filter(|(_, at)| *at == runner).count();
            let most = policy.per_runner.map_or(usize::MAX, |most| most as usize);
            assert!(here <= most, "{chunk} starts, and {here} of its job run on runner {runner} where {most} may");
            let Some(OwnerLimit { cpus_milli, gpus }) = rows.limit_of(&job.owner) else { continue };
            let ours = current.iter().filter(|(_, (chunk, _))| rows.owner(*chunk) == Some(&job.owner));
            let (mut has_cpus, mut has_gpus) = (0, 0);
            for (needs, _) in ours.filter_map(|(id, _)| self.uses.get(id)) {
                has_cpus += needs.cpus_milli;
                has_gpus += needs.gpus;
            }
            let most = cpus_milli.unwrap_or(u64::MAX);
            assert!(has_cpus <= most, "{chunk} starts, and {} has {has_cpus} of {most} milli-cpus", job.owner);
            let most = gpus.filter(|_| policy.needs.gpus > 0).unwrap_or(u32::MAX);
            assert!(has_gpus <= most, "{chunk} starts, and {} has {has_gpus} of {most} GPUs", job.owner);
        }
    }
}

impl<'a> Rows<'a> {
    pub(super) fn owner(&self, chunk: ChunkId) -> Option<&'a String> {
        self.job(chunk.job).map(|row| &row.owner)
    }

    /// Their own, else everybody's.
    pub(super) fn limit_of(&self, owner: &str) -> Option<&'a OwnerLimit> {
        let Some(Row::Owners(owners)) = self.get(Key::Owners) else { return None };
        let own = |name: &str| owners.get(name).and_then(|row| row.limit.as_ref());
        own(owner).or_else(|| own(EVERYBODY))
    }
}
