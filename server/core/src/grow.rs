//! Growing: a chunk that had too little gets more, as its rule says, up to what may be had.
use dsg_schemas::ids::ChunkId;
use dsg_schemas::spec::Scale;
use dsg_schemas::units::Bytes;

use crate::grid::Grid;
use crate::needs::{Used, misfit};
use crate::planted::{Bug, planted};
use crate::policy::{Needs, StagePolicy};
use crate::row::Grown;
use crate::runner::Runner;

impl Grid {
    /// Gives the chunk more for its next attempt; says why not if it already has all that may be had.
    pub(crate) fn grow(&mut self, id: ChunkId, scale: Scale) -> Result<(), String> {
        let Some(job) = self.jobs.get(&id.job) else { return Ok(()) };
        let Some(policy) = job.row.policy(id.stage) else { return Ok(()) };
        let Grown { mut memory_bytes, mut run_ms } =
            job.chunk(id).and_then(|row| row.grown.as_deref().copied()).unwrap_or_default();
        if let Some(factor) = scale.memory {
            let has = memory_bytes.unwrap_or(policy.needs.memory_bytes);
            memory_bytes = Some(self.more_memory(policy, has, times(has, factor))?);
        }
        if let Some((factor, has)) = scale.run.zip(run_ms.or(policy.run_timeout_ms)) {
            let most =
                self.that_fit(policy).map(|runner| runner.row.facts.policy.most.run_ms.unwrap_or(u64::MAX)).max();
            run_ms = Some(times(has, factor).min(most.unwrap_or(u64::MAX)).max(has));
        }
        let grown = Grown { memory_bytes, run_ms };
        if let Some(row) = self.jobs.get_mut(&id.job).and_then(|job| job.touch(id)) {
            row.grown = Some(Box::new(grown));
        }
        self.open_lane(id);
        Ok(())
    }

    fn more_memory(&self, policy: &StagePolicy, has: u64, wanted: u64) -> Result<u64, String> {
        let most = policy.max_memory_bytes.filter(|_| !planted(Bug::GrowsPastMax)).unwrap_or(u64::MAX);
        if most <= has {
            return Err(format!("; `resources.max` allows no more than the {} that it had", Bytes(has)));
        }
        let largest = self.that_fit(policy).max_by_key(|runner| memory_of(runner));
        let Some(largest) = largest else { return Ok(wanted.min(most)) };
        let there_is = memory_of(largest);
        if there_is <= has {
            let (name, size) = (&largest.row.name, Bytes(there_is));
            return Err(format!("; it needs more than any runner has: the largest, {name}, has {size}"));
        }
        Ok(wanted.min(most).min(there_is))
    }

    /// Runners that could hold a chunk of the stage, but for the memory.
    fn that_fit(&self, policy: &StagePolicy) -> impl Iterator<Item = &Runner> {
        let rest = Needs { memory_bytes: 0, ..policy.needs.clone() };
        self.runners.values().filter(move |runner| {
            let (name, facts) = (&runner.row.name, &runner.row.facts);
            !runner.is_new() && misfit(0, name, facts, &Used::default(), &rest, &policy.constraints).is_none()
        })
    }
}

/// For one container, as its owner allows it.
fn memory_of(runner: &Runner) -> u64 {
    let facts = &runner.row.facts;
    facts.policy.most.memory_bytes.unwrap_or(u64::MAX).min(facts.memory_bytes)
}

fn times(has: u64, factor: f64) -> u64 {
    // Factors are between 1 and 100; what does not fit is as much as there can be.
    (has as f64 * factor).round() as u64
}
