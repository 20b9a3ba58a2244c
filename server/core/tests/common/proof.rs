//! What must hold of every answer and of every committed row, beside what `Grid::check` proves of the memory.
//!
//! It knows the contract, not the scheduler: it keeps its own small books of who was heard when and what was ordered, and holds
//! what the scheduler says against them.
use std::collections::{BTreeMap, BTreeSet};

use dsg_core::row::{AttemptRow, ChunkRow, JobRow};
use dsg_core::{
    Act, Answer, BLOCK, Effects, Event, Grid, Join, Key, Millis, Needs, Orders, QueueFilter, Refusal, Row, Sync,
};
use dsg_schemas::api::{Act as PersonsAct, Acted, ChunkState, Retries};
use dsg_schemas::ids::{AttemptId, ChunkId, GATHER, JobId, MAIN, RunnerId, SessionId};
use dsg_schemas::limits::{GRID_REQUEUES, LEASE_MS};
use dsg_schemas::reason::{Blame, EndReason};
use dsg_schemas::spec::{Retry, RetryAction};
use dsg_schemas::wire::Phase;

use crate::disk::{Disk, job_of};

/// Different runners that a chunk may take down before it is taken for the cause.
const POISON_RUNNERS: usize = 3;

/// What has been seen, to hold what comes later against.
#[derive(Default)]
pub struct Proof {
    /// Attempts that their own runner reported as succeeded.
    succeeded: BTreeSet<AttemptId>,
    accepted: BTreeMap<ChunkId, AttemptId>,
    /// How many attempt rows of a job say that they ended so.
    ends: BTreeMap<(JobId, EndReason), u64>,
    /// Attempts of a chunk before the last retry that a person may have ordered, and before the last one that concerned it for sure.
    before_retry: BTreeMap<ChunkId, (usize, usize)>,
    /// What an attempt that was ordered to start uses.
    uses: BTreeMap<AttemptId, (Needs, Vec<String>)>,
    /// The newest session that anybody was told of.
    newest_session: SessionId,
    pub successes: u64,
    /// When jobs that have not ended must have.
    deadlines: BTreeMap<JobId, Millis>,
    removed_jobs: BTreeSet<JobId>,
    removed_runners: BTreeSet<RunnerId>,
    /// Jobs that a person's retry concerned since their last cancel.
    retried: BTreeSet<JobId>,
    // Below: of this start of the server only.
    loaded: Millis,
    runners: BTreeMap<RunnerId, Heard>,
    offered: BTreeSet<AttemptId>,
    /// Runners that were silent for longer than their lease when a tick of this batch came.
    silent: BTreeSet<RunnerId>,
    /// When a tick of this batch came.
    ticked: Millis,
    /// And so were those that have not been heard since the server started.
    all_silent: bool,
}

/// What a runner said last.
#[derive(Clone, Debug, Default)]
struct Heard {
    at: Millis,
    session: Option<(SessionId, String)>,
    seq: Option<u64>,
    /// What runs there, by its own last report and the orders since.
    live: BTreeSet<AttemptId>,
}

/// Rows as they will be once the batch is committed.
struct Rows<'a>(&'a Disk, &'a Effects);

impl<'a> Rows<'a> {
    fn get(&self, key: Key) -> Option<&'a Row> {
        match self.1.rows.get(&key) {
            Some(row) => row.as_ref(),
            None => self.0.rows.get(&key),
        }
    }
    fn job(&self, id: JobId) -> Option<&'a JobRow> {
        match self.get(Key::Job(id)) {
            Some(Row::Job(row)) => Some(row),
            _ => None,
        }
    }
    fn chunk(&self, id: ChunkId) -> Option<&'a ChunkRow> {
        match self.get(Key::Chunk(id)) {
            Some(Row::Chunk(row)) => Some(row),
            _ => None,
        }
    }
    fn attempt(&self, id: AttemptId) -> Option<&'a AttemptRow> {
        match self.get(Key::Attempt(id)) {
            Some(Row::Attempt(row)) => Some(row),
            _ => None,
        }
    }
    fn retry(&self, id: ChunkId) -> Option<&'a Retry> {
        let job = self.job(id.job)?;
        Some(&if id.stage == MAIN { &job.main } else { job.gather.as_ref()?.run.as_ref()? }.retry)
    }
}

