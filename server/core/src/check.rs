//! Every invariant in one place: the simulator and the tests call this after each event.
use std::collections::{BTreeMap, BTreeSet};

use dsg_schemas::api::{ChunkState, Tally};
use dsg_schemas::ids::{AttemptId, ChunkId, MAIN, RunnerId, StageIndex};

use crate::attempt::Standing;
use crate::bits::Bits;
use crate::grid::Grid;
use crate::job::{Job, Stage};
use crate::needs::Used;
use crate::queue::StageKey;
use crate::share::Holds;

impl Grid {
    /// Panics where row, index and counter disagree.
    pub fn check(&self) {
        let mut resting = BTreeSet::new();
        let mut queued = 0;
        let mut shares: BTreeMap<String, Holds> = BTreeMap::new();
        let mut on_runner: BTreeMap<StageKey, BTreeMap<RunnerId, u32>> = BTreeMap::new();
        for live in self.attempts.values().filter(|live| live.standing == Standing::Current) {
            let (chunk, runner) = (live.row.chunk, live.row.runner);
            *on_runner.entry((chunk.job, chunk.stage)).or_default().entry(runner).or_default() += 1;
        }
        for job in self.jobs.values() {
            for (index, stage) in job.stages() {
                self.check_stage(job, index, stage);
                let there = on_runner.remove(&(job.row.id, index)).unwrap_or_default();
                assert_eq!(there, stage.on_runner, "chunks of {}/{index} on runners", job.row.id);
                for (chunk, at) in &stage.resting {
                    resting.insert((*at, ChunkId { job: job.row.id, stage: index, index: *chunk }));
                }
                for class in stage.classes() {
                    let wanted = job.may_start(index, class) && job.has_room(index);
                    let there = self.queue.contains(job.row.priority, &job.row.owner, class, (job.row.id, index));
                    assert_eq!(there, wanted, "{}: the queue has its stage {index} or should have it", job.row.id);
                    queued += usize::from(wanted);
                }
            }
            self.check_job(job);
        }
        assert_eq!(resting, self.resting, "chunks that rest");
        assert_eq!(queued, self.queue.len(), "stages in the queue");
        for (id, runner) in &self.runners {
            let mut used = Used::default();
            for attempt in &runner.holds {
                let live = self.attempts.get(attempt).expect("a runner holds only attempts that are known");
                assert_eq!(live.row.runner, *id, "attempt {attempt} is held by its own runner");
                used.add(&live.needs, &live.row.gpus);
            }
            for (gpu, taken) in &used.gpus {
                let fine = taken.alone == 0 || (taken.alone, taken.shares) == (1, 0);
                assert!(fine, "GPU {gpu} of runner {id} is not left alone with its one attempt: {taken:?}");
            }
            assert_eq!(used, runner.used, "what is reserved on runner {id}");
        }
        let mut current: BTreeMap<(ChunkId, RunnerId), AttemptId> = BTreeMap::new();
        for (id, live) in &self.attempts {
            let held = self.runners.get(&live.row.runner).is_some_and(|runner| runner.holds.contains(id));
            assert!(held, "attempt {id} is held by its runner");
            match live.standing {
                Standing::Current => {
                    let job = self.jobs.get(&live.row.chunk.job).expect("a current attempt belongs to a job in memory");
                    assert!(
                        job.state(live.row.chunk).is_some_and(ChunkState::is_active),
                        "{} is active",
                        live.row.chunk
                    );
                    assert!(live.row.ended.is_none(), "a current attempt has not ended");
                    let last = job.chunk(live.row.chunk).and_then(|row| row.attempts.last());
                    assert_eq!(last, Some(id), "the current attempt of {} is its last", live.row.chunk);
                    let holds = shares.entry(job.row.owner.clone()).or_default();
                    holds.cpus_milli += live.needs.cpus_milli;
                    holds.gpus += u64::from(live.needs.gpus);
                    current.insert((live.row.chunk, live.row.runner), *id);
                }
                Standing::Lost => assert!(self.may_return(*id), "lost attempt {id} may return or is fenced"),
                Standing::Stopping { .. } => {}
            }
        }
        shares.retain(|_, holds| *holds != Holds::default());
        assert_eq!(shares, self.queue.shares().holds(), "what owners use");
        let active: u64 = self.jobs.values().map(|job| job.row.tally.active() + job.row.gather_tally.active()).sum();
        assert_eq!(active, current.len() as u64, "each active chunk has one current attempt");
    }

