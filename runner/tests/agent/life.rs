//! What happens when everything goes well, or goes wrong in the container only.
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use dsg_runner::Config;
use dsg_runner::attempt::Patience;
use dsg_runner::container::pretend::{Call, PretendEngine};
use dsg_runner::policy::{LocalPolicy, Mount};
use dsg_schemas::policy::{Most, Policy};
use dsg_schemas::reason::EndReason;
use dsg_schemas::wire::{Accept, Facts, GpuLoad, InputFile, InputOrder, Load, MountOrder, OutputOrder, Phase};

use crate::fake::{Fake, order};
use crate::sha256;

fn output(name: &str, path: &str, required: bool) -> OutputOrder {
    OutputOrder { name: name.to_owned(), path: path.to_owned(), required }
}

#[tokio::test]
async fn every_way_to_end_has_its_reason() {
    let (fake, engine, state) = (Fake::start().await, PretendEngine::new(), tempfile::tempdir().expect("dir"));
    fake.joined(state.path()).await;
    let runner = fake.run(state.path(), &engine);
    let mut timed = order(5, &["run_ms=forever"]);
    timed.timeouts.run_ms = Some(30);
    let mut silent = order(6, &["run_ms=forever", "lines=3"]);
    silent.timeouts.stall_ms = Some(30);
    let mut deaf = order(7, &["run_ms=forever", "deaf=true"]);
    deaf.timeouts.run_ms = Some(30);
    let mut missing = order(8, &[]);
    missing.image = "pretend/missing".to_owned();
    let mut broken = order(9, &[]);
    broken.image = "pretend/broken".to_owned();
    let mut denied = order(11, &[]);
    denied.limits.memory_bytes = 0;
    let cases = [
        (order(1, &[]), EndReason::Succeeded, Some(0)),
        (order(2, &["run_ms=5", "exit=3"]), EndReason::Exit, Some(3)),
        (order(3, &["oom=true"]), EndReason::Oom, Some(137)),
        (order(4, &["exit=139"]), EndReason::Signal, Some(139)),
        (timed, EndReason::RunTimeout, Some(143)),
        (silent, EndReason::Stalled, Some(143)),
        (deaf, EndReason::RunTimeout, Some(137)),
        (missing, EndReason::ImageNotFound, None),
        (broken, EndReason::PullFailed, None),
        (order(10, &["bad_command=true"]), EndReason::BadCommand, None),
        (denied, EndReason::Refused, None),
    ];
    for (order, ..) in &cases {
        fake.offer(order.clone());
    }
    for (order, reason, code) in &cases {
        let ended = fake.ended(order.attempt.0).await;
        assert_eq!((ended.reason, ended.exit_code), (*reason, *code), "{:?}: {}", order.command, ended.message);
        assert_eq!(ended.message.is_empty(), *reason == EndReason::Succeeded, "a failure has a sentence: {ended:?}");
    }
    fake.until("all is forgotten", |state| state.syncs.last().is_some_and(|sync| sync.attempts.is_empty())).await;
    runner.stop().await;
    assert_eq!(engine.names(), Vec::<String>::new(), "no container is left");
}

/// A busy engine takes seconds to start a container: no time of the job's.
#[tokio::test]
async fn the_time_to_run_begins_with_the_container() {
    let (fake, engine, state) = (Fake::start().await, PretendEngine::new(), tempfile::tempdir().expect("dir"));
    fake.joined(state.path()).await;
    let runner = fake.run(state.path(), &engine);
    engine.hold(Call::Start);
    let mut order = order(1, &["run_ms=5"]);
    order.timeouts.run_ms = Some(1_000);
    fake.offer(order);
    engine.is_held_up(Call::Start).await;
    tokio::time::sleep(Duration::from_millis(1_100)).await;
    engine.let_go(Call::Start);
    let ended = fake.ended(1).await;
    assert_eq!(ended.reason, EndReason::Succeeded, "{}", ended.message);
    runner.stop().await;
}

#[tokio::test]
async fn nothing_is_left_on_disk_after_forget() {
    let (fake, engine, state) = (Fake::start().await, PretendEngine::new(), tempfile::tempdir().expect("dir"));
    fake.joined(state.path()).await;
    let runner = fake.run(state.path(), &engine);
    for attempt in 1..=20 {
        fake.offer(order(attempt, &["lines=2"]));
    }
    for attempt in 1..=20 {
        assert_eq!(fake.ended(attempt).await.reason, EndReason::Succeeded);
    }
    let attempts = state.path().join("attempts");
    // Folders go after forget, which comes after the end: the marker attempt is waited for through its own folder.
    let empty = async {
        while std::fs::read_dir(&attempts).expect("list").next().is_some() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(30), empty).await.expect("all folders are removed");
    runner.stop().await;
}

