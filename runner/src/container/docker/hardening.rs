//! What every container gets, whatever its job asks for: small rights, bounded everything. One place, for both create calls.
use rustix::process::{Resource, getrlimit};

use crate::container::ContainerPlan;
use dsg_schemas::limits::{NOFILE, PIDS};

/// All capabilities are dropped, and these given back: what ordinary images need to set up and drop root by themselves.
pub(super) const CAPABILITIES: [&str; 6] = [
    "CHOWN",        // entrypoints hand their folders to an unprivileged user
    "DAC_OVERRIDE", // root writes into folders of other users
    "FOWNER",       // chmod and utime on files of other users, as tar and rsync do
    "SETGID",       // su, gosu and setpriv
    "SETUID",       // su, gosu and setpriv
    "KILL",         // a supervisor that is root ends its children of another user
];
/// Processes of one user on the whole host, which is not what bounds a container (the pids limit does). It is set only because
/// engines otherwise raise it above what the host lets them.
const NPROC: u64 = 1 << 20;
/// The engine's own log of one container: enough for re-adoption, and a bound for the disk.
pub(super) const LOG_MAX_SIZE: &str = "64m";
pub(super) const LOG_MAX_BYTES: u64 = 64 << 20;
/// A fraction of a CPU below this is refused by Docker.
const CPU_MILLI_LEAST: u64 = 10;
/// Docker's own minimum.
const MEMORY_LEAST: u64 = 6 << 20;

/// Limits in the engines' own units.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Bounds {
    pub memory: i64,
    pub nano_cpus: i64,
    pub pids: i64,
    /// Name and value, soft as hard.
    pub ulimits: Vec<(&'static str, i64)>,
}

pub(super) fn bounds(plan: &ContainerPlan) -> Bounds {
    let signed = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
    // Without the right to raise its own limits, a runtime refuses a container that asks for more than it has itself.
    let within = |resource, most: u64| signed(getrlimit(resource).maximum.map_or(most, |hard| hard.min(most)));
    Bounds {
        memory: signed(plan.memory_bytes.max(MEMORY_LEAST)),
        nano_cpus: signed(plan.cpus_milli.max(CPU_MILLI_LEAST).saturating_mul(1_000_000)),
        pids: PIDS,
        ulimits: vec![
            ("nofile", within(Resource::Nofile, NOFILE.unsigned_abs())),
            ("nproc", within(Resource::Nproc, NPROC)),
            ("core", 0),
        ],
    }
}

/// The environment, and the one variable that keeps NVIDIA's hook from giving GPUs to a container that asked for none (images
/// ask by themselves), or more than were asked for where CDI gives them. With the hook it is the engine's to set.
pub(super) fn environment(plan: &ContainerPlan, by_hook: bool) -> Vec<(String, String)> {
    let ours = "NVIDIA_VISIBLE_DEVICES";
    let theirs = plan.env.iter().filter(|(name, _)| name.as_str() != ours);
    let mut all: Vec<(String, String)> = theirs.map(|(name, value)| (name.clone(), value.clone())).collect();
    if plan.gpus.is_empty() || !by_hook {
        all.push((ours.to_owned(), "void".to_owned()));
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_container_without_gpus_cannot_ask_for_them() {
        let env = [("NVIDIA_VISIBLE_DEVICES".to_owned(), "all".to_owned()), ("A".to_owned(), "1".to_owned())];
        let mut plan = ContainerPlan { env: env.into(), ..ContainerPlan::default() };
        let value = |plan: &ContainerPlan, by_hook| {
            let all = environment(plan, by_hook);
            all.iter().find(|(name, _)| name == "NVIDIA_VISIBLE_DEVICES").map(|(_, value)| value.clone())
        };
        assert_eq!(value(&plan, true).as_deref(), Some("void"));
        plan.gpus = vec!["GPU-1".to_owned()];
        assert_eq!(value(&plan, false).as_deref(), Some("void"), "CDI gives the device, and the hook nothing more");
        assert_eq!(value(&plan, true), None);
    }

    #[test]
    fn bounds_never_exceed_what_the_host_allows() {
        let bounds = bounds(&ContainerPlan { cpus_milli: 1, memory_bytes: 1, ..ContainerPlan::default() });
        assert_eq!((bounds.nano_cpus, bounds.memory), (10_000_000, 6 << 20));
        let hard = getrlimit(Resource::Nofile).maximum.unwrap_or(u64::MAX);
        assert!(bounds.ulimits[0].1 > 0 && bounds.ulimits[0].1.unsigned_abs() <= hard);
        assert_eq!(bounds.ulimits[2], ("core", 0));
    }
}
