//! Placing: which waiting chunks a runner that speaks gets now. Looks at classes of needs and heads of stages, never at every chunk.
use std::collections::{BTreeMap, BTreeSet};

use dsg_schemas::api::ChunkState;
use dsg_schemas::ids::{AttemptId, ChunkId, RunnerId};

use crate::attempt::{Live, Standing};
use crate::event::{Millis, Start};
use crate::grid::Grid;
use crate::job::Job;
use crate::needs::{Used, choose_gpus, misfit};
use crate::planted::{Bug, planted};
use crate::queue::{Class, ClassId, StageKey};
use crate::row::AttemptRow;
use crate::runner::Runner;
use crate::share::OverLimit;

/// Starts in one answer: each carries its items, and a runner asks again at once.
const STARTS: usize = 64;
/// A stage of which nothing ran for this long, though a runner could hold a chunk of it when empty, gets that runner reserved.
pub(crate) const STARVED_MS: Millis = 600_000;
/// Chunks looked at in one stage for one that this runner has not failed before.
const LOOKED_AT: usize = 1024;

/// What was found out during one placing: room only shrinks, so that a no stays a no.
#[derive(Default)]
struct Pass {
    /// Classes that do not fit, and whether they never will.
    full: BTreeMap<ClassId, bool>,
    skipped: BTreeSet<(StageKey, ClassId)>,
    /// When the first of what is left to others is no longer.
    left_until: Option<Millis>,
}

/// What a look at the queue found.
enum Next {
    Chunk(ChunkId),
    /// Nothing of lower order may have the room that this stage waits for.
    Reserve(StageKey),
    Nothing,
}

impl Grid {
    pub(crate) fn place(&mut self, now: Millis, runner: RunnerId) -> Vec<Start> {
        let mut starts = Vec::new();
        if self.no_starts.is_some() {
            return starts;
        }
        let mut pass = Pass::default();
        while starts.len() < STARTS
            && let Some(chunk) = self.next_for(now, runner, &mut pass)
            && let Some(start) = self.lease(now, runner, chunk)
        {
            starts.push(start);
        }
        self.changes.work_available |= starts.len() == STARTS;
        self.left_until = [self.left_until, pass.left_until].into_iter().flatten().min();
        self.changes.cold.extend(pass.skipped.iter().map(|((job, _), _)| *job));
        starts
    }

    /// The chunk that this runner gets next: the first in order that may and can run there.
    fn next_for(&mut self, now: Millis, id: RunnerId, pass: &mut Pass) -> Option<ChunkId> {
        let runner = self.runners.get(&id)?;
        if self.queue.is_empty() || !runner.takes_work(now) || runner.holds.len() >= runner.most_holds() {
            return None;
        }
        match self.look(now, runner, pass) {
            Next::Chunk(chunk) => Some(chunk),
            Next::Nothing => None,
            Next::Reserve((job, stage)) => {
                if let Some(stage) = self.jobs.get_mut(&job).and_then(|job| job.stage_mut(stage)) {
                    stage.reserved = Some(id);
                }
                None
            }
        }
    }

    fn look(&self, now: Millis, runner: &Runner, pass: &mut Pass) -> Next {
        for (owner, classes) in self.queue.groups() {
            // Of a class without room only the first stage is looked at: those behind it wait for the same.
            let mut passed = BTreeSet::new();
            loop {
                let mut head = None;
                for (class, stages) in classes.iter().filter(|(class, _)| !passed.contains(*class)) {
                    if self.is_full(now, runner, *class, pass) != Some(true) {
                        let first = stages.iter().find(|stage| !pass.skipped.contains(&(**stage, *class)));
                        let earlier = first.is_some_and(|stage| self.comes_before((*stage, *class), head));
                        head = if earlier { first.map(|stage| (*stage, *class)) } else { head };
                    }
                }
                let Some((stage, class)) = head else { break };
                let lacks_secret = |class: &Class| self.lacks_secret(&class.needs).is_some();
                if self.over_limit(owner, class).is_some() || self.queue.class(class).is_some_and(lacks_secret) {
                    passed.insert(class);
                    continue;
                }
                if self.is_full(now, runner, class, pass).is_some() {
                    if self.is_starved(now, stage, class, runner) {
                        return Next::Reserve(stage);
                    }
                    passed.insert(class);
                    continue;
                }
                match self.pick(now, stage, class, runner, pass) {
                    Some(index) => return Next::Chunk(ChunkId { job: stage.0, stage: stage.1, index }),
                    None => _ = pass.skipped.insert((stage, class)),
                }
            }
        }
        Next::Nothing
    }

    /// The older stage comes first; within one, the chunk with the lower number, whatever it has grown to.
    fn comes_before(&self, (stage, class): (StageKey, ClassId), other: Option<(StageKey, ClassId)>) -> bool {
        let first = |class| self.jobs.get(&stage.0)?.stage(stage.1)?.ready_in(class).next();
        other.is_none_or(|(other, of)| {
            (stage < other) != planted(Bug::NewestFirst) || (stage == other && first(class) < first(of))
        })
    }

    /// `None` if a chunk of the class fits now; otherwise whether it never will.
    fn is_full(&self, now: Millis, runner: &Runner, class: ClassId, pass: &mut Pass) -> Option<bool> {
        if let Some(never) = pass.full.get(&class) {
            return Some(*never);
        }
        let rules = self.queue.class(class)?;
        let found = misfit(now, &runner.row.name, &runner.row.facts, &runner.used, &rules.needs, &rules.constraints)?;
        pass.full.insert(class, found.is_for_ever());
        Some(found.is_for_ever())
    }

