//! What the runner asks of a container engine. Docker and Podman are one implementation (bollard), `pretend` is another, which
//! runs nothing and serves tests and overhead benchmarks.
//!
//! Two rules hold for every implementation: an exit is believed only when inspect says so, and a stream that ends is not a
//! container that ended.
pub mod docker;
pub mod pretend;
mod watch;

use std::collections::BTreeMap;
use std::future::Future;
use std::path::Path;
use std::pin::Pin;

use bytes::Bytes;
use dsg_schemas::ids::{AttemptId, RunnerId};
use dsg_schemas::reason::EndReason;
use dsg_schemas::spec::PullPolicy;
use dsg_schemas::wire::EngineFacts;
use dsg_schemas::wire::log::Stream;
use tokio::sync::mpsc;

use crate::room::Space;

pub type Answer<'a, T> = Pin<Box<dyn Future<Output = Result<T, Failure>> + Send + 'a>>;

/// An image that is there now.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Present {
    pub id: String,
    /// Set where it was not there before, under no name.
    pub brought: Option<Bringing>,
    /// Why it cannot run here, if it was made for another platform.
    pub misfit: Option<String>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Bringing {
    /// As the engine lists it.
    pub name: String,
    pub bytes: u64,
}

/// An image as the engine lists it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ImageSeen {
    pub id: String,
    /// In full, as [`Engine::full_name`] gives them.
    pub names: Vec<String>,
    /// By a container, running or not.
    pub in_use: bool,
    /// By one that is not of this grid and runner.
    pub others_use_it: bool,
}

/// Why an engine call did not do what was asked, already sorted into the grid's end reasons.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Failure {
    /// `engine_error` where nothing better is known.
    pub reason: EndReason,
    /// What was attempted and why it failed, for people.
    pub message: String,
    /// The engine itself could not be reached: nothing is known about the container.
    pub engine_gone: bool,
}

/// A container to create: complete, nothing left to decide.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ContainerPlan {
    /// `dsg-<grid>-<attempt>`: a second create of the same attempt finds the first.
    pub name: String,
    pub labels: BTreeMap<String, String>,
    /// By id, so that a tag that moves cannot change what runs.
    pub image: String,
    pub entrypoint: Option<Vec<String>>,
    /// Empty: the image's own.
    pub command: Vec<String>,
    pub env: BTreeMap<String, String>,
    /// Set where neither `env` nor the image itself sets them.
    pub env_defaults: BTreeMap<String, String>,
    pub workdir: Option<String>,
    pub user: Option<String>,
    /// `none` or `bridge`.
    pub network: String,
    pub cpus_milli: u64,
    pub memory_bytes: u64,
    pub shm_bytes: Option<u64>,
    pub gpus: Vec<String>,
    /// Processes at most; `None`: as many as any container.
    pub pids: Option<u64>,
    /// Of the capabilities that a container of root has, only these; `None`: all of them.
    pub capabilities: Option<Vec<String>>,
    pub binds: Vec<Bind>,
    /// Of the host, but for GPUs.
    pub devices: Vec<HostDevice>,
    /// Folders (mode 1777) that must exist and be writable, made before start.
    pub folders: Vec<String>,
    /// The same, but in memory, and so at no cost to the engine: for what nobody fetches.
    pub scratch: Vec<String>,
}

/// May be read and written; no other device can be made of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostDevice {
    pub host: String,
    pub container: String,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bind {
    pub host: String,
    pub container: String,
    pub write: bool,
    /// A folder of the owner's, not one of ours: what is mounted beneath it is not seen, because engines leave that writable.
    pub named: bool,
}

impl Bind {
    pub fn read_only(host: &Path, container: &str) -> Bind {
        let host = host.to_string_lossy().into_owned();
        Bind { host, container: container.to_owned(), write: false, named: false }
    }
}

/// What inspect says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum State {
    Created,
    Running {
        since_ms: u64,
    },
    /// Paused by somebody.
    Paused,
    Exited(Exit),
    /// No such container: lost, never success.
    Gone,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Exit {
    pub code: i32,
    /// Counted by the kernel, not guessed from 137. `None`: could not be known.
    pub oom: Option<bool>,
    pub run_ms: u64,
    pub started_ms: u64,
    /// What the engine says went wrong, if it says so.
    pub error: String,
    pub peak_memory_bytes: Option<u64>,
    pub cpu_ms: Option<u64>,
    pub read_bytes: Option<u64>,
    pub written_bytes: Option<u64>,
}

/// A container with our labels.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Own {
    pub id: String,
    pub attempt: AttemptId,
    pub labels: BTreeMap<String, String>,
}

/// One piece of output, as received.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Piece {
    pub stream: Stream,
    pub bytes: Bytes,
}

/// A reading of an engine's log. An error is its last piece, and says that what came before is not all of it.
pub type Reading = mpsc::Receiver<Result<Piece, Failure>>;

