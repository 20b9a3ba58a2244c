//! Whose turn it is: what could start is never passed by what comes after it, once it was left to other runners for a few seconds.
use std::collections::{BTreeMap, BTreeSet};

use dsg_core::row::{ChunkRow, JobRow};
use dsg_core::{BLOCK, HALF_LIFE_MS, Key, Millis, Needs, Row, StagePolicy};
use dsg_schemas::api::ChunkState;
use dsg_schemas::ids::{AttemptId, ChunkId, JobId, MAIN, RunnerId};
use dsg_schemas::spec::Constraints;

use super::limits::Current;
use super::{Proof, Rows};

/// So long after it began to wait, or one of its job started, a chunk may be left to a runner that holds its image or lacks of its part.
const LEFT_MS: Millis = 5_000;

/// What is free on a runner.
#[derive(Clone, Copy, Debug)]
struct Room {
    cpus_milli: u64,
    memory_bytes: u64,
    gpus: u64,
}

impl Proof {
    /// Called when these attempts started, in this order, and are among what runs on the runner.
    pub(super) fn turns(&mut self, now: Millis, rows: &Rows, runner: RunnerId, current: &Current, fresh: &[AttemptId]) {
        self.started.extend(fresh.iter().map(|id| (current[id].0.job, now)));
        // Several chunks on one GPU: what is free beside them is not counted here.
        let Some(mut room) = self.room(rows, runner) else { return };
        let mut waiting = Vec::new();
        for job in self.unfinished(rows) {
            let started = self.started.get(&job.id).copied().unwrap_or(self.loaded);
            if let Some(needs) = next_needs(now, rows, job, runner, current)
                && now > started + LEFT_MS
            {
                waiting.push((job, needs));
            }
        }
        let mut holds: BTreeMap<&str, u64> = BTreeMap::new();
        for (id, (chunk, _)) in current {
            let Some((owner, (needs, _))) = rows.owner(*chunk).zip(self.uses.get(id)) else { continue };
            *holds.entry(owner).or_default() += needs.cpus_milli;
        }
        // From the last one back: what it got was free before.
        for id in fresh.iter().rev() {
            let (chunk, _) = current[id];
            let Some((job, (needs, _))) = rows.job(chunk.job).zip(self.uses.get(id)) else { continue };
            room.cpus_milli += needs.cpus_milli;
            room.memory_bytes += needs.memory_bytes;
            room.gpus += u64::from(needs.gpus);
            *holds.entry(&job.owner).or_default() -= needs.cpus_milli;
            let has = |job: &JobRow| holds.get(job.owner.as_str()).copied().unwrap_or(0);
            for (other, _) in waiting.iter().filter(|(_, needs)| room.holds(needs)) {
                let comes_first = match other.priority.cmp(&job.priority) {
                    std::cmp::Ordering::Greater => true,
                    std::cmp::Ordering::Less => false,
                    std::cmp::Ordering::Equal if other.owner == job.owner => other.id < job.id,
                    std::cmp::Ordering::Equal => has(job) > has(other) + self.past(now, rows, &other.owner),
                };
                let why = if other.owner == job.owner { "is older or more urgent" } else { "is of one who has less" };
                assert!(!comes_first, "{chunk} starts, and a chunk of job {}, which {why}, could have", other.id);
            }
        }
    }