#[tokio::test]
async fn output_arrives_whole_and_counted() {
    let (fake, engine, state) = (Fake::start().await, PretendEngine::new(), tempfile::tempdir().expect("dir"));
    fake.joined(state.path()).await;
    let runner = fake.run(state.path(), &engine);
    fake.change(|state| (state.halve_logs, state.lose_log_answers) = (3, 2));
    let ended = fake.runs(order(1, &["lines=5000", "errors=7", "line_bytes=80", "run_ms=5"])).await;
    assert_eq!((ended.stdout_bytes, ended.stderr_bytes), (5000 * 80, 7 * 80));
    let text = fake.stdout(1);
    let lines: Vec<_> = text.lines().collect();
    assert_eq!(lines.len(), 5000, "no line is lost and none is doubled");
    for (n, line) in lines.iter().enumerate() {
        assert!(line.starts_with(&format!("line {n}.")), "line {n} is {line}");
    }
    // The live stream breaks off in the middle: the engine's own log fills in.
    let ended = fake.runs(order(2, &["lines=100", "cut_attach=true", "run_ms=5"])).await;
    assert_eq!(fake.stdout(2), (0..100).map(|n| format!("line {n}\n")).collect::<String>());
    assert_eq!(ended.stdout_bytes, fake.stdout(2).len() as u64);
    runner.stop().await;
}

#[tokio::test]
async fn outputs_are_stored_before_success_and_missing_ones_fail() {
    let (fake, engine, state) = (Fake::start().await, PretendEngine::new(), tempfile::tempdir().expect("dir"));
    fake.joined(state.path()).await;
    let runner = fake.run(state.path(), &engine);
    let mut good = order(1, &["write=/out/b.csv=bb", "write=/out/a.csv=a", "write=/out/note.txt=hello"]);
    good.outputs = vec![
        output("tables", "/out/*.csv", true),
        output("note", "/out/note.txt", true),
        output("extra", "/out/none.txt", false),
    ];
    let ended = fake.runs(good).await;
    assert_eq!(ended.reason, EndReason::Succeeded, "{}", ended.message);
    let stored: Vec<_> = ended.outputs.iter().map(|file| (file.name.as_str(), file.file.as_str(), file.size)).collect();
    assert_eq!(stored, [("tables", "a.csv", 1), ("tables", "b.csv", 2), ("note", "note.txt", 5)]);
    for (file, bytes) in ended.outputs.iter().zip([&b"a"[..], b"bb", b"hello"]) {
        assert_eq!(file.sha256, sha256(bytes));
        fake.change(|state| assert_eq!(state.blobs.get(&file.sha256).map(Vec::as_slice), Some(bytes)));
    }
    let mut bad = order(2, &["write=/out/a.csv=a"]);
    bad.outputs = vec![output("table", "/out/b.csv", true)];
    let ended = fake.runs(bad).await;
    assert_eq!((ended.reason, ended.exit_code), (EndReason::OutputMissing, Some(0)));
    assert!(ended.message.contains("/out/b.csv"), "{}", ended.message);
    // What a rule accepts must have its outputs, too.
    let accept = |exit, reasons: &[EndReason]| Accept { exit_codes: vec![(exit, exit)], reasons: reasons.to_vec() };
    let mut accepted = order(4, &["exit=3", "write=/out/a.csv=a"]);
    accepted.outputs = vec![output("table", "/out/a.csv", true)];
    accepted.accept = accept(3, &[]);
    let ended = fake.runs(accepted).await;
    assert_eq!((ended.reason, ended.exit_code, ended.outputs.len()), (EndReason::Exit, Some(3), 1), "{ended:?}");
    let mut timed = order(5, &["run_ms=forever", "write=/out/a.csv=a"]);
    timed.timeouts.run_ms = Some(30);
    timed.outputs = vec![output("table", "/out/a.csv", true)];
    timed.accept = accept(3, &[EndReason::RunTimeout]);
    let ended = fake.runs(timed).await;
    assert_eq!((ended.reason, ended.outputs.len()), (EndReason::RunTimeout, 1), "{ended:?}");
    let mut empty = order(6, &["exit=3"]);
    empty.outputs = vec![output("table", "/out/b.csv", true)];
    empty.accept = accept(3, &[]);
    let ended = fake.runs(empty).await;
    assert_eq!((ended.reason, ended.exit_code), (EndReason::OutputMissing, Some(3)), "{ended:?}");
    // Where a rule accepts that some are missing, the others are kept.
    let mut some = order(7, &["write=/out/a.csv=a"]);
    some.outputs = vec![output("missing", "/out/b.csv", true), output("table", "/out/a.csv", true)];
    some.accept = accept(3, &[EndReason::OutputMissing]);
    let ended = fake.runs(some).await;
    assert_eq!((ended.reason, ended.outputs.len()), (EndReason::OutputMissing, 1), "{ended:?}");
    assert!(ended.message.contains("/out/b.csv"), "{}", ended.message);
    // A failure stays the command's own, whatever is missing.
    let mut failed = order(3, &["exit=2"]);
    failed.outputs = vec![output("table", "/out/b.csv", true)];
    assert_eq!(fake.runs(failed).await.reason, EndReason::Exit);
    runner.stop().await;
}

