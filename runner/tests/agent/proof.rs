//! What a runner tells of its self-test, and what doctor finds out beside it.
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use dsg_runner::Config;
use dsg_runner::attempt::Patience;
use dsg_runner::container::Engine;
use dsg_runner::container::pretend::{Fault, PretendEngine};
use dsg_runner::doctor::{Report, examine};
use dsg_runner::policy::{Absent, LocalPolicy};
use dsg_schemas::policy::MountRule;
use dsg_schemas::wire::{Facts, Gpu, Work};

use crate::fake::{Fake, Runner};

fn runner(fake: &Fake, state: &Path, engine: &PretendEngine) -> Runner {
    let facts = Facts { cpus_milli: 8000, memory_bytes: 8 << 30, ..Facts::default() };
    let away = Absent { path: PathBuf::from("/data/away"), rule: MountRule::default() };
    let policy = LocalPolicy::default().without(BTreeMap::from([("away".to_owned(), away)]));
    let secrets = state.join("secrets");
    let config = Config { selftest: true, policy, secrets, ..Config::new(state.to_owned(), facts) };
    fake.run_engine(config, std::sync::Arc::new(engine.clone()))
}

fn failed(facts: &Facts) -> Vec<(String, Option<Work>)> {
    let failed = facts.checks.iter().filter(|check| !check.passed);
    failed.map(|check| (check.name.clone(), check.blocks.clone())).collect()
}

#[tokio::test]
async fn the_server_is_told_what_failed_and_what_that_blocks() {
    let away = ("mount away".to_owned(), Some(Work::Mount("away".to_owned())));
    for (fault, also, nothing_more) in [
        (Fault::NoBridge, ("network", Work::Network), false),
        (Fault::CpusIgnored, ("cpus", Work::Cpus), false),
        (Fault::ExitCode, ("exit code", Work::Everything), true),
    ] {
        let (fake, engine, state) =
            (Fake::start().await, PretendEngine::new(), tempfile::tempdir_in("/dev/shm").expect("dir"));
        engine.set_disk_free(1 << 40);
        engine.plant(fault);
        fake.joined(state.path()).await;
        let runner = runner(&fake, state.path(), &engine);
        fake.until("a sync", |state| !state.syncs.is_empty()).await;
        let (facts, sync) = fake.change(|state| (state.facts.clone(), state.syncs[0].clone()));
        assert_eq!(failed(&facts), [(also.0.to_owned(), Some(also.1)), away.clone()], "{fault:?}");
        assert_eq!(sync.no_more.is_some(), nothing_more, "{fault:?}: {:?}", sync.no_more);
        let away = facts.checks.iter().find(|check| check.name == "mount away").expect("told");
        assert!(!away.note.contains('/'), "where it would be is the owner's secret: {}", away.note);
        let names: Vec<&str> = facts.checks.iter().map(|check| check.name.as_str()).collect();
        assert!(names.contains(&"clock") && names.contains(&"disk") && !names.contains(&"server"), "{names:?}");
        runner.stop().await;
    }
}

#[tokio::test]
async fn what_was_repaired_passes_without_a_restart() {
    let gpu = || Gpu { uuid: "GPU-a".to_owned(), ..Gpu::default() };
    for fault in [Fault::ExitCode, Fault::NoBridge, Fault::NoGpu] {
        let (fake, engine, state) =
            (Fake::start().await, PretendEngine::new(), tempfile::tempdir_in("/dev/shm").expect("dir"));
        engine.set_disk_free(1 << 40);
        engine.plant(fault);
        fake.joined(state.path()).await;
        let facts = Facts { cpus_milli: 8000, memory_bytes: 8 << 30, gpus: vec![gpu()], ..Facts::default() };
        let soon = Duration::from_millis(10);
        let patience = Patience { health: soon, prove: soon, ..Patience::default() };
        let secrets = state.path().join("secrets");
        let config = Config { selftest: true, secrets, patience, ..Config::new(state.path().to_owned(), facts) };
        let runner = fake.run_engine(config, std::sync::Arc::new(engine.clone()));
        fake.until("a sync", |state| !state.syncs.is_empty()).await;
        let well = |state: &crate::fake::State| {
            let last = state.syncs.last();
            failed(&state.facts).is_empty()
                && state.facts.gpus == [gpu()]
                && last.is_some_and(|sync| sync.no_more.is_none())
        };
        assert!(!fake.change(|state| well(state)), "{fault:?}");
        engine.mend();
        fake.until("all is well", well).await;
        assert_eq!(engine.names(), Vec::<String>::new(), "nothing is left behind");
        runner.stop().await;
    }
}

async fn doctor(state: &Path, engine: &PretendEngine) -> Report {
    let config = Config { secrets: state.join("secrets"), ..Config::new(state.to_owned(), Facts::default()) };
    examine(&config, Ok(engine as &dyn Engine), "1").await
}

fn outcome(report: &Report, name: &str) -> Option<(bool, String)> {
    report.checks.iter().find(|check| check.name == name).map(|check| (check.passed, check.repair.clone()))
}

#[tokio::test]
async fn doctor_asks_the_server_beside_a_runner_that_runs() {
    let (fake, engine, state) =
        (Fake::start().await, PretendEngine::new(), tempfile::tempdir_in("/dev/shm").expect("dir"));
    engine.set_disk_free(1 << 40);
    fake.joined(state.path()).await;
    let runner = fake.run(state.path(), &engine);
    fake.until("a sync", |state| !state.syncs.is_empty()).await;
    let session = fake.change(|state| state.session);
    let report = doctor(state.path(), &engine).await;
    assert_eq!(report.failures(), 0, "{report:#?}");
    assert_eq!(outcome(&report, "server"), Some((true, String::new())));
    assert!(outcome(&report, "clock").is_some_and(|(passed, _)| passed));
    assert_eq!(fake.change(|state| state.session), session, "the runner was not pushed aside");

    fake.change(|state| state.revoked = true);
    let (passed, repair) = outcome(&doctor(state.path(), &engine).await, "server").expect("looked at");
    assert!(!passed && repair.contains("join again"), "{repair}");
    fake.change(|state| (state.revoked, state.down) = (false, true));
    let (passed, repair) = outcome(&doctor(state.path(), &engine).await, "server").expect("looked at");
    assert!(!passed && !repair.is_empty());
    fake.change(|state| state.down = false);
    runner.stop().await;
}

#[tokio::test]
async fn doctor_says_that_the_certificate_is_not_the_one_of_join() {
    let (fake, engine, state) =
        (Fake::start_with_tls().await, PretendEngine::new(), tempfile::tempdir_in("/dev/shm").expect("dir"));
    fake.joined(state.path()).await;
    assert_eq!(outcome(&doctor(state.path(), &engine).await, "server"), Some((true, String::new())));
    let other = Fake::start_with_tls().await;
    let path = state.path().join("identity.json");
    let kept = std::fs::read_to_string(&path).expect("joined");
    std::fs::write(&path, kept.replace(&fake.url, &other.url)).expect("written");
    let (passed, repair) = outcome(&doctor(state.path(), &engine).await, "server").expect("looked at");
    assert!(!passed && repair.contains("certificate"), "{repair}");
}
