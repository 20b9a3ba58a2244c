//! The queue as people see it: waiting work by job stage and reason, in the order in which it will be placed.
use dsg_schemas::api::{ChunkState, QueueEntry};
use dsg_schemas::ids::{ChunkId, JobId, StageIndex};

use crate::event::Millis;
use crate::grid::Grid;
use crate::job::{Job, Stage};
use crate::needs::needs_words;
use crate::queue::ClassId;

/// Which part of the queue is looked at.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct QueueFilter {
    pub job: Option<JobId>,
    pub owner: Option<String>,
    /// Entries before the first one.
    pub skip: usize,
    /// Entries at most: each is explained against every runner.
    pub limit: usize,
}

/// Chunks of one stage that wait for the same reason.
struct Waiting<'g> {
    job: &'g Job,
    stage: StageIndex,
    first: u32,
    count: u64,
}

impl Grid {
    /// What may start first, in placing order; then what rests, is limited or is held. The flag says whether there is more.
    pub fn queue(&self, now: Millis, filter: &QueueFilter) -> (Vec<QueueEntry>, bool) {
        let fits = |waiting: &Waiting<'_>| {
            let row = &waiting.job.row;
            filter.job.is_none_or(|job| job == row.id) && filter.owner.as_ref().is_none_or(|owner| *owner == row.owner)
        };
        let mut wanted = self.placeable().chain(self.kept_back()).filter(fits).skip(filter.skip);
        let entries = wanted.by_ref().take(filter.limit).filter_map(|waiting| self.entry(now, &waiting)).collect();
        (entries, wanted.next().is_some())
    }

    fn placeable(&self) -> impl Iterator<Item = Waiting<'_>> {
        self.queue.groups().flat_map(move |(_, classes)| {
            let stages = classes.iter().flat_map(|(class, stages)| stages.iter().map(|stage| (*stage, *class)));
            let mut waiting: Vec<Waiting<'_>> = stages
                .filter_map(|((id, index), class)| {
                    let job = self.jobs.get(&id)?;
                    ready(job, index, job.stage(index)?, class)
                })
                .collect();
            waiting.sort_unstable_by_key(|waiting| (waiting.job.row.id, waiting.stage, waiting.first));
            waiting
        })
    }

    fn kept_back(&self) -> impl Iterator<Item = Waiting<'_>> {
        let open = self.jobs.values().filter(|job| !job.row.state.is_final());
        open.flat_map(|job| {
            job.stages().flat_map(move |(index, stage)| {
                let gated = move |waiting: &Waiting<'_>| waiting.first >= job.gate(index) || !job.has_room(index);
                let limited = stage.classes().filter_map(move |class| ready(job, index, stage, class)).filter(gated);
                limited.chain(resting(job, index, stage)).chain(held(job, index, stage))
            })
        })
    }

    fn entry(&self, now: Millis, waiting: &Waiting<'_>) -> Option<QueueEntry> {
        let Waiting { job, stage, first, count } = waiting;
        let first = ChunkId { job: job.row.id, stage: *stage, index: *first };
        Some(QueueEntry {
            job: job.row.id,
            job_name: job.row.name.clone(),
            owner: job.row.owner.clone(),
            priority: job.row.priority,
            first,
            waiting: *count,
            needs: needs_words(job.stage(*stage)?.needs_of(first.index)),
            explanation: self.explain_chunk(now, job, first, job.state(first)?),
        })
    }
}

fn ready<'g>(job: &'g Job, index: StageIndex, stage: &Stage, class: ClassId) -> Option<Waiting<'g>> {
    let first = stage.ready_in(class).next()?;
    Some(Waiting { job, stage: index, first, count: stage.ready_count(class) })
}

fn resting<'g>(job: &'g Job, index: StageIndex, stage: &Stage) -> Option<Waiting<'g>> {
    let (first, _) = stage.resting.iter().min_by_key(|(_, at)| **at)?;
    Some(Waiting { job, stage: index, first: *first, count: stage.resting.len() as u64 })
}

fn held<'g>(job: &'g Job, index: StageIndex, stage: &Stage) -> Option<Waiting<'g>> {
    let count = job.row.tally_of(index).held;
    if count == 0 || !job.row.is_open(index) {
        return None;
    }
    let first = stage.states.iter().position(|byte| *byte == ChunkState::Held as u8)?;
    Some(Waiting { job, stage: index, first: first as u32, count })
}
