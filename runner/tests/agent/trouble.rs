//! What happens when server, engine or runner fail: nothing is lost, nothing is told that is not so, nothing runs twice.
use std::sync::{Arc, Mutex};
use std::time::Duration;

use dsg_runner::attempt::Patience;
use dsg_runner::container::pretend::{Call, PretendEngine};
use dsg_runner::probe::Gpus;
use dsg_runner::{Config, RunError};
use dsg_schemas::reason::EndReason;
use dsg_schemas::wire::{Facts, Gpu, Phase};

use crate::fake::{Fake, order};

fn is_running(phase: Option<&Phase>) -> bool {
    matches!(phase, Some(Phase::Running { .. }))
}

#[tokio::test]
async fn lost_answers_cost_nothing() {
    let (fake, engine, state) = (Fake::start().await, PretendEngine::new(), tempfile::tempdir().expect("dir"));
    fake.joined(state.path()).await;
    fake.change(|state| (state.lose_answers, state.forget_after) = (3, 3));
    let runner = fake.run(state.path(), &engine);
    fake.offer(order(1, &["run_ms=5", "exit=4"]));
    assert_eq!(fake.ended(1).await.exit_code, Some(4));
    fake.until("its end is repeated until it is forgotten", |state| {
        state.ended_reports.get(&1) == Some(&3) && state.syncs.last().is_some_and(|sync| sync.attempts.is_empty())
    })
    .await;
    runner.stop().await;
}

#[tokio::test]
async fn a_server_that_is_down_for_a_while_loses_nothing() {
    let (fake, engine, state) = (Fake::start().await, PretendEngine::new(), tempfile::tempdir().expect("dir"));
    fake.joined(state.path()).await;
    let runner = fake.run(state.path(), &engine);
    let mut long = order(1, &["lines=200", "every_ms=2", "write=/out/r=done"]);
    long.outputs =
        vec![dsg_schemas::wire::OutputOrder { name: "r".to_owned(), path: "/out/r".to_owned(), required: true }];
    fake.offer(long);
    fake.until("some output is there", |state| state.logs.contains_key(&1)).await;
    fake.change(|state| state.down = true);
    engine.ended("dsg-g-1").await;
    // It comes back without its memory of sessions.
    fake.change(|state| (state.down, state.session) = (false, state.session + 1));
    let ended = fake.ended(1).await;
    assert_eq!((ended.reason, ended.outputs.len()), (EndReason::Succeeded, 1), "{}", ended.message);
    assert_eq!(fake.stdout(1), (0..200).map(|n| format!("line {n}\n")).collect::<String>());
    assert_eq!(fake.change(|state| state.holes), 0);
    runner.stop().await;
}

#[tokio::test]
async fn a_killed_runner_takes_up_what_it_left() {
    let (fake, engine, state) = (Fake::start().await, PretendEngine::new(), tempfile::tempdir().expect("dir"));
    fake.joined(state.path()).await;
    let runner = fake.run(state.path(), &engine);
    // Runs on and writes on while nobody looks; ends meanwhile; vanishes meanwhile; was never started.
    fake.offer(order(1, &["lines=300", "every_ms=2", "run_ms=forever"]));
    fake.offer(order(2, &["run_ms=forever", "lines=2"]));
    fake.offer(order(3, &["run_ms=forever"]));
    let mut pulling = order(4, &[]);
    pulling.image = "pretend/slow".to_owned();
    fake.offer(pulling);
    fake.until("they run", |state| {
        (1..=3).all(|id| is_running(state.reports.get(&id))) && state.reports.contains_key(&4)
    })
    .await;
    fake.until("there is output", |state| state.logs.contains_key(&1) && state.logs.contains_key(&2)).await;
    runner.kill().await;

    engine.finish("dsg-g-2", 9).await;
    engine.vanish("dsg-g-3");
    fake.change(|state| state.stops.insert(4, EndReason::Cancelled));
    let runner = fake.run(state.path(), &engine);
    let ended = fake.ended(2).await;
    assert_eq!((ended.reason, ended.exit_code, ended.stdout_bytes), (EndReason::Exit, Some(9), 14));
    assert_eq!(fake.ended(3).await.reason, EndReason::RunnerLost);
    assert_eq!(fake.ended(4).await.reason, EndReason::Cancelled);
    let whole: String = (0..300).map(|n| format!("line {n}\n")).collect();
    fake.until("all output is there", |state| state.logs.get(&1).is_some_and(|log| log[0].len() >= whole.len())).await;
    assert_eq!(fake.stdout(1), whole, "read on without a gap and without a double");

    // A third life, after a polite end this time.
    runner.stop().await;
    assert_eq!(engine.names(), ["dsg-g-1"], "SIGTERM leaves containers running");
    engine.finish("dsg-g-1", 0).await;
    let runner = fake.run(state.path(), &engine);
    assert_eq!(fake.ended(1).await.reason, EndReason::Succeeded);
    fake.until("it is forgotten", |state| state.syncs.last().is_some_and(|sync| sync.attempts.is_empty())).await;
    runner.stop().await;
    assert_eq!(engine.names(), Vec::<String>::new());
}

