//! The end of an attempt: its row is closed, its chunk succeeds, fails or waits again; and the way back of one that was lost.
use dsg_schemas::api::ChunkState;
use dsg_schemas::ids::{AttemptId, ChunkId, MAIN, RunnerId};
use dsg_schemas::reason::{Blame, EndReason};
use dsg_schemas::wire::Ended;

use crate::attempt::Standing;
use crate::decide::{Charge, Decision, POISON_RUNNERS, accepts, charged, decide};
use crate::event::Millis;
use crate::grid::Grid;
use crate::planted::{Bug, planted};
use crate::row::{AttemptRow, Failure, FirstChunks, Stopped};

impl Grid {
    /// A runner (or the server in its place) says that an attempt is over; the runner holds it no more.
    pub(crate) fn attempt_ended(&mut self, now: Millis, id: AttemptId, ended: Ended) {
        let Some(live) = self.let_go(id) else { return };
        let (was, mut row) = (live.standing, live.row);
        let job = self.jobs.get(&row.chunk.job);
        let elsewhere = job.is_some_and(|job| job.started_on.iter().any(|runner| *runner != row.runner));
        self.note_sickness(now, &row, elsewhere, &ended);
        match was {
            Standing::Current => {
                let ended = self.with_evictor(row.runner, self.with_required_outputs(&row, ended));
                // By the runner's clock it may have run for longer than it was there.
                let ran = || (ended.run_ms > 0).then_some(now.saturating_sub(ended.run_ms).max(row.leased_ms));
                row.started_ms = row.started_ms.or_else(ran);
                let seen = row.seen;
                row.seen = true;
                row.ended_ms = Some(now);
                row.ended = Some(Box::new(ended.clone()));
                self.write_ended(&row);
                if let Some(started) = row.started_ms
                    && let Some(job) = self.jobs.get_mut(&row.chunk.job)
                {
                    job.row.started_ms = job.row.started_ms.or(Some(started));
                }
                if ended.reason == EndReason::Succeeded
                    && let Some(stage) =
                        self.jobs.get_mut(&row.chunk.job).and_then(|job| job.stage_mut(row.chunk.stage))
                {
                    stage.note_run(ended.run_ms.min(now.saturating_sub(row.leased_ms)));
                }
                self.chunk_after(now, &row, seen, &ended);
            }
            Standing::Stopping { reason, fenced: false } => {
                // What we stopped it for stays the reason; what the runner measured is added.
                let message = row.ended.as_ref().map(|ours| ours.message.clone()).unwrap_or_default();
                row.ended = Some(Box::new(Ended { reason, message, ..ended }));
                self.write_ended(&row);
            }
            Standing::Stopping { fenced: true, .. } | Standing::Lost => {}
        }
    }

    /// Whatever a runner says: without its required outputs nothing counts as a success.
    fn with_required_outputs(&self, attempt: &AttemptRow, ended: Ended) -> Ended {
        let job = self.jobs.get(&attempt.chunk.job);
        let Some(policy) = job.and_then(|job| job.row.policy(attempt.chunk.stage)) else { return ended };
        let accepted = accepts(&policy.retry, ended.reason, ended.exit_code);
        if ended.reason != EndReason::Succeeded && !accepted {
            return ended;
        }
        let is_there = |name: &&String| ended.outputs.iter().any(|file| file.name == **name);
        let Some(missing) = policy.required_outputs.iter().find(|name| !is_there(name)) else { return ended };
        let message = format!("its runner reported no output `{missing}`, which is required");
        Ended { reason: EndReason::OutputMissing, message, ..ended }
    }

    pub(crate) fn write_ended(&mut self, row: &AttemptRow) {
        let key = crate::row::Key::Attempt(row.id);
        self.changes.rows.insert(key, Some(crate::row::Row::Attempt(Box::new(row.clone()))));
    }