#[tokio::test]
async fn inputs_are_fetched_once_verified_and_bound() {
    let (fake, engine, state) = (Fake::start().await, PretendEngine::new(), tempfile::tempdir().expect("dir"));
    fake.joined(state.path()).await;
    let runner = fake.run(state.path(), &engine);
    let bytes = b"year,ppm\n1959,315.98\n".to_vec();
    let input = |sha256: String, path: &str, under: &str| InputOrder {
        name: "data".to_owned(),
        path: path.to_owned(),
        files: vec![InputFile { under: under.to_owned(), size: bytes.len() as u64, sha256 }],
    };
    fake.change(|state| {
        state.blobs.insert(sha256(&bytes), bytes.clone());
        state.blobs.insert("0".repeat(64), bytes.clone());
    });
    let mut good = order(1, &["run_ms=forever"]);
    good.inputs = vec![input(sha256(&bytes), "/data/co2.csv", ""), input(sha256(&bytes), "/folder", "deep/co2.csv")];
    fake.offer(good);
    fake.until("it runs", |state| matches!(state.reports.get(&1), Some(Phase::Running { .. }))).await;
    let binds = engine.plan("dsg-g-1").expect("a container").binds;
    assert_eq!(std::fs::read(&binds[1].host).expect("the file"), bytes);
    assert_eq!(std::fs::read(format!("{}/deep/co2.csv", binds[2].host)).expect("the file"), bytes);
    let paths: Vec<_> = binds.iter().map(|bind| bind.container.as_str()).collect();
    assert_eq!(paths, ["/dsg", "/data/co2.csv", "/folder"]);
    // From the cache: the server need not have it any more.
    fake.change(|state| drop(state.blobs.remove(&sha256(&bytes))));
    let mut again = order(2, &[]);
    again.inputs = vec![input(sha256(&bytes), "/data/co2.csv", "")];
    assert_eq!(fake.runs(again).await.reason, EndReason::Succeeded);
    let mut unknown = order(3, &[]);
    unknown.inputs = vec![input("1".repeat(64), "/data/x", "")];
    assert_eq!(fake.runs(unknown).await.reason, EndReason::InputMissing);
    let mut forged = order(4, &[]);
    forged.inputs = vec![input("0".repeat(64), "/data/x", "")];
    assert_eq!(fake.runs(forged).await.reason, EndReason::InputMissing);
    let mut outside = order(5, &[]);
    outside.inputs = vec![input(sha256(&bytes), "/data", "../../../identity.json")];
    assert_eq!(fake.runs(outside).await.reason, EndReason::Refused);
    runner.kill().await;
}

#[tokio::test]
async fn many_inputs_are_fetched_side_by_side() {
    let (fake, engine, state) = (Fake::start().await, PretendEngine::new(), tempfile::tempdir().expect("dir"));
    fake.joined(state.path()).await;
    let runner = fake.run(state.path(), &engine);
    let bytes: Vec<Vec<u8>> = (0..100).map(|n| format!("row {n}\n").into_bytes()).collect();
    fake.change(|state| {
        state.blob_crowd = 8;
        state.blobs.extend(bytes.iter().map(|bytes| (sha256(bytes), bytes.clone())));
    });
    // One of them twice: it is fetched once.
    let files = bytes.iter().chain([&bytes[0]]).zip(0..).map(|(bytes, n)| InputFile {
        under: format!("{n}/row"),
        size: bytes.len() as u64,
        sha256: sha256(bytes),
    });
    let mut order = order(1, &["run_ms=forever"]);
    order.inputs = vec![InputOrder { name: "chunks".to_owned(), path: "/in".to_owned(), files: files.collect() }];
    fake.offer(order);
    fake.until("it runs", |state| matches!(state.reports.get(&1), Some(Phase::Running { .. }))).await;
    let host = engine.plan("dsg-g-1").expect("a container").binds[1].host.clone();
    for (n, bytes) in bytes.iter().chain([&bytes[0]]).enumerate() {
        assert_eq!(&std::fs::read(format!("{host}/{n}/row")).expect("the file"), bytes);
    }
    assert_eq!(fake.change(|state| state.blob_asks), 100);
    runner.kill().await;
}

