//! The runner of DSG: on each host, it offers what the host has, and runs what fits.
//!
//! [`join`] once, then [`run`]. Both can be embedded: tests and benchmarks put fifty runners with pretend engines into one
//! process. `plan` decides, `agent` carries out, `attempt` is the life of one container, `link` speaks to the server, `spool`
//! keeps what must not be forgotten.
mod agent;
pub mod attempt;
pub mod cli;
pub mod config;
pub mod container;
pub mod doctor;
mod gpu_watch;
mod health;
mod link;
pub mod owner;
mod plan;
pub mod policy;
pub mod probe;
mod proof;
pub mod room;
mod sampled;
mod secrets;
pub mod selftest;
pub mod settings;
pub mod spool;

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use dsg_schemas::wire::Phase;
use tokio::sync::{Semaphore, mpsc, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use crate::agent::{Agent, Lives};
use crate::attempt::{Living, Origin, Shared, Usage, Wish};
pub use crate::config::Config;
use crate::container::Engine;
use crate::gpu_watch::GpuWatch;
pub use crate::link::{Invitation, JoinError, LinkError};
use crate::proof::Proof;
use crate::room::{Cleaner, Stock};
use crate::sampled::Sampled;
use crate::secrets::Place;
use crate::spool::{Identity, Spool, SpoolError};

/// Batches and pieces in memory at a time, of at most 8 MiB each.
const TRANSFERS: usize = 4;

#[derive(Debug, thiserror::Error)]
pub enum RunError {
    #[error(transparent)]
    Spool(#[from] SpoolError),
    #[error(transparent)]
    Join(#[from] JoinError),
    #[error("cannot use the server's certificate as it was stored by join: {0}")]
    Link(LinkError),
    #[error("{0}; this runner was removed or its credential revoked: join again with dsg-runner join URL --token T")]
    Refused(LinkError),
    #[error("the system gives no random numbers: {0}")]
    Random(getrandom::Error),
}

/// Exchanges a join token for an identity and keeps that in the state folder.
pub async fn join(state: &Path, invitation: &Invitation<'_>) -> Result<Identity, RunError> {
    // Opened first: a token is not spent where its fruit cannot be kept.
    let spool = Spool::open(state)?;
    let identity = link::join(invitation).await?;
    spool.keep_identity(&identity)?;
    Ok(identity)
}

/// Runs until `stop`; then containers stay for the next life. Comes back by itself only where the server wants no more of this
/// runner.
pub async fn run(config: Config, engine: Arc<dyn Engine>, stop: CancellationToken) -> Result<(), RunError> {
    let born = tokio::time::Instant::now();
    let Config {
        state, mut facts, load, gpus, cache_bytes, disk_reserve_bytes, marks, selftest, policy, patience, ..
    } = config;
    facts.ends_ms = config.lifetime.map(|lifetime| now_ms() + lifetime.as_millis() as u64);
    let spool = Spool::open(&state)?;
    let Identity { runner, grid, .. } = &spool.identity()?;
    let (sender, progress) = mpsc::unbounded_channel();
    let mut nonce = [0; 16];
    getrandom::fill(&mut nonce).map_err(RunError::Random)?;
    let (wish, wished) = watch::channel(Wish::default());
    let shared = Arc::new(Shared {
        stock: Stock::open(spool.brought(&engine.place())),
        living: Living::default(),
        engine,
        link: link::Link::new(&spool.identity()?).map_err(RunError::Link)?,
        cache: spool.cache(cache_bytes),
        grid: grid.clone(),
        runner: *runner,
        boot: boot_id(),
        progress: sender,
        transfers: Semaphore::new(TRANSFERS),
        patience,
        loading: tokio::sync::Mutex::default(),
        usage: Usage::default(),
        sampled: Arc::new(Sampled::new(load, patience.meter)),
        gpus: GpuWatch::new(gpus),
        policy,
        offer: policy::Offer::default(),
        secrets: Place::new(&config.secrets, grid, *runner),
        wish: wished,
    });
    let left = spool.left()?;
    let running = left.iter().filter(|(_, _, left)| left.started.is_some() && left.ended.is_none());
    shared.secrets.sweep(&running.map(|(attempt, ..)| *attempt).collect());
    let (engine_facts, adopted) = tokio::select! {
        found = first_look(&shared, left) => found,
        () = stop.cancelled() => return Ok(()),
    };
    facts.engine = engine_facts;
    shared.policy.limit(&mut facts);
    let (mut proof, mut unfit) = (None, None);
    if selftest {
        let mut first = Proof::new(facts, hex(&nonce[..4]), spool.root().join("lock"));
        (facts, unfit) = tokio::select! {
            proved = first.make(&shared) => proved,
            () = stop.cancelled() => return Ok(()),
        };
        proof = Some(first);
    }
    shared.gpus.begin(&facts.gpus);
    shared.offer.set(&facts);
    let phases = adopted.iter().map(|adopted| (adopted.attempt, first_phase(&adopted.origin))).collect::<Vec<_>>();
    let grace_ms = adopted.iter().map(|adopted| adopted.order.timeouts.grace_ms).max().unwrap_or(0);
    let mut lives = Lives::default();
    for adopted in adopted {
        if matches!(adopted.origin, Origin::Started(..)) {
            shared.offer.keep(adopted.attempt, &adopted.order.limits);
        }
        lives.begin(&shared, &spool, adopted.order, adopted.origin);
    }
    let watched = health::Watched {
        shared: shared.clone(),
        state: spool.root().to_owned(),
        proof,
        unfit,
        facts,
        reserve_bytes: disk_reserve_bytes,
        marks,
    };
    let cleaner = Cleaner::new(shared.clone(), spool.root().to_owned(), marks);
    let _cleaning = AbortOnDropHandle::new(tokio::spawn(cleaner.run()));
    let health = tokio::select! {
        health = health::watch(watched) => health,
        () = stop.cancelled() => return Ok(()),
    };
    let facts = health.borrow().facts.clone();
    let plan = plan::Plan::new(phases, u64::from_le_bytes(nonce[..8].try_into().unwrap_or_default()));
    let ms = |time: Duration| time.as_millis() as u64;
    let plan = plan.with_limits(plan::Limits {
        ends_at: config.lifetime.map(|lifetime| ms(lifetime.saturating_sub(born.elapsed()))),
        idle_ms: config.idle_timeout.map(ms),
        grace_ms,
    });
    let owner = owner::watch(config.owner, shared.engine.clone()).await;
    let agent = Agent { shared: shared.clone(), spool, facts, nonce, plan, progress, lives, health, wish, owner };
    let result = agent.run(stop).await;
    shared.stock.keep().await;
    result
}

/// Waits for the engine: without it, nothing true can be said about what is held.
async fn first_look(
    shared: &Shared,
    left: Vec<(dsg_schemas::ids::AttemptId, spool::Folder, spool::Left)>,
) -> (dsg_schemas::wire::EngineFacts, Vec<attempt::Adopted>) {
    let mut failures = 0;
    loop {
        let failure = match shared.engine.facts().await {
            Ok(facts) => match attempt::adopt(shared, left.clone()).await {
                Ok(adopted) => return (facts, adopted),
                Err(failure) => failure,
            },
            Err(failure) => failure,
        };
        tracing::warn!(%failure, "the container engine does not answer; trying again");
        tokio::time::sleep(shared.patience.after(failures)).await;
        failures += 1;
    }
}

fn first_phase(origin: &Origin) -> Phase {
    match origin {
        Origin::Fresh | Origin::Unstarted => Phase::Preparing { note: String::new() },
        Origin::Started(..) => Phase::Running { since_ms: now_ms(), paused: false },
        Origin::Ended(ended, _) => Phase::Ended(ended.clone()),
    }
}

/// Sleeps until then; for ever where there is no such moment.
pub(crate) async fn at(moment: Option<tokio::time::Instant>) {
    match moment {
        Some(moment) => tokio::time::sleep_until(moment).await,
        None => std::future::pending().await,
    }
}

/// Unix time, for people and for the wire; never for measuring.
pub(crate) fn now_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO).as_millis() as u64
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        // Writing to a string cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// Changes with each boot of the machine, as the runner's process does not.
fn boot_id() -> String {
    std::fs::read_to_string("/proc/sys/kernel/random/boot_id")
        .map_or_else(|_| "unknown".to_owned(), |id| id.trim().to_owned())
}
