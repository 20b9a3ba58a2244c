//! A job in memory: its row, and for each stage one state byte per chunk beside the few chunks that were touched.
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use dsg_schemas::api::{ChunkState, Tally};
use dsg_schemas::ids::{ChunkId, GATHER, MAIN, RunnerId, StageIndex};

use crate::bits::Bits;
use crate::event::{GatherTurn, Millis};
use crate::lane::Lane;
use crate::planted::{Bug, planted};
use crate::policy::{Needs, StagePolicy};
use crate::queue::ClassId;
use crate::row::{BLOCK, ChunkEnd, ChunkRow, JobRow};
use crate::runner::Runner;

pub(crate) struct Job {
    pub row: JobRow,
    pub main: Stage,
    pub gather: Option<Stage>,
    /// The shell was told that the server's gather steps are due; memory only.
    pub gather_announced: Option<GatherTurn>,
    /// Runners on which a container of it started; memory only.
    pub started_on: BTreeSet<RunnerId>,
}

pub(crate) struct Stage {
    /// A [`ChunkState`] each.
    pub states: Vec<u8>,
    /// Chunks that are or were more than waiting, and are not through: with its end the row of a chunk leaves memory.
    pub touched: BTreeMap<u32, ChunkRow>,
    /// Blocks in which waiting chunks may have rows of an earlier life in the store: nothing of them starts before these are here.
    pub cold: BTreeSet<u32>,
    /// Waiting chunks that may start now, but for those that have grown.
    pub ready: Bits,
    /// Chunks that need more memory than the others since they ran out of it, by how much.
    pub grown: BTreeMap<u64, Lane>,
    /// Waiting chunks that may start later, and when.
    pub resting: BTreeMap<u32, Millis>,
    pub class: ClassId,
    pub needs: Arc<Needs>,
    /// Current attempts on each runner.
    pub on_runner: BTreeMap<RunnerId, u32>,
    /// When a chunk of it was last given to a runner; memory only.
    pub placed_ms: Millis,
    /// About how long a chunk of it runs that succeeds; memory only.
    pub run_ms: Option<Millis>,
    /// The runner that takes nothing of lower order until a chunk of this stage fits; memory only.
    pub reserved: Option<RunnerId>,
    /// The timer that looks for waits that took too long.
    pub queue_check: Option<Millis>,
}

/// The state that a byte stands for. Bytes are checked when they are loaded, so that no other value gets here.
pub(crate) fn state_of(byte: u8) -> ChunkState {
    ChunkState::ALL.get(usize::from(byte)).copied().unwrap_or(ChunkState::Waiting)
}

impl Stage {
    pub fn new(states: Vec<u8>, class: ClassId, needs: Arc<Needs>, now: Millis) -> Stage {
        Stage {
            ready: Bits::new(states.len() as u32),
            states,
            touched: BTreeMap::new(),
            grown: BTreeMap::new(),
            cold: BTreeSet::new(),
            resting: BTreeMap::new(),
            class,
            needs,
            on_runner: BTreeMap::new(),
            placed_ms: now,
            run_ms: None,
            reserved: None,
            queue_check: None,
        }
    }

    pub fn len(&self) -> u32 {
        self.states.len() as u32
    }

    pub fn state(&self, index: u32) -> Option<ChunkState> {
        self.states.get(index as usize).map(|byte| state_of(*byte))
    }

    /// A chunk took so long: the latest count most, and none of them all.
    pub fn note_run(&mut self, run_ms: Millis) {
        let before = self.run_ms.unwrap_or(run_ms);
        self.run_ms = Some(before.saturating_mul(7).saturating_add(run_ms) / 8);
    }

    pub fn block(&self, number: u32) -> Arc<[u8]> {
        let from = (number * BLOCK) as usize;
        let to = (from + BLOCK as usize).min(self.states.len());
        self.states[from.min(to)..to].into()
    }
}

impl Job {
    pub fn stage(&self, stage: StageIndex) -> Option<&Stage> {
        match stage {
            MAIN => Some(&self.main),
            GATHER => self.gather.as_ref(),
            _ => None,
        }
    }

    pub fn stage_mut(&mut self, stage: StageIndex) -> Option<&mut Stage> {
        match stage {
            MAIN => Some(&mut self.main),
            GATHER => self.gather.as_mut(),
            _ => None,
        }
    }

    pub fn state(&self, chunk: ChunkId) -> Option<ChunkState> {
        self.stage(chunk.stage)?.state(chunk.index)
    }

    pub fn chunk(&self, chunk: ChunkId) -> Option<&ChunkRow> {
        self.stage(chunk.stage)?.touched.get(&chunk.index)
    }

    /// The chunk's own row, made when it is first asked for.
    pub fn touch(&mut self, chunk: ChunkId) -> Option<&mut ChunkRow> {
        let (since, life) = (self.row.fresh_since_ms(), self.row.again.count());
        let stage = self.stage_mut(chunk.stage)?;
        if chunk.index >= stage.len() {
            return None;
        }
        let row = stage.touched.entry(chunk.index).or_insert_with(|| ChunkRow::fresh(chunk, since));
        row.life = life;
        Some(row)
    }

    /// The row of a chunk as it is to be written; with the end of the chunk it leaves memory.
    pub fn written(&mut self, chunk: ChunkId) -> Option<ChunkRow> {
        if chunk.stage == MAIN && self.state(chunk)?.is_final() {
            return self.main.touched.remove(&chunk.index);
        }
        self.chunk(chunk).cloned()
    }

