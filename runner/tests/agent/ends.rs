//! Runners that end by themselves, and owners who want their host back.
use std::sync::Arc;
use std::time::Duration;

use dsg_runner::Config;
use dsg_runner::attempt::Patience;
use dsg_runner::container::pretend::PretendEngine;
use dsg_runner::owner::{AtEnd, Hours, Owner, zone};
use dsg_schemas::reason::EndReason;
use dsg_schemas::wire::{Facts, Phase};

use crate::fake::{Fake, Runner, State, order};

fn config(state: &tempfile::TempDir) -> Config {
    let facts = Facts { cpus_milli: 8000, memory_bytes: 8 << 30, ..Facts::default() };
    let patience = Patience { retry: Duration::from_millis(20), ..Patience::default() };
    Config { patience, ..Config::new(state.path().to_owned(), facts) }
}

fn begin(fake: &Fake, engine: &PretendEngine, config: Config) -> Runner {
    fake.run_engine(config, Arc::new(engine.clone()))
}

fn last_word(state: &State) -> String {
    state.syncs.last().and_then(|sync| sync.no_more.clone()).unwrap_or_default()
}

/// Said in the last sync, and in none before.
fn goodbye(state: &State) -> bool {
    let said: Vec<bool> = state.syncs.iter().map(|sync| sync.goodbye).collect();
    said.split_last().is_some_and(|(last, before)| *last && !before.contains(&true))
}

fn runs(state: &State, frozen: bool) -> bool {
    matches!(state.reports.get(&1), Some(Phase::Running { paused, .. }) if *paused == frozen)
}

/// Its owner never lets the grid use the host.
fn never(at_end: AtEnd) -> Owner {
    let zone_name = "UTC".to_owned();
    let hours = Hours { windows: Vec::new(), zone: zone("UTC").expect("a zone"), zone_name };
    Owner { hours: Some(hours), at_end, ..Owner::default() }
}

#[tokio::test]
async fn at_the_end_of_its_lifetime_a_runner_gives_back_what_it_has_and_ends_well() {
    let (fake, engine, state) = (Fake::start().await, PretendEngine::new(), tempfile::tempdir().expect("dir"));
    fake.joined(state.path()).await;
    fake.offer(order(1, &["run_ms=forever"]));
    fake.offer(order(2, &["exit=0"]));
    let runner = begin(&fake, &engine, Config { lifetime: Some(Duration::from_secs(6)), ..config(&state) });
    assert_eq!(fake.ended(2).await.reason, EndReason::Succeeded);
    assert!(fake.change(|state| state.facts.ends_ms).is_some(), "the server knows when it ends");
    assert_eq!(fake.ended(1).await.reason, EndReason::Evicted);
    runner.result().await.expect("a good end");
    assert_eq!(fake.change(|state| (last_word(state), goodbye(state))), ("its lifetime is over".to_owned(), true));
    assert_eq!(engine.names(), [""; 0], "nothing is left");
}

#[tokio::test]
async fn a_runner_without_work_ends_and_one_with_work_does_not() {
    let (fake, engine, state) = (Fake::start().await, PretendEngine::new(), tempfile::tempdir().expect("dir"));
    fake.joined(state.path()).await;
    fake.offer(order(1, &["run_ms=4500"]));
    let runner = begin(&fake, &engine, Config { idle_timeout: Some(Duration::from_secs(3)), ..config(&state) });
    assert_eq!(fake.ended(1).await.reason, EndReason::Succeeded, "longer than the time without work");
    runner.result().await.expect("a good end");
    let said = fake.change(|state| (last_word(state), goodbye(state)));
    assert_eq!(said, ("it had nothing to do for 3s, and ends".to_owned(), true));
}

/// A runner that was killed while its container goes on.
async fn with_one_that_runs() -> (Fake, PretendEngine, tempfile::TempDir) {
    let (fake, engine, state) = (Fake::start().await, PretendEngine::new(), tempfile::tempdir().expect("dir"));
    fake.joined(state.path()).await;
    let runner = begin(&fake, &engine, config(&state));
    fake.offer(order(1, &["run_ms=forever"]));
    fake.until("it runs", |state| runs(state, false)).await;
    runner.kill().await;
    (fake, engine, state)
}

#[tokio::test]
async fn when_the_owner_wants_the_host_back_what_runs_is_stopped() {
    let (fake, engine, state) = with_one_that_runs().await;
    let runner = begin(&fake, &engine, Config { owner: never(AtEnd::Evict), ..config(&state) });
    assert_eq!(fake.ended(1).await.reason, EndReason::Evicted);
    fake.until("it says why", |state| last_word(state) == "these are its owner's hours (UTC)").await;
    runner.stop().await;
    let said = fake.change(|state| (last_word(state), goodbye(state)));
    assert_eq!(said, ("the runner is stopping".to_owned(), false), "who is stopped comes back");
}

#[tokio::test]
async fn when_the_owner_wants_a_pause_what_runs_is_frozen_whatever_the_server_says() {
    let (fake, engine, state) = with_one_that_runs().await;
    let paused = Config { owner: never(AtEnd::Pause), ..config(&state) };
    let runner = begin(&fake, &engine, paused);
    fake.until("it is frozen", |state| runs(state, true)).await;
    let seq = fake.change(|state| state.syncs.last().map(|sync| sync.seq).unwrap_or(0));
    fake.change(|state| state.pause = true);
    fake.until("the server has said so, too", |state| state.syncs.last().is_some_and(|sync| sync.seq > seq)).await;
    fake.change(|state| state.pause = false);
    fake.until("and nothing comes of its end", |state| state.syncs.last().is_some_and(|sync| sync.seq > seq + 1)).await;
    assert!(engine.names().iter().all(|name| engine.is_frozen(name)));
    runner.kill().await;
    let runner = begin(&fake, &engine, config(&state));
    fake.until("it goes on", |state| runs(state, false)).await;
    runner.stop().await;
}
