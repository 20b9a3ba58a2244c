//! What must hold of every answer, when it is made and when it goes out.
use std::collections::BTreeMap;

use dsg_core::row::{Halt, Halted};
use dsg_core::{Act, Answer, Effects, Event, Join, Key, Millis, Orders, Refusal, Row, Sync};
use dsg_schemas::api::{Act as PersonsAct, Acted};
use dsg_schemas::ids::{AttemptId, GATHER, RunnerId};
use dsg_schemas::reason::EndReason;
use dsg_schemas::wire::Phase;

use super::{Heard, Proof, Rows};
use crate::disk::Disk;

impl Proof {
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
                match act {
                    PersonsAct::Cancel { job } => _ = self.retried.remove(job),
                    PersonsAct::Delete { job } => _ = self.is_ended(*job),
                    _ => {}
                }
            }
            (Event::Act(Act::Edit(edit)), Ok(_)) => self.edited(&rows, edit),
            (Event::Act(Act::Expire(expire)), Ok(_)) => self.expired(&rows, expire),
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
        let halted = rows.halted(*runner);
        let evicts = halted.is_some_and(|halted| halted.how == Halt::Evict);
        let pauses = halted.is_some_and(|halted| halted.how == Halt::Pause);
        assert_eq!(orders.pause, pauses, "what runner {runner} is told of its pause");
        for attempt in report.iter().flat_map(|report| &report.attempts) {
            let id = attempt.attempt;
            let goes_on = rows.attempt(id).is_some_and(|row| row.runner == *runner && row.ended.is_none());
            let goes_on = goes_on && !evicts;
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
        let mut fresh = Vec::new();
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
                assert_eq!(row.edits, job.edits, "by which revision of its file {chunk} starts");
                let (ends, policy) = (rows.ends(runner), rows.policy(chunk));
                let late =
                    ends.zip(policy.and_then(|policy| policy.needs.run_ms)).filter(|(ends, run)| now + run > *ends);
                assert!(
                    late.is_none(),
                    "{chunk} starts at {now} on a runner that ends before it must be over: {late:?}"
                );
                fresh.push(id);
            }
            if chunk.stage == GATHER {
                let whole = job.gather.as_ref().is_some_and(|gather| gather.run_partial)
                    || job.tally.succeeded == job.tally.total();
                assert!(job.tally.ended() == job.tally.total() && whole, "{chunk} starts before its inputs are there");
            }
            let policy = rows.policy(chunk).unwrap_or_else(|| panic!("{chunk} starts, and its stage has no policy"));
            let mut needs = policy.needs.clone();
            assert_eq!(start.gpus.len(), needs.gpus as usize, "{chunk} gets its GPUs");
            if let Some(grown) = start.grown.memory_bytes {
                let most = policy.max_memory_bytes.unwrap_or(u64::MAX).max(needs.memory_bytes);
                let range = needs.memory_bytes..=most;
                assert!(range.contains(&grown), "{chunk} has grown to {grown} bytes, which may be {range:?}");
                needs.memory_bytes = grown;
            }
            self.uses.insert(id, (needs, start.gpus.clone()));
        }
        let Some(heard) = self.runners.get_mut(&runner) else { return };
        let before = heard.live.len();
        heard.live.extend(orders.start.iter().map(|start| start.attempt));
        if heard.live.len() == before {
            return;
        }
        if !fresh.is_empty() {
            let current = self.current(rows);
            self.limits(rows, &current, &fresh);
            self.turns(now, rows, runner, &current, &fresh);
            self.spared(now, rows, runner);
        }
        let Some(heard) = self.runners.get(&runner) else { return };
        let Some(Row::Runner(row)) = rows.get(Key::Runner(runner)) else { return };
        let (mut cpus, mut memory) = (0, 0);
        let mut on: BTreeMap<&String, (usize, bool)> = BTreeMap::new();
        for (needs, devices) in heard.live.iter().filter_map(|id| self.uses.get(id)) {
            cpus += needs.cpus_milli;
            memory += needs.memory_bytes;
            for device in devices {
                let (count, all_share) = on.entry(device).or_insert((0, true));
                (*count, *all_share) = (*count + 1, *all_share && needs.gpu_share);
            }
        }
        for gpu in &row.facts.gpus {
            let (count, all_share) = on.get(&gpu.uuid).copied().unwrap_or((0, true));
            let most = if all_share { gpu.most_shares() as usize } else { 1 };
            assert!(count <= most, "{count} attempts have {} of {}, and {most} may", gpu.uuid, row.name);
        }
        assert!(cpus <= row.facts.cpus_milli, "{} runs {cpus} of {} milli-cpus", row.name, row.facts.cpus_milli);
        assert!(memory <= row.facts.memory_bytes, "{} uses {memory} of {} bytes", row.name, row.facts.memory_bytes);
    }

    /// By its row, also one of before a restart, a runner that started something does not rest, and holds no more than it may on trial.
    fn spared(&self, now: Millis, rows: &Rows, runner: RunnerId) {
        let Some(Row::Runner(row)) = rows.get(Key::Runner(runner)) else { return };
        assert!(row.halted.is_none(), "{} gets work and is {:?}", row.name, row.halted);
        let (name, until) = (&row.name, row.sick.rests_until());
        assert!(until <= now, "{name} gets work at {now} and rests until {until}");
        let live = self.runners.get(&runner).map_or(0, |heard| heard.live.len());
        assert!(live <= 1 || !row.sick.is_on_trial(), "{name} is on trial and has {live} attempts");
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
}

/// The same retry by many people at once moves each chunk once.
fn once(act: &PersonsAct, acted: &Acted, last: Option<&(Event, Result<Answer, Refusal>)>) {
    let Some((Event::Act(Act::Person { act: before, .. }), Ok(_))) = last else { return };
    if matches!(act, PersonsAct::Retry { .. }) && act == before {
        assert_eq!(acted.count, 0, "the same retry twice: {}", acted.message);
    }
}

impl<'a> Rows<'a> {
    /// When the runner ends by itself.
    fn ends(&self, runner: RunnerId) -> Option<Millis> {
        match self.get(Key::Runner(runner)) {
            Some(Row::Runner(row)) => row.facts.ends_ms,
            _ => None,
        }
    }

    /// What a person does with what the runner holds.
    fn halted(&self, runner: RunnerId) -> Option<&'a Halted> {
        match self.get(Key::Runner(runner)) {
            Some(Row::Runner(row)) => row.halted.as_ref(),
            _ => None,
        }
    }
}
