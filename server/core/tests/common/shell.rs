//! A stand-in for the server around the scheduler: applies events, commits their rows together, answers only then, and proves after
//! each step what must hold. Scenarios and the simulator share it.
use dsg_core::{Answer, Effects, Event, Grid, Key, Millis, Refusal, Row};

use crate::disk::Disk;
use crate::proof::Proof;

/// What happened to the scheduler: enough to let it happen again.
#[derive(Clone, Debug)]
pub enum Step {
    Event(Millis, Event),
    /// The server starts anew from its rows, which at the other time, after a tick, said the same as its memory.
    Restart(Millis, Option<Millis>),
    /// The server did nothing from then to then.
    Away(Millis, Millis),
}

pub struct Shell {
    pub grid: Grid,
    pub disk: Disk,
    pub proof: Proof,
    /// Everything that happened; what a failed commit undid never happened.
    pub steps: Vec<Step>,
    pub faults: ShellFaults,
    /// How often rows of earlier lives came back into memory: of chunks that a person named, of blocks before their chunks start.
    pub rows_loaded: u64,
    pub blocks_loaded: u64,
    kept: usize,
    effects: Effects,
    batch: Vec<(Event, Result<Answer, Refusal>)>,
}

/// Faults of the shell's own, which a test plants to see them found.
#[derive(Clone, Copy, Debug, Default)]
pub struct ShellFaults {
    /// Answers are given before their commit, which may fail.
    pub answers_first: bool,
    /// Memory stays as it is when a commit fails.
    pub keeps_memory: bool,
    /// State bytes are not written again.
    pub loses_blocks: bool,
    /// Ends of attempts are not written.
    pub loses_ends: bool,
    /// Rows of deleted jobs stay.
    pub loses_removals: bool,
    /// What the server slept through counts as the runners' silence.
    pub counts_sleep: bool,
    /// The clock of a new start may be behind the rows.
    pub clock_goes_back: bool,
}

impl Shell {
    pub fn new(now: Millis) -> Shell {
        Shell {
            grid: Grid::default(),
            disk: Disk::default(),
            proof: Proof::new(now),
            steps: Vec::new(),
            faults: ShellFaults::default(),
            rows_loaded: 0,
            blocks_loaded: 0,
            kept: 0,
            effects: Effects::default(),
            batch: Vec::new(),
        }
    }

    /// The answer may be given after the next commit.
    pub fn apply(&mut self, now: Millis, event: Event) -> Result<Answer, Refusal> {
        self.steps.push(Step::Event(now, event.clone()));
        if matches!(event, Event::Tick) {
            self.proof.before_tick(now);
        }
        self.proof.before(&self.disk, &self.effects, &event);
        let before = (self.effects.rows.len(), self.effects.removed_jobs.len());
        let mut answer = self.grid.apply(now, event.clone(), &mut self.effects);
        // A job that left memory, and then chunks of it whose rows did.
        for _ in 0..2 {
            let Err(Refusal::NotLoaded(_) | Refusal::ChunksNotLoaded(_)) = &answer else { break };
            // The shell reads what is committed; rows of this batch are not there yet, so that it commits first.
            let Effects { gather_due, work_available, .. } = self.commit();
            self.kept -= 1;
            self.effects = Effects { gather_due, work_available, ..Effects::default() };
            match &answer {
                Err(Refusal::NotLoaded(job)) => self.grid.load_job(now, self.disk.job_rows(*job)),
                Err(Refusal::ChunksNotLoaded(chunks)) => {
                    self.rows_loaded += 1;
                    self.grid.load_chunks(chunks, self.disk.chunk_rows(chunks));
                }
                _ => {}
            }
            answer = self.grid.apply(now, event.clone(), &mut self.effects);
        }
        self.grid.check();
        if let Err(refusal) = &answer
            && !self.batch.is_empty()
        {
            let after = (self.effects.rows.len(), self.effects.removed_jobs.len());
            assert_eq!(before, after, "a refusal ({refusal}) changes nothing");
        }
        if matches!(event, Event::Tick) {
            let deadline = self.grid.next_deadline();
            assert!(deadline.is_none_or(|at| at > now), "a tick leaves something undone that was due");
        }
        self.proof.event(now, &self.disk, &self.effects, &event, &answer, self.batch.last());
        self.batch.push((event, answer.clone()));
        answer
    }

    /// Whether held syncs are to be woken; asked once.
    pub fn takes_work_available(&mut self) -> bool {
        std::mem::take(&mut self.effects.work_available)
    }

    /// What it changed is on disk from now on; the effects that remain are the shell's to do.
    pub fn commit(&mut self) -> Effects {
        let mut effects = std::mem::take(&mut self.effects);
        self.proof.look(&self.disk, &effects, &self.batch);
        if self.faults.loses_blocks {
            let is_old_block = |key: &Key| matches!(key, Key::Block(..)) && self.disk.rows.contains_key(key);
            effects.rows.retain(|key, _| !is_old_block(key));
        }
        if self.faults.loses_ends {
            effects.rows.retain(|_, row| !is_end(row.as_ref()));
        }
        let removes = !effects.removed_jobs.is_empty();
        if self.faults.loses_removals {
            effects.removed_jobs.clear();
        }
        self.disk.commit(&effects);
        if removes {
            self.proof.nothing_removed_is_there(&self.disk);
        }
        self.blocks_loaded += effects.wanted.len() as u64;
        self.disk.load_wanted(&mut self.grid, &effects);
        effects.work_available |= !effects.wanted.is_empty();
        self.batch.clear();
        self.kept = self.steps.len();
        effects
    }

    /// The commit failed: memory is ahead of the disk and is thrown away.
    pub fn fail(&mut self, now: Millis) {
        self.effects = Effects::default();
        self.batch.clear();
        if self.faults.keeps_memory {
            return;
        }
        self.steps.truncate(self.kept);
        self.restart(now, None);
    }

    /// Memory is gone; rows are what there is. They must say the same.
    pub fn restart(&mut self, now: Millis, ticked: Option<Millis>) {
        self.steps.push(Step::Restart(now, ticked));
        if let Some(then) = ticked {
            let mut loaded = self.disk.load(then).expect("committed rows load");
            Proof::same_after_load(&self.grid, &mut loaded, then);
        }
        self.kept = self.steps.len();
        self.proof.nothing_removed_is_there(&self.disk);
        self.grid = self.disk.load(now).expect("committed rows load");
        self.grid.check();
        self.proof.loaded(now);
    }

    /// The server was suspended, or its disk was slow: nobody else was silent meanwhile.
    pub fn away(&mut self, from: Millis, to: Millis) {
        self.steps.push(Step::Away(from, to));
        self.kept = self.steps.len();
        if !self.faults.counts_sleep {
            self.grid.forgive(from, to);
        }
        self.proof.forgive(from, to);
    }

    /// An answer goes out: whatever it says is on disk.
    pub fn answered(&mut self, event: &Event, answer: &Result<Answer, Refusal>) {
        self.proof.answered(&self.disk, event, answer);
    }

    /// One step again.
    pub fn again(&mut self, step: &Step) -> Option<(Event, Result<Answer, Refusal>)> {
        match step {
            Step::Event(now, event) => {
                let answer = self.apply(*now, event.clone());
                self.commit();
                self.answered(event, &answer);
                return Some((event.clone(), answer));
            }
            Step::Restart(now, ticked) => self.restart(*now, *ticked),
            Step::Away(from, to) => self.away(*from, *to),
        }
        None
    }
}

fn is_end(row: Option<&Row>) -> bool {
    matches!(row, Some(Row::Attempt(row)) if row.ended.is_some())
}
