//! An engine that lies: about ends, starts, logs and GPUs, in every way that engines were seen to, and in many at once. Whatever it
//! says, nothing that did not happen is reported as a success, and no failure of the engine as one of the job.
mod alone;
mod answer;
mod engine;
mod http;
mod script;
mod truth;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use dsg_runner::Config;
use dsg_runner::attempt::Patience;
use dsg_runner::container::docker::{ConnectOptions, connect_within};
use dsg_schemas::reason::EndReason;
use dsg_schemas::wire::{Facts, Phase, SyncRequest};

use crate::fake::{Fake, Runner, State, order};
use engine::LyingEngine;
use script::{Dice, Script};
use truth::{Kept, falsehood};

const SEEDS: u64 = 50;
const ATTEMPTS: u64 = 20;
/// Grids at a time: most of their time is waiting.
const AT_ONCE: usize = 20;
/// Replays one seed.
const SEED: &str = "DSG_LIES_SEED";
/// How long a grid may stay among lies.
const LIES: Duration = Duration::from_secs(4);
const DEADLINE: Duration = Duration::from_millis(250);

/// As by default, in a hundredth of the time.
fn patience() -> Patience {
    Patience {
        look: Duration::from_millis(60),
        health: Duration::from_millis(60),
        prove: Duration::from_secs(6),
        meter: Duration::from_millis(20),
        engine_gone: Duration::from_millis(900),
        drain: Duration::from_millis(80),
        settled: Duration::from_millis(3),
        flush: Duration::from_millis(2),
        retry: Duration::from_millis(10),
    }
}

async fn run(fake: &Fake, engine: &LyingEngine, state: &Path) -> Runner {
    run_within(fake, engine, state, DEADLINE).await
}

async fn run_within(fake: &Fake, engine: &LyingEngine, state: &Path, deadline: Duration) -> Runner {
    let options = ConnectOptions {
        engine: Some(format!("unix://{}", engine.socket.display())),
        state: state.to_owned(),
        ..ConnectOptions::default()
    };
    let connected = loop {
        match connect_within(&options, deadline).await {
            Ok(connected) => break connected,
            // It is restarting.
            Err(_) => tokio::time::sleep(Duration::from_millis(10)).await,
        }
    };
    let facts = Facts { cpus_milli: 800_000, memory_bytes: 8 << 40, ..Facts::default() };
    let config = Config { patience: patience(), ..Config::new(state.to_owned(), facts) };
    fake.run_engine(config, Arc::new(connected))
}

fn offer(fake: &Fake, engine: &LyingEngine, attempt: u64, script: Script) {
    let mut order = order(attempt, &["work"]);
    order.image = "lab/work:1".to_owned();
    // Each has its own: no server gives one to two.
    order.limits.gpus = script.gpus.iter().map(|gpu| format!("{gpu}-{attempt}")).collect();
    if attempt.is_multiple_of(5) {
        order.timeouts.run_ms = Some(40);
    }
    engine.change(|world| world.scripts.insert(attempt, script));
    fake.offer(order);
}

/// Taken, and not yet kept when the runner was killed: the next life holds it no more, and the server gives it to another.
fn is_lost(state: &State, attempt: u64) -> bool {
    let was_held = matches!(state.reports.get(&attempt), Some(Phase::Preparing { .. } | Phase::Running { .. }));
    let holds = |sync: &SyncRequest| sync.attempts.iter().any(|report| report.attempt.0 == attempt);
    was_held && state.syncs.last().is_some_and(|sync| !holds(sync))
}

fn is_over(state: &State, attempt: u64) -> bool {
    is_lost(state, attempt) || matches!(state.reports.get(&attempt), Some(Phase::Ended(_)))
}

/// What is false in the report of an attempt that has ended.
async fn lie_of(fake: &Fake, engine: &LyingEngine, attempt: u64) -> Option<String> {
    fake.until(&format!("attempt {attempt} ends"), |state| is_over(state, attempt)).await;
    if fake.change(|state| is_lost(state, attempt)) {
        let ran = engine.world().containers.values().any(|truth| truth.attempt == attempt);
        return ran.then(|| format!("attempt {attempt} was lost with its container"));
    }
    let ended = fake.ended(attempt).await;
    let kept = fake.change(|state| {
        let [stdout, stderr] = state.logs.get(&attempt).cloned().unwrap_or_default();
        let [stdout_gaps, stderr_gaps] = state.gaps.get(&attempt).cloned().unwrap_or_default();
        [Kept { bytes: stdout, gaps: stdout_gaps }, Kept { bytes: stderr, gaps: stderr_gaps }]
    });
    let found = falsehood(attempt, &ended, &kept, &engine.world());
    found.map(|found| format!("attempt {attempt}: {found}; {:?}", engine.world().scripts[&attempt]))
}

