//! What a scenario prints: what the rows say that changed, and answers to questions.
use std::collections::BTreeMap;

use dsg_core::{Effects, Grid, Key, Millis, QueueFilter, Row};
use dsg_schemas::api::{ChunkState, Explanation};
use dsg_schemas::ids::{ChunkId, JobId};

use crate::disk::Disk;

type States = BTreeMap<ChunkId, ChunkState>;

/// The states of all chunks, as the blocks say.
pub fn states(disk: &Disk) -> States {
    let mut states = BTreeMap::new();
    for (key, row) in &disk.rows {
        let (Key::Block(job, stage, number), Row::Block(block)) = (key, row) else { continue };
        for (at, byte) in block.iter().enumerate() {
            let index = number * dsg_core::BLOCK + at as u32;
            states.insert(ChunkId { job: *job, stage: *stage, index }, ChunkState::ALL[usize::from(*byte)]);
        }
    }
    states
}

/// Chunks that moved and jobs that went from one state to another. A lease says itself in the orders.
pub fn changes(before: &Disk, old: &States, after: &Disk, new: &States) -> Vec<String> {
    let mut lines = Vec::new();
    let mut groups: BTreeMap<(JobId, u16, ChunkState, ChunkState), Vec<ChunkId>> = BTreeMap::new();
    for (id, state) in new {
        let Some(was) = old.get(id).filter(|was| *was != state) else { continue };
        if *state != ChunkState::Leased || *was != ChunkState::Waiting {
            groups.entry((id.job, id.stage, *was, *state)).or_default().push(*id);
        }
    }
    for ((_, _, was, is), chunks) in groups {
        let (was, is) = (was.word(), is.word());
        if chunks.len() > 4 {
            lines.push(format!("{} … {}: {} chunks {was} → {is}", chunks[0], chunks[chunks.len() - 1], chunks.len()));
            continue;
        }
        for id in chunks {
            let row = after.chunk_rows(&[id]).pop();
            let row = match after.rows.get(&Key::Job(id.job)) {
                Some(Row::Job(job)) => job.as_of_now(id, new[&id], row),
                _ => row,
            };
            let message = row.map(|row| row.message).filter(|message| !message.is_empty());
            let message = message.map(|message| format!(": {message}")).unwrap_or_default();
            lines.push(format!("{id} {was} → {is}{message}"));
        }
    }
    for (key, row) in &after.rows {
        let (Key::Job(id), Row::Job(row)) = (key, row) else { continue };
        let Some(Row::Job(was)) = before.rows.get(key) else { continue };
        if was.state != row.state {
            let why = row.why.as_ref().map(|why| format!(": {why}")).unwrap_or_default();
            lines.push(format!("job {id} is {}{why}", format!("{:?}", row.state).to_lowercase()));
        }
    }
    lines
}

pub fn effects(effects: &Effects) -> Vec<String> {
    let due = effects.gather_due.iter().map(|(job, _)| format!("the outputs of job {job} are to be gathered"));
    due.chain(effects.removed_jobs.iter().map(|job| format!("rows of job {job} are removed"))).collect()
}

pub fn explanation(explanation: &Explanation) -> Vec<String> {
    let never = if explanation.never { " (never)" } else { "" };
    let mut lines = vec![format!("{}{never}", explanation.summary)];
    lines.extend(explanation.runners.iter().map(|reason| format!("  {}: {}", reason.runner, reason.reason)));
    lines
}

pub fn job(disk: &Disk, id: JobId) -> Vec<String> {
    let Some(Row::Job(row)) = disk.rows.get(&Key::Job(id)) else { return vec!["no such row".to_owned()] };
    let counts = |tally: &dsg_schemas::api::Tally| {
        let words = ChunkState::ALL.iter().filter(|state| tally.of(**state) > 0);
        words.map(|state| format!("{} {}", tally.of(*state), state.word())).collect::<Vec<_>>().join(", ")
    };
    let why = row.why.as_ref().map(|why| format!(" ({why})")).unwrap_or_default();
    let mut lines = vec![format!("{:?}{why}: {}", row.state, counts(&row.tally)).to_lowercase()];
    if row.gather_tally.total() > 0 {
        lines.push(format!("gather: {}", counts(&row.gather_tally)));
    }
    if !row.failures.is_empty() {
        let failures: Vec<String> = row.failures.iter().map(|(reason, count)| format!("{count} {reason}")).collect();
        lines.push(format!("failures: {}", failures.join(", ")));
    }
    for (what, removed) in [("logs", row.logs_removed()), ("outputs", row.outputs_removed())] {
        lines.extend(removed.map(|removed| format!("{what} removed: {}", removed.why)));
    }
    lines
}

