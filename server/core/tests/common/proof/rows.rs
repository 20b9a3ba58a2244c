//! What must hold of the rows of every commit.
use std::collections::BTreeSet;

use dsg_core::row::{AttemptRow, ChunkRow, JobRow};
use dsg_core::{Act, Answer, BLOCK, Effects, Event, Key, Millis, Refusal, Row};
use dsg_schemas::api::{Act as PersonsAct, ChunkState, Retries};
use dsg_schemas::ids::{AttemptId, ChunkId, JobId, MAIN};
use dsg_schemas::limits::GRID_REQUEUES;
use dsg_schemas::reason::{Blame, EndReason};
use dsg_schemas::spec::{Retry, RetryAction};

use super::acts::asked;
use super::{Proof, Rows};
use crate::disk::Disk;

/// Different runners that a chunk may take down before it is taken for the cause.
const POISON_RUNNERS: usize = 3;

impl Proof {
    /// Called with each batch of rows before it is committed.
    pub fn look(&mut self, disk: &Disk, effects: &Effects, batch: &[(Event, Result<Answer, Refusal>)]) {
        self.gathers_are_of_what_counts(batch);
        let rows = Rows(disk, effects);
        let retries: Vec<(JobId, &Retries)> = batch.iter().filter_map(|(event, answer)| retry(event, answer)).collect();
        let retried: BTreeSet<JobId> = retries.iter().map(|(job, _)| *job).collect();
        self.gone_is_gone(effects);
        self.removed_jobs.extend(&effects.removed_jobs);
        let edited = self.note_edits(disk, batch);
        let asked: BTreeSet<JobId> = batch.iter().filter_map(|(event, answer)| asked(event, answer)).collect();
        self.many_again(&rows, &retried);
        for (key, row) in &effects.rows {
            match (key, row) {
                (Key::Attempt(id), Some(Row::Attempt(row))) => {
                    let before = match disk.rows.get(key) {
                        Some(Row::Attempt(before)) => Some(&**before),
                        _ => None,
                    };
                    self.attempt(*id, before, row);
                    match row.ended {
                        None => _ = self.current.insert(*id, (row.chunk, row.runner)),
                        Some(_) => {
                            self.current.remove(id);
                            let ms = row.ended_ms.unwrap_or(row.leased_ms).saturating_sub(row.leased_ms);
                            self.note_use(&rows, *id, row.chunk, ms);
                        }
                    }
                }
                (Key::Chunk(id), Some(Row::Chunk(row))) => {
                    let job = rows.job(id.job);
                    let is_past = |row: &ChunkRow| job.is_some_and(|job| job.is_past(row));
                    let (before, ended) = match disk.rows.get(key) {
                        Some(Row::Chunk(before)) => (before.attempts.as_slice(), is_past(before)),
                        _ => (&[][..], false),
                    };
                    assert!(row.attempts.starts_with(before), "{id} had attempts {before:?}, now {:?}", row.attempts);
                    if is_past(row) {
                        continue;
                    }
                    if ended {
                        // A retry of many chunks gave it a new life, without a word in its row.
                        self.before_retry.insert(*id, (before.len(), before.len()));
                    }
                    if retried.contains(&id.job) {
                        let (_, sure) = self.before_retry.get(id).copied().unwrap_or_default();
                        let sure = if is_chosen(disk, *id, &retries) { before.len() } else { sure };
                        self.before_retry.insert(*id, (before.len(), sure));
                    }
                    self.chunk(&rows, row, retried.contains(&id.job), edited.contains_key(&id.job));
                }
                (Key::Runner(_), Some(Row::Runner(row))) => {
                    let rests = match disk.rows.get(key) {
                        Some(Row::Runner(before)) => before.sick.rests,
                        _ => 0,
                    };
                    self.rests += u64::from(row.sick.rests > rests);
                }
                (Key::Runner(id), None) => _ = self.removed_runners.insert(*id),
                _ => {}
            }
        }
        for (key, row) in &effects.rows {
            if let (Key::Job(id), Some(Row::Job(row))) = (key, row) {
                let was = disk.job(*id);
                let before = was.map_or(0, |was| was.tally.succeeded);
                let fewer = row.tally.succeeded < before && !retried.contains(id);
                assert!(!fewer, "job {id} had {before} chunks succeeded, now {}", row.tally.succeeded);
                self.job(row, edited.contains_key(id));
                self.counts_what_is_there(row);
                match row.state.is_final() {
                    true => _ = self.unfinished.remove(id),
                    false => _ = self.unfinished.insert(*id),
                }
                self.breaker(was, row, asked.contains(id), retried.contains(id));
            }
        }
        let removed = |job: JobId| effects.removed_jobs.contains(&job);
        if !effects.removed_jobs.is_empty() {
            self.accepted.retain(|id, _| !removed(id.job));
            self.ends.retain(|(id, _), _| !removed(*id));
            self.before_retry.retain(|id, _| !removed(id.job));
            self.deadlines.retain(|id, _| !removed(*id));
            self.unfinished.retain(|id| !removed(*id));
            self.current.retain(|_, (chunk, _)| !removed(chunk.job));
        }
        let late = self.deadlines.iter().find(|(_, at)| **at <= self.ticked);
        assert!(late.is_none(), "job and time of its end: {late:?}, and a tick came at {}", self.ticked);
        self.note_gathers(effects);
        self.retried.extend(retried);
        self.ticked = 0;
        self.silent.clear();
        self.all_silent = None;
    }

