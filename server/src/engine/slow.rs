//! A slow disk: every sync takes half a second of the grid's time. Nobody loses a lease by it, nor by a full one, and commits carry many
//! completions.
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;

use dsg_core::event::{Answer, Event, Join, Orders, Report, Sync};
use dsg_schemas::ids::{AttemptId, JobId, RunnerId, SessionId};
use dsg_schemas::limits::LEASE_MS;
use dsg_schemas::reason::EndReason;
use dsg_schemas::spec::{self, Sources};
use dsg_schemas::wire::{AttemptReport, Ended, Facts, Phase};
use tokio::sync::mpsc;

use super::{Banners, Engine, Outbox, Refused, Settings, start};
use crate::auth::Doors;
use crate::clock::Clock;
use crate::convert;
use crate::store::Store;
use crate::store::torture::{revision, sim::SimDisk};

const SYNC_MS: u64 = 500;
const RUNNERS: u64 = 64;
const ROUNDS: u64 = 6;
/// Between two syncs of a runner.
const ROUND_MS: u64 = 15_000;

/// Holds up whoever syncs while it is shut.
#[derive(Default)]
struct Gate {
    is_shut: Mutex<bool>,
    changed: Condvar,
    somebody_waits: AtomicBool,
}

impl Gate {
    fn shut(&self, shut: bool) {
        *self.is_shut.lock().expect("no panic") = shut;
        self.changed.notify_all();
    }
    fn pass(&self) {
        let mut is_shut = self.is_shut.lock().expect("no panic");
        while *is_shut {
            self.somebody_waits.store(true, Ordering::SeqCst);
            is_shut = self.changed.wait(is_shut).expect("no panic");
        }
        self.somebody_waits.store(false, Ordering::SeqCst);
    }
}

#[derive(Clone)]
struct Runner {
    id: RunnerId,
    session: SessionId,
    seq: u64,
    holds: Option<AttemptId>,
}

impl Runner {
    async fn join(engine: &Engine, number: u64) -> Runner {
        let enrol = Join::Enrol { name: format!("r{number}"), credential_sha256: format!("c{number}") };
        let Ok(Answer::Enrolled { runner, .. }) = engine.apply(Event::Join(enrol)).await else { panic!("enrolled") };
        let facts = Facts { cpus_milli: 1000, memory_bytes: 8 << 30, disk_bytes: 1 << 40, ..Facts::default() };
        let (nonce, host, version) = ("n".to_owned(), "h".to_owned(), "v".to_owned());
        let hello = Join::Hello { runner, nonce, host, version, facts: Box::new(facts) };
        let Ok(Answer::Session { session, .. }) = engine.apply(Event::Join(hello)).await else { panic!("a session") };
        Runner { id: runner, session, seq: 0, holds: None }
    }

    /// Says that what it holds runs, or has ended; takes what it is given.
    /// `sent` counts those whose message is on its way.
    async fn sync(mut self, engine: Engine, ends: bool, sent: Arc<AtomicU64>) -> Runner {
        self.seq += 1;
        let phase = match ends {
            true => Phase::Ended(Box::new(Ended::before_start(EndReason::Succeeded, ""))),
            false => Phase::Running { since_ms: 1, paused: false },
        };
        let attempts: Vec<_> =
            self.holds.iter().map(|attempt| AttemptReport { attempt: *attempt, phase: phase.clone() }).collect();
        let report = Some(Report { attempts, ..Report::default() });
        let event = Event::Sync(Sync { runner: self.id, session: self.session, seq: self.seq, report });
        // On this runtime of one thread nobody runs in between: the message is sent before anybody can see the count.
        sent.fetch_add(1, Ordering::SeqCst);
        let Ok(Answer::Orders(Orders { start, stop, forget, .. })) = engine.apply(event).await else {
            panic!("orders")
        };
        assert!(stop.is_empty(), "nothing is taken from a runner that is heard: {stop:?}");
        self.holds =
            self.holds.filter(|attempt| !forget.contains(attempt)).or(start.first().map(|start| start.attempt));
        self
    }
}

