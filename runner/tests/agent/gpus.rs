//! A GPU that breaks: what held it ends as the grid's own failure, the server knows of the GPU no later than of the end, and work
//! without GPUs goes on.
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use dsg_runner::Config;
use dsg_runner::attempt::Patience;
use dsg_runner::container::pretend::PretendEngine;
use dsg_runner::probe::Gpus;
use dsg_schemas::reason::EndReason;
use dsg_schemas::wire::{Facts, Gpu, Load, Phase, StartOrder, SyncRequest};

use crate::fake::{Fake, Runner, State, order};

/// What the driver shows; a test changes it.
type Driver = Arc<Mutex<Gpus>>;

fn gpus(unhealthy: Option<&str>) -> Gpus {
    let gpu = |uuid: &str| Gpu { uuid: uuid.to_owned(), ..Gpu::default() };
    let ill = Gpu { unhealthy: unhealthy.map(str::to_owned), ..gpu("GPU-a") };
    Gpus { gpus: vec![ill, gpu("GPU-b")], ..Gpus::default() }
}

fn lost() -> Gpus {
    Gpus { until_restart: ["GPU-a".to_owned()].into(), ..gpus(Some("it fell off the bus")) }
}

/// `health`: between looks in turn.
fn start(fake: &Fake, engine: &PretendEngine, state: &Path, health: Duration) -> (Runner, Driver) {
    let driver: Driver = Arc::new(Mutex::new(gpus(None)));
    let shown = driver.clone();
    let facts = Facts {
        cpus_milli: 8000,
        memory_bytes: 8 << 30,
        disk_bytes: 1 << 30,
        gpus: gpus(None).gpus,
        ..Facts::default()
    };
    let config = Config {
        gpus: Some(Arc::new(move || shown.lock().expect("no panic").clone())),
        patience: Patience { health, ..Patience::default() },
        ..Config::new(state.to_owned(), facts)
    };
    (fake.run_engine(config, Arc::new(engine.clone())), driver)
}

fn set(driver: &Driver, gpus: Gpus) {
    *driver.lock().expect("no panic") = gpus;
}

fn on(gpu: &str, attempt: u64, command: &[&str]) -> StartOrder {
    let mut order = order(attempt, command);
    order.limits.gpus = vec![gpu.to_owned()];
    order
}

fn run(state: &State, attempts: &[u64]) -> bool {
    attempts.iter().all(|attempt| matches!(state.reports.get(attempt), Some(Phase::Running { .. })))
}

/// The first message that says so.
fn first(state: &State, says: impl Fn(&SyncRequest) -> bool) -> Option<usize> {
    state.syncs.iter().position(says)
}

fn tells_of_it(sync: &SyncRequest) -> bool {
    sync.facts.as_ref().is_some_and(|facts| facts.gpus[0].unhealthy.is_some())
}

fn tells_the_end(sync: &SyncRequest) -> bool {
    sync.attempts.iter().any(|report| report.attempt.0 == 1 && matches!(report.phase, Phase::Ended(_)))
}

#[tokio::test]
async fn what_runs_on_a_lost_gpu_is_stopped_and_all_else_goes_on() {
    let (fake, engine, state) = (Fake::start().await, PretendEngine::new(), tempfile::tempdir().expect("dir"));
    fake.joined(state.path()).await;
    let (runner, driver) = start(&fake, &engine, state.path(), Duration::from_millis(20));
    fake.offer(on("GPU-a", 1, &["run_ms=forever"]));
    fake.offer(on("GPU-b", 2, &["run_ms=forever"]));
    fake.offer(order(3, &["run_ms=forever"]));
    fake.until("all run", |state| run(state, &[1, 2, 3])).await;
    set(&driver, lost());
    let ended = fake.ended(1).await;
    assert_eq!(ended.reason, EndReason::GpuError, "{}", ended.message);
    assert!(ended.message.contains("GPU-a: it fell off the bus"), "{}", ended.message);
    let (told, over) = fake.change(|state| (first(state, tells_of_it), first(state, tells_the_end)));
    assert!(told.is_some_and(|told| told <= over.expect("an end")), "{told:?} and {over:?}");
    set(&driver, gpus(None));
    assert_eq!(fake.runs(order(4, &[])).await.reason, EndReason::Succeeded);
    fake.change(|state| assert!(run(state, &[2, 3]), "{:?}", state.reports));
    runner.stop().await;
}