    /// A runner has been silent for longer than its lease: its chunks wait again, their attempts may still come back.
    pub(crate) fn lose(&mut self, now: Millis, runner: RunnerId) {
        let name = self.runner_name(runner);
        let held = self.runners.get(&runner).map(|runner| runner.holds.clone()).unwrap_or_default();
        for id in held {
            let Some(live) = self.attempts.get_mut(&id).filter(|live| live.standing == Standing::Current) else {
                continue;
            };
            let message = format!("{name} was silent for more than {} s", self.lease.0 / 1000);
            let ended = Ended::before_start(EndReason::RunnerLost, message);
            live.row.ended_ms = Some(now);
            live.row.may_return = true;
            live.row.ended = Some(Box::new(ended.clone()));
            let row = live.row.clone();
            self.stand(id, Standing::Lost);
            self.write_attempt(id);
            self.chunk_after(now, &row, row.seen, &ended);
            if !self.may_return(id) {
                self.fence(id);
            }
        }
    }

    /// Whether a lost attempt may go on: its chunk still waits and was not given to anyone else.
    pub(crate) fn may_return(&self, id: AttemptId) -> bool {
        let Some(live) = self.attempts.get(&id) else { return false };
        let Some(job) = self.jobs.get(&live.row.chunk.job) else { return false };
        let waits = matches!(job.state(live.row.chunk), Some(ChunkState::Waiting | ChunkState::Held));
        waits && job.chunk(live.row.chunk).is_some_and(|chunk| chunk.attempts.last() == Some(&id))
    }

    /// A lost attempt is back: as if its runner had never been silent. Too late, it is fenced.
    pub(crate) fn reinstate(&mut self, now: Millis, id: AttemptId) {
        if !self.may_return(id) {
            return self.fence(id);
        }
        let Some(live) = self.attempts.get_mut(&id) else { return };
        live.row.ended = None;
        live.row.ended_ms = None;
        live.row.may_return = false;
        live.row.seen = true;
        let (chunk, runner) = (live.row.chunk, live.row.runner);
        if let Some(job) = self.jobs.get_mut(&chunk.job) {
            let charge = job.row.policy(chunk.stage).map(|policy| charged(&policy.retry, EndReason::RunnerLost));
            if let Some(lost) = job.row.failures.get_mut(&EndReason::RunnerLost) {
                *lost = lost.saturating_sub(1);
            }
            job.row.failures.retain(|_, count| *count > 0);
            if let Some(row) = job.touch(chunk) {
                row.give_back(charge.unwrap_or(Charge::Nothing));
                row.lost_on.retain(|lost| *lost != runner);
                row.failed_on.retain(|failed| *failed != runner);
                row.reason = None;
                row.message.clear();
            }
        }
        self.start_waiting_no_more(chunk);
        self.shift(now, chunk, ChunkState::Leased);
        self.stand(id, Standing::Current);
        self.write_attempt(id);
        self.settle(now, chunk.job);
    }

    /// What the end of its current attempt means for a chunk.
    fn chunk_after(&mut self, now: Millis, attempt: &AttemptRow, seen: bool, ended: &Ended) {
        let (id, reason) = (attempt.chunk, ended.reason);
        let refused_in = self.runners.get(&attempt.runner).and_then(|runner| Some(runner.session.as_ref()?.id));
        let Some(job) = self.jobs.get_mut(&id.job) else { return };
        let Some(retry) = job.row.policy(id.stage).map(|policy| policy.retry.clone()) else { return };
        if reason != EndReason::Succeeded {
            *job.row.failures.entry(reason).or_default() += if planted(Bug::CountedTwice) { 2 } else { 1 };
        }
        self.changes.jobs.insert(id.job);
        let Some(chunk) = job.touch(id) else { return };
        let mut decision = decide(&retry, chunk, reason, ended.exit_code);
        chunk.reason = Some(reason);
        chunk.exit_code = ended.exit_code;
        chunk.message = ended.message.clone();
        if reason.blame() != Blame::People
            && decision != Decision::Succeed
            && !chunk.failed_on.contains(&attempt.runner)
        {
            chunk.failed_on.push(attempt.runner);
        }
        if let (EndReason::Refused, Some(session)) = (reason, refused_in) {
            let by = &mut chunk.refused.get_or_insert_default().by;
            by.retain(|(runner, _)| *runner != attempt.runner);
            by.push((attempt.runner, session));
        }
        if reason == EndReason::RunnerLost && seen && !chunk.lost_on.contains(&attempt.runner) {
            chunk.lost_on.push(attempt.runner);
        }
        if reason == EndReason::RunnerLost && chunk.lost_on.len() >= POISON_RUNNERS {
            let lost_on = chunk.lost_on.clone();
            let names: Vec<String> = lost_on.iter().map(|runner| self.runner_name(*runner)).collect();
            let note =
                format!("; it took {} down one after the other, so that it is taken for the cause", names.join(", "));
            decision = Decision::Fail { charge: Charge::Requeue, note };
        }
        let scale = retry.first_match(reason, ended.exit_code).and_then(|(_, rule)| rule.scale);
        if let (Decision::Again { charge, .. }, Some(scale)) = (&decision, scale)
            && let Err(note) = self.grow(id, scale)
        {
            decision = Decision::Fail { charge: *charge, note };
        }
        if id.stage == MAIN {
            self.note_first(id, &decision, ended);
        }
        self.carry_out(now, id, attempt.id, decision);
        if id.stage == MAIN {
            self.mind_breaker(now, id.job);
        }
        self.settle(now, id.job);
    }