/// A grid on this disk, by this clock, with a job of a thousand chunks.
async fn begin(
    disk: &SimDisk,
    dir: &Path,
    now: &'static AtomicU64,
) -> (Engine, thread::JoinHandle<()>, Arc<Store>, JobId) {
    let store = Arc::new(Store::open_on(Box::new(disk.clone()), dir, 1 << 20).expect("opened"));
    // Nobody listens, as when the server stops.
    let outbox = Outbox { gather: mpsc::unbounded_channel().0, logs: mpsc::unbounded_channel().0 };
    let (doors, banners) = (Arc::new(Doors::default()), Arc::new(Banners::default()));
    let settings = Settings { half_life_ms: 0, lease_ms: LEASE_MS, secret_key: String::new() };
    let (engine, _, thread) =
        start(store.clone(), |_| Clock::by_hand(now), doors, banners, outbox, settings).expect("started");
    let text = "name: n\nimage: i\ncommand: [c]\nchunks: {count: 1000}\nresources: {cpus: 1}\n";
    let read = |_: &str| Err(std::io::ErrorKind::NotFound.into());
    let plan =
        spec::check(text, &Default::default(), &Sources { uploads: &Default::default(), read: &read, secrets: None })
            .expect("a plan");
    let job = convert::submission(&plan.job, plan.chunks, "mara".into(), None, plan.to_bytes().into());
    let Ok(Answer::Job { job, .. }) = engine.apply(Event::Submit(Box::new(job))).await else { panic!("a job") };
    (engine, thread, store, job)
}

/// Nobody is heard while nothing can be written, and that is nobody's silence.
#[tokio::test]
async fn a_disk_that_is_full_for_two_leases_costs_none() {
    let dir = tempfile::tempdir().expect("a directory");
    let now: &'static AtomicU64 = Box::leak(Box::new(AtomicU64::new(1_795_600_000_000)));
    let (engine, thread, store, _) = begin(&SimDisk::default(), dir.path(), now).await;
    let runner = Runner::join(&engine, 0).await.sync(engine.clone(), false, Arc::default()).await;
    let runner = runner.sync(engine.clone(), false, Arc::default()).await;
    let held = runner.holds.expect("an attempt");
    *store.only_free_bytes.lock().expect("no panic") = Some(0);
    let late = || Event::Join(Join::Enrol { name: "late".to_owned(), credential_sha256: "late".to_owned() });
    // In steps that are no standstill.
    for _ in 0..40 {
        assert_eq!(engine.apply(late()).await, Err(Refused::DiskFull));
        now.fetch_add(LEASE_MS / 20, Ordering::SeqCst);
    }
    *store.only_free_bytes.lock().expect("no panic") = None;
    let taken = loop {
        match engine.apply(late()).await {
            Err(Refused::DiskFull) => tokio::task::yield_now().await,
            other => break other,
        }
    };
    assert!(taken.is_ok(), "{taken:?}");
    // Whatever is due by now.
    assert_eq!(engine.apply(Event::Tick).await, Ok(Answer::Ticked));
    let row = store.read(|rows| rows.attempt(held)).expect("rows").expect("an attempt");
    assert_eq!(row.ended, None, "it was given up while nobody could be heard");
    engine.stop();
    thread.join().expect("no panic");
}

#[tokio::test]
async fn a_sync_of_half_a_second_loses_no_lease_and_a_commit_carries_many_completions() {
    let dir = tempfile::tempdir().expect("a directory");
    let now: &'static AtomicU64 = Box::leak(Box::new(AtomicU64::new(1_795_600_000_000)));
    let (disk, gate) = (SimDisk::default(), Arc::new(Gate::default()));
    let (engine, thread, store, job) = begin(&disk, dir.path(), now).await;
    let mut runners = Vec::new();
    for number in 0..RUNNERS {
        let runner = Runner::join(&engine, number).await;
        runners.push(runner.sync(engine.clone(), false, Arc::default()).await);
    }
    assert!(runners.iter().all(|runner| runner.holds.is_some()));

    let slow = gate.clone();
    disk.on_sync(move || {
        slow.pass();
        now.fetch_add(SYNC_MS, Ordering::SeqCst);
        Ok(())
    });
    let mut done = 0;
    for round in 1..=ROUNDS {
        let next = 1_795_600_000_000 + round * ROUND_MS;
        assert!(
            now.load(Ordering::SeqCst) <= next,
            "round {round}: commits take longer than the time between two syncs"
        );
        now.store(next, Ordering::SeqCst);
        let before = revision(&store);
        gate.shut(true);
        let sent = Arc::new(AtomicU64::new(0));
        let sync = |runner: Runner| tokio::spawn(runner.sync(engine.clone(), true, sent.clone()));
        let syncs: Vec<_> = runners.drain(..).map(sync).collect();
        // All have sent their message, and the first one's commit waits for the disk.
        while sent.load(Ordering::SeqCst) < RUNNERS || !gate.somebody_waits.load(Ordering::SeqCst) {
            tokio::task::yield_now().await;
        }
        gate.shut(false);
        for sync in syncs {
            runners.push(sync.await.expect("no panic"));
        }
        done += RUNNERS;
        assert!(revision(&store) - before <= 2, "round {round}: {} commits", revision(&store) - before);
        let job = store.read(|rows| rows.job(job)).expect("rows").expect("a job");
        assert_eq!((job.tally.succeeded, &job.failures), (done, &Default::default()), "round {round}");
    }
    engine.stop();
    thread.join().expect("no panic");
}
