//! Secrets: in the container while it runs, in memory only, and masked before anything is kept or sent.
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use dsg_runner::Config;
use dsg_runner::attempt::Patience;
use dsg_runner::container::pretend::PretendEngine;
use dsg_schemas::reason::EndReason;
use dsg_schemas::wire::{Facts, SecretOrder, SecretValues, StartOrder, Work};
use tempfile::TempDir;

use crate::fake::{Fake, Runner, order};

const VALUE: &str = "correct horse battery staple";

struct Host {
    fake: Fake,
    engine: PretendEngine,
    state: TempDir,
    base: TempDir,
}

impl Host {
    async fn new() -> Host {
        let base = tempfile::tempdir_in("/dev/shm").expect("a folder in memory");
        let (fake, state) = (Fake::start().await, tempfile::tempdir().expect("dir"));
        fake.joined(state.path()).await;
        Host { fake, engine: PretendEngine::new(), state, base }
    }

    fn run(&self) -> Runner {
        self.run_at(self.base.path(), false)
    }

    fn run_at(&self, base: &Path, selftest: bool) -> Runner {
        let facts = Facts { cpus_milli: 8000, memory_bytes: 8 << 30, ..Facts::default() };
        let patience = Patience { retry: Duration::from_millis(20), ..Patience::default() };
        let secrets = base.join("secrets");
        let config = Config { patience, secrets, selftest, ..Config::new(self.state.path().to_owned(), facts) };
        self.fake.run_engine(config, Arc::new(self.engine.clone()))
    }

    fn order(&self, attempt: u64, command: &[&str]) -> StartOrder {
        let values = [("token".to_owned(), STANDARD.encode(VALUE))].into();
        self.fake.change(|state| state.secrets.insert(attempt, SecretValues { values }));
        let secrets = vec![SecretOrder { name: "token".to_owned(), path: "/run/secrets/token".to_owned() }];
        StartOrder { secrets, ..order(attempt, command) }
    }

    /// Every file beneath the runner's place for secrets.
    fn files(&self) -> Vec<PathBuf> {
        files(self.base.path())
    }

    /// In no file of the state folder, whatever it is for.
    fn spool_has_none(&self) {
        for path in files(self.state.path()) {
            let bytes = fs::read(&path).expect("a file");
            for spelling in [VALUE.to_owned(), STANDARD.encode(VALUE)] {
                let found = bytes.windows(spelling.len()).any(|window| window == spelling.as_bytes());
                assert!(!found, "{spelling:?} is in {}", path.display());
            }
        }
    }
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for path in fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("an entry").path()) {
        // Others clean up meanwhile.
        if path.is_dir() { found.extend(files(&path)) } else { found.push(path) }
    }
    found
}

#[tokio::test]
async fn the_container_finds_the_file_its_output_is_masked_and_nothing_stays() {
    let host = Host::new().await;
    let runner = host.run();
    host.fake.offer(host.order(1, &["run_ms=forever", "cat=/run/secrets/token", "lines=1"]));
    host.engine.logged("dsg-g-1", 2).await;
    let plan = host.engine.plan("dsg-g-1").expect("it runs");
    let bind = plan.binds.iter().find(|bind| bind.container == "/run/secrets/token").expect("it is bound");
    assert!(!bind.write && Path::new(&bind.host).starts_with(host.base.path()));
    assert_eq!(fs::read_to_string(&bind.host).expect("there"), VALUE);
    assert_eq!(fs::metadata(&bind.host).expect("there").mode() & 0o777, 0o444);
    assert!(!format!("{plan:?}").contains("horse"), "what an engine is told, and tells others, has no value");
    host.spool_has_none();
    host.engine.finish("dsg-g-1", 0).await;
    let ended = host.fake.ended(1).await;
    assert_eq!(ended.reason, EndReason::Succeeded, "{}", ended.message);
    let masked = format!("{}\nline 0\n", "*".repeat(VALUE.len()));
    assert_eq!(host.fake.stdout(1), masked);
    assert_eq!((ended.stdout_bytes, host.fake.change(|state| state.holes)), (masked.len() as u64, 0));
    assert_eq!(host.files(), [""; 0].map(PathBuf::from), "it is removed with the end");
    host.spool_has_none();
    runner.stop().await;
}

