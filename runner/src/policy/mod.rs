//! The owner's policy as this runner enforces it: the last word before a container is created. The server may offer less than it
//! allows, never more; an order that goes beyond is refused, and nothing of it is started.
mod mount;
mod order;

use std::collections::BTreeMap;
use std::path::PathBuf;

use dsg_schemas::policy::{MountRule, Policy};
use dsg_schemas::wire::{Facts, StartOrder};
use sha2::{Digest, Sha256};

use crate::hex;

pub use mount::Mount;

#[derive(Clone, Debug, Default)]
pub struct LocalPolicy {
    /// What the server is told.
    pub rules: Policy,
    /// Where the named mounts are: nobody else's business.
    pub mounts: BTreeMap<String, Mount>,
    /// Named mounts whose folders were not there at the start. Jobs that name one are kept away, all others come.
    pub absent: BTreeMap<String, Absent>,
    /// The only GPUs that are offered, by UUID.
    pub gpus: Option<Vec<String>>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Absent {
    pub path: PathBuf,
    pub rule: MountRule,
}

impl LocalPolicy {
    pub fn new(mut rules: Policy, mounts: BTreeMap<String, Mount>, gpus: Option<Vec<String>>) -> LocalPolicy {
        rules.mounts = mounts.iter().map(|(name, mount)| (name.clone(), mount.rule())).collect();
        LocalPolicy { rules, mounts, absent: BTreeMap::new(), gpus }
    }

    /// They stay in the rules: that a folder is missing today is a failed check, not what its owner wants.
    pub fn without(mut self, absent: BTreeMap<String, Absent>) -> LocalPolicy {
        self.rules.mounts.extend(absent.iter().map(|(name, absent)| (name.clone(), absent.rule)));
        self.absent = absent;
        self
    }

    /// Leaves what is offered, and says what is allowed.
    pub fn limit(&self, facts: &mut Facts) {
        facts.policy = self.rules.clone();
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