impl Proof {
    pub fn new(now: Millis) -> Proof {
        Proof { loaded: now, ..Proof::default() }
    }

    /// Memory was loaded anew: sessions are gone, and every lease has a full period.
    pub fn loaded(&mut self, now: Millis) {
        self.loaded = now;
        self.runners.clear();
        self.offered.clear();
        self.silent.clear();
        self.all_silent = false;
        self.ticked = 0;
    }

    pub fn forgive(&mut self, from: Millis, to: Millis) {
        let away = to.saturating_sub(from);
        self.loaded = (self.loaded + away).min(to);
        for runner in self.runners.values_mut() {
            runner.at = (runner.at + away).min(to);
        }
    }

    fn heard(&self, runner: RunnerId) -> Millis {
        self.runners.get(&runner).map_or(self.loaded, |heard| heard.at)
    }

    fn is_silent(&self, runner: RunnerId, now: Millis) -> bool {
        now.saturating_sub(self.heard(runner)) > LEASE_MS
    }

    pub fn before_tick(&mut self, now: Millis) {
        self.ticked = now;
        let silent = self.runners.keys().copied().filter(|runner| self.is_silent(*runner, now));
        let silent: Vec<RunnerId> = silent.collect();
        self.silent.extend(silent);
        self.all_silent |= now.saturating_sub(self.loaded) > LEASE_MS;
    }

    /// Called after each event; `last` is the one before it in the batch.
    pub fn event(
        &mut self,
        now: Millis,
        disk: &Disk,
        effects: &Effects,
        event: &Event,
        answer: &Result<Answer, Refusal>,
        last: Option<&(Event, Result<Answer, Refusal>)>,
    ) {
        let rows = Rows(disk, effects);
        match (event, answer) {
            (Event::Join(Join::Hello { runner, host, .. }), answer) => self.hello(now, *runner, host, answer),
            (Event::Sync(sync), answer) => self.sync(now, &rows, sync, answer),
            (Event::Act(Act::Person { act, .. }), Ok(Answer::Acted(acted))) => {
                once(act, acted, last);
                if let PersonsAct::Cancel { job } = act {
                    self.retried.remove(job);
                }
            }
            (Event::Act(_) | Event::Join(Join::Enrol { .. }) | Event::Submit(_) | Event::Tick, _) => {}
        }
    }

    /// A machine that speaks is not displaced by another one with the same identity.
    fn hello(&mut self, now: Millis, runner: RunnerId, host: &str, answer: &Result<Answer, Refusal>) {
        let silent = self.is_silent(runner, now);
        let known = self.runners.get(&runner).and_then(|heard| heard.session.as_ref());
        let other = known.filter(|(_, known)| known != host && !silent);
        match answer {
            Ok(Answer::Session { session, .. }) => {
                assert!(other.is_none(), "{host} took the identity of {other:?}, which speaks");
                assert!(*session > self.newest_session, "session {session} was minted before");
                let session = Some((*session, host.to_owned()));
                self.runners.insert(runner, Heard { at: now, session, ..Heard::default() });
            }
            Err(Refusal::Cloned { .. }) => assert!(other.is_some(), "{host} was refused, and nobody else speaks"),
            Err(Refusal::UnknownRunner(_)) => {}
            other => panic!("a hello is answered with {other:?}"),
        }
    }

