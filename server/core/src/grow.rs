//! Growing: a chunk that had too little gets more, as its rule says, up to what may be had.
use dsg_schemas::ids::ChunkId;
use dsg_schemas::spec::Scale;
use dsg_schemas::units::Bytes;

use crate::grid::Grid;
use crate::needs::{Used, misfit};
use crate::policy::{Needs, StagePolicy};
use crate::row::Grown;

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
            run_ms = Some(times(has, factor));
        }
        let grown = Grown { memory_bytes, run_ms };
        if let Some(row) = self.jobs.get_mut(&id.job).and_then(|job| job.touch(id)) {
            row.grown = Some(Box::new(grown));
        }
        self.open_lane(id);
        Ok(())
    }

    fn more_memory(&self, policy: &StagePolicy, has: u64, wanted: u64) -> Result<u64, String> {
        let most = policy.max_memory_bytes.unwrap_or(u64::MAX);
        if most <= has {
            return Err(format!("; `resources.max` allows no more than the {} that it had", Bytes(has)));
        }
        let rest = Needs { memory_bytes: 0, ..policy.needs.clone() };
        let fits = |runner: &&crate::runner::Runner| {
            let (name, facts) = (&runner.row.name, &runner.row.facts);
            !runner.is_new() && misfit(name, facts, &Used::default(), &rest, &policy.constraints).is_none()
        };
        let largest = self.runners.values().filter(fits).max_by_key(|runner| runner.row.facts.memory_bytes);
        let Some(largest) = largest.map(|runner| &runner.row) else { return Ok(wanted.min(most)) };
        if largest.facts.memory_bytes <= has {
            let (name, size) = (&largest.name, Bytes(largest.facts.memory_bytes));
            return Err(format!("; it needs more than any runner has: the largest, {name}, has {size}"));
        }
        Ok(wanted.min(most).min(largest.facts.memory_bytes))
    }
}

fn times(has: u64, factor: f64) -> u64 {
    // Factors are between 1 and 100; what does not fit is as much as there can be.
    (has as f64 * factor).round() as u64
}