/// The engine's log does not begin with the first byte any more when the next life of the runner reads it.
#[tokio::test]
async fn a_log_that_was_rotated_away_is_placed_or_shows_a_hole() {
    let lines = |from: u64, to: u64| (from..to).map(|n| format!("line {n}\n")).collect::<String>();
    // Emptied at lines 101 and 202: what lay between is lost to the second life. Emptied at line 251: nothing is lost.
    let cases = [
        (1, "rotate=100", 10, format!("{}?{}", lines(0, 10), lines(202, 300)), 1),
        (2, "rotate=250", 255, lines(0, 300), 0),
    ];
    for (attempt, rotate, seen, expected, holes) in cases {
        for ends_meanwhile in [false, true] {
            let (fake, engine, state) = (Fake::start().await, PretendEngine::new(), tempfile::tempdir().expect("dir"));
            fake.joined(state.path()).await;
            let runner = fake.run(state.path(), &engine);
            engine.hold(Call::Write);
            engine.let_pass(Call::Write, seen);
            fake.offer(order(attempt, &["lines=300", rotate, "run_ms=forever"]));
            let bytes = lines(0, seen).len();
            let all_seen =
                |state: &crate::fake::State| state.logs.get(&attempt).is_some_and(|log| log[0].len() == bytes);
            fake.until("the first life has seen its lines", all_seen).await;
            runner.kill().await;
            engine.let_go(Call::Write);
            let name = format!("dsg-g-{attempt}");
            engine.logged(&name, 300).await;
            if ends_meanwhile {
                engine.finish(&name, 0).await;
            }
            let runner = fake.run(state.path(), &engine);
            if !ends_meanwhile {
                let whole = |state: &crate::fake::State| {
                    state.logs.get(&attempt).is_some_and(|log| log[0].len() == expected.len())
                };
                fake.until("it reads on while the container runs", whole).await;
                engine.finish(&name, 0).await;
            }
            assert_eq!(fake.ended(attempt).await.stdout_bytes, expected.len() as u64);
            assert_eq!(fake.stdout(attempt), expected, "{rotate}, {ends_meanwhile}");
            assert_eq!(fake.change(|state| state.holes), holes);
            runner.stop().await;
        }
    }
}

/// Whether the end is on the runner's own disk by then, or to be found at the container only.
#[tokio::test]
async fn an_end_that_the_server_has_not_settled_is_told_by_the_next_life() {
    for kept in [false, true] {
        let (fake, engine, state) = (Fake::start().await, PretendEngine::new(), tempfile::tempdir().expect("dir"));
        fake.joined(state.path()).await;
        fake.change(|state| state.forget_after = 1000);
        let settled = if kept { Duration::from_millis(1) } else { Duration::from_secs(3600) };
        let runner = fake.run_with(state.path(), &engine, Patience { settled, ..Patience::default() });
        let before = fake.runs(order(1, &["exit=7", "lines=1"])).await;
        if kept {
            let removed = tokio::time::timeout(Duration::from_secs(30), engine.removed("dsg-g-1")).await;
            removed.expect("what is kept needs no container");
        }
        runner.kill().await;
        assert_eq!(engine.names().is_empty(), kept, "what shows the end stays until it is on a disk");
        let journal = std::fs::read_to_string(state.path().join("attempts/1/journal")).expect("a journal");
        assert_eq!(journal.contains("\"ended\""), kept, "{journal}");
        fake.change(|state| {
            state.reports.clear();
            state.offers.clear();
            state.forget_after = 1;
        });
        let runner = fake.run(state.path(), &engine);
        let after = fake.ended(1).await;
        assert_eq!((after.reason, after.exit_code, after.stdout_bytes), (EndReason::Exit, Some(7), 7));
        assert!(!kept || after == before, "{before:?} {after:?}");
        assert_eq!(fake.stdout(1), "line 0\n");
        fake.until("it is forgotten", |state| state.syncs.last().is_some_and(|sync| sync.attempts.is_empty())).await;
        runner.stop().await;
        assert_eq!(engine.names(), Vec::<String>::new());
    }
}