    /// Stages that exist.
    pub fn stages(&self) -> impl Iterator<Item = (StageIndex, &Stage)> {
        [(MAIN, Some(&self.main)), (GATHER, self.gather.as_ref())]
            .into_iter()
            .filter_map(|(index, stage)| Some((index, stage?)))
    }

    /// Chunks from this one on wait for the canary, as long as there is something of it to wait for.
    pub fn gate(&self, stage: StageIndex) -> u32 {
        let canary = self.row.policy(stage).and_then(|policy| policy.breaker.canary).filter(|_| !self.row.canary_over);
        let goes_on =
            |canary: &u32| self.main.states.iter().take(*canary as usize).any(|byte| !state_of(*byte).is_final());
        canary.filter(goes_on).unwrap_or(u32::MAX)
    }

    /// Whether some chunk of the class waits only for a runner.
    pub fn may_start(&self, stage: StageIndex, class: ClassId) -> bool {
        let first = self.stage(stage).and_then(|stage| stage.ready_in(class).next());
        first.is_some_and(|first| first < self.gate(stage))
    }

    /// Whether one more chunk may run, as far as `parallelism` goes.
    pub fn has_room(&self, stage: StageIndex) -> bool {
        let limit = self.row.policy(stage).and_then(|policy| policy.parallelism);
        let tally = self.row.tally_of(stage);
        let active = if planted(Bug::LeasedUncounted) { tally.running } else { tally.active() };
        limit.is_none_or(|limit| active < u64::from(limit))
    }

    /// Since when a chunk waits for a runner, its backoff not counted.
    pub fn waits_since(&self, chunk: ChunkId) -> Millis {
        let fresh = self.row.fresh_since_ms();
        self.chunk(chunk).map_or(fresh, |row| fresh.max(row.waiting_since_ms).max(row.not_before_ms.unwrap_or(0)))
    }
}

impl ChunkRow {
    pub(crate) fn fresh(id: ChunkId, waiting_since_ms: Millis) -> ChunkRow {
        ChunkRow {
            id,
            attempts: Vec::new(),
            accepted: None,
            failures: 0,
            requeues: 0,
            rule_uses: Vec::new(),
            not_before_ms: None,
            waiting_since_ms,
            failed_on: Vec::new(),
            lost_on: Vec::new(),
            refused: None,
            grown: None,
            reason: None,
            exit_code: None,
            message: String::new(),
            ended_ms: None,
            life: 0,
        }
    }
}

impl Job {
    /// Whether the runner's policy refused this very chunk since its last start.
    pub(crate) fn is_refused(&self, chunk: ChunkId, runner: &Runner) -> bool {
        let (Some(row), Some(session)) = (self.chunk(chunk), &runner.session) else { return false };
        row.refused.as_ref().is_some_and(|refused| refused.by.contains(&(runner.row.id, session.id)))
    }
}

impl JobRow {
    pub(crate) fn policy(&self, stage: StageIndex) -> Option<&StagePolicy> {
        match stage {
            MAIN => Some(&self.main),
            GATHER => self.gather.as_ref()?.run.as_ref(),
            _ => None,
        }
    }

    pub(crate) fn tally_of(&self, stage: StageIndex) -> &Tally {
        if stage == MAIN { &self.tally } else { &self.gather_tally }
    }

    pub(crate) fn tally_mut(&mut self, stage: StageIndex) -> &mut Tally {
        if stage == MAIN { &mut self.tally } else { &mut self.gather_tally }
    }

    /// The gather chunk waits for the chunks; these wait for no one.
    pub(crate) fn is_open(&self, stage: StageIndex) -> bool {
        stage == MAIN || self.gather_open
    }

    /// Since when chunks wait that no attempt has touched.
    pub(crate) fn fresh_since_ms(&self) -> Millis {
        let again = self.retried_ms.unwrap_or(0).max(self.again.at_ms);
        self.submitted_ms.max(self.released_ms.unwrap_or(0)).max(again)
    }

    /// When the whole job must be through.
    pub(crate) fn deadline_ms(&self) -> Option<Millis> {
        let from = self.submitted_ms.max(self.retried_ms.unwrap_or(0));
        self.job_timeout_ms.map(|timeout| from.saturating_add(timeout))
    }

    /// What the row of a chunk says that no attempt touched, once it has ended.
    pub(crate) fn untouched(&self, id: ChunkId, state: ChunkState) -> Option<ChunkRow> {
        let end = match state {
            ChunkState::Failed => self.untouched_failed.as_ref()?,
            ChunkState::Cancelled => self.untouched_cancelled.as_ref()?,
            ChunkState::Waiting
            | ChunkState::Leased
            | ChunkState::Running
            | ChunkState::Storing
            | ChunkState::Succeeded
            | ChunkState::Skipped
            | ChunkState::Held => return None,
        };
        let ChunkEnd { reason, message, ended_ms } = end.clone();
        let fresh = ChunkRow::fresh(id, self.fresh_since_ms());
        Some(ChunkRow { reason: Some(reason), message, ended_ms: Some(ended_ms), ..fresh })
    }

    /// Where a chunk goes that has to wait.
    pub(crate) fn waiting_state(&self) -> ChunkState {
        if self.held { ChunkState::Held } else { ChunkState::Waiting }
    }

    pub(crate) fn chunks_are_through(&self) -> bool {
        self.tally.ended() == self.tally.total()
    }
}

/// `1 chunk`, `2 chunks`.
pub(crate) fn counted(count: u64, noun: &str) -> String {
    if count == 1 { format!("1 {noun}") } else { format!("{count} {noun}s") }
}
