//! An attempt that a runner holds or may hold, and what we owe it next.
use std::sync::Arc;

use dsg_schemas::ids::{AttemptId, ChunkId, RunnerId};
use dsg_schemas::reason::EndReason;

use crate::event::Millis;
use crate::grid::Grid;
use crate::planted::{Bug, planted};
use crate::policy::Needs;
use crate::row::{AttemptRow, Key, Row};

pub(crate) struct Live {
    pub row: AttemptRow,
    pub needs: Arc<Needs>,
    pub standing: Standing,
    /// What it prepares, for people; memory only.
    pub note: String,
}

/// ```text
/// Current ──silent past its lease──► Lost ──chunk leased again──► Stopping
///    ▲                                │ │
///    └──its runner returns with it────┘ └──its runner returns without it──► gone
/// Current ──cancel, timeout, job over──► Stopping ──reported ended, or gone──► gone
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    /// Its chunk's one attempt: its end will decide.
    Current,
    /// Its lease ran out, and its chunk waits again: if its runner returns with it before the chunk is leased again, it goes on.
    Lost,
    /// To be stopped; it keeps what it reserved until its runner says that it is gone. A fenced one's report changes no row.
    Stopping { reason: EndReason, fenced: bool },
}

impl Grid {
    /// Brings an attempt into memory, with all that it reserves.
    pub(crate) fn hold(&mut self, live: Live) {
        let id = live.row.id;
        if let Some(runner) = self.runners.get_mut(&live.row.runner) {
            runner.holds.insert(id);
            runner.used.add(&live.needs, &live.row.gpus);
        }
        let current = live.standing == Standing::Current;
        self.attempts.insert(id, live);
        if current {
            self.count_current(id, true);
        }
    }

    /// The runner no longer has it: what it reserved is free.
    pub(crate) fn let_go(&mut self, id: AttemptId) -> Option<Live> {
        if self.attempts.get(&id)?.standing == Standing::Current {
            self.count_current(id, false);
        }
        let live = self.attempts.remove(&id)?;
        if let Some(runner) = self.runners.get_mut(&live.row.runner) {
            runner.holds.remove(&id);
            if !planted(Bug::RoomNotGivenBack) {
                runner.used.take_away(&live.needs, &live.row.gpus);
            }
        }
        Some(live)
    }

    /// Changes what we owe an attempt, and with it the counts of current ones.
    pub(crate) fn stand(&mut self, id: AttemptId, standing: Standing) {
        let Some(live) = self.attempts.get_mut(&id) else { return };
        let before = std::mem::replace(&mut live.standing, standing);
        match (before == Standing::Current, standing == Standing::Current) {
            (false, true) => self.count_current(id, true),
            (true, false) => self.count_current(id, false),
            (true, true) | (false, false) => {}
        }
    }

    fn count_current(&mut self, id: AttemptId, more: bool) {
        let Some(live) = self.attempts.get(&id) else { return };
        let Some(job) = self.jobs.get_mut(&live.row.chunk.job) else { return };
        self.queue.shares_mut().count(&job.row.owner, &live.needs, more);
        self.changes.owners = true;
        let Some(stage) = job.stage_mut(live.row.chunk.stage) else { return };
        let count = stage.on_runner.entry(live.row.runner).or_default();
        *count = if more { *count + 1 } else { count.saturating_sub(1) };
        if *count == 0 {
            stage.on_runner.remove(&live.row.runner);
        }
    }

    /// Stops an attempt whose chunk no longer wants it. Its row ends now; the runner's own report may still add details.
    pub(crate) fn stop(&mut self, now: Millis, id: AttemptId, reason: EndReason, message: &str) {
        self.stand(id, Standing::Stopping { reason, fenced: false });
        let Some(live) = self.attempts.get_mut(&id) else { return };
        if live.row.ended.is_none() {
            live.row.ended = Some(Box::new(dsg_schemas::wire::Ended::before_start(reason, message)));
            live.row.ended_ms = Some(now);
            self.write_attempt(id);
        }
        self.changes.work_available = true;
    }

    /// Its chunk was given to another attempt (or its job is over): nothing that it says counts any more.
    pub(crate) fn fence(&mut self, id: AttemptId) {
        self.stand(id, Standing::Stopping { reason: EndReason::RunnerLost, fenced: true });
        self.changes.work_available = true;
        if let Some(live) = self.attempts.get_mut(&id).filter(|live| live.row.may_return) {
            live.row.may_return = false;
            self.write_attempt(id);
        }
    }

    /// A lost attempt of this chunk, if there is one, may not return any more.
    pub(crate) fn fence_lost(&mut self, chunk: ChunkId) {
        let last = self.jobs.get(&chunk.job).and_then(|job| job.chunk(chunk)?.attempts.last().copied());
        let lost = |id: &AttemptId| self.attempts.get(id).is_some_and(|live| live.standing == Standing::Lost);
        if let Some(id) = last.filter(lost).filter(|_| !planted(Bug::FenceDropped)) {
            self.fence(id);
        }
    }

    pub(crate) fn write_attempt(&mut self, id: AttemptId) {
        if let Some(live) = self.attempts.get(&id) {
            self.changes.rows.insert(Key::Attempt(id), Some(Row::Attempt(Box::new(live.row.clone()))));
        }
    }

    /// Which runner may send log pieces and outputs of this attempt: one that is neither settled nor fenced.
    pub fn attempt_owner(&self, id: AttemptId) -> Option<RunnerId> {
        let live = self.attempts.get(&id)?;
        match live.standing {
            Standing::Current | Standing::Lost | Standing::Stopping { fenced: false, .. } => Some(live.row.runner),
            Standing::Stopping { fenced: true, .. } => None,
        }
    }

    /// What an attempt prepares, in the runner's words.
    pub fn attempt_note(&self, id: AttemptId) -> Option<&str> {
        self.attempts.get(&id).map(|live| live.note.as_str()).filter(|note| !note.is_empty())
    }
}