    /// What the breaker learns from the end: the first failure of each chunk, until one succeeds.
    fn note_first(&mut self, id: ChunkId, decision: &Decision, ended: &Ended) {
        let Some(job) = self.jobs.get_mut(&id.job) else { return };
        let first_time =
            job.chunk(id).is_some_and(|chunk| chunk.failures == 0 && chunk.rule_uses.iter().all(|uses| *uses == 0));
        let first = &mut job.row.first_chunks;
        match decision {
            Decision::Succeed => *first = FirstChunks { over: true, ..FirstChunks::default() },
            Decision::Again { charge: Charge::Failure, .. } | Decision::Fail { .. } if first_time => {
                let (reason, exit_code, message) = (ended.reason, ended.exit_code, ended.message.clone());
                first.note_failure(Failure { chunk: id, reason, exit_code, message });
            }
            Decision::Again { .. } | Decision::Fail { .. } | Decision::FailJob => {}
        }
    }

    fn carry_out(&mut self, now: Millis, id: ChunkId, attempt: AttemptId, decision: Decision) {
        let Some(job) = self.jobs.get_mut(&id.job) else { return };
        let waiting = job.row.waiting_state();
        let Some(chunk) = job.touch(id) else { return };
        self.changes.chunks.insert(id);
        let to = match &decision {
            Decision::Succeed => {
                chunk.accepted = Some(attempt);
                ChunkState::Succeeded
            }
            Decision::Again { charge, delay_ms } => {
                chunk.pay(*charge);
                chunk.waiting_since_ms = now;
                chunk.not_before_ms = (*delay_ms > 0).then(|| now.saturating_add(*delay_ms));
                waiting
            }
            Decision::Fail { charge, note } => {
                chunk.pay(*charge);
                chunk.message.push_str(note);
                ChunkState::Failed
            }
            Decision::FailJob => {
                chunk.message.push_str("; a rule says that the job fails with it");
                ChunkState::Failed
            }
        };
        if to.is_final() {
            chunk.not_before_ms = None;
            chunk.ended_ms = Some(now);
        }
        let (what, reason) = (chunk.outcome(), chunk.reason);
        self.shift(now, id, to);
        if decision == Decision::FailJob {
            let why = format!("chunk {id} failed ({what}), and a retry rule says that the job fails with it");
            self.stop_job(
                now,
                id.job,
                Stopped { reason: reason.unwrap_or(EndReason::Exit), why },
                EndReason::Cancelled,
            );
        }
    }

    /// Its wait is over one way or another.
    pub(crate) fn start_waiting_no_more(&mut self, id: ChunkId) {
        let Some(chunk) = self.jobs.get_mut(&id.job).and_then(|job| job.touch(id)) else { return };
        self.changes.chunks.insert(id);
        chunk.not_before_ms = None;
    }
}

impl crate::row::ChunkRow {
    /// `exit 1`, `runner_lost`.
    pub(crate) fn outcome(&self) -> String {
        match (self.reason, self.exit_code) {
            (Some(EndReason::Exit), Some(code)) => format!("exit {code}"),
            (Some(reason), _) => reason.to_string(),
            (None, _) => "no end yet".to_owned(),
        }
    }
}
