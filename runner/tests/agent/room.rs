//! Disks that fill up: what this runner brought goes, oldest use first, and nothing else does; and what is told of it.
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use dsg_runner::Config;
use dsg_runner::attempt::Patience;
use dsg_runner::container::Engine;
use dsg_runner::container::pretend::PretendEngine;
use dsg_runner::doctor::{examine, table};
use dsg_runner::room::Marks;
use dsg_schemas::reason::EndReason;
use dsg_schemas::wire::{Facts, InputFile, InputOrder, Phase, StartOrder};

use crate::fake::{Fake, Runner, order};
use crate::sha256;

const KIB: u64 = 1 << 10;
const LOOK: Duration = Duration::from_millis(10);

/// Marks that the disk of whoever runs this is above, and a pretended one comes below.
fn run(fake: &Fake, state: &Path, engine: &PretendEngine) -> Runner {
    let mark = |text: &str| text.parse().expect("a mark");
    let marks = Marks { clean: mark("20KiB"), until: mark("30KiB"), stop: mark("5KiB") };
    let patience = Patience { look: LOOK, health: LOOK, retry: LOOK, ..Patience::default() };
    let facts = Facts { cpus_milli: 8000, memory_bytes: 8 << 30, ..Facts::default() };
    let config = Config { marks, patience, ..Config::new(state.to_owned(), facts) };
    fake.run_engine(config, Arc::new(engine.clone()))
}

/// With a disk of 100 KiB, of which each image takes 10.
fn engine() -> PretendEngine {
    let engine = PretendEngine::new();
    engine.set_disk(100 * KIB, 100 * KIB);
    engine.set_image_bytes(10 * KIB);
    engine
}

fn of(attempt: u64, image: &str) -> StartOrder {
    StartOrder { image: image.to_owned(), ..order(attempt, &["exit=0"]) }
}

/// What must come; the bound is for broken builds only.
async fn soon(what: impl Future<Output = ()>) {
    tokio::time::timeout(Duration::from_secs(30), what).await.expect("it comes");
}

/// One after the other, each until its container is gone.
async fn uses(fake: &Fake, engine: &PretendEngine, images: &[(u64, &str)]) {
    for (attempt, image) in images {
        assert_eq!(fake.runs(of(*attempt, image)).await.reason, EndReason::Succeeded);
        soon(engine.removed(&format!("dsg-g-{attempt}"))).await;
    }
}

#[tokio::test]
async fn the_images_that_the_runner_brought_go_by_their_last_use_also_after_a_restart() {
    let (fake, engine, state) = (Fake::start().await, engine(), tempfile::tempdir().expect("dir"));
    fake.joined(state.path()).await;
    engine.name_image("theirs", "theirs:2");
    let runner = run(&fake, state.path(), &engine);
    uses(&fake, &engine, &[(1, "theirs"), (2, "a"), (3, "b"), (4, "c"), (5, "d"), (6, "a"), (7, "e")]).await;
    engine.name_image("c", "c:mine");
    runner.stop().await;
    let config = Config::new(state.path().to_owned(), Facts::default());
    let report = table(&examine(&config, Ok(&engine as &dyn Engine), "1").await);
    let ours = "images      passed    5 images of its own, 50KiB; with less than 10%,20GiB free the oldest go until 20%,40GiB are,";
    assert!(report.contains(ours), "{report}");
    let runner = run(&fake, state.path(), &engine);
    uses(&fake, &engine, &[(8, "f")]).await;
    let all = ["theirs", "theirs:2", "a", "b", "c", "c:mine", "d", "e", "f"];
    assert_eq!(engine.shelf_names(), all, "there is room for seven");
    uses(&fake, &engine, &[(9, "g"), (10, "h")]).await;
    soon(engine.taken_off("b")).await;
    soon(engine.taken_off("d")).await;
    runner.stop().await;
    assert_eq!(engine.shelf_names(), ["theirs", "theirs:2", "a", "c", "c:mine", "e", "f", "g", "h"]);
}

#[tokio::test]
async fn without_the_list_of_what_it_brought_nothing_goes() {
    let (fake, engine, state) = (Fake::start().await, engine(), tempfile::tempdir().expect("dir"));
    fake.joined(state.path()).await;
    let runner = run(&fake, state.path(), &engine);
    uses(&fake, &engine, &[(1, "a"), (2, "b")]).await;
    runner.stop().await;
    std::fs::remove_file(state.path().join("images.json")).expect("it was there");
    engine.set_disk(30 * KIB, 100 * KIB);
    let runner = run(&fake, state.path(), &engine);
    // This one is its own: that it goes says that the others were looked at.
    uses(&fake, &engine, &[(3, "c")]).await;
    soon(engine.taken_off("c")).await;
    runner.stop().await;
    assert_eq!(engine.shelf_names(), ["a", "b"]);
}