    fn unfinished<'a>(&self, rows: &Rows<'a>) -> Vec<&'a JobRow> {
        let mut ids: BTreeSet<JobId> = self.unfinished.clone();
        ids.extend(rows.1.rows.keys().filter_map(|key| match key {
            Key::Job(id) => Some(*id),
            _ => None,
        }));
        let rows = ids.into_iter().filter(|id| !rows.1.removed_jobs.contains(id)).filter_map(|id| rows.job(id));
        rows.filter(|row| !row.state.is_final()).collect()
    }

    /// At least so much is free there, by its own report and what was ordered since.
    fn room(&self, rows: &Rows, runner: RunnerId) -> Option<Room> {
        let Some(Row::Runner(row)) = rows.get(Key::Runner(runner)) else { return None };
        let healthy = row.facts.gpus.iter().filter(|gpu| gpu.unhealthy.is_none()).count() as u64;
        let mut room = Room { cpus_milli: row.facts.cpus_milli, memory_bytes: row.facts.memory_bytes, gpus: healthy };
        for (needs, gpus) in self.runners.get(&runner)?.live.iter().filter_map(|id| self.uses.get(id)) {
            room.cpus_milli = room.cpus_milli.checked_sub(needs.cpus_milli)?;
            room.memory_bytes = room.memory_bytes.checked_sub(needs.memory_bytes)?;
            room.gpus = room.gpus.checked_sub(gpus.len() as u64)?;
        }
        Some(room)
    }

    /// What an owner had on average, in milli-cpus: at most.
    fn past(&self, now: Millis, rows: &Rows, owner: &str) -> u64 {
        // Those that end with this batch as well: what they used is not among `used` before it is committed.
        let of_batch = rows.1.rows.keys().filter_map(|key| match key {
            Key::Attempt(id) => Some(*id),
            _ => None,
        });
        let open: BTreeSet<AttemptId> = self.current.keys().copied().chain(of_batch).collect();
        let running = open.into_iter().filter_map(|id| {
            let (attempt, (needs, _)) = rows.attempt(id).zip(self.uses.get(&id))?;
            rows.owner(attempt.chunk).filter(|of| *of == owner)?;
            Some(needs.cpus_milli * now.saturating_sub(attempt.leased_ms))
        });
        let used = self.used.get(owner).copied().unwrap_or(0) + running.sum::<u64>();
        (used as f64 * std::f64::consts::LN_2 / HALF_LIFE_MS as f64) as u64 + 1
    }

    /// An attempt is over: its owner had so much for so long.
    pub(super) fn note_use(&mut self, rows: &Rows, id: AttemptId, chunk: ChunkId, ms: Millis) {
        let Some((owner, (needs, _))) = rows.owner(chunk).zip(self.uses.get(&id)) else { return };
        *self.used.entry(owner.clone()).or_default() += needs.cpus_milli * ms;
    }
}

/// What the next chunk of a job needs, if nothing but room has kept it from this runner for long enough.
fn next_needs<'a>(
    now: Millis,
    rows: &Rows<'a>,
    job: &'a JobRow,
    runner: RunnerId,
    current: &Current,
) -> Option<&'a Needs> {
    let StagePolicy { needs, constraints, retry, parallelism, per_runner, breaker, .. } = &job.main;
    let here = current.values().filter(|(chunk, at)| (chunk.job, chunk.stage, *at) == (job.id, MAIN, runner)).count();
    let has_limits = rows.limit_of(&job.owner).is_some();
    let may_start = !job.held && job.stopped.is_none() && job.tally.waiting > 0 && !has_limits;
    let has_room = parallelism.is_none_or(|most| job.tally.active() < u64::from(most))
        && per_runner.is_none_or(|most| here < most as usize);
    // Rows of an earlier life, and chunks behind a canary, may have to wait for what is not seen here.
    let is_plain = *constraints == Constraints::default() && job.again.failed.max(job.again.all) == 0;
    let gated = breaker.canary.is_some() && !job.canary_over;
    let Needs { cpus_milli, memory_bytes, gpus, .. } = *needs;
    let only = Needs { cpus_milli, memory_bytes, gpus, ..Needs::default() };
    if !may_start || !has_room || !is_plain || gated || *needs != only {
        return None;
    }
    let row = rows
        .waiting(job)
        .find(|row| row.is_none_or(|row| row.grown.is_none() && row.not_before_ms.is_none_or(|at| at <= now)))?;
    let tried = row.is_some_and(|row| !row.failed_on.is_empty());
    let since = [Some(job.submitted_ms), job.released_ms, job.retried_ms, row.map(|row| row.waiting_since_ms)];
    let since = since.into_iter().flatten().max()?.max(row.and_then(|row| row.not_before_ms).unwrap_or(0));
    let avoids = tried && retry.avoid_failed_runners || row.is_some_and(|row| row.refused.is_some());
    (now > since + LEFT_MS && !avoids).then_some(needs)
}

impl<'a> Rows<'a> {
    /// The rows of waiting chunks of a job, in their order, as far as they have one.
    fn waiting(&self, job: &JobRow) -> impl Iterator<Item = Option<&'a ChunkRow>> {
        let id = job.id;
        let blocks = (0..job.main.chunks.div_ceil(BLOCK)).filter_map(move |number| {
            match self.get(Key::Block(id, MAIN, number)) {
                Some(Row::Block(block)) => Some((number, block)),
                _ => None,
            }
        });
        let states = blocks.flat_map(|(number, block)| (number * BLOCK..).zip(block.iter()));
        let waits = states.filter(|(_, byte)| **byte == ChunkState::Waiting as u8);
        waits.map(move |(index, _)| self.chunk(ChunkId { job: id, stage: MAIN, index }))
    }
}

impl Room {
    fn holds(&self, needs: &Needs) -> bool {
        let Room { cpus_milli, memory_bytes, gpus } = *self;
        needs.cpus_milli <= cpus_milli && needs.memory_bytes <= memory_bytes && u64::from(needs.gpus) <= gpus
    }
}