/// A container engine. Every call has a deadline of its own inside; dropping a future cancels nothing on the engine.
pub trait Engine: Send + Sync {
    /// Who it is; also proves that it answers.
    fn facts(&self) -> Answer<'_, EngineFacts>;
    /// Makes the image present. `note` receives progress for people. One pull per image at a time.
    fn image<'a>(
        &'a self,
        image: &'a str,
        policy: PullPolicy,
        note: &'a (dyn Fn(String) + Send + Sync),
    ) -> Answer<'a, Present>;
    /// Loads an image from a `docker save` archive and gives its id.
    fn load_image(&self, archive: Vec<u8>) -> Answer<'_, String>;
    /// The same from a file of this host, and under this name from then on. What it is called inside must not count.
    fn load_file<'a>(&'a self, archive: &'a Path, name: &'a str) -> Answer<'a, Present>;
    /// The same name in full, as far as the engine completes names.
    fn full_name(&self, name: &str) -> String {
        name.to_owned()
    }
    /// All images.
    fn images<'a>(&'a self, grid: &'a str, runner: RunnerId) -> Answer<'a, Vec<ImageSeen>>;
    /// Removes these names of an image, and with the last one the image. Never by force: `false` says that something needs it. Fine if it
    /// is gone.
    fn remove_image<'a>(&'a self, id: &'a str, names: &'a [String]) -> Answer<'a, bool>;
    /// What tells this engine's images from those of all others on this host.
    fn place(&self) -> String;
    /// Creates, or finds the container of that name if the same attempt made it before. Gives its id.
    fn create<'a>(&'a self, plan: &'a ContainerPlan) -> Answer<'a, String>;
    /// Opens the output before start; pieces arrive until the container ends. The channel closes with the stream.
    fn attach<'a>(&'a self, id: &'a str) -> Answer<'a, mpsc::Receiver<Piece>>;
    /// All output so far, from the engine's own log, byte 0 on: for re-adoption and for the sweep after the end. With `follow`
    /// it goes on until the container ends. That there is no such container may be said by the first thing to arrive.
    fn logs<'a>(&'a self, id: &'a str, follow: bool) -> Answer<'a, Reading>;
    /// Starts it. Watches for OOM kills are registered before.
    fn start<'a>(&'a self, id: &'a str) -> Answer<'a, ()>;
    fn inspect<'a>(&'a self, id: &'a str) -> Answer<'a, State>;
    /// Returns when the container has probably ended (or the engine gave up waiting): look with inspect.
    fn wait<'a>(&'a self, id: &'a str) -> Answer<'a, ()>;
    /// Freezes all its processes where they are; they keep their memory. Fine if it is frozen or has ended already.
    fn pause<'a>(&'a self, id: &'a str) -> Answer<'a, ()>;
    /// Lets them go on. Fine if it is not frozen.
    fn unpause<'a>(&'a self, id: &'a str) -> Answer<'a, ()>;
    /// TERM, and after the grace KILL. A frozen one is let go on first: it could not hear the TERM. Fine if it has ended already.
    fn stop<'a>(&'a self, id: &'a str, grace_ms: u64) -> Answer<'a, ()>;
    /// A tar of one path of an ended container, in pieces. `None`: there is no such path.
    fn copy_out<'a>(&'a self, id: &'a str, path: &'a str)
    -> Answer<'a, Option<mpsc::Receiver<Result<Bytes, Failure>>>>;
    /// Bytes in the container's own layer: what it wrote itself, outside volumes and inputs. `None`: that cannot be known.
    fn written<'a>(&'a self, id: &'a str) -> Answer<'a, Option<u64>>;
    /// Which life of the engine this is: an engine that stops may end its containers, and then their exits are its doing. `None`:
    /// containers outlive it.
    fn life(&self) -> Answer<'_, Option<String>> {
        Box::pin(std::future::ready(Ok(None)))
    }
    /// Removes it with its volumes, whatever its state. Fine if it is gone.
    fn remove<'a>(&'a self, id: &'a str) -> Answer<'a, ()>;
    /// Containers of this grid and runner, ended ones too; nobody else's.
    fn own<'a>(&'a self, grid: &'a str, runner: RunnerId) -> Answer<'a, Vec<Own>>;
    /// The disk where containers and images live, if that can be known.
    fn disk(&self) -> Answer<'_, Option<Space>>;
    /// Processor time that own containers have used so far, by their names, as far as it is known.
    fn cpu_ms(&self) -> Vec<(String, u64)> {
        Vec::new()
    }
    /// Ends what this program itself started for the engine.
    fn close(&self) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        Box::pin(std::future::ready(()))
    }
    /// Ways of asking this engine for GPUs, best first, named for people. Which of them works is proved by the self-test.
    fn gpu_ways(&self) -> Vec<String> {
        vec!["the engine's own way".to_owned()]
    }
    /// Asks in that way from now on.
    fn choose_gpu_way(&self, _way: usize) {}
}

/// Labels on every container.
pub mod label {
    pub const GRID: &str = "dsg.grid";
    pub const RUNNER: &str = "dsg.runner";
    pub const ATTEMPT: &str = "dsg.attempt";
    pub const CHUNK: &str = "dsg.chunk";
    /// What its runner's policy was: a container that was made under another is not started.
    pub const POLICY: &str = "dsg.policy";
}
