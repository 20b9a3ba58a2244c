//! Pause and evict: what runs stands still and goes on, or is stopped, whatever else happens meanwhile.
use std::time::Duration;

use dsg_runner::container::pretend::{Call, PretendEngine};
use dsg_schemas::reason::EndReason;
use dsg_schemas::wire::{OutputOrder, Phase};

use crate::fake::{Fake, State, order};

fn is_paused(state: &State, attempt: u64) -> bool {
    matches!(state.reports.get(&attempt), Some(Phase::Running { paused: true, .. }))
}

fn goes_on(state: &State, attempt: u64) -> bool {
    matches!(state.reports.get(&attempt), Some(Phase::Running { paused: false, .. }))
}

/// The container of attempt 1.
fn only(engine: &PretendEngine) -> String {
    engine.names().pop().expect("a container")
}

#[tokio::test]
async fn what_is_paused_does_nothing_and_its_time_limits_stand_still() {
    let (fake, engine, state) = (Fake::start().await, PretendEngine::new(), tempfile::tempdir().expect("dir"));
    fake.joined(state.path()).await;
    let runner = fake.run(state.path(), &engine);
    let mut long = order(1, &["lines=1000000", "every_ms=5"]);
    (long.timeouts.run_ms, long.timeouts.stall_ms) = (Some(6_000), Some(6_000));
    fake.offer(long);
    fake.until("it runs", |state| goes_on(state, 1)).await;
    let name = only(&engine);
    engine.logged(&name, 3).await;
    fake.change(|state| state.pause = true);
    fake.until("it is paused", |state| is_paused(state, 1)).await;
    assert!(engine.is_frozen(&name));
    let lines = engine.lines(&name);
    // Longer than both limits.
    tokio::time::sleep(Duration::from_millis(6_500)).await;
    assert_eq!(engine.lines(&name), lines, "a frozen container writes nothing");
    assert!(fake.change(|state| is_paused(state, 1)), "it is not over");
    fake.change(|state| state.pause = false);
    fake.until("it goes on", |state| goes_on(state, 1)).await;
    engine.logged(&name, lines + 3).await;
    assert_eq!(fake.ended(1).await.reason, EndReason::RunTimeout, "the limits go on with it");
    runner.stop().await;
}

#[tokio::test]
async fn a_frozen_attempt_can_be_cancelled() {
    let (fake, engine, state) = (Fake::start().await, PretendEngine::new(), tempfile::tempdir().expect("dir"));
    fake.joined(state.path()).await;
    let runner = fake.run(state.path(), &engine);
    fake.offer(order(1, &["run_ms=forever"]));
    fake.until("it runs", |state| goes_on(state, 1)).await;
    fake.change(|state| state.pause = true);
    fake.until("it is paused", |state| is_paused(state, 1)).await;
    fake.change(|state| state.stops.insert(1, EndReason::Cancelled));
    assert_eq!(fake.ended(1).await.reason, EndReason::Cancelled);
    runner.stop().await;
}

#[tokio::test]
async fn a_new_life_of_the_runner_keeps_to_the_servers_word() {
    let (fake, engine, state) = (Fake::start().await, PretendEngine::new(), tempfile::tempdir().expect("dir"));
    fake.joined(state.path()).await;
    let runner = fake.run(state.path(), &engine);
    fake.offer(order(1, &["lines=1000000", "every_ms=5"]));
    fake.until("it runs", |state| goes_on(state, 1)).await;
    let name = only(&engine);
    fake.change(|state| state.pause = true);
    fake.until("it is paused", |state| is_paused(state, 1)).await;
    runner.kill().await;
    let lines = engine.lines(&name);
    fake.change(|state| (state.down, _) = (true, state.reports.remove(&1)));
    let runner = fake.run(state.path(), &engine);
    fake.until("it asks", |state| state.asked_while_down > 5).await;
    assert_eq!(engine.lines(&name), lines, "without the server's word it stays as it was left");
    fake.change(|state| state.down = false);
    fake.until("it is found as it was left", |state| is_paused(state, 1)).await;
    assert!(engine.is_frozen(&name) && engine.lines(&name) == lines);
    runner.kill().await;
    fake.change(|state| (state.pause, _) = (false, state.reports.remove(&1)));
    let runner = fake.run(state.path(), &engine);
    fake.until("it goes on, because nobody wants it paused any more", |state| goes_on(state, 1)).await;
    engine.finish(&name, 0).await;
    assert_eq!(fake.ended(1).await.reason, EndReason::Succeeded);
    runner.stop().await;
}

#[tokio::test]
async fn what_was_taken_before_a_pause_is_started_after_it() {
    let (fake, engine, state) = (Fake::start().await, PretendEngine::new(), tempfile::tempdir().expect("dir"));
    fake.joined(state.path()).await;
    let runner = fake.run(state.path(), &engine);
    engine.hold(Call::Create);
    fake.offer(order(1, &["run_ms=forever"]));
    engine.is_held_up(Call::Create).await;
    fake.change(|state| state.pause = true);
    let answered = |state: &State| state.syncs.last().map(|sync| sync.seq).unwrap_or(0);
    let seq = fake.change(|state| answered(state));
    fake.until("it was told", |state| answered(state) > seq + 1).await;
    engine.let_go(Call::Create);
    let ready = |phase: Option<&Phase>| matches!(phase, Some(Phase::Preparing { note }) if note.contains("paused"));
    fake.until("it waits", |state| ready(state.reports.get(&1))).await;
    fake.change(|state| state.pause = false);
    fake.until("it runs", |state| goes_on(state, 1)).await;
    engine.finish(&only(&engine), 0).await;
    assert_eq!(fake.ended(1).await.reason, EndReason::Succeeded);
    runner.stop().await;
}

#[tokio::test]
async fn an_eviction_stops_what_runs_and_throws_away_nothing_that_has_ended() {
    let (fake, engine, state) = (Fake::start().await, PretendEngine::new(), tempfile::tempdir().expect("dir"));
    fake.joined(state.path()).await;
    let runner = fake.run(state.path(), &engine);
    let mut done = order(2, &["run_ms=1", "write=/out/r=done"]);
    done.outputs = vec![OutputOrder { name: "r".to_owned(), path: "/out/r".to_owned(), required: true }];
    fake.change(|state| state.blobs_held = true);
    fake.offer(order(1, &["run_ms=forever"]));
    fake.offer(done);
    fake.until("both are there", |state| goes_on(state, 1) && matches!(state.reports.get(&2), Some(Phase::Storing)))
        .await;
    fake.change(|state| state.stops.extend([(1, EndReason::Evicted), (2, EndReason::Evicted)]));
    let ended = fake.ended(1).await;
    assert_eq!((ended.reason, ended.message.as_str()), (EndReason::Evicted, ""), "why is the server's to say");
    fake.change(|state| state.blobs_held = false);
    assert_eq!(fake.ended(2).await.reason, EndReason::Succeeded);
    runner.stop().await;
}
