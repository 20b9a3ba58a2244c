//! One attempt, from its order to its end: one tokio task each, driven by [`Life`].
mod adopt;
mod archive;
mod disk;
mod freezer;
mod inputs;
mod life;
mod living;
mod masked;
mod meter;
mod outputs;
mod place;
mod prepare;
mod pulled;
mod pushed;
mod secrets;
mod ship;
mod sweep;
mod tap;
mod unpack;
mod verdict;
mod watch;

use std::sync::Arc;
use std::time::Duration;

use dsg_schemas::ids::{AttemptId, RunnerId};
use dsg_schemas::reason::EndReason;
use dsg_schemas::wire::{Ended, Phase};
use tokio::sync::{Semaphore, mpsc, watch as channel};

use crate::container::{Engine, Failure};
use crate::gpu_watch::GpuWatch;
use crate::link::Link;
use crate::policy::{LocalPolicy, Offer};
use crate::room::Stock;
use crate::sampled::Sampled;
use crate::secrets::Place;
use crate::spool::Cache;

pub use adopt::{Adopted, adopt};
pub use disk::Usage;
pub use life::{Life, Origin};
pub use living::{Alive, Living};

/// What all attempts of a runner share.
pub struct Shared {
    pub engine: Arc<dyn Engine>,
    pub link: Link,
    pub cache: Cache,
    pub grid: String,
    pub runner: RunnerId,
    /// Boot id of the machine: tells a restart of the host from one of the runner.
    pub boot: String,
    pub progress: mpsc::UnboundedSender<(AttemptId, Phase)>,
    /// How many batches and blob pieces are in memory at a time.
    pub transfers: Semaphore,
    pub patience: Patience,
    /// Whose turn it is to load an image from the server.
    pub loading: tokio::sync::Mutex<()>,
    pub usage: Usage,
    /// The images that this runner brought, and who holds which.
    pub stock: Stock,
    pub living: Living,
    /// What the host does now, its GPUs among it.
    pub sampled: Arc<Sampled>,
    /// Whether the GPUs that are offered are well.
    pub gpus: GpuWatch,
    /// The owner's, and the last word.
    pub policy: LocalPolicy,
    /// What all attempts hold together.
    pub offer: Offer,
    /// Where secrets lie while containers run.
    pub secrets: Place,
    /// What all containers are to do.
    pub wish: channel::Receiver<Wish>,
}

/// Whether containers are to be frozen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Wish {
    /// The server has not said so yet: they stay as an earlier life of the runner left them.
    #[default]
    AsItIs,
    Run,
    Freeze,
}

/// How long is waited for what.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    /// Between looks at a container that says nothing.
    pub look: Duration,
    /// Between looks at the host and its engine.
    pub health: Duration,
    /// Between self-tests, while something failed in the last one.
    pub prove: Duration,
    /// Between looks at what the host does, the GPUs that attempts hold among it.
    pub meter: Duration,
    /// For an engine that does not answer, before the attempt is given up.
    pub engine_gone: Duration,
    /// For the rest of the output after the end.
    pub drain: Duration,
    /// For the server to have an end on its disk, before it is brought to our own.
    pub settled: Duration,
    /// From the first unsent byte of output to its upload.
    pub flush: Duration,
    /// The first wait after a failure; doubled up to 15 times as long, so that what was kept is there half a minute after a bad hour.
    pub retry: Duration,
}

impl Default for Patience {
    fn default() -> Patience {
        Patience {
            look: Duration::from_secs(15),
            health: Duration::from_secs(7),
            prove: Duration::from_secs(600),
            meter: Duration::from_secs(5),
            engine_gone: Duration::from_secs(300),
            drain: Duration::from_secs(5),
            settled: Duration::from_millis(250),
            flush: Duration::from_millis(100),
            retry: Duration::from_secs(1),
        }
    }
}

impl Patience {
    /// The wait after so many failures in a row.
    pub fn after(&self, failures: u32) -> Duration {
        self.retry * (1 << failures.min(4)).min(15)
    }
}

/// What the agent says to a life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Halt {
    Go,
    /// Start nothing before the server has been asked whether it still counts.
    Wait,
    /// End it, with this reason.
    Stop(EndReason),
    /// The server has settled it: leave nothing behind.
    Forget,
}

/// Waits until the agent lets this attempt start; or why it is to end.
async fn allowed(halt: &mut channel::Receiver<Halt>) -> Result<(), EndReason> {
    let told = halt.wait_for(|halt| *halt != Halt::Wait).await.map(|halt| *halt);
    match told {
        Ok(Halt::Go) => Ok(()),
        Ok(Halt::Stop(_) | Halt::Forget | Halt::Wait) | Err(_) => Err(halted(halt).await),
    }
}

/// Waits until the agent wants this attempt to end.
async fn halted(halt: &mut channel::Receiver<Halt>) -> EndReason {
    match halt.wait_for(|halt| *halt != Halt::Go).await.map(|halt| *halt) {
        Ok(Halt::Stop(reason)) => reason,
        Ok(Halt::Forget | Halt::Go | Halt::Wait) => EndReason::Cancelled,
        // The agent is gone: the process ends, and its next life takes over.
        Err(_) => std::future::pending().await,
    }
}

fn failed(failure: Failure) -> Ended {
    Ended::before_start(failure.reason, failure.message)
}

/// An end because of our own disk.
fn disk(doing: &str, error: &std::io::Error) -> Ended {
    let reason = match error.kind() {
        std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded => EndReason::DiskFull,
        _ => EndReason::EngineError,
    };
    Ended::before_start(reason, format!("the runner could not {doing} in its state folder: {error}"))
}

#[cfg(test)]
pub(crate) use life::tests::order as test_order;
#[cfg(test)]
pub(crate) use prepare::container_plan;
