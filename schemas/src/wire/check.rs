//! What a runner proved about itself at its start, and which work a check that failed keeps away: no more than needs what failed.
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Facts;
use crate::policy::Asked;

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Check {
    pub name: String,
    pub passed: bool,
    /// What was seen.
    pub note: String,
    /// The work that is not for this runner, if the check failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub blocks: Option<Work>,
    /// What to do about it, if the check failed.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub repair: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Work {
    Everything,
    Memory,
    Cpus,
    Gpus,
    Network,
    NoNetwork,
    Secrets,
    /// Of the owner's policy, by its name.
    Mount(String),
    /// The same.
    Device(String),
}

impl Work {
    /// Put behind "blocks".
    pub fn words(&self) -> String {
        match self {
            Work::Everything => "everything".to_owned(),
            Work::Memory => "chunks that ask for memory, which all do".to_owned(),
            Work::Cpus => "chunks that ask for cores, which all do".to_owned(),
            Work::Gpus => "chunks that ask for GPUs".to_owned(),
            Work::Network => "chunks with a network".to_owned(),
            Work::NoNetwork => "chunks without a network".to_owned(),
            Work::Secrets => "chunks with secrets".to_owned(),
            Work::Mount(name) => format!("chunks with mount `{name}`"),
            Work::Device(name) => format!("chunks with device `{name}`"),
        }
    }

    /// Put behind the name of a runner.
    pub fn cannot(&self) -> String {
        match self {
            Work::Everything => "cannot run containers that can be trusted".to_owned(),
            Work::Memory => "cannot bound memory".to_owned(),
            Work::Cpus => "cannot bound cores".to_owned(),
            Work::Gpus => "cannot give a container GPUs".to_owned(),
            Work::Network => "cannot give a container a network".to_owned(),
            Work::NoNetwork => "cannot keep a container from the network".to_owned(),
            Work::Secrets => "cannot keep secrets in memory only".to_owned(),
            Work::Mount(name) => format!("cannot give mount `{name}`"),
            Work::Device(name) => format!("cannot give device `{name}`"),
        }
    }

    fn is_needed_by(&self, asked: &Asked<'_>, gpus: u32) -> bool {
        match self {
            Work::Everything => true,
            Work::Memory => asked.memory_bytes > 0,
            Work::Cpus => asked.cpus_milli > 0,
            Work::Gpus => gpus > 0,
            Work::Network => asked.network != "none",
            Work::NoNetwork => asked.network == "none",
            Work::Secrets => asked.secrets,
            Work::Mount(name) => asked.mounts.iter().any(|mount| mount.name == *name),
            Work::Device(name) => asked.devices.contains(name),
        }
    }
}

impl Facts {
    /// The first failed check that keeps such work away, and what it is that the runner cannot do.
    pub fn blocked_by(&self, asked: &Asked<'_>, gpus: u32) -> Option<(&Check, &Work)> {
        let failed = self.checks.iter().filter(|check| !check.passed);
        let mut blocking = failed.filter_map(|check| Some((check, check.blocks.as_ref()?)));
        blocking.find(|(_, work)| work.is_needed_by(asked, gpus))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::MountNeed;

    #[test]
    fn a_failed_check_keeps_away_what_needs_it_and_nothing_else() {
        let data = [MountNeed { name: "data".to_owned(), write: false }];
        let plain = Asked {
            image: "x",
            network: "none",
            mounts: &[],
            devices: &[],
            cpus_milli: 1000,
            memory_bytes: 1 << 20,
            disk_bytes: 0,
            run_ms: None,
            secrets: false,
        };
        let (networked, mounting) = (Asked { network: "bridge", ..plain }, Asked { mounts: &data, ..plain });
        let no_memory = Asked { memory_bytes: 0, ..plain };
        let fuse = ["fuse".to_owned()];
        let with_device = Asked { devices: &fuse, ..plain };
        let blocked = |work: &Work, passed, asked: &Asked<'_>, gpus| {
            let check = Check { name: "c".to_owned(), passed, blocks: Some(work.clone()), ..Check::default() };
            Facts { checks: vec![check], ..Facts::default() }.blocked_by(asked, gpus).is_some()
        };
        let secretive = Asked { secrets: true, ..plain };
        for (work, expected) in [
            (Work::Everything, [true, true, true, true, true, true]),
            (Work::Memory, [true, true, true, false, true, true]),
            (Work::Cpus, [true, true, true, true, true, true]),
            (Work::Network, [false, true, false, false, false, false]),
            (Work::NoNetwork, [true, false, true, true, true, true]),
            (Work::Mount("data".to_owned()), [false, false, true, false, false, false]),
            (Work::Mount("other".to_owned()), [false, false, false, false, false, false]),
            (Work::Gpus, [false, false, false, false, true, false]),
            (Work::Secrets, [false, false, false, false, false, true]),
        ] {
            let kinds = [(&plain, 0), (&networked, 0), (&mounting, 0), (&no_memory, 0), (&plain, 1), (&secretive, 0)];
            assert_eq!(kinds.map(|(asked, gpus)| blocked(&work, false, asked, gpus)), expected, "{work:?}");
            assert_eq!(kinds.map(|(asked, gpus)| blocked(&work, true, asked, gpus)), [false; 6], "{work:?} is fine");
        }
        let device = |name: &str| Work::Device(name.to_owned());
        let of_device = [(&plain, "fuse"), (&with_device, "fuse"), (&with_device, "dri")];
        assert_eq!(of_device.map(|(asked, name)| blocked(&device(name), false, asked, 0)), [false, true, false]);
    }

    #[test]
    fn a_check_of_an_older_runner_is_understood_and_keeps_nothing_away() {
        let check: Check = serde_json::from_str(r#"{"name":"run","passed":false,"note":"no"}"#).expect("understood");
        assert_eq!((check.blocks, check.repair), (None, String::new()));
    }
}