/// Only what the container shows again may be told before it is kept.
#[tokio::test]
async fn an_end_that_only_this_life_knows_is_kept_before_it_is_told() {
    let (fake, engine, state) = (Fake::start().await, PretendEngine::new(), tempfile::tempdir().expect("dir"));
    fake.joined(state.path()).await;
    fake.change(|state| state.forget_after = 1000);
    let patience = Patience { settled: Duration::from_secs(3600), ..Patience::default() };
    let runner = fake.run_with(state.path(), &engine, patience);
    let mut timed = order(1, &["run_ms=forever"]);
    timed.timeouts.run_ms = Some(20);
    assert_eq!(fake.runs(timed).await.reason, EndReason::RunTimeout);
    let journal = std::fs::read_to_string(state.path().join("attempts/1/journal")).expect("a journal");
    assert!(journal.contains("\"ended\""), "{journal}");
    runner.kill().await;
}

#[tokio::test]
async fn what_the_server_has_settled_is_removed_at_once() {
    let (fake, engine, state) = (Fake::start().await, PretendEngine::new(), tempfile::tempdir().expect("dir"));
    fake.joined(state.path()).await;
    let patience = Patience { settled: Duration::from_secs(3600), ..Patience::default() };
    let runner = fake.run_with(state.path(), &engine, patience);
    fake.runs(order(1, &[])).await;
    let removed = tokio::time::timeout(Duration::from_secs(30), engine.removed("dsg-g-1")).await;
    removed.expect("a server that has the end need not be waited for");
    runner.stop().await;
}

#[tokio::test]
async fn a_runner_that_ends_removes_what_is_settled_first() {
    let (fake, engine, state) = (Fake::start().await, PretendEngine::new(), tempfile::tempdir().expect("dir"));
    fake.joined(state.path()).await;
    engine.hold(Call::Remove);
    let runner = fake.run(state.path(), &engine);
    fake.runs(order(1, &[])).await;
    engine.is_held_up(Call::Remove).await;
    let stopping = tokio::spawn(runner.stop());
    fake.until("it has said goodbye", |state| state.syncs.last().is_some_and(|sync| sync.no_more.is_some())).await;
    // Time to end without a wait.
    tokio::time::sleep(Duration::from_millis(200)).await;
    engine.let_go(Call::Remove);
    stopping.await.expect("no panic");
    assert_eq!(engine.names(), Vec::<String>::new());
}

#[tokio::test]
async fn strangers_containers_are_left_alone_and_own_unknown_ones_removed() {
    let (fake, engine, state) = (Fake::start().await, PretendEngine::new(), tempfile::tempdir().expect("dir"));
    let (other, theirs) = (Fake::start().await, tempfile::tempdir().expect("dir"));
    fake.joined(state.path()).await;
    other.joined(theirs.path()).await;
    let runner = fake.run(state.path(), &engine);
    fake.offer(order(1, &["run_ms=forever"]));
    fake.until("it runs", |state| is_running(state.reports.get(&1))).await;
    engine.relabel("dsg-g-1", "stranger", "another grid");
    fake.offer(order(2, &["run_ms=forever"]));
    fake.until("it runs", |state| is_running(state.reports.get(&2))).await;
    runner.kill().await;
    // The spool is lost: nothing of ours is known any more.
    std::fs::remove_dir_all(state.path().join("attempts")).expect("removed");
    fake.change(|state| state.offers.clear());
    let runner = fake.run(state.path(), &engine);
    fake.until("it is in touch again", |state| state.syncs.last().is_some_and(|sync| sync.attempts.is_empty())).await;
    assert_eq!(engine.names(), ["stranger"]);
    runner.stop().await;
}

