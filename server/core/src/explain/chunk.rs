//! Why one chunk waits, or what else it does; and why a job does not go on.
use dsg_schemas::api::{ChunkState, Explanation};
use dsg_schemas::ids::{ChunkId, GATHER, JobId, MAIN};

use super::nobody_can;
use super::runners::{Hope, Verdict};
use crate::event::{Millis, Refusal};
use crate::grid::Grid;
use crate::job::{Job, counted};
use crate::row::JobRow;

impl Grid {
    /// Why a chunk waits. For one that does not wait, what it does.
    pub fn explain(&self, now: Millis, chunk: ChunkId) -> Result<Explanation, Refusal> {
        let job = self.known(chunk.job)?;
        let state = job.state(chunk).ok_or(Refusal::UnknownChunk(chunk))?;
        Ok(self.explain_chunk(now, job, chunk, state))
    }

    pub(super) fn explain_chunk(&self, now: Millis, job: &Job, chunk: ChunkId, state: ChunkState) -> Explanation {
        let plain = |summary: String| Explanation { summary, runners: Vec::new(), never: false };
        match state {
            ChunkState::Held => {
                return plain(held_words(&job.row));
            }
            ChunkState::Leased | ChunkState::Running | ChunkState::Storing => {
                return plain(self.where_it_is(job, chunk, state));
            }
            ChunkState::Succeeded | ChunkState::Failed | ChunkState::Cancelled | ChunkState::Skipped => {
                let outcome =
                    job.chunk(chunk).filter(|row| row.reason.is_some()).map(|row| format!(": {}", row.outcome()));
                return plain(format!("chunk {chunk} has ended as {}{}", state.word(), outcome.unwrap_or_default()));
            }
            ChunkState::Waiting => {}
        }
        if !job.row.is_open(chunk.stage) {
            return plain(before_gather(job));
        }
        let verdicts = self.verdicts(now, job, chunk);
        let never = !verdicts.iter().any(|verdict| verdict.hope > Hope::Never);
        let summary = match self.before_placing(now, job, chunk) {
            Some(summary) if !never => summary,
            _ => summary_of(&verdicts),
        };
        Explanation { summary, runners: verdicts.into_iter().map(|verdict| verdict.reason).collect(), never }
    }

    fn where_it_is(&self, job: &Job, chunk: ChunkId, state: ChunkState) -> String {
        let attempt = job.chunk(chunk).and_then(|row| self.attempts.get(row.attempts.last()?));
        let Some(live) = attempt else { return format!("chunk {chunk} is {}", state.word()) };
        let note = if live.note.is_empty() { String::new() } else { format!(" ({})", live.note) };
        let number = ordinal(live.row.number);
        format!("chunk {chunk} is {} on {} as its {number} attempt{note}", state.word(), live.row.runner_name)
    }

    /// What keeps a waiting chunk from being offered to any runner.
    fn before_placing(&self, now: Millis, job: &Job, chunk: ChunkId) -> Option<String> {
        if self.no_starts.is_some() {
            return self.no_starts.clone();
        }
        let stage = job.stage(chunk.stage)?;
        if let Some(at) = stage.resting.get(&chunk.index).filter(|at| **at > now) {
            let row = job.chunk(chunk)?;
            let retry = ordinal(u32::try_from(row.attempts.len()).unwrap_or(u32::MAX));
            let seconds = (at - now).div_ceil(1000);
            return Some(format!("rests {seconds} s more before its {retry} retry (after {})", row.outcome()));
        }
        if let Some(lacks) = self.lacks_secret(stage.needs_of(chunk.index)) {
            return Some(format!("waits for {lacks}"));
        }
        let gate = job.gate(chunk.stage);
        if chunk.index >= gate {
            let canary = if gate == 1 { "first chunk".to_owned() } else { format!("first {gate} chunks") };
            return Some(format!("waits for the canary: the {canary} of job {} must succeed before it", job.row.id));
        }
        if let Some(limit) = job.row.policy(chunk.stage)?.parallelism.filter(|_| !job.has_room(chunk.stage)) {
            let id = job.row.id;
            return Some(format!(
                "parallelism {limit} of job {id} is reached: waits until one of its running chunks ends"
            ));
        }
        let over = self.over_limit(&job.row.owner, stage.class_of(chunk.index))?;
        let words = over.words;
        Some(match over.for_ever {
            true => format!("{words}: it starts only once the limit is raised (`dsg limit owner`)"),
            false => format!("{words}: waits until a chunk of theirs ends"),
        })
    }