    /// A retry of all chunks takes back what counted, without a word in their rows.
    fn many_again(&mut self, Rows(disk, effects): &Rows, retried: &BTreeSet<JobId>) {
        for (key, row) in &effects.rows {
            let (Key::Job(id), Some(Row::Job(row))) = (key, row) else { continue };
            let Some(Row::Job(was)) = disk.rows.get(key) else { continue };
            if was.again != row.again {
                assert!(retried.contains(id), "only a retry sends many chunks of job {id} into a new life");
            }
            if was.again.all != row.again.all {
                self.accepted.retain(|chunk, _| chunk.job != *id || chunk.stage != MAIN);
            }
        }
    }

    /// An attempt stays what it is, and its end is final unless it was only lost.
    fn attempt(&mut self, id: AttemptId, before: Option<&AttemptRow>, row: &AttemptRow) {
        let reason = row.ended.as_ref().map(|ended| ended.reason);
        assert!(reason != Some(EndReason::Succeeded) || self.succeeded.contains(&id), "attempt {id} did not succeed");
        let times = [Some(row.leased_ms), row.started_ms, row.ended_ms];
        let times: Vec<Millis> = times.into_iter().flatten().collect();
        assert!(times.is_sorted(), "attempt {id} was leased, started and ended at {times:?}");
        let was = before.and_then(|before| before.ended.as_ref()).map(|ended| ended.reason);
        if let Some(before) = before {
            let same = |row: &AttemptRow| (row.chunk, row.number, row.runner, row.leased_ms);
            assert_eq!(same(before), same(row), "attempt {id}");
            assert!(
                was.is_none() || before.may_return || was == reason,
                "attempt {id} ended by {was:?}, now {reason:?}"
            );
        }
        if row.may_return && was.is_none() {
            let unheard = self.all_silent.as_ref().is_some_and(|heard| !heard.contains(&row.runner));
            let silent = unheard || self.silent.contains(&row.runner);
            assert!(silent, "attempt {id} is lost, and its runner was heard within its lease");
        }
        if was != reason {
            let job = row.chunk.job;
            if let Some(was) = was {
                *self.ends.entry((job, was)).or_default() -= 1;
            }
            if let Some(reason) = reason {
                *self.ends.entry((job, reason)).or_default() += 1;
            }
        }
    }

    fn chunk(&mut self, rows: &Rows, row: &ChunkRow, retried: bool, edited: bool) {
        let id = row.id;
        let before = self.accepted.get(&id).copied();
        if before != row.accepted {
            let by_person = before.is_none() || retried;
            assert!(by_person, "{id} had succeeded as {before:?}, now {:?}", row.accepted);
            match row.accepted {
                Some(attempt) => {
                    self.of_this_work(rows, id, attempt);
                    self.accepted.insert(id, attempt);
                }
                None => _ = self.accepted.remove(&id),
            }
            self.successes += u64::from(row.accepted.is_some());
        }
        // By which rules it ended before the edit of this batch is not known any more.
        let Some(retry) = rows.retry(id).filter(|_| !edited) else { return };
        if let Some(attempt) = row.accepted {
            let end = rows.attempt(attempt).and_then(|row| row.ended.as_ref());
            let rule = end.and_then(|end| retry.first_match(end.reason, end.exit_code));
            let accepts = rule.is_some_and(|(_, rule)| rule.action == RetryAction::Accept);
            assert!(self.succeeded.contains(&attempt) || accepts, "{id} counts {attempt}, which did not succeed");
            assert!(row.attempts.contains(&attempt), "{id} counts an attempt of its own");
        }
        self.budgets(rows, retry, row);
    }