/// Twenty attempts with an engine that lies about each, and misbehaves as a whole.
async fn one_grid(seed: u64) -> (Vec<String>, BTreeMap<String, u32>) {
    let (fake, folder) = (Fake::start().await, tempfile::tempdir().expect("dir"));
    let state = folder.path().join("state");
    fake.joined(&state).await;
    let mut dice = Dice::new(seed);
    let engine = LyingEngine::start(folder.path().join("engine.sock"), dice.one_in(3));
    let mut runner = run(&fake, &engine, &state).await;
    // Images are asked for by no attempt in particular.
    engine.change(|world| world.scripts.insert(0, Script::roll(seed, 0)));
    for attempt in 1..=ATTEMPTS {
        offer(&fake, &engine, attempt, Script::roll(seed, attempt));
    }
    let runs = async {
        while !engine.world().containers.values().any(|truth| truth.began_ms > 0) {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    drop(tokio::time::timeout(LIES, runs).await);
    for _ in 0..dice.below(4) {
        tokio::time::sleep(Duration::from_millis(dice.below(150) as u64)).await;
        match dice.below(3) {
            0 => engine.restart(Duration::from_millis(dice.below(200) as u64), dice.one_in(3)).await,
            1 => {
                engine.change(|world| world.hung = true);
                tokio::time::sleep(Duration::from_millis(dice.below(600) as u64)).await;
                engine.change(|world| world.hung = false);
            }
            _ => {
                runner.kill().await;
                runner = run(&fake, &engine, &state).await;
            }
        }
    }
    // Most come to their end among the lies; some wait for an engine that tells the truth.
    let over = |state: &State| (1..=ATTEMPTS).all(|attempt| is_over(state, attempt));
    drop(tokio::time::timeout(LIES, fake.until("all attempts end", over)).await);
    engine.change(|world| world.calm = true);
    let mut found = Vec::new();
    for attempt in 1..=ATTEMPTS {
        found.extend(lie_of(&fake, &engine, attempt).await);
    }
    // And it goes on as if nothing had been. On a busy machine an honest engine may be late, too: one of them is enough.
    for attempt in ATTEMPTS + 1.. {
        let honest = Script { lies: Vec::new(), gpus_ignored: false, ..Script::roll(seed, attempt) };
        let program = script::Program { code: 0, oom: false, ..honest.program };
        offer(&fake, &engine, attempt, Script { program, ..honest });
        found.extend(lie_of(&fake, &engine, attempt).await);
        if fake.ended(attempt).await.reason == EndReason::Succeeded {
            break;
        }
        if attempt > ATTEMPTS + 20 {
            found.push("it does not recover".to_owned());
            break;
        }
    }
    fake.until("all is forgotten", |state| state.syncs.last().is_some_and(|sync| sync.attempts.is_empty())).await;
    let emptied = async {
        while engine.world().containers.values().any(|truth| !truth.removed) {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    if tokio::time::timeout(Duration::from_secs(30), emptied).await.is_err() {
        let world = engine.world();
        let left = world.containers.values().filter(|truth| !truth.removed);
        found.extend(left.map(|truth| format!("{} is left behind; {:?}", truth.name, world.scripts[&truth.attempt])));
    }
    runner.stop().await;
    let told = engine.world().told.clone();
    (found, told)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_attempts_among_lies_and_no_false_end() {
    let seeds = match std::env::var(SEED) {
        Ok(seed) => vec![seed.parse().expect("a number")],
        Err(_) => (0..SEEDS).collect::<Vec<u64>>(),
    };
    let places = Arc::new(tokio::sync::Semaphore::new(AT_ONCE));
    let mut grids = tokio::task::JoinSet::new();
    for seed in seeds {
        let places = places.clone();
        grids.spawn(async move {
            let place = places.acquire_owned().await.expect("never closed");
            let found = tokio::spawn(one_grid(seed)).await;
            drop(place);
            (seed, found)
        });
    }
    let (mut all, mut told) = (Vec::new(), BTreeMap::<String, u32>::new());
    while let Some(grid) = grids.join_next().await {
        let (seed, found) = grid.expect("no panic outside");
        match found {
            Ok((found, lies)) => {
                for (lie, times) in lies {
                    *told.entry(lie).or_default() += times;
                }
                all.extend(found.into_iter().map(|found| format!("{SEED}={seed}: {found}")));
            }
            Err(panic) => all.push(format!("{SEED}={seed}: {panic}")),
        }
    }
    // So that it is no desert: each kind of lie was told to somebody, unless the machine was too slow to listen.
    println!("{told:#?}");
    assert!(all.is_empty(), "{} false:\n{}", all.len(), all.join("\n"));
}