/// A server that keeps count never does this.
#[tokio::test]
async fn more_than_is_offered_is_refused_whatever_the_server_says() {
    let (fake, engine, state) = (Fake::start().await, PretendEngine::new(), tempfile::tempdir().expect("dir"));
    fake.joined(state.path()).await;
    let (runner, _) = start(&fake, &engine, state.path(), Duration::from_secs(3600));
    fake.offer(on("GPU-a", 1, &["run_ms=forever"]));
    fake.until("it runs", |state| run(state, &[1])).await;
    let mut greedy = order(2, &[]);
    greedy.limits.cpus_milli = 7_001;
    let mut huge = order(3, &[]);
    huge.limits.memory_bytes = 8 << 30;
    for (order, words) in [(greedy, "cpus"), (huge, "of memory"), (on("GPU-a", 4, &[]), "GPU GPU-a to 1 at once")] {
        let ended = fake.runs(order).await;
        assert_eq!(ended.reason, EndReason::Refused, "{ended:?}");
        assert!(ended.message.starts_with("its runner ") && ended.message.contains(words), "{}", ended.message);
    }
    // The next life of the runner knows what runs, too.
    runner.kill().await;
    let (runner, _) = start(&fake, &engine, state.path(), Duration::from_secs(3600));
    assert_eq!(fake.runs(on("GPU-a", 5, &[])).await.reason, EndReason::Refused);
    fake.change(|state| state.stops.insert(1, EndReason::Cancelled));
    fake.ended(1).await;
    assert_eq!(fake.runs(on("GPU-a", 6, &[])).await.reason, EndReason::Succeeded, "what has ended has nothing");
    runner.stop().await;
}

/// It is looked at in turn only once an hour: what failed asks for itself.
#[tokio::test]
async fn what_fails_because_its_gpu_broke_does_not_pay_and_the_server_hears_of_the_gpu_no_later() {
    let (fake, engine, state) = (Fake::start().await, PretendEngine::new(), tempfile::tempdir().expect("dir"));
    fake.joined(state.path()).await;
    let (runner, driver) = start(&fake, &engine, state.path(), Duration::from_secs(3600));
    assert_eq!(fake.runs(on("GPU-a", 7, &["exit=1"])).await.reason, EndReason::Exit, "the GPU is well");
    set(&driver, gpus(Some("its memory lost something")));
    assert_eq!(fake.runs(on("GPU-a", 8, &[])).await.reason, EndReason::Succeeded, "success is success");
    fake.change(|state| assert_eq!(first(state, tells_of_it), None, "nobody has looked"));
    let ended = fake.runs(on("GPU-a", 1, &["exit=1"])).await;
    assert_eq!((ended.reason, ended.exit_code), (EndReason::GpuError, Some(1)), "{}", ended.message);
    let (told, over) = fake.change(|state| (first(state, tells_of_it), first(state, tells_the_end)));
    assert!(told.is_some_and(|told| told <= over.expect("an end")), "{told:?} and {over:?}");
    // Whoever holds another one, or none, is judged as ever.
    assert_eq!(fake.runs(on("GPU-b", 9, &["exit=1"])).await.reason, EndReason::Exit);
    assert_eq!(fake.runs(order(10, &["exit=1"])).await.reason, EndReason::Exit);
    runner.stop().await;
}

/// One that answers no more hangs whoever asks it.
#[tokio::test]
async fn a_driver_that_hangs_costs_no_lease() {
    let (fake, engine, state) = (Fake::start().await, PretendEngine::new(), tempfile::tempdir().expect("dir"));
    fake.joined(state.path()).await;
    let (release, hangs) = std::sync::mpsc::channel::<()>();
    let (asked, hangs) = (Arc::new(Mutex::new(0)), Mutex::new(hangs));
    let counted = asked.clone();
    let load = move || {
        *counted.lock().expect("a lock") += 1;
        // Until the test lets go of the other end.
        let _ = hangs.lock().expect("a lock").recv();
        Load::default()
    };
    let facts = Facts { cpus_milli: 8000, memory_bytes: 8 << 30, disk_bytes: 1 << 30, ..Facts::default() };
    let config = Config { load: Arc::new(load), ..Config::new(state.path().to_owned(), facts) };
    let runner = fake.run_engine(config, Arc::new(engine.clone()));
    for attempt in 1..=3 {
        assert_eq!(fake.runs(order(attempt, &["exit=0"])).await.reason, EndReason::Succeeded);
    }
    assert_eq!(*asked.lock().expect("a lock"), 1, "it takes one thread, not one after the other");
    drop(release);
    runner.stop().await;
}