    /// No budget is overdrawn, and none is called empty that is not; rules are left to the scenarios.
    fn budgets(&self, rows: &Rows, retry: &Retry, row: &ChunkRow) {
        let plain = |id: &&AttemptId| {
            let end = rows.attempt(**id)?.ended.as_ref()?;
            retry.first_match(end.reason, end.exit_code).is_none().then(|| end.reason.blame())
        };
        let count = |ids: &[AttemptId], blame| ids.iter().filter(|id| plain(id) == Some(blame)).count();
        let (maybe, sure) = self.before_retry.get(&row.id).copied().unwrap_or_default();
        let (newest, all) = (&row.attempts[maybe..], &row.attempts[sure..]);
        let (mine, grids) = (count(newest, Blame::User), count(newest, Blame::Grid));
        assert!(mine <= retry.limit as usize + 1, "{} failed {mine} times with {} retries", row.id, retry.limit);
        assert!(grids <= GRID_REQUEUES as usize + 1, "{} was requeued {grids} times by the grid", row.id);
        let gave_up = row.accepted.is_none() && row.ended_ms.is_some();
        let last = row.attempts.last().and_then(|id| rows.attempt(*id)).and_then(|row| row.ended.as_ref());
        let Some(last) = last.filter(|last| gave_up && row.reason == Some(last.reason)) else { return };
        if retry.first_match(last.reason, last.exit_code).is_some() {
            return;
        }
        let (tries, limit) = match last.reason.blame() {
            Blame::User => (count(all, Blame::User), retry.limit),
            Blame::Grid if row.lost_on.len() >= POISON_RUNNERS => return,
            Blame::Grid => (count(all, Blame::Grid), GRID_REQUEUES),
            Blame::People | Blame::Nobody => return,
        };
        // Failures that a rule let be retried count against the same budget.
        let by_rule = retry.rules.iter().any(|rule| rule.action == RetryAction::Retry && rule.limit.is_none());
        assert!(by_rule || tries > limit as usize, "{} gave up after {tries} ends like {}", row.id, last.reason);
    }

    /// What a job counts is what its attempts say.
    fn job(&mut self, row: &JobRow, edited: bool) {
        // A file that allows less time than was taken counts from the next tick on.
        let earliest = if edited { self.ticked + 1 } else { 0 };
        match row.job_timeout_ms.filter(|_| !row.state.is_final()) {
            Some(limit) => {
                let from = row.submitted_ms.max(row.retried_ms.unwrap_or(0));
                self.deadlines.insert(row.id, from.saturating_add(limit).max(earliest));
            }
            None => _ = self.deadlines.remove(&row.id),
        }
        assert_eq!(row.tally.total(), u64::from(row.main.chunks), "the chunks of job {}", row.id);
        let of_chunks = [EndReason::Cancelled, EndReason::QueueTimeout, EndReason::JobTimeout, EndReason::Succeeded];
        for reason in EndReason::ALL.into_iter().filter(|reason| !of_chunks.contains(reason)) {
            let (counted, there) = (row.failures.get(&reason), self.ends.get(&(row.id, reason)));
            let (counted, there) = (counted.copied().unwrap_or(0), there.copied().unwrap_or(0));
            assert_eq!(counted, there, "attempts of job {} that ended by {reason}", row.id);
        }
    }
}

fn retry<'b>(event: &'b Event, answer: &Result<Answer, Refusal>) -> Option<(JobId, &'b Retries)> {
    match (event, answer) {
        (Event::Act(Act::Person { act: PersonsAct::Retry { job, which }, .. }), Ok(_)) => Some((*job, which)),
        // What did not succeed runs again by the new file, or everything does.
        (Event::Act(Act::Edit(edit)), Ok(_)) => {
            Some((edit.job, if edit.again { &Retries::All } else { &Retries::Failed }))
        }
        _ => None,
    }
}

/// Whether one of the retries concerns a chunk that had ended before its batch.
fn is_chosen(disk: &Disk, id: ChunkId, retries: &[(JobId, &Retries)]) -> bool {
    let Some(Row::Block(block)) = disk.rows.get(&Key::Block(id.job, id.stage, id.index / BLOCK)) else { return false };
    let byte = block.get((id.index % BLOCK) as usize).copied().unwrap_or_default();
    let state = ChunkState::ALL[usize::from(byte)];
    let chosen = |which: &Retries| match which {
        Retries::Failed => matches!(state, ChunkState::Failed | ChunkState::Cancelled),
        Retries::All => state.is_final(),
        Retries::Chunks(chunks) => state.is_final() && chunks.contains(&id),
    };
    id.stage == MAIN && retries.iter().any(|(job, which)| *job == id.job && chosen(which))
}
