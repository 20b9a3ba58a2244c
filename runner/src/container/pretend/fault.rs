//! A pretend engine plays the program of the self-test as a good host would, and as a bad one where a test plants what is wrong.
use std::os::unix::fs::MetadataExt;
use std::sync::PoisonError;

use super::{PretendEngine, failure};
use crate::container::{ContainerPlan, Failure};
use dsg_schemas::reason::EndReason;

/// One thing that is wrong with an engine or its host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// No image can be loaded.
    Load,
    /// No container can be made.
    Create,
    /// None can be made that has a bound on memory.
    CreateBounded,
    MemoryIgnored,
    CpusIgnored,
    PidsIgnored,
    PrivilegesKept,
    /// Every end is told as 0.
    ExitCode,
    /// The live output never comes.
    Output,
    /// The engine's own log is empty.
    Log,
    /// A container without a network has one.
    NetworkOpen,
    /// There is no network to be had.
    NoBridge,
    /// A container with a network has none.
    BridgeDead,
    /// What the engine mounts is not what the runner means.
    OtherFiles,
    /// GPUs are asked for, and nothing comes of it.
    NoGpu,
}

impl PretendEngine {
    pub fn plant(&self, fault: Fault) {
        self.inner.faults.lock().unwrap_or_else(PoisonError::into_inner).push(fault);
    }

    /// All is well again.
    pub fn mend(&self) {
        self.inner.faults.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    pub(super) fn has(&self, fault: Fault) -> bool {
        self.inner.faults.lock().unwrap_or_else(PoisonError::into_inner).contains(&fault)
    }

    pub(super) fn creates(&self, plan: &ContainerPlan) -> Result<(), Failure> {
        let why = if self.has(Fault::Create) {
            "the runtime is not installed"
        } else if self.has(Fault::CreateBounded) && plan.memory_bytes > 0 {
            "the cgroup controller memory is not available"
        } else if self.has(Fault::NoBridge) && plan.network == "bridge" {
            "there is no network bridge"
        } else {
            return Ok(());
        };
        Err(failure(EndReason::EngineError, format!("failed to create container {}: {why}", plan.name)))
    }

    /// What the program of the self-test says in such a container, and its exit code.
    pub(super) fn act(&self, plan: &ContainerPlan) -> (String, i32) {
        let (mut said, mut code) = (String::new(), 0);
        for step in plan.command.split(|word| word == "then") {
            code = 0;
            match step.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
                ["echo", words @ ..] => said += &format!("{}\n", words.join(" ")),
                ["exit", number] => code = number.parse().unwrap_or(0),
                ["limits"] => said += &self.limits(plan),
                ["network"] => said += self.network(plan),
                ["place", _] => said += &self.place(plan),
                ["gpu"] if plan.gpus.is_empty() || self.has(Fault::NoGpu) => code = 3,
                ["gpu"] => said.extend((0..plan.gpus.len()).map(|index| format!("nvidia{index} opens\n"))),
                _ => {}
            }
        }
        (said, code)
    }

    fn limits(&self, plan: &ContainerPlan) -> String {
        let memory = match plan.memory_bytes {
            0 => "max".to_owned(),
            _ if self.has(Fault::MemoryIgnored) => "max".to_owned(),
            bytes => bytes.to_string(),
        };
        let quota = match plan.cpus_milli {
            0 => "max 100000".to_owned(),
            _ if self.has(Fault::CpusIgnored) => "max 100000".to_owned(),
            milli => format!("{} 100000", milli * 100),
        };
        let pids = plan.pids.unwrap_or(dsg_schemas::limits::PIDS.unsigned_abs());
        let pids = if self.has(Fault::PidsIgnored) { "max".to_owned() } else { pids.to_string() };
        let no_new = u8::from(!self.has(Fault::PrivilegesKept));
        format!("memory {memory}\npids {pids}\ncpu-quota {quota}\nNoNewPrivs: {no_new}\n")
    }

    fn place(&self, plan: &ContainerPlan) -> String {
        let meta = plan.binds.first().and_then(|bind| std::fs::metadata(&bind.host).ok());
        let meta = meta.filter(|_| !self.has(Fault::OtherFiles));
        meta.map_or("place 0:0\n".to_owned(), |meta| format!("place {:x}:{}\n", meta.dev(), meta.ino()))
    }

    fn network(&self, plan: &ContainerPlan) -> &'static str {
        match plan.network.as_str() {
            "none" if !self.has(Fault::NetworkOpen) => "network none\n",
            "bridge" if self.has(Fault::BridgeDead) => "network none\n",
            _ => "network eth0\n",
        }
    }
}
