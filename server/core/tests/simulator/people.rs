//! What simulated people submit and do.
use dsg_core::{Breaker, EVERYBODY, GatherPolicy, Needs, StagePolicy, Submission};
use dsg_schemas::api::{Act, Retries};
use dsg_schemas::ids::{ChunkId, JobId, MAIN, RunnerId};
use dsg_schemas::reason::EndReason;
use dsg_schemas::spec::{Backoff, Constraints, ExitCodes, Placement, Retry, RetryAction, RetryRule, Scale, When};
use dsg_schemas::units::Millis;

use crate::dice::Dice;

/// Whatever it needs, host 0 can hold it, so that every job can end.
pub fn stage(dice: &mut Dice, chunks: u32) -> StagePolicy {
    let tag = || Placement { tags: vec!["fast".to_owned()], ..Placement::default() };
    let actions = [RetryAction::Retry, RetryAction::Requeue, RetryAction::Fail, RetryAction::Accept];
    let rule = RetryRule {
        when: When { exit_codes: vec![ExitCodes { first: 1, last: 1 }], reason: vec![EndReason::Exit] },
        action: if dice.percent(5) { RetryAction::FailJob } else { dice.one_of(&actions).expect("an action") },
        limit: dice.percent(50).then_some(2),
        delay: dice.percent(30).then_some(Millis(700)),
        scale: None,
    };
    let more = RetryRule {
        when: When { exit_codes: Vec::new(), reason: vec![EndReason::Oom] },
        action: dice.one_of(&[RetryAction::Retry, RetryAction::Requeue]).expect("an action"),
        limit: dice.percent(70).then_some(3),
        delay: None,
        scale: Some(Scale { memory: Some(1.5), run: None }),
    };
    let memory_bytes = (1 + dice.below(4)) << 30;
    let run_ms = dice.percent(20).then(|| 60_000 * (1 + dice.below(5)));
    let gpus = if dice.percent(30) { 1 + dice.below(2) as u32 } else { 0 };
    StagePolicy {
        chunks,
        needs: Needs {
            cpus_milli: 500 * (1 + dice.below(8)),
            memory_bytes,
            run_ms,
            gpus,
            gpu_share: gpus > 0 && dice.percent(50),
            ..Needs::default()
        },
        constraints: Constraints {
            prefer: if dice.percent(25) { tag() } else { Placement::default() },
            ..Constraints::default()
        },
        retry: Retry {
            limit: dice.below(4) as u32,
            backoff: Backoff { delay: Millis(dice.below(3) * 4_000), ..Backoff::default() },
            avoid_failed_runners: dice.percent(40),
            rules: [dice.percent(40).then_some(rule), dice.percent(50).then_some(more)].into_iter().flatten().collect(),
        },
        parallelism: dice.percent(25).then(|| 1 + dice.below(4) as u32),
        per_runner: dice.percent(25).then(|| 1 + dice.below(2) as u32),
        run_timeout_ms: run_ms,
        max_memory_bytes: dice.percent(50).then(|| memory_bytes + (dice.below(4) << 29)),
        queue_timeout_ms: dice.percent(15).then(|| 30_000 + dice.below(200_000)),
        required_outputs: Vec::new(),
        breaker: Breaker {
            canary: dice.percent(15).then(|| 1 + dice.below(3) as u32),
            max_failed: dice.percent(20).then(|| dice.below(4) as u32),
            fail_fast: dice.percent(20),
        },
    }
}

pub fn submission(dice: &mut Dice, number: u64) -> Submission {
    let gather = dice.percent(50).then(|| {
        let run_partial = dice.percent(50);
        GatherPolicy {
            run_partial,
            partial: run_partial || dice.percent(50),
            server_steps: dice.percent(60),
            run: dice.percent(60).then(|| stage(dice, 1)),
        }
    });
    let chunks = if dice.percent(5) { 5_000 } else { 1 + dice.below(25) as u32 };
    Submission {
        request: Some(format!("request {number}")),
        name: format!("job{number}"),
        owner: dice.one_of(&["mara", "otto", "lise"]).expect("an owner").to_owned(),
        labels: Default::default(),
        image: "busybox".to_owned(),
        priority: dice.below(3) as u8 * 50,
        hold: dice.percent(10),
        // A job of thousands would take longer than the simulation: it is there to be cut off.
        job_timeout_ms: if chunks > 100 {
            Some(200_000)
        } else {
            dice.percent(10).then(|| 100_000 + dice.below(300_000))
        },
        main: stage(dice, chunks),
        gather,
        retention: Default::default(),
        spec: Vec::new().into(),
    }
}

pub fn act(dice: &mut Dice, jobs: u64, runners: &[RunnerId]) -> Option<Act> {
    let job = JobId(1 + dice.below(jobs.max(1)));
    let runner = dice.one_of(runners);
    Some(match dice.below(22) {
        0 => Act::Cancel { job },
        1 | 2 => Act::Hold { job },
        3 | 4 => Act::Release { job },
        5 | 12 | 13 => Act::Retry { job, which: Retries::Failed },
        6 if dice.percent(30) => Act::Retry { job, which: Retries::All },
        6 | 7 => {
            let chunk = |dice: &mut Dice| ChunkId { job, stage: MAIN, index: dice.below(6) as u32 };
            Act::Retry { job, which: Retries::Chunks(vec![chunk(dice), chunk(dice)]) }
        }
        8 if dice.percent(30) => Act::Delete { job },
        8 | 9 => Act::Drain { runner: runner? },
        14 | 15 => Act::LimitJob { job, parallelism: dice.percent(70).then(|| 1 + dice.below(5) as u32) },
        16 => {
            let owner = dice.one_of(&["mara", "otto", EVERYBODY]).expect("an owner").to_owned();
            let cpus_milli = dice.percent(60).then(|| 1000 * dice.below(6));
            Act::LimitOwner { owner, cpus_milli, gpus: dice.percent(30).then(|| dice.below(3) as u32) }
        }
        17 => Act::Pause { runner: runner? },
        18 | 20 | 21 => Act::Evict { runner: runner? },
        19 => Act::Resume { runner: runner? },
        10 => Act::Undrain { runner: runner? },
        _ => Act::RemoveRunner { runner: runner?, force: dice.percent(50) },
    })
}