pub fn attempt(disk: &Disk, grid: &Grid, id: u64) -> Vec<String> {
    let id = dsg_schemas::ids::AttemptId(id);
    let Some(Row::Attempt(row)) = disk.rows.get(&Key::Attempt(id)) else { return vec!["no such row".to_owned()] };
    let end = row.ended.as_ref().map(|ended| format!("ended: {} {}", ended.reason, ended.message));
    let owner = grid.attempt_owner(id).map(|_| ", its runner may send logs").unwrap_or_default();
    let seen = if row.seen { "" } else { ", not seen" };
    vec![format!(
        "{}#{} on {}{seen}{owner}; {}",
        row.chunk,
        row.number,
        row.runner_name,
        end.unwrap_or("open".into()).trim_end()
    )]
}

/// The row of a chunk as everybody reads it.
pub fn row(disk: &Disk, id: ChunkId) -> Vec<String> {
    let Some(Row::Job(job)) = disk.rows.get(&Key::Job(id.job)) else { return vec!["no such job".to_owned()] };
    let Some(state) = states(disk).get(&id).copied() else { return vec!["no such chunk".to_owned()] };
    let Some(row) = job.as_of_now(id, state, disk.chunk_rows(&[id]).pop()) else {
        return vec![format!("{id} is {} and has no row", state.word())];
    };
    let attempts: Vec<String> = row.attempts.iter().map(ToString::to_string).collect();
    let accepted = row.accepted.map(|attempt| format!(", {attempt} counts")).unwrap_or_default();
    let reason = row.reason.map(|reason| format!("; {reason} {}", row.message)).unwrap_or_default();
    vec![format!(
        "{id} is {}: attempts {}{accepted}, {} failures{reason}",
        state.word(),
        attempts.join(" "),
        row.failures
    )]
}

pub fn queue(grid: &Grid, now: Millis) -> Vec<String> {
    let (entries, _) = grid.queue(now, &QueueFilter { limit: 500, ..QueueFilter::default() });
    let line = |entry: &dsg_schemas::api::QueueEntry| {
        format!(
            "{} × {} of {} ({}, priority {}): {}",
            entry.waiting, entry.needs, entry.first, entry.owner, entry.priority, entry.explanation.summary
        )
    };
    entries.iter().map(line).collect()
}

pub fn owners(grid: &Grid) -> Vec<String> {
    let line = |view: &dsg_schemas::api::OwnerView| {
        let mut line = format!(
            "{}: {} milli-cpus and {} GPUs now, {} milli-cpus on average",
            view.owner, view.used_cpus_milli, view.used_gpus, view.average_cpus_milli
        );
        if view.limit_cpus_milli.is_some() || view.limit_gpus.is_some() {
            line.push_str(&format!(
                ", limited to {:?} milli-cpus and {:?} GPUs",
                view.limit_cpus_milli, view.limit_gpus
            ));
        }
        line
    };
    grid.owner_views().iter().map(line).collect()
}

pub fn runners(grid: &Grid, now: Millis) -> Vec<String> {
    let line = |view: &dsg_schemas::api::RunnerView| {
        let why = if view.why.is_empty() { String::new() } else { format!(": {}", view.why) };
        let state = format!("{:?}", view.state).to_lowercase();
        format!("{} is {state}{why} (holds {}, {} milli-cpus)", view.name, view.holds.len(), view.used_cpus_milli)
    };
    grid.runner_views(now).iter().map(line).collect()
}