#[tokio::test]
async fn an_image_stays_that_an_attempt_holds_before_it_has_a_container() {
    let (fake, engine, state) = (Fake::start().await, engine(), tempfile::tempdir().expect("dir"));
    fake.joined(state.path()).await;
    // The input does not come before somebody else asks, too.
    fake.change(|state| {
        state.blob_crowd = 2;
        state.blobs.insert(sha256(b"input"), b"input".to_vec());
    });
    let file = InputFile { under: String::new(), size: 5, sha256: sha256(b"input") };
    let input = InputOrder { name: "in".to_owned(), path: "/in".to_owned(), files: vec![file] };
    let runner = run(&fake, state.path(), &engine);
    fake.offer(StartOrder { inputs: vec![input], ..of(1, "held") });
    fake.until("it waits for its input", |state| state.blob_asks == 1).await;
    uses(&fake, &engine, &[(2, "b"), (3, "c"), (4, "d")]).await;
    engine.set_disk(50 * KIB, 100 * KIB);
    soon(engine.taken_off("b")).await;
    soon(engine.taken_off("c")).await;
    assert_eq!(engine.shelf_names(), ["held", "d"]);
    fake.change(|state| state.blob_crowd = 0);
    assert_eq!(fake.ended(1).await.reason, EndReason::Succeeded);
    runner.stop().await;
}

#[tokio::test]
async fn a_full_disk_stops_new_work_alone_and_that_is_over_by_itself() {
    let (fake, engine, state) = (Fake::start().await, engine(), tempfile::tempdir().expect("dir"));
    fake.joined(state.path()).await;
    let runner = run(&fake, state.path(), &engine);
    fake.offer(order(1, &["run_ms=forever"]));
    fake.until("it runs", |state| matches!(state.reports.get(&1), Some(Phase::Running { .. }))).await;
    let said = |state: &crate::fake::State| state.syncs.last().and_then(|sync| sync.no_more.clone());
    engine.set_disk(14 * KIB, 100 * KIB);
    fake.until("it takes nothing more", |state| said(state).is_some()).await;
    let why = fake.change(|state| said(state)).expect("a reason");
    assert!(why.starts_with("its disk is at 96 %, where its engine keeps images and containers;"), "{why}");
    soon(engine.finish("dsg-g-1", 0)).await;
    assert_eq!(fake.ended(1).await.reason, EndReason::Succeeded, "what runs goes on");
    engine.set_disk(100 * KIB, 100 * KIB);
    fake.until("it takes work again", |state| said(state).is_none()).await;
    runner.stop().await;
}

#[tokio::test]
async fn what_is_cached_or_left_over_goes_where_the_state_lies_on_a_full_disk() {
    let (fake, engine, state) = (Fake::start().await, PretendEngine::new(), tempfile::tempdir().expect("dir"));
    fake.joined(state.path()).await;
    let (blob, left) = (state.path().join("blobs").join("a".repeat(64)), state.path().join("attempts/77"));
    let runner = run(&fake, state.path(), &engine);
    fake.offer(order(1, &["run_ms=forever"]));
    fake.until("it runs", |state| matches!(state.reports.get(&1), Some(Phase::Running { .. }))).await;
    runner.kill().await;
    std::fs::write(&blob, "cached").expect("written");
    let facts = Facts { cpus_milli: 8000, memory_bytes: 8 << 30, ..Facts::default() };
    // No disk has all of itself free.
    let marks = Marks { clean: "100%".parse().expect("a mark"), ..Marks::default() };
    let patience = Patience { look: LOOK, health: LOOK, retry: LOOK, ..Patience::default() };
    let config = Config { marks, patience, ..Config::new(state.path().to_owned(), facts) };
    let runner = fake.run_engine(config, Arc::new(engine.clone()));
    fake.until("it is back", |state| matches!(state.reports.get(&1), Some(Phase::Running { .. }))).await;
    // Such as a start could not remove.
    std::fs::create_dir_all(&left).expect("made");
    let gone = async {
        while blob.exists() || left.exists() {
            tokio::time::sleep(LOOK).await;
        }
    };
    soon(gone).await;
    assert!(state.path().join("attempts/1/journal").exists(), "what is lived in stays");
    soon(engine.finish("dsg-g-1", 0)).await;
    assert_eq!(fake.ended(1).await.reason, EndReason::Succeeded);
    runner.stop().await;
}

#[tokio::test]
async fn an_image_that_does_not_run_here_is_refused_before_a_container_is_made_and_goes_like_others() {
    let (fake, engine, state) = (Fake::start().await, engine(), tempfile::tempdir().expect("dir"));
    fake.joined(state.path()).await;
    let runner = run(&fake, state.path(), &engine);
    let ended = fake.runs(of(1, "pretend/foreign")).await;
    assert_eq!(
        (ended.reason, ended.message.as_str()),
        (EndReason::Refused, "image pretend/foreign is for another platform")
    );
    assert_eq!(engine.names(), Vec::<String>::new());
    engine.set_disk(29 * KIB, 100 * KIB);
    soon(engine.taken_off("pretend/foreign")).await;
    runner.stop().await;
}
