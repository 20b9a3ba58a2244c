//! Sync: what a runner says it holds is compared with what it should hold, and the difference comes back as orders.
use std::collections::BTreeSet;

use dsg_schemas::api::ChunkState;
use dsg_schemas::ids::{AttemptId, JobId, RunnerId, SessionId};
use dsg_schemas::reason::EndReason;
use dsg_schemas::wire::{AttemptReport, Ended, Phase, StopOrder};

use crate::attempt::Standing;
use crate::event::{Millis, Orders, Refusal, Report, Start, Sync};
use crate::grid::Grid;
use crate::planted::{Bug, planted};
use crate::row::Halt;

/// Images of which is remembered who holds them.
const IMAGES: usize = 1_000;
/// What is shown of an attempt whose container is frozen.
const PAUSED: &str = "paused: it holds its memory, and its time limits stand still";

impl Grid {
    pub(crate) fn sync(&mut self, now: Millis, sync: Sync) -> Result<Orders, Refusal> {
        let Sync { runner, session, seq, report } = sync;
        self.admit(runner, session, seq, report.is_some())?;
        self.wake(now);
        let mut orders = Orders::default();
        if let Some(report) = report {
            self.take_report(now, runner, report, &mut orders);
        }
        self.stops(runner, &mut orders);
        orders.start.extend(self.place(now, runner));
        if let Some(runner) = self.runners.get(&runner) {
            orders.drain = runner.row.drain;
            orders.pause = runner.row.halted.as_ref().is_some_and(|halted| halted.how == Halt::Pause);
        }
        Ok(orders)
    }

    /// Refuses late duplicates and lives that have passed. A wake carries the number of the sync that it answers.
    fn admit(&mut self, id: RunnerId, session: SessionId, seq: u64, reports: bool) -> Result<(), Refusal> {
        let runner = self.runners.get_mut(&id).ok_or(Refusal::UnknownRunner(id))?;
        let known = runner
            .session
            .as_mut()
            .filter(|known| known.id == session || planted(Bug::SessionUnchecked))
            .ok_or(Refusal::HelloFirst)?;
        let fresh = if reports { known.seq.is_none_or(|last| last < seq) } else { known.seq == Some(seq) };
        if !fresh && !planted(Bug::SeqUnchecked) {
            return Err(Refusal::StaleSeq);
        }
        known.seq = Some(seq);
        Ok(())
    }

    fn take_report(&mut self, now: Millis, id: RunnerId, report: Report, orders: &mut Orders) {
        let Report { attempts, no_more, goodbye, load, facts } = report;
        if let Some(runner) = self.runners.get_mut(&id) {
            runner.heard = now;
            runner.load = load;
            runner.no_more = no_more;
            runner.strangers = 0;
            let ended = goodbye.then(|| runner.no_more.clone().unwrap_or_default());
            if runner.row.ended != ended {
                runner.row.ended = ended;
                self.changes.runners.insert(id);
            }
            if let Some(facts) = facts.filter(|facts| **facts != runner.row.facts) {
                runner.row.facts = *facts;
                self.changes.runners.insert(id);
            }
        }
        let reported: BTreeSet<AttemptId> = attempts.iter().map(|report| report.attempt).collect();
        for report in attempts {
            self.take_attempt(now, id, report, orders);
        }
        let held = self.runners.get(&id).map(|runner| runner.holds.clone()).unwrap_or_default();
        for missing in held.difference(&reported) {
            self.missing(now, id, *missing, orders);
        }
    }

    fn take_attempt(&mut self, now: Millis, runner: RunnerId, report: AttemptReport, orders: &mut Orders) {
        let AttemptReport { attempt, phase } = report;
        let live = self.attempts.get(&attempt).filter(|live| live.row.runner == runner);
        let Some(standing) = live.map(|live| live.standing) else {
            // Settled, fenced before a restart of the server, or of a job that is gone.
            match phase {
                Phase::Ended(_) => orders.forget.push(attempt),
                Phase::Preparing { .. } | Phase::Running { .. } | Phase::Storing => {
                    orders.stop.push(StopOrder { attempt, reason: EndReason::RunnerLost });
                    if let Some(runner) = self.runners.get_mut(&runner) {
                        runner.strangers += 1;
                    }
                }
            }
            return;
        };
        if standing == Standing::Lost {
            self.reinstate(now, attempt);
        }
        match phase {
            Phase::Ended(ended) => {
                self.attempt_ended(now, attempt, *ended);
                orders.forget.push(attempt);
            }
            Phase::Preparing { note } => self.progress(now, attempt, ChunkState::Leased, None, note),
            Phase::Running { since_ms: _, paused } => {
                let note = if paused { PAUSED } else { "" };
                self.progress(now, attempt, ChunkState::Running, Some(now), note.to_owned());
            }
            Phase::Storing => self.progress(now, attempt, ChunkState::Storing, Some(now), String::new()),
        }
    }