    fn check_stage(&self, job: &Job, index: StageIndex, stage: &Stage) {
        let id = job.row.id;
        let (mut counts, mut wanted) = ([0u64; ChunkState::ALL.len()], Bits::new(stage.len()));
        let open = job.row.is_open(index);
        for (at, byte) in stage.states.iter().enumerate() {
            counts[usize::from(*byte)] += 1;
            if *byte == ChunkState::Waiting as u8 && open {
                wanted.insert(at as u32);
            }
        }
        let mut tally = Tally::default();
        ChunkState::ALL.into_iter().zip(counts).for_each(|(state, count)| *tally.of_mut(state) = count);
        assert_eq!(&tally, job.row.tally_of(index), "the tally of {id}/{index}");
        for at in stage.resting.keys() {
            assert!(wanted.contains(*at), "{id}/{index}/{at} is {:?} and rests", stage.state(*at));
            wanted.remove(*at);
        }
        for at in stage.grown.values().flat_map(|lane| &lane.ready) {
            assert!(wanted.contains(*at), "{id}/{index}/{at} is {:?}: ready in one lane?", stage.state(*at));
            wanted.remove(*at);
        }
        let differs = |at: &u32| wanted.contains(*at) != stage.ready.contains(*at);
        let at = if wanted == stage.ready { None } else { (0..stage.len()).find(differs) };
        assert!(wanted == stage.ready, "{id}/{index}/{at:?} is {:?}: ready?", at.and_then(|at| stage.state(at)));
        for (memory, lane) in &stage.grown {
            assert_eq!(lane.needs.memory_bytes, *memory, "a lane of {id}/{index}");
            let grew = |at: &u32| {
                stage
                    .touched
                    .get(at)
                    .is_some_and(|row| row.grown.as_ref().is_some_and(|grown| grown.memory_bytes == Some(*memory)))
            };
            assert!(lane.ready.iter().all(grew), "chunks of {id}/{index} wait in their own lane");
        }
        for (at, until) in &stage.resting {
            let row = stage.touched.get(at).expect("a chunk that rests has a row");
            assert_eq!(row.not_before_ms, Some(*until), "{id}/{index}/{at} rests until its row says");
        }
        for (at, row) in &stage.touched {
            let state = stage.state(*at).expect("a row belongs to a chunk");
            assert_eq!(row.accepted.is_some(), state == ChunkState::Succeeded, "{id}/{index}/{at}: {state:?}");
            let through = state.is_final() || row.ended_ms.is_some();
            assert!(
                index != MAIN || !through,
                "{id}/{index}/{at} is {state:?}: the row of what is through leaves memory"
            );
            assert!(!job.row.is_past(row), "{id}/{index}/{at} is of this life");
            let numbers = row.attempts.windows(2).all(|pair| pair[0] < pair[1]);
            assert!(numbers, "attempts of {id}/{index}/{at} grow");
        }
    }

    fn check_job(&self, job: &Job) {
        let row = &job.row;
        let ended = row.tally.ended() + row.gather_tally.ended() == row.tally.total() + row.gather_tally.total();
        if row.state.is_final() {
            assert!(ended, "job {} is {:?}, so that all its chunks ended", row.id, row.state);
            assert!(row.ended_ms.is_some() && !row.held);
        }
        if row.gather_tally.active() + row.gather_tally.succeeded > 0 {
            assert!(row.chunks_are_through(), "the gather chunk of {} starts after the others", row.id);
        }
    }
}
