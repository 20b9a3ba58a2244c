//! The same lives on real engines: `DSG_TEST_DOCKER` and `DSG_TEST_PODMAN` name their sockets, as in unix:///run/docker.sock.
use std::path::Path;
use std::sync::Arc;

use dsg_runner::Config;
use dsg_runner::container::Engine;
use dsg_runner::container::docker::{ConnectOptions, connect};
use dsg_runner::selftest;
use dsg_schemas::ids::RunnerId;
use dsg_schemas::reason::EndReason;
use dsg_schemas::wire::{Facts, InputFile, InputOrder, OutputOrder, Phase, StartOrder};

use crate::fake::{Fake, order};
use crate::sha256;

#[tokio::test]
async fn lives_on_docker() {
    lives_on("DSG_TEST_DOCKER").await;
}

#[tokio::test]
async fn lives_on_podman() {
    lives_on("DSG_TEST_PODMAN").await;
}

async fn lives_on(variable: &str) {
    let Ok(socket) = std::env::var(variable) else {
        return eprintln!("SKIPPED: {variable} names no engine socket");
    };
    let grid = format!("agent-test-{}-{}", std::process::id(), variable.to_lowercase().replace('_', "-"));
    let (fake, state) = (Fake::start_as(&grid).await, tempfile::tempdir().expect("dir"));
    let socket = if socket.starts_with("unix://") { socket } else { format!("unix://{socket}") };
    let options = ConnectOptions { engine: Some(socket), state: state.path().to_owned(), ..ConnectOptions::default() };
    let engine: Arc<dyn Engine> = Arc::new(connect(&options).await.expect("an engine"));
    let image = selftest::image().expect("packed");
    engine.load_image(image.archive).await.expect("loaded");
    fake.joined(state.path()).await;
    let run = |state: &Path| {
        let facts = Facts { cpus_milli: 2000, memory_bytes: 1 << 30, ..Facts::default() };
        fake.run_engine(Config::new(state.to_owned(), facts), engine.clone())
    };
    let order = |attempt, words: &str| StartOrder {
        image: image.name.clone(),
        ..order(attempt, &words.split(' ').collect::<Vec<_>>())
    };
    let runner = run(state.path());
    let bytes = b"year,ppm\n";
    fake.change(|state| state.blobs.insert(sha256(bytes), bytes.to_vec()));
    let file = InputFile { under: String::new(), size: bytes.len() as u64, sha256: sha256(bytes) };
    let mut whole = order(1, "cat /in/co2.csv then cat /dsg/items.jsonl then write /out/r.txt hi then error oops");
    whole.inputs = vec![InputOrder { name: "co2".to_owned(), path: "/in/co2.csv".to_owned(), files: vec![file] }];
    whole.outputs = vec![OutputOrder { name: "r".to_owned(), path: "/out/*.txt".to_owned(), required: true }];
    let mut timed = order(2, "sleep 60000");
    (timed.timeouts.run_ms, timed.timeouts.grace_ms) = (Some(500), 200);
    let mut lost = order(4, "exit 0");
    lost.outputs = vec![OutputOrder { name: "r".to_owned(), path: "/out/none".to_owned(), required: true }];
    for order in [whole, timed, order(3, "lines 3000 then exit 7"), lost, order(5, "sleep 60000")] {
        fake.offer(order);
    }
    let ended = fake.ended(1).await;
    assert_eq!((ended.reason, ended.exit_code), (EndReason::Succeeded, Some(0)), "{}", ended.message);
    assert_eq!(fake.stdout(1), "year,ppm\n{}\n");
    assert_eq!(ended.outputs.iter().map(|file| file.sha256.clone()).collect::<Vec<_>>(), [sha256(b"hi")]);
    assert_eq!(ended.stderr_bytes, 5);
    assert_eq!(fake.ended(2).await.reason, EndReason::RunTimeout);
    let ended = fake.ended(3).await;
    assert_eq!((ended.reason, ended.exit_code, fake.stdout(3).lines().count()), (EndReason::Exit, Some(7), 3000));
    assert_eq!(fake.ended(4).await.reason, EndReason::OutputMissing);

    // A runner that is killed takes up what ran on, and what ended meanwhile.
    fake.offer(order(6, "lines 500 then sleep 2500 then lines 5 then exit 9"));
    fake.until("its output comes", |state| state.logs.get(&6).is_some_and(|log| !log[0].is_empty())).await;
    runner.kill().await;
    let runner = run(state.path());
    let ended = fake.ended(6).await;
    assert_eq!((ended.reason, ended.exit_code), (EndReason::Exit, Some(9)), "{}", ended.message);
    assert_eq!(fake.stdout(6).lines().count(), 505, "neither lost nor doubled");
    assert!(matches!(fake.change(|state| state.reports.get(&5).cloned()), Some(Phase::Running { .. })));
    fake.change(|state| state.stops.insert(5, EndReason::Cancelled));
    assert_eq!(fake.ended(5).await.reason, EndReason::Cancelled);
    fake.until("all is forgotten", |state| state.syncs.last().is_some_and(|sync| sync.attempts.is_empty())).await;
    runner.stop().await;
    let left = engine.own(&grid, RunnerId(1)).await.expect("a list");
    for own in &left {
        engine.remove(&own.id).await.expect("removed");
    }
    // A removal may still have been under way when the runner was stopped; the next start would have finished it.
    assert!(left.len() <= 1, "{left:?}");
}