    fn sync(&mut self, now: Millis, rows: &Rows, sync: &Sync, answer: &Result<Answer, Refusal>) {
        let Sync { runner, session, seq, report } = sync;
        let heard = self.runners.entry(*runner).or_insert_with(|| Heard { at: self.loaded, ..Heard::default() });
        let same = heard.session.as_ref().is_some_and(|(known, _)| known == session);
        let fresh = if report.is_some() { heard.seq.is_none_or(|last| last < *seq) } else { heard.seq == Some(*seq) };
        let known = rows.get(Key::Runner(*runner)).is_some();
        let wanted = match (known, same, fresh) {
            (false, _, _) => Some(Refusal::UnknownRunner(*runner)),
            (true, false, _) => Some(Refusal::HelloFirst),
            (true, true, false) => Some(Refusal::StaleSeq),
            (true, true, true) => None,
        };
        assert_eq!(answer.as_ref().err(), wanted.as_ref(), "sync {seq} of session {session} of runner {runner}");
        if let Some(report) = report {
            let mine = |id: AttemptId| rows.attempt(id).is_some_and(|row| row.runner == *runner);
            let ended = report.attempts.iter().filter(|report| match &report.phase {
                Phase::Ended(ended) => ended.reason == EndReason::Succeeded && mine(report.attempt),
                Phase::Preparing { .. } | Phase::Running { .. } | Phase::Storing => false,
            });
            self.succeeded.extend(ended.map(|report| report.attempt));
        }
        let Ok(Answer::Orders(orders)) = answer else { return };
        heard.seq = Some(*seq);
        if let Some(report) = report {
            heard.at = now;
            let live = report.attempts.iter().filter(|report| !matches!(report.phase, Phase::Ended(_)));
            heard.live = live.map(|report| report.attempt).collect();
        }
        for attempt in report.iter().flat_map(|report| &report.attempts) {
            let id = attempt.attempt;
            let goes_on = rows.attempt(id).is_some_and(|row| row.runner == *runner && row.ended.is_none());
            let stopped = orders.stop.iter().any(|stop| stop.attempt == id);
            match attempt.phase {
                Phase::Ended(_) => assert!(orders.forget.contains(&id), "{id} has ended, and {runner} has to keep it"),
                Phase::Preparing { .. } | Phase::Running { .. } | Phase::Storing => {
                    assert_eq!(stopped, !goes_on, "whether attempt {id} on runner {runner} is to be stopped");
                }
            }
        }
        self.orders(now, rows, *runner, orders);
    }

    /// Whatever starts may start, is the only one of its chunk, and fits beside what runs there.
    fn orders(&mut self, now: Millis, rows: &Rows, runner: RunnerId, orders: &Orders) {
        for start in &orders.start {
            let (id, chunk) = (start.attempt, start.chunk);
            let job = rows.job(chunk.job).unwrap_or_else(|| panic!("{chunk} starts, and its job has no row"));
            let row = rows.attempt(id).unwrap_or_else(|| panic!("attempt {id} starts without a row"));
            assert_eq!((row.chunk, row.runner, &row.gpus), (chunk, runner, &start.gpus), "attempt {id} as ordered");
            assert!(row.ended.is_none(), "attempt {id} of {chunk} starts and has ended");
            assert!(job.stopped.is_none() && !job.state.is_final(), "{chunk} starts, and its job was stopped");
            let last = rows.chunk(chunk).and_then(|row| row.attempts.last().copied());
            assert_eq!(last, Some(id), "what starts of {chunk} is its newest attempt");
            if row.leased_ms == now && self.offered.insert(id) {
                assert!(!job.held, "{chunk} starts, and its job is held");
            }
            let policy =
                if chunk.stage == MAIN { Some(&job.main) } else { job.gather.as_ref().and_then(|g| g.run.as_ref()) };
            if chunk.stage == GATHER {
                let whole = job.gather.as_ref().is_some_and(|gather| gather.run_partial)
                    || job.tally.succeeded == job.tally.total();
                assert!(job.tally.ended() == job.tally.total() && whole, "{chunk} starts before its inputs are there");
            }
            let needs = policy.map(|policy| policy.needs.clone()).unwrap_or_default();
            assert_eq!(start.gpus.len(), needs.gpus as usize, "{chunk} gets its GPUs");
            self.uses.insert(id, (needs, start.gpus.clone()));
        }
        let Some(heard) = self.runners.get_mut(&runner) else { return };
        let before = heard.live.len();
        heard.live.extend(orders.start.iter().map(|start| start.attempt));
        if heard.live.len() == before {
            return;
        }
        let Some(Row::Runner(row)) = rows.get(Key::Runner(runner)) else { return };
        let (mut cpus, mut memory, mut gpus) = (0, 0, BTreeSet::new());
        for (id, (needs, devices)) in heard.live.iter().filter_map(|id| Some((id, self.uses.get(id)?))) {
            cpus += needs.cpus_milli;
            memory += needs.memory_bytes;
            for device in devices {
                assert!(gpus.insert(device), "{device} of {} is given twice, now to attempt {id}", row.name);
            }
        }
        assert!(cpus <= row.facts.cpus_milli, "{} runs {cpus} of {} milli-cpus", row.name, row.facts.cpus_milli);
        assert!(memory <= row.facts.memory_bytes, "{} uses {memory} of {} bytes", row.name, row.facts.memory_bytes);
    }

