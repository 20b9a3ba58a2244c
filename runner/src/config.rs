//! What a runner is started with.
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use dsg_schemas::wire::{Facts, Load};

use crate::attempt::Patience;
use crate::container::docker::Registries;
use crate::owner::Owner;
use crate::policy::LocalPolicy;
use crate::probe::Gpus;
use crate::room::Marks;
use crate::secrets::default_base;

pub const CACHE_BYTES: u64 = 20 << 30;

/// Asked at each sync: what the host is doing.
pub type LoadSource = Arc<dyn Fn() -> Load + Send + Sync>;

/// Asked now and then: which GPUs the driver shows.
pub type GpuSource = Arc<dyn Fn() -> Gpus + Send + Sync>;

#[derive(Clone)]
pub struct Config {
    /// The state folder; join has been there before.
    pub state: PathBuf,
    /// What is offered. What is said about the engine is filled in at start.
    pub facts: Facts,
    pub load: LoadSource,
    pub gpus: Option<GpuSource>,
    pub cache_bytes: u64,
    /// Of the disk, what stays the owner's.
    pub disk_reserve_bytes: u64,
    /// How much of the disks is to be free.
    pub marks: Marks,
    /// Credentials for pulls.
    pub registries: Registries,
    /// Prove at start that containers run, limits hold and GPUs are there; GPUs that are not proven are not offered.
    pub selftest: bool,
    /// What containers may have here.
    pub policy: LocalPolicy,
    /// When the owner wants the host back.
    pub owner: Owner,
    /// After so long nothing is left running here, and the runner ends.
    pub lifetime: Option<Duration>,
    /// After so long without an attempt the runner ends.
    pub idle_timeout: Option<Duration>,
    /// Where secrets lie while containers run: in memory.
    pub secrets: PathBuf,
    pub patience: Patience,
}

impl Config {
    pub fn new(state: PathBuf, facts: Facts) -> Config {
        let (load, patience): (LoadSource, _) = (Arc::new(Load::default), Patience::default());
        Config {
            state,
            facts,
            load,
            gpus: None,
            cache_bytes: CACHE_BYTES,
            disk_reserve_bytes: 0,
            marks: Marks::default(),
            registries: Registries::default(),
            selftest: false,
            policy: LocalPolicy::default(),
            owner: Owner::default(),
            lifetime: None,
            idle_timeout: None,
            secrets: default_base(),
            patience,
        }
    }
}

/// Where the state is kept unless `--state` says otherwise.
pub fn default_state() -> PathBuf {
    let from = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    if rustix::process::geteuid().is_root() {
        return PathBuf::from("/var/lib/dsg-runner");
    }
    let base = from("XDG_STATE_HOME").or_else(|| from("HOME").map(|home| home.join(".local/state")));
    base.unwrap_or_else(|| PathBuf::from(".")).join("dsg-runner")
}
