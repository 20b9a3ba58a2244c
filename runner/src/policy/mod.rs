//! The owner's policy as this runner enforces it: the last word before a container is created. The server may offer less than it
//! allows, never more; an order that goes beyond is refused, and nothing of it is started.
mod device;
mod mount;
mod offer;
mod order;

use std::collections::BTreeMap;
use std::path::PathBuf;

use dsg_schemas::policy::{MountRule, Policy};
use dsg_schemas::wire::{Facts, StartOrder};
use sha2::{Digest, Sha256};

use crate::hex;

pub use device::Device;
pub use mount::Mount;
pub use offer::Offer;
pub use order::refused;

#[derive(Clone, Debug, Default)]
pub struct LocalPolicy {
    /// What the server is told.
    pub rules: Policy,
    /// Where the named mounts are: nobody else's business.
    pub mounts: BTreeMap<String, Mount>,
    /// Named mounts whose folders were not there at the start. Jobs that name one are kept away, all others come.
    pub absent: BTreeMap<String, Absent>,
    pub devices: BTreeMap<String, Device>,
    /// The same of devices.
    pub absent_devices: BTreeMap<String, PathBuf>,
    /// The only GPUs that are offered, by UUID.
    pub gpus: Option<Vec<String>>,
    pub gpu_shares: GpuShares,
}

/// How many chunks that are content with a share may have a GPU at once.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GpuShares {
    /// Of each GPU for which nothing else is said.
    pub all: Option<u32>,
    /// By UUID.
    pub of: BTreeMap<String, u32>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Absent {
    pub path: PathBuf,
    pub rule: MountRule,
}

impl LocalPolicy {
    pub fn new(mut rules: Policy, mounts: BTreeMap<String, Mount>, gpus: Option<Vec<String>>) -> LocalPolicy {
        rules.mounts = mounts.iter().map(|(name, mount)| (name.clone(), mount.rule())).collect();
        LocalPolicy { rules, mounts, gpus, ..LocalPolicy::default() }
    }

    /// They stay in the rules: that a folder is missing today is a failed check, not what its owner wants.
    pub fn without(mut self, absent: BTreeMap<String, Absent>) -> LocalPolicy {
        self.rules.mounts.extend(absent.iter().map(|(name, absent)| (name.clone(), absent.rule)));
        self.absent = absent;
        self
    }

    pub fn with_devices(mut self, devices: BTreeMap<String, Device>, absent: BTreeMap<String, PathBuf>) -> LocalPolicy {
        self.rules.devices = devices.keys().chain(absent.keys()).cloned().collect();
        self.rules.devices.sort();
        (self.devices, self.absent_devices) = (devices, absent);
        self
    }

    pub fn with_shares(self, gpu_shares: GpuShares) -> LocalPolicy {
        LocalPolicy { gpu_shares, ..self }
    }

    /// Leaves what is offered, and says what is allowed.
    pub fn limit(&self, facts: &mut Facts) {
        facts.policy = self.rules.clone();
        for gpu in &mut facts.gpus {
            gpu.shares = self.gpu_shares.of.get(&gpu.uuid).copied().or(self.gpu_shares.all).unwrap_or(0);
        }
        let not_here = |uuid: &&String| !facts.gpus.iter().any(|gpu| gpu.uuid == **uuid);
        for uuid in self.gpu_shares.of.keys().filter(not_here) {
            tracing::warn!(uuid, "policy.gpu_shares names a GPU that this host does not show");
        }
        let Some(allowed) = &self.gpus else { return };
        let before = facts.gpus.len();
        facts.gpus.retain(|gpu| allowed.contains(&gpu.uuid));
        if facts.gpus.len() < before {
            let left_out = before - facts.gpus.len();
            facts.gpu_note = Some(format!("its owner keeps {left_out} of {before} GPUs for themselves"));
        }
    }

    /// What a job leaves open is bounded here; the attempt runs with that.
    pub fn narrow(&self, order: &mut StartOrder) {
        if let Some(most) = self.rules.most.disk_bytes.filter(|_| order.limits.disk_bytes == 0) {
            order.limits.disk_bytes = most;
        }
    }

    /// Differs where a container would be made differently.
    pub fn fingerprint(&self) -> String {
        hex(&Sha256::digest(format!("{self:?}"))[..8])
    }
}

#[cfg(test)]
mod tests {
    use dsg_schemas::wire::Gpu;

    use super::*;

    #[test]
    fn gpus_are_offered_as_their_owner_says() {
        let gpu = |uuid: &str| Gpu { uuid: uuid.to_owned(), ..Gpu::default() };
        let offered = |policy: LocalPolicy| {
            let mut facts = Facts { gpus: vec![gpu("GPU-a"), gpu("GPU-b")], ..Facts::default() };
            policy.limit(&mut facts);
            let shares: Vec<_> = facts.gpus.into_iter().map(|gpu| (gpu.uuid, gpu.shares)).collect();
            (shares, facts.gpu_note)
        };
        let list =
            |of: &[(&str, u32)]| of.iter().map(|(uuid, shares)| ((*uuid).to_owned(), *shares)).collect::<Vec<_>>();
        let shares = |all, of: &[(&str, u32)]| {
            LocalPolicy::default().with_shares(GpuShares { all, of: list(of).into_iter().collect() })
        };
        assert_eq!(offered(LocalPolicy::default()), (list(&[("GPU-a", 0), ("GPU-b", 0)]), None));
        assert_eq!(offered(shares(Some(3), &[])).0, list(&[("GPU-a", 3), ("GPU-b", 3)]));
        assert_eq!(offered(shares(None, &[("GPU-b", 4), ("GPU-away", 2)])).0, list(&[("GPU-a", 0), ("GPU-b", 4)]));
        let (left, note) = offered(LocalPolicy { gpus: Some(vec!["GPU-a".to_owned()]), ..shares(Some(2), &[]) });
        assert_eq!((left, note.is_some_and(|note| note.contains("keeps 1 of 2"))), (list(&[("GPU-a", 2)]), true));
    }
}