    /// Called with each batch of rows before it is committed.
    pub fn look(&mut self, disk: &Disk, effects: &Effects, batch: &[(Event, Result<Answer, Refusal>)]) {
        let rows = Rows(disk, effects);
        let retries: Vec<(JobId, &Retries)> = batch.iter().filter_map(|(event, answer)| retry(event, answer)).collect();
        let retried: BTreeSet<JobId> = retries.iter().map(|(job, _)| *job).collect();
        self.removed_jobs.extend(&effects.removed_jobs);
        for (key, row) in &effects.rows {
            match (key, row) {
                (Key::Attempt(id), Some(Row::Attempt(row))) => {
                    let before = match disk.rows.get(key) {
                        Some(Row::Attempt(before)) => Some(&**before),
                        _ => None,
                    };
                    self.attempt(*id, before, row);
                }
                (Key::Chunk(id), Some(Row::Chunk(row))) => {
                    let before = match disk.rows.get(key) {
                        Some(Row::Chunk(before)) => before.attempts.as_slice(),
                        _ => &[],
                    };
                    assert!(row.attempts.starts_with(before), "{id} had attempts {before:?}, now {:?}", row.attempts);
                    if retried.contains(&id.job) {
                        let (_, sure) = self.before_retry.get(id).copied().unwrap_or_default();
                        let sure = if is_chosen(disk, *id, &retries) { before.len() } else { sure };
                        self.before_retry.insert(*id, (before.len(), sure));
                    }
                    self.chunk(&rows, row, retried.contains(&id.job));
                }
                (Key::Runner(id), None) => _ = self.removed_runners.insert(*id),
                _ => {}
            }
        }
        for (key, row) in &effects.rows {
            if let (Key::Job(id), Some(Row::Job(row))) = (key, row) {
                let before = match disk.rows.get(key) {
                    Some(Row::Job(before)) => before.tally.succeeded,
                    _ => 0,
                };
                let fewer = row.tally.succeeded < before && !retried.contains(id);
                assert!(!fewer, "job {id} had {before} chunks succeeded, now {}", row.tally.succeeded);
                self.job(row);
            }
        }
        let removed = |job: JobId| effects.removed_jobs.contains(&job);
        if !effects.removed_jobs.is_empty() {
            self.accepted.retain(|id, _| !removed(id.job));
            self.ends.retain(|(id, _), _| !removed(*id));
            self.before_retry.retain(|id, _| !removed(id.job));
            self.deadlines.retain(|id, _| !removed(*id));
        }
        let late = self.deadlines.iter().find(|(_, at)| **at <= self.ticked);
        assert!(late.is_none(), "job and time of its end: {late:?}, and a tick came at {}", self.ticked);
        self.retried.extend(retried);
        self.ticked = 0;
        self.silent.clear();
        self.all_silent = false;
    }