#[tokio::test]
async fn an_engine_that_is_gone_is_waited_for_and_then_given_up() {
    let (fake, engine, state) = (Fake::start().await, PretendEngine::new(), tempfile::tempdir().expect("dir"));
    fake.joined(state.path()).await;
    let patience = Patience { look: Duration::from_millis(10), ..Patience::default() };
    let runner = fake.run_with(state.path(), &engine, patience);
    fake.offer(order(1, &["run_ms=forever"]));
    fake.until("it runs", |state| is_running(state.reports.get(&1))).await;
    engine.set_gone(true);
    engine.finish("dsg-g-1", 3).await;
    engine.asked(5).await;
    fake.change(|state| assert!(is_running(state.reports.get(&1)), "nothing false is told"));
    engine.set_gone(false);
    assert_eq!(fake.ended(1).await.exit_code, Some(3));
    runner.stop().await;

    let patience = Patience { engine_gone: Duration::from_millis(50), ..patience };
    let runner = fake.run_with(state.path(), &engine, patience);
    fake.offer(order(2, &["run_ms=forever"]));
    fake.until("it runs", |state| is_running(state.reports.get(&2))).await;
    engine.set_gone(true);
    assert_eq!(fake.ended(2).await.reason, EndReason::EngineError);
    engine.set_gone(false);
    engine.removed("dsg-g-2").await;
    runner.stop().await;
}

#[tokio::test]
async fn a_container_that_disappears_is_never_a_success() {
    let (fake, engine, state) = (Fake::start().await, PretendEngine::new(), tempfile::tempdir().expect("dir"));
    fake.joined(state.path()).await;
    let runner = fake.run(state.path(), &engine);
    fake.offer(order(1, &["run_ms=forever"]));
    fake.until("it runs", |state| is_running(state.reports.get(&1))).await;
    engine.vanish("dsg-g-1");
    let ended = fake.ended(1).await;
    assert_eq!((ended.reason, ended.exit_code), (EndReason::EngineError, None));
    runner.stop().await;
}

#[tokio::test]
async fn a_revoked_runner_ends_with_a_reason_and_leaves_containers() {
    let (fake, engine, state) = (Fake::start().await, PretendEngine::new(), tempfile::tempdir().expect("dir"));
    fake.joined(state.path()).await;
    let runner = fake.run(state.path(), &engine);
    fake.offer(order(1, &["run_ms=forever"]));
    fake.until("it runs", |state| is_running(state.reports.get(&1))).await;
    fake.change(|state| state.revoked = true);
    engine.finish("dsg-g-1", 0).await;
    let error = runner.result().await.expect_err("refused");
    assert!(matches!(error, RunError::Refused(_)) && error.to_string().contains("join again"), "{error}");
}

#[tokio::test]
async fn two_runners_cannot_share_a_state_folder() {
    let (fake, engine, state) = (Fake::start().await, PretendEngine::new(), tempfile::tempdir().expect("dir"));
    fake.joined(state.path()).await;
    let runner = fake.run(state.path(), &engine);
    fake.until("it is in touch", |state| !state.syncs.is_empty()).await;
    let error = fake.run(state.path(), &engine).result().await.expect_err("in use");
    assert!(error.to_string().contains("--state"), "{error}");
    runner.stop().await;
    let elsewhere = tempfile::tempdir().expect("dir");
    let error = fake.run(elsewhere.path(), &engine).result().await.expect_err("never joined");
    assert!(error.to_string().contains("dsg-runner join"), "{error}");
}