    /// Why the owner may have no more chunk of the class at present.
    pub(crate) fn over_limit(&self, owner: &str, class: ClassId) -> Option<OverLimit> {
        self.queue.shares().over_limit(owner, &self.queue.class(class)?.needs)
    }

    /// Whether this runner must be kept free for a stage that smaller chunks would starve.
    fn is_starved(&self, now: Millis, (job, index): StageKey, class: ClassId, runner: &Runner) -> bool {
        let Some(job) = self.jobs.get(&job) else { return false };
        let Some(stage) = job.stage(index) else { return false };
        let Some(first) = stage.ready_in(class).next() else { return false };
        let since = job.waits_since(ChunkId { job: job.row.id, stage: index, index: first }).max(stage.placed_ms);
        let starved = job.row.tally_of(index).active() == 0 && now.saturating_sub(since) > STARVED_MS;
        starved && stage.reserved.is_none_or(|other| other == runner.row.id || !self.can_hold(now, other, class))
    }

    /// Whether a runner takes work and could hold a chunk of the class when empty.
    pub(crate) fn can_hold(&self, now: Millis, runner: RunnerId, class: ClassId) -> bool {
        let Some(runner) = self.runners.get(&runner).filter(|runner| runner.takes_work(now)) else { return false };
        let Some(class) = self.queue.class(class) else { return false };
        misfit(now, &runner.row.name, &runner.row.facts, &Used::default(), &class.needs, &class.constraints).is_none()
    }

    /// A chunk of the stage that this runner may have, by the rules that look beyond needs.
    fn pick(
        &self,
        now: Millis,
        (job, index): StageKey,
        class: ClassId,
        runner: &Runner,
        pass: &mut Pass,
    ) -> Option<u32> {
        let job = self.jobs.get(&job)?;
        let (stage, policy) = (job.stage(index)?, job.row.policy(index)?);
        let here = stage.on_runner.get(&runner.row.id).copied().unwrap_or(0);
        if policy.per_runner.is_some_and(|limit| here >= limit) {
            return None;
        }
        let first = stage.ready_in(class).next()?;
        let id = ChunkId { job: job.row.id, stage: index, index: first };
        if let Some(left) = self.left_to(now, job, id, runner) {
            pass.left_until = [pass.left_until, Some(left.until)].into_iter().flatten().min();
            return None;
        }
        let gate = job.gate(index);
        let mut ready = stage.ready_in(class).take(LOOKED_AT).take_while(|chunk| *chunk < gate);
        ready.find(|index_of_chunk| {
            let id = ChunkId { job: job.row.id, stage: index, index: *index_of_chunk };
            !stage.is_cold(*index_of_chunk)
                && !job.is_refused(id, runner)
                && self.untried_runner(now, job, id, runner.row.id).is_none()
        })
    }

    /// Another runner that could have the chunk, if it failed on this one and the job avoids such runners.
    pub(crate) fn untried_runner(&self, now: Millis, job: &Job, chunk: ChunkId, runner: RunnerId) -> Option<RunnerId> {
        let (stage, policy) = (job.stage(chunk.stage)?, job.row.policy(chunk.stage)?);
        let row = job.chunk(chunk).filter(|_| policy.retry.avoid_failed_runners)?;
        if !row.failed_on.contains(&runner) {
            return None;
        }
        let others = self.runners.values().filter(|other| !row.failed_on.contains(&other.row.id));
        let mut others = others.filter(|other| !job.is_refused(chunk, other)).map(|other| other.row.id);
        others.find(|other| self.can_hold(now, *other, stage.class_of(chunk.index)))
    }

    /// Gives a chunk to a runner: a new attempt, reserved at once.
    fn lease(&mut self, now: Millis, runner_id: RunnerId, chunk: ChunkId) -> Option<Start> {
        let runner = self.runners.get(&runner_id)?;
        let name = runner.row.name.clone();
        let job = self.jobs.get(&chunk.job)?;
        let (needs, edits) = (job.stage(chunk.stage)?.needs_of(chunk.index).clone(), job.row.edits);
        let grown = job.chunk(chunk).and_then(|row| row.grown.clone());
        let gpus = choose_gpus(&runner.row.facts, &runner.used, &needs);
        self.first_start(chunk);
        // Only a lost attempt can be left of a chunk that waits: from now on it is fenced.
        self.fence_lost(chunk);
        self.meta.next_attempt = self.meta.next_attempt.max(1);
        let id = AttemptId(self.meta.next_attempt);
        self.meta.next_attempt += 1;
        self.changes.meta = true;
        let job = self.jobs.get_mut(&chunk.job)?;
        let row = job.touch(chunk)?;
        row.attempts.push(id);
        row.not_before_ms = None;
        row.ended_ms = None;
        let number = u32::try_from(row.attempts.len()).unwrap_or(u32::MAX);
        let prefers = job.row.policy(chunk.stage).is_some_and(|policy| !policy.constraints.prefer.is_empty());
        if let Some(stage) = job.stage_mut(chunk.stage) {
            stage.placed_ms = now;
            stage.reserved = None;
        }
        self.changes.chunks.insert(chunk);
        self.shift(now, chunk, ChunkState::Leased);
        let row = AttemptRow {
            id,
            chunk,
            number,
            runner: runner_id,
            runner_name: name,
            gpus: gpus.clone(),
            grown: grown.clone(),
            leased_ms: now,
            edits,
            seen: false,
            started_ms: None,
            ended_ms: None,
            may_return: false,
            ended: None,
        };
        self.hold(Live { row, needs, standing: Standing::Current, note: String::new() });
        self.write_attempt(id);
        // Those who left it to a preferred runner may have what that one has no room for.
        self.changes.work_available |= prefers;
        Some(Start { attempt: id, chunk, number, gpus, grown: grown.map(|grown| *grown).unwrap_or_default() })
    }
}