#[tokio::test]
async fn a_later_life_of_the_runner_finds_them_and_masks_what_it_reads_again() {
    let host = Host::new().await;
    let runner = host.run();
    host.fake.offer(host.order(1, &["run_ms=forever", "cat=/run/secrets/token", "lines=300", "every_ms=1"]));
    host.fake.until("output comes", |state| state.logs.get(&1).is_some_and(|log| !log[0].is_empty())).await;
    runner.kill().await;
    let [left] = &host.files()[..] else { panic!("{:?}", host.files()) };
    // What no container has any more goes; what one has stays.
    let stale = left.parent().and_then(Path::parent).expect("folders").join("99");
    fs::create_dir(&stale).expect("a folder");
    fs::write(stale.join("token"), VALUE).expect("left behind");
    host.engine.logged("dsg-g-1", 301).await;
    let runner = host.run();
    host.fake
        .until("it is taken up", |state| state.logs.get(&1).is_some_and(|log| log[0].ends_with(b"line 299\n")))
        .await;
    assert!(left.exists() && !stale.exists());
    host.engine.finish("dsg-g-1", 0).await;
    let ended = host.fake.ended(1).await;
    assert_eq!(ended.reason, EndReason::Succeeded, "{}", ended.message);
    let lines: String = (0..300).map(|n| format!("line {n}\n")).collect();
    assert_eq!(host.fake.stdout(1), format!("{}\n{lines}", "*".repeat(VALUE.len())));
    assert_eq!((host.fake.change(|state| state.holes), host.files()), (0, Vec::new()));
    host.spool_has_none();
    runner.stop().await;
}

#[tokio::test]
async fn output_that_cannot_be_masked_is_not_taken() {
    let host = Host::new().await;
    let runner = host.run();
    host.fake.offer(host.order(1, &["run_ms=forever", "lines=1"]));
    host.engine.logged("dsg-g-1", 1).await;
    host.fake.until("it runs", |state| state.logs.contains_key(&1)).await;
    runner.kill().await;
    fs::remove_file(&host.files()[0]).expect("somebody cleaned up");
    let runner = host.run();
    let ended = host.fake.ended(1).await;
    assert_eq!(ended.reason, EndReason::EngineError);
    assert!(ended.message.contains("cannot be masked"), "{}", ended.message);
    host.engine.removed("dsg-g-1").await;
    runner.stop().await;
}

#[tokio::test]
async fn what_the_server_does_not_give_starts_nothing() {
    let host = Host::new().await;
    let runner = host.run();
    let without = |attempt, code| {
        let order = host.order(attempt, &[]);
        host.fake.change(|state| {
            state.secrets.remove(&attempt);
            state.secrets_code = code;
        });
        host.fake.runs(order)
    };
    let taken = without(1, "no_secret").await;
    assert_eq!(taken.reason, EndReason::Evicted, "it waits again, at no cost: {}", taken.message);
    assert_eq!(without(2, "secret_damaged").await.reason, EndReason::EngineError);
    let order = host.order(3, &[]);
    host.fake.change(|state| state.secrets.insert(3, SecretValues::default()));
    let other = host.fake.runs(order).await;
    assert!(other.message.contains("did not give secret `token`"), "{}", other.message);
    let order = host.order(4, &[]);
    let large = SecretValues { values: [("token".to_owned(), STANDARD.encode(vec![b'x'; 200 << 10]))].into() };
    host.fake.change(|state| state.secrets.insert(4, large));
    assert_eq!(host.fake.runs(order).await.reason, EndReason::Refused, "more than may be masked");
    assert_eq!((host.engine.names(), host.files()), (Vec::new(), Vec::new()));
    runner.stop().await;
}

#[tokio::test]
async fn without_a_place_in_memory_chunks_with_secrets_are_refused_and_others_run() {
    let host = Host::new().await;
    let disk = tempfile::tempdir_in(env!("CARGO_MANIFEST_DIR")).expect("a folder on a disk");
    let runner = host.run_at(disk.path(), true);
    let ended = host.fake.runs(host.order(1, &[])).await;
    assert_eq!(ended.reason, EndReason::Refused);
    assert!(ended.message.contains("not in memory (tmpfs)"), "{}", ended.message);
    assert_eq!(host.fake.change(|state| state.secret_asks), 0, "they were not even asked for");
    assert_eq!(host.fake.runs(order(2, &[])).await.reason, EndReason::Succeeded);
    let facts = host.fake.change(|state| state.facts.clone());
    let check = facts.checks.iter().find(|check| check.name == "secrets").expect("a check");
    assert_eq!((check.passed, check.blocks.clone()), (false, Some(Work::Secrets)), "{}", check.note);
    assert!(facts.checks.iter().all(|check| check.passed || check.name == "secrets"));
    runner.stop().await;
}

#[tokio::test]
async fn the_self_test_tries_the_place_and_leaves_nothing_there() {
    let host = Host::new().await;
    let runner = host.run_at(host.base.path(), true);
    host.fake.until("hello", |state| !state.facts.checks.is_empty()).await;
    let facts = host.fake.change(|state| state.facts.clone());
    let check = facts.checks.iter().find(|check| check.name == "secrets").expect("a check");
    assert!(check.passed, "{}", check.note);
    assert_eq!(host.files(), [""; 0].map(PathBuf::from));
    runner.stop().await;
}