    /// A live report: the chunk goes on, never back.
    fn progress(&mut self, now: Millis, id: AttemptId, state: ChunkState, started: Option<Millis>, note: String) {
        let Some(live) = self.attempts.get_mut(&id) else { return };
        live.note = note;
        if matches!(live.standing, Standing::Stopping { fenced: true, .. }) {
            // Its job may be deleted: a row of it would be there for ever.
            return;
        }
        // What was stopped before anybody heard that it runs did not start after its end.
        let started = started.filter(|_| live.row.ended.is_none());
        // That it was seen is kept with the next news of it: a server that forgot offers again what was not started.
        live.row.seen = true;
        let news = live.row.started_ms.is_none() && started.is_some();
        live.row.started_ms = live.row.started_ms.or(started);
        let (chunk, runner, current) = (live.row.chunk, live.row.runner, live.standing == Standing::Current);
        if news {
            self.write_attempt(id);
            self.note_holder(chunk.job, runner);
        }
        let before = self.state(chunk);
        if current && before.is_some_and(|before| before < state) {
            self.shift(now, chunk, state);
        }
        if current && started.is_some() {
            self.job_started(now, chunk.job);
        }
    }

    /// A container of the job has started there: what it needs is at hand.
    fn note_holder(&mut self, job: JobId, runner: RunnerId) {
        let Some(job) = self.jobs.get_mut(&job) else { return };
        job.started_on.insert(runner);
        if !self.holders.contains_key(&job.row.image) && self.holders.len() >= IMAGES {
            self.holders.pop_first();
        }
        self.holders.entry(job.row.image.clone()).or_default().insert(runner);
    }

    /// The runner does not have an attempt that we count it to hold.
    fn missing(&mut self, now: Millis, runner: RunnerId, id: AttemptId, orders: &mut Orders) {
        let Some(live) = self.attempts.get(&id) else { return };
        match live.standing {
            Standing::Current if live.row.seen => {
                let name = self.runner_name(runner);
                let message = format!("{name} came back without it: its process or its host was restarted");
                self.attempt_ended(now, id, Ended::before_start(EndReason::RunnerLost, message));
            }
            Standing::Current if !self.runners.get(&runner).is_some_and(|runner| runner.takes_work(now)) => {
                let message = "taken back before it reached a runner that now takes nothing more";
                self.attempt_ended(now, id, Ended::before_start(EndReason::Evicted, message));
            }
            Standing::Current if planted(Bug::OffersOnce) => {}
            // The answer that carried it was lost, or a newer sync overtook it.
            Standing::Current => orders.start.push(Start {
                attempt: id,
                chunk: live.row.chunk,
                number: live.row.number,
                gpus: live.row.gpus.clone(),
                grown: live.row.grown.as_deref().copied().unwrap_or_default(),
            }),
            Standing::Lost => {
                if let Some(mut live) = self.let_go(id) {
                    live.row.may_return = false;
                    self.write_ended(&live.row);
                }
            }
            Standing::Stopping { .. } => _ = self.let_go(id),
        }
    }

    /// Repeated until the runner says that they are over.
    fn stops(&self, runner: RunnerId, orders: &mut Orders) {
        let evicts = self.evicts(runner) && !planted(Bug::EvictsNothing);
        let Some(runner) = self.runners.get(&runner) else { return };
        for live in runner.holds.iter().filter_map(|id| self.attempts.get(id)).filter(|_| !planted(Bug::StopsNothing)) {
            let attempt = live.row.id;
            match live.standing {
                Standing::Stopping { reason, fenced: _ } => orders.stop.push(StopOrder { attempt, reason }),
                Standing::Current if evicts && live.row.seen => {
                    orders.stop.push(StopOrder { attempt, reason: EndReason::Evicted });
                }
                Standing::Current | Standing::Lost => {}
            }
        }
    }
}