#[tokio::test]
async fn a_stop_order_during_create_or_start_is_not_forgotten() {
    let (fake, engine, state) = (Fake::start().await, PretendEngine::new(), tempfile::tempdir().expect("dir"));
    fake.joined(state.path()).await;
    let runner = fake.run(state.path(), &engine);
    for (attempt, call, exit_code) in [(1, Call::Create, None), (2, Call::Start, Some(143))] {
        engine.hold(call);
        fake.offer(order(attempt, &["run_ms=forever"]));
        engine.is_held_up(call).await;
        fake.change(|state| state.stops.insert(attempt, EndReason::Cancelled));
        // An idle sync is sent only after the answer to the one before it was read.
        fake.until("the runner has its order", |state| {
            state.syncs.last().is_some_and(|sync| sync.wait_ms > 0 && state.stop_answers.contains(&(sync.seq - 1)))
        })
        .await;
        engine.let_go(call);
        let ended = fake.ended(attempt).await;
        assert_eq!((ended.reason, ended.exit_code), (EndReason::Cancelled, exit_code), "{call:?}: {ended:?}");
    }
    runner.stop().await;
    assert_eq!(engine.names(), Vec::<String>::new(), "no container is left");
}

#[tokio::test]
async fn a_flood_of_output_does_not_hold_up_the_limits() {
    let (fake, engine, state) = (Fake::start().await, PretendEngine::new(), tempfile::tempdir().expect("dir"));
    fake.joined(state.path()).await;
    let patience = Patience { look: Duration::from_millis(60), ..Patience::default() };
    let runner = fake.run_with(state.path(), &engine, patience);
    let mut timed = order(1, &["flood=true", "line_bytes=200"]);
    timed.timeouts.run_ms = Some(30);
    let ended = fake.runs(timed).await;
    assert_eq!((ended.reason, ended.exit_code), (EndReason::RunTimeout, Some(143)), "{ended:?}");
    assert!(ended.stdout_bytes > 0, "it did flood");
    let mut filling = order(2, &["flood=true", "fills=4097"]);
    filling.limits.disk_bytes = 4096;
    let ended = fake.runs(filling).await;
    assert_eq!(ended.reason, EndReason::PolicyDenied, "{ended:?}");
    assert!(ended.message.contains("resources.disk = 4KiB"), "{}", ended.message);
    let mut within = order(3, &["run_ms=200", "fills=4096"]);
    within.limits.disk_bytes = 4096;
    assert_eq!(fake.runs(within).await.reason, EndReason::Succeeded);
    runner.stop().await;
}

#[tokio::test]
async fn a_stop_order_ends_an_attempt_wherever_it_is() {
    let (fake, engine, state) = (Fake::start().await, PretendEngine::new(), tempfile::tempdir().expect("dir"));
    fake.joined(state.path()).await;
    let runner = fake.run(state.path(), &engine);
    let mut pulling = order(1, &[]);
    pulling.image = "pretend/slow".to_owned();
    let mut fetching = order(2, &[]);
    let file = InputFile { under: String::new(), size: 4, sha256: sha256(b"data") };
    fetching.inputs = vec![InputOrder { name: "i".to_owned(), path: "/i".to_owned(), files: vec![file] }];
    let running = order(3, &["run_ms=forever"]);
    for order in [pulling, fetching, running] {
        fake.offer(order);
    }
    fake.until("all are taken", |state| state.reports.len() == 3).await;
    fake.until("one runs", |state| matches!(state.reports.get(&3), Some(Phase::Running { .. }))).await;
    fake.change(|state| state.stops.extend([(1, EndReason::Cancelled), (3, EndReason::Evicted)]));
    assert_eq!(fake.ended(1).await.reason, EndReason::Cancelled);
    assert_eq!(fake.ended(2).await.reason, EndReason::InputMissing);
    let ended = fake.ended(3).await;
    assert_eq!((ended.reason, ended.exit_code), (EndReason::Evicted, Some(143)));
    runner.stop().await;
    assert_eq!(engine.names(), Vec::<String>::new());
}

