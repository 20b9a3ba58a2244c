//! To whom a runner leaves a chunk for a while that it could have: to one that the job prefers, to one that need not fetch the image
//! first, and to one that lacks of its part, so that a few long chunks do not all lie on the runner that asked first.
use dsg_schemas::ids::{ChunkId, RunnerId};

use crate::event::Millis;
use crate::grid::Grid;
use crate::job::Job;
use crate::needs::{fits, hit, misfit};
use crate::runner::Runner;

/// How long a chunk waits for a preferred runner that has room and does not come for it.
const PREFER_MS: Millis = 30_000;
/// The same for a runner that already holds the image: about as long as it takes to get a small one.
const AT_HAND_MS: Millis = 5_000;
/// The same for a runner that lacks of its part, counted from when the chunk began to wait: runners hold a sync open, so that they come at once.
pub(crate) const SPREAD_MS: Millis = 1_000;
/// Chunks that are through sooner go to whoever asks, as they fit: the next answer would take about as long as they run.
const LONG_MS: Millis = 1_000;
/// A runner that holds a sync open speaks at least this often.
const IN_TOUCH_MS: Millis = 25_000;

/// A chunk is left to another runner.
pub(crate) struct Left {
    pub to: RunnerId,
    /// From then on it is not.
    pub until: Millis,
    pub why: Why,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Why {
    Preferred,
    AtHand,
    ItsPart,
}

impl Grid {
    /// To whom this runner leaves a chunk at present.
    pub(crate) fn left_to(&self, now: Millis, job: &Job, chunk: ChunkId, runner: &Runner) -> Option<Left> {
        let since = job.waits_since(chunk);
        let placed = since.max(job.stage(chunk.stage)?.placed_ms);
        let left = |why, from: Millis, patience: Millis, to: &dyn Fn() -> Option<RunnerId>| {
            let until = from.saturating_add(patience).saturating_add(1);
            (now < until).then(to)?.map(|to| Left { to, until, why })
        };
        left(Why::Preferred, placed, PREFER_MS, &|| self.preferred(now, job, chunk, runner))
            .or_else(|| left(Why::AtHand, placed, AT_HAND_MS, &|| self.at_hand(now, job, chunk, runner)))
            .or_else(|| left(Why::ItsPart, since, SPREAD_MS, &|| self.lacking(now, job, chunk, runner)))
    }

    /// A preferred runner that has room for the chunk, if this one is not preferred itself.
    fn preferred(&self, now: Millis, job: &Job, chunk: ChunkId, runner: &Runner) -> Option<RunnerId> {
        let prefer = &job.row.policy(chunk.stage)?.constraints.prefer;
        if prefer.is_empty() || hit(prefer, &runner.row.name, &runner.row.facts).is_some() {
            return None;
        }
        let preferred = |other: &&Runner| hit(prefer, &other.row.name, &other.row.facts).is_some();
        let other = self.runners.values().filter(preferred).find(|other| self.has_room(now, job, chunk, other));
        other.map(|other| other.row.id)
    }

    /// A runner with room on which containers of this image (best of this very job) have started, if none has on this one. It
    /// need not get what this one would first have to pull.
    fn at_hand(&self, now: Millis, job: &Job, chunk: ChunkId, runner: &Runner) -> Option<RunnerId> {
        let holders = self.holders.get(&job.row.image)?;
        if holders.contains(&runner.row.id) {
            return None;
        }
        let others = job.started_on.iter().chain(holders).filter_map(|id| self.runners.get(id));
        let mut others = others.filter(|other| other.is_in_touch(now));
        others.find(|other| self.has_room(now, job, chunk, other)).map(|other| other.row.id)
    }

    /// If this runner holds its part of the stage, the one that lacks most of its own, of those who could have the chunk as well. A
    /// part is as much of what runs and waits as a runner has of all their room.
    fn lacking(&self, now: Millis, job: &Job, chunk: ChunkId, runner: &Runner) -> Option<RunnerId> {
        let (stage, policy) = (job.stage(chunk.stage)?, job.row.policy(chunk.stage)?);
        let tried = job.chunk(chunk).is_some_and(|row| !row.failed_on.is_empty());
        if tried || stage.run_ms.is_some_and(|run_ms| run_ms < LONG_MS) {
            return None;
        }
        let held = |runner: &Runner| u64::from(stage.on_runner.get(&runner.row.id).copied().unwrap_or(0));
        let room = |runner: &Runner| held(runner) + self.room(job, chunk, runner);
        let waiting = job.row.tally_of(chunk.stage).waiting;
        let holders = self.holders.get(&job.row.image);
        let has_image = |runner: &Runner| holders.is_some_and(|holders| holders.contains(&runner.row.id));
        let prefer = &policy.constraints.prefer;
        let is_preferred = |runner: &Runner| hit(prefer, &runner.row.name, &runner.row.facts).is_some();
        let (held_here, room_here) = (held(runner), room(runner));
        let (mut all_held, mut all_room) = (held_here, room_here);
        // What it holds, its room, and which it is.
        let mut emptiest: Option<(u64, u64, RunnerId)> = None;
        for other in self.runners.values().filter(|other| other.row.id != runner.row.id && other.is_in_touch(now)) {
            // One that would itself leave the chunk to this runner does not come for it.
            let as_well = has_image(other) == has_image(runner) && is_preferred(other) == is_preferred(runner);
            if !as_well || !self.has_room(now, job, chunk, other) {
                continue;
            }
            let (held, room) = (held(other), room(other));
            all_held += held;
            all_room += room;
            if emptiest.is_none_or(|(most, of, _)| held * of < most * room) {
                emptiest = Some((held, room, other.row.id));
            }
        }
        let (_, _, emptiest) = emptiest?;
        let active = job.row.tally_of(chunk.stage).active();
        let allowed = policy.parallelism.map_or(u64::MAX, |limit| u64::from(limit).saturating_sub(active));
        let wanted = u128::from(all_held + waiting.min(allowed));
        let part = (wanted * u128::from(room_here)).div_ceil(u128::from(all_room.max(1)));
        (u128::from(held_here) >= part).then_some(emptiest)
    }

    /// How many more chunks of the stage the runner could start.
    fn room(&self, job: &Job, chunk: ChunkId, runner: &Runner) -> u64 {
        let (Some(stage), Some(policy)) = (job.stage(chunk.stage), job.row.policy(chunk.stage)) else { return 0 };
        let here = stage.on_runner.get(&runner.row.id).copied().unwrap_or(0);
        let by_limit = policy.per_runner.map_or(u64::MAX, |limit| u64::from(limit.saturating_sub(here)));
        let by_count = runner.most_holds().saturating_sub(runner.holds.len()) as u64;
        fits(&runner.row.facts, &runner.used, stage.needs_of(chunk.index)).min(by_limit).min(by_count)
    }

    /// Whether the runner could start one more chunk of the stage now.
    fn has_room(&self, now: Millis, job: &Job, chunk: ChunkId, runner: &Runner) -> bool {
        let (Some(stage), Some(policy)) = (job.stage(chunk.stage), job.row.policy(chunk.stage)) else { return false };
        let (name, facts) = (&runner.row.name, &runner.row.facts);
        runner.takes_work(now)
            && self.room(job, chunk, runner) > 0
            && misfit(now, name, facts, &runner.used, stage.needs_of(chunk.index), &policy.constraints).is_none()
            && !job.is_refused(chunk, runner)
    }
}

impl Runner {
    fn is_in_touch(&self, now: Millis) -> bool {
        now.saturating_sub(self.heard) <= IN_TOUCH_MS
    }
}