    /// Why a job does not go on, in one sentence; `None` while something of it runs (and it is not held) or nothing is left to do.
    pub fn job_why(&self, now: Millis, id: JobId) -> Option<String> {
        let job = self.jobs.get(&id).filter(|job| !job.row.state.is_final())?;
        if job.row.held {
            return Some(held_words(&job.row));
        }
        if job.row.tally.active() + job.row.gather_tally.active() > 0 {
            return None;
        }
        if job.row.chunks_are_through() && !job.row.gather_open {
            return Some("the server gathers its outputs".to_owned());
        }
        let index = if job.row.chunks_are_through() { GATHER } else { MAIN };
        let stage = job.stage(index)?;
        let soonest = stage.resting.iter().min_by_key(|(_, at)| **at).map(|(index, _)| *index);
        let first = stage.first_ready().or(soonest)?;
        let chunk = ChunkId { job: id, stage: index, index: first };
        Some(self.explain(now, chunk).ok()?.summary)
    }
}

/// With the number of the reason, by which the documentation names it.
fn held_words(row: &JobRow) -> String {
    let id = row.id;
    let code = row.held_for.map(|reason| format!(" ({})", reason.code())).unwrap_or_default();
    if let Some(why) = &row.held_why {
        return format!("job {id} is held{code}: {why}");
    }
    let by = row.held_by.as_ref().map(|who| format!(" by {who}")).unwrap_or_default();
    format!("job {id} is held{by}{code}: release it to let it start")
}

fn before_gather(job: &Job) -> String {
    let left = job.row.tally.total() - job.row.tally.ended();
    if left > 0 {
        return format!("waits until the chunks of job {} are through: {} to go", job.row.id, counted(left, "chunk"));
    }
    "waits until the server has joined the outputs of the chunks".to_owned()
}

fn summary_of(verdicts: &[Verdict]) -> String {
    let best = verdicts.iter().map(|verdict| verdict.hope).max();
    let of = |hope| verdicts.iter().filter(move |verdict| verdict.hope == hope);
    let words = |hope, on: &str| {
        let shown = of(hope).take(3).map(|verdict| format!("{on}{} {}", verdict.reason.runner, verdict.reason.reason));
        let more = of(hope).count().saturating_sub(3);
        let more = if more > 0 { format!("; and {more} more") } else { String::new() };
        format!("{}{more}", shown.collect::<Vec<_>>().join("; "))
    };
    match best {
        None | Some(Hope::Never) => {
            let all = verdicts.iter().map(|verdict| (verdict.reason.runner.clone(), verdict.reason.reason.clone()));
            nobody_can(&all.collect::<Vec<_>>())
        }
        Some(Hope::Away) => format!("no runner that could run it takes work: {}", words(Hope::Away, "")),
        Some(Hope::Busy) => format!("waits for a free runner: {}", words(Hope::Busy, "on ")),
        Some(Hope::Leaves) => format!("waits for another runner: {}", words(Hope::Leaves, "on ")),
        Some(Hope::Next) => {
            let names: Vec<&str> = of(Hope::Next).take(3).map(|verdict| verdict.reason.runner.as_str()).collect();
            format!("its turn comes next on {}", names.join(" or "))
        }
    }
}

/// `1st`, `2nd`, `12th`.
fn ordinal(number: u32) -> String {
    let ending = match (number % 100, number % 10) {
        (11..=13, _) => "th",
        (_, 1) => "st",
        (_, 2) => "nd",
        (_, 3) => "rd",
        (_, _) => "th",
    };
    format!("{number}{ending}")
}