#[tokio::test]
async fn what_the_host_has_is_told_again_when_it_changes() {
    let (fake, engine, state) = (Fake::start().await, PretendEngine::new(), tempfile::tempdir().expect("dir"));
    fake.joined(state.path()).await;
    engine.set_disk_free(10 << 30);
    let gpu = |uuid: &str, unhealthy: Option<&str>| Gpu {
        uuid: uuid.to_owned(),
        unhealthy: unhealthy.map(str::to_owned),
        ..Gpu::default()
    };
    let both = || vec![gpu("GPU-a", None), gpu("GPU-b", None)];
    let driver = Arc::new(Mutex::new(both()));
    let shown = driver.clone();
    let facts = Facts { cpus_milli: 8000, memory_bytes: 8 << 30, gpus: both(), ..Facts::default() };
    let config = Config {
        gpus: Some(Arc::new(move || Gpus { gpus: shown.lock().expect("no panic").clone(), ..Gpus::default() })),
        patience: Patience { health: Duration::from_millis(10), ..Patience::default() },
        ..Config::new(state.path().to_owned(), facts)
    };
    let runner = fake.run_engine(config, Arc::new(engine.clone()));
    fake.until("hello says it", |state| state.facts.disk_bytes == 10 << 30 && state.facts.gpus == both()).await;

    *driver.lock().expect("no panic") = vec![gpu("GPU-a", Some("fell off the bus")), gpu("GPU-new", None)];
    let broken = |state: &crate::fake::State| {
        let [a, b] = &state.facts.gpus[..] else { return false };
        a.unhealthy.as_deref() == Some("fell off the bus") && b.uuid == "GPU-b" && b.unhealthy.is_some()
    };
    fake.until("lost GPUs are told, and none that was not proved", broken).await;
    *driver.lock().expect("no panic") = both();
    fake.until("they came back", |state| state.facts.gpus == both()).await;

    engine.set_disk_free((7 << 30) + 5);
    fake.until("less is free", |state| state.facts.disk_bytes == 7 << 30).await;
    let told = |state: &crate::fake::State| state.syncs.iter().filter(|sync| sync.facts.is_some()).count();
    let before = fake.change(|state| told(state));
    engine.set_disk_free((7 << 30) + (1 << 29));
    // Once more of something else, so that it is certain that the small change was looked at and not told.
    *driver.lock().expect("no panic") = vec![gpu("GPU-a", None)];
    fake.until("the next change", |state| state.facts.gpus[1].unhealthy.is_some()).await;
    fake.change(|state| assert_eq!((told(state) - before, state.facts.disk_bytes), (1, 7 << 30)));
    runner.stop().await;
}

/// A copy of a state folder, or a runner that was away for longer than its lease: others may have the chunk by now.
#[tokio::test]
async fn what_was_taken_and_not_started_starts_only_if_the_server_still_counts_it() {
    let (fake, engine, state) = (Fake::start().await, PretendEngine::new(), tempfile::tempdir().expect("dir"));
    fake.joined(state.path()).await;
    let runner = fake.run(state.path(), &engine);
    engine.hold(Call::Create);
    let kept = |attempt: u64| {
        let journal = state.path().join(format!("attempts/{attempt}/journal"));
        std::fs::read_to_string(journal).unwrap_or_default()
    };
    for attempt in [1, 2] {
        fake.offer(order(attempt, &[]));
    }
    let both = async {
        while ![1, 2].iter().all(|attempt| kept(*attempt).contains("\"order\"")) {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), both).await.expect("both orders are kept");
    runner.kill().await;
    fake.change(|state| {
        state.offers.remove(&2);
        state.stops.insert(2, EndReason::RunnerLost);
        state.down = true;
    });

    // Another engine, as on another machine: it knows nothing of either.
    let engine = PretendEngine::new();
    let runner = fake.run(state.path(), &engine);
    fake.until("it asks a server that is down", |state| state.asked_while_down >= 5).await;
    assert!(![1, 2].iter().any(|attempt| kept(*attempt).contains("\"started\"")), "started without being asked");
    fake.change(|state| state.down = false);
    let ended = fake.ended(2).await;
    assert_eq!((ended.reason, ended.exit_code), (EndReason::RunnerLost, None), "{}", ended.message);
    assert_eq!(fake.ended(1).await.reason, EndReason::Succeeded);
    runner.stop().await;
}