#[tokio::test]
async fn a_forged_order_is_refused_before_anything_is_pulled() {
    let (fake, engine, state) = (Fake::start().await, PretendEngine::new(), tempfile::tempdir().expect("dir"));
    fake.joined(state.path()).await;
    let data = tempfile::tempdir().expect("dir");
    let mount = Mount::at_start("data", data.path(), false, &[]).expect("a folder");
    let rules = Policy {
        images: Some(vec!["pretend/image".to_owned()]),
        networks: Some(vec!["none".to_owned()]),
        most: Most { memory_bytes: Some(64 << 20), ..Most::default() },
        ..Policy::default()
    };
    let policy = LocalPolicy::new(rules, BTreeMap::from([("data".to_owned(), mount)]), None);
    let facts = Facts { cpus_milli: 8000, memory_bytes: 8 << 30, ..Facts::default() };
    let config = Config { policy: policy.clone(), ..Config::new(state.path().to_owned(), facts) };
    let runner = fake.run_engine(config, Arc::new(engine.clone()));
    let named = |name: &str, write| MountOrder { name: name.to_owned(), path: "/data".to_owned(), write };
    let mut good = order(1, &["run_ms=forever"]);
    good.mounts = vec![named("data", false)];
    fake.offer(good);
    fake.until("it runs", |state| matches!(state.reports.get(&1), Some(Phase::Running { .. }))).await;
    let binds = engine.plan("dsg-g-1").expect("a container").binds;
    assert_eq!((binds[1].container.as_str(), binds[1].write, binds[1].named), ("/data", false, true));
    let told = fake.change(|state| state.facts.policy.clone());
    assert_eq!(told, policy.rules, "the server is told, and not where the mount is");
    let mut forged = [2, 3, 4, 5, 6].map(|attempt| order(attempt, &[]));
    forged[0].image = "pretend/slow".to_owned();
    forged[1].network = "host".to_owned();
    forged[2].limits.memory_bytes = 65 << 20;
    forged[3].mounts = vec![named("root", false)];
    forged[4].mounts = vec![named("data", true)];
    for order in forged {
        let attempt = order.attempt.0;
        let ended = fake.runs(order).await;
        assert_eq!(ended.reason, EndReason::Refused, "{attempt}: {ended:?}");
        assert!(ended.message.starts_with("its runner "), "{}", ended.message);
    }
    // Moved away under the runner: refused at use, too.
    drop(data);
    let mut late = order(7, &[]);
    late.mounts = vec![named("data", false)];
    let ended = fake.runs(late).await;
    assert_eq!(ended.reason, EndReason::Refused, "{ended:?}");
    assert_eq!(engine.names(), ["dsg-g-1"], "nothing else was made");
    runner.kill().await;
}

/// What the driver says while the attempt holds its GPU, and of no other.
#[tokio::test]
async fn what_an_attempt_does_with_its_gpus_is_told() {
    let (fake, state) = (Fake::start().await, tempfile::tempdir().expect("dir"));
    fake.joined(state.path()).await;
    let looks = std::sync::atomic::AtomicU32::new(0);
    let load = move || {
        // Busy at 20, 40, 60 percent, and then at 40.
        let n = looks.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let busy = |percent| Some(if n < 3 { 20 + 20 * n } else { percent });
        let gpu = |uuid: &str, percent| GpuLoad {
            uuid: uuid.to_owned(),
            busy_percent: busy(percent),
            memory_used_bytes: Some(7 << 30),
            celsius: None,
        };
        Load { gpus: vec![gpu("GPU-other", 99), gpu("GPU-mine", 40)], ..Load::default() }
    };
    let facts = Facts { cpus_milli: 8000, memory_bytes: 8 << 30, ..Facts::default() };
    let patience = Patience { meter: Duration::from_millis(5), ..Patience::default() };
    let config = Config { patience, load: Arc::new(load), ..Config::new(state.path().to_owned(), facts) };
    let runner = fake.run_engine(config, Arc::new(PretendEngine::new()));
    let mut order = order(1, &["run_ms=400"]);
    order.limits.gpus = vec!["GPU-mine".to_owned()];
    let ended = fake.runs(order).await;
    let [used] = &ended.gpu_use[..] else { panic!("one GPU was held: {ended:?}") };
    assert_eq!((used.uuid.as_str(), used.memory_bytes_most), ("GPU-mine", Some(7 << 30)));
    assert!(used.busy_percent_average.is_some_and(|percent| (20..=60).contains(&percent)), "{used:?}");
    assert!(used.busy_percent_most.is_some_and(|percent| (40..=60).contains(&percent)), "{used:?}");
    runner.stop().await;
}