    /// What an attempt uses that was ordered to start.
    pub fn needs_of(&self, id: AttemptId) -> Needs {
        self.uses.get(&id).map(|(needs, _)| needs.clone()).unwrap_or_default()
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
            let unheard = self.all_silent && !self.runners.contains_key(&row.runner);
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

    fn chunk(&mut self, rows: &Rows, row: &ChunkRow, retried: bool) {
        let id = row.id;
        let before = self.accepted.get(&id).copied();
        if before != row.accepted {
            let by_person = before.is_none() || retried;
            assert!(by_person, "{id} had succeeded as {before:?}, now {:?}", row.accepted);
            match row.accepted {
                Some(attempt) => _ = self.accepted.insert(id, attempt),
                None => _ = self.accepted.remove(&id),
            }
            self.successes += u64::from(row.accepted.is_some());
        }
        let Some(retry) = rows.retry(id) else { return };
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
    fn job(&mut self, row: &JobRow) {
        match row.job_timeout_ms.filter(|_| !row.state.is_final()) {
            Some(limit) => {
                let from = row.submitted_ms.max(row.retried_ms.unwrap_or(0));
                self.deadlines.insert(row.id, from.saturating_add(limit));
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

    /// Called when an answer goes out, after its commit: it must still be true after a power cut.
    pub fn answered(&mut self, disk: &Disk, event: &Event, answer: &Result<Answer, Refusal>) {
        let rows = &disk.rows;
        match (event, answer) {
            (_, Ok(Answer::Job { job, fresh: true })) => {
                let there = rows.contains_key(&Key::Job(*job)) || self.removed_jobs.contains(job);
                assert!(there, "job {job} was answered and is not on disk");
            }
            (_, Ok(Answer::Enrolled { runner, .. })) => {
                let there = rows.contains_key(&Key::Runner(*runner)) || self.removed_runners.contains(runner);
                assert!(there, "runner {runner} is not on disk");
            }
            (_, Ok(Answer::Session { session, .. })) => self.newest_session = self.newest_session.max(*session),
            (Event::Sync(sync), Ok(Answer::Orders(orders))) => {
                for start in orders.start.iter().filter(|start| !self.removed_jobs.contains(&start.chunk.job)) {
                    let row = rows.get(&Key::Attempt(start.attempt));
                    let there = matches!(row, Some(Row::Attempt(row)) if row.chunk == start.chunk);
                    assert!(there, "attempt {} was ordered and is not on disk", start.attempt);
                }
                for id in &orders.forget {
                    let ended = match rows.get(&Key::Attempt(*id)) {
                        Some(Row::Attempt(row)) => row.ended.is_some() || row.runner != sync.runner,
                        _ => true,
                    };
                    assert!(ended, "the end of attempt {id} is forgotten and not on disk");
                }
            }
            (Event::Act(Act::Person { act: PersonsAct::Cancel { job }, .. }), Ok(Answer::Acted(_))) => {
                let stopped = match rows.get(&Key::Job(*job)) {
                    Some(Row::Job(row)) => row.stopped.is_some() || row.state.is_final() || self.retried.contains(job),
                    _ => true,
                };
                assert!(stopped, "the cancel of job {job} was answered and is not on disk");
            }
            (_, Ok(Answer::Job { .. } | Answer::Orders(_) | Answer::Acted(_) | Answer::Ticked) | Err(_)) => {}
        }
    }

    /// What was deleted does not come back with the rows.
    pub fn nothing_removed_is_there(&self, disk: &Disk) {
        let left =
            disk.rows.iter().find(|(key, row)| job_of(key, row).is_some_and(|job| self.removed_jobs.contains(&job)));
        assert!(left.is_none(), "a row of a deleted job is on disk: {left:?}");
    }

    /// A restart shows the same work waiting in the same order, and has nothing to write.
    pub fn same_after_load(live: &Grid, loaded: &mut Grid, now: Millis) {
        loaded.check();
        let order = |grid: &Grid| -> Vec<_> {
            let (entries, _) = grid.queue(now, &QueueFilter { limit: 500, ..QueueFilter::default() });
            entries.into_iter().map(|entry| (entry.first, entry.waiting, entry.priority, entry.needs)).collect()
        };
        assert_eq!(order(live), order(loaded), "the queue after a restart");
        let mut effects = Effects::default();
        loaded.apply(now, Event::Tick, &mut effects).expect("a tick");
        assert!(effects.rows.is_empty(), "a restart alone changes {:?}", effects.rows);
        loaded.check();
    }
}

/// The same retry by many people at once moves each chunk once.
fn once(act: &PersonsAct, acted: &Acted, last: Option<&(Event, Result<Answer, Refusal>)>) {
    let Some((Event::Act(Act::Person { act: before, .. }), Ok(_))) = last else { return };
    if matches!(act, PersonsAct::Retry { .. }) && act == before {
        assert_eq!(acted.count, 0, "the same retry twice: {}", acted.message);
    }
}

fn retry<'b>(event: &'b Event, answer: &Result<Answer, Refusal>) -> Option<(JobId, &'b Retries)> {
    match (event, answer) {
        (Event::Act(Act::Person { act: PersonsAct::Retry { job, which }, .. }), Ok(_)) => Some((*job, which)),
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
