//! What every container gets, whatever its job asks for: small rights, bounded everything. One place, for both create calls.
use std::collections::BTreeSet;

use rustix::process::{Resource, getrlimit};

use crate::container::ContainerPlan;
use dsg_schemas::limits::{NOFILE, PIDS};

/// All capabilities are dropped, and these given back: what ordinary images need to set up and drop root by themselves.
pub(crate) const CAPABILITIES: [&str; 6] = [
    "CHOWN",        // entrypoints hand their folders to an unprivileged user
    "DAC_OVERRIDE", // root writes into folders of other users
    "FOWNER",       // chmod and utime on files of other users, as tar and rsync do
    "SETGID",       // su, gosu and setpriv
    "SETUID",       // su, gosu and setpriv
    "KILL",         // a supervisor that is root ends its children of another user
];
/// The capabilities of a container that runs as this user. Only root gets any: for other users they would be dead letters under
/// Docker and, unlike there, real rights under Podman.
pub(super) fn capabilities(user: &str) -> &'static [&'static str] {
    let name = user.split(':').next().unwrap_or_default();
    if matches!(name, "" | "root") || name.parse() == Ok(0_u32) { &CAPABILITIES } else { &[] }
}

/// Of these, what the runner's policy leaves.
pub(super) fn granted(capabilities: &[&str], plan: &ContainerPlan) -> Vec<String> {
    let left = |name: &&&str| plan.capabilities.as_ref().is_none_or(|some| some.iter().any(|some| some == **name));
    capabilities.iter().filter(left).map(|name| (*name).to_owned()).collect()
}

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

/// What a container may be given at most. A runtime without the right to raise limits refuses a container that asks for more than
/// its engine has, and engines lower their own: so the engine's process is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Ceilings {
    nofile: u64,
    nproc: u64,
}

impl Ceilings {
    /// As on a host that allows everything, so that expected files are the same everywhere.
    #[cfg(test)]
    pub(super) fn highest() -> Ceilings {
        Ceilings { nofile: NOFILE.unsigned_abs(), nproc: NPROC }
    }

    /// Of our own process, and of the engine's where it can be seen.
    pub(super) fn found(engine_process: Option<i32>) -> Ceilings {
        let limits = engine_process.and_then(|process| std::fs::read_to_string(format!("/proc/{process}/limits")).ok());
        let limits = limits.unwrap_or_default();
        let own = |resource| getrlimit(resource).maximum.unwrap_or(u64::MAX);
        Ceilings {
            nofile: own(Resource::Nofile).min(hard_limit(&limits, "Max open files")).min(NOFILE.unsigned_abs()),
            nproc: own(Resource::Nproc).min(hard_limit(&limits, "Max processes")).min(NPROC),
        }
    }
}

/// From a line like `Max open files   1024   524288   files`; no line, or `unlimited`, is no limit.
fn hard_limit(limits: &str, name: &str) -> u64 {
    let line = limits.lines().find_map(|line| line.strip_prefix(name));
    line.and_then(|line| line.split_whitespace().nth(1)?.parse().ok()).unwrap_or(u64::MAX)
}

/// Limits in the engines' own units.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Bounds {
    pub memory: i64,
    pub nano_cpus: i64,
    pub pids: i64,
    /// Name and value, soft as hard.
    pub ulimits: Vec<(&'static str, i64)>,
}

pub(super) fn bounds(plan: &ContainerPlan, ceilings: &Ceilings) -> Bounds {
    let signed = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
    Bounds {
        memory: signed(plan.memory_bytes.max(MEMORY_LEAST)),
        nano_cpus: signed(plan.cpus_milli.max(CPU_MILLI_LEAST).saturating_mul(1_000_000)),
        pids: signed(plan.pids.unwrap_or(u64::MAX)).min(PIDS),
        ulimits: vec![("nofile", signed(ceilings.nofile)), ("nproc", signed(ceilings.nproc)), ("core", 0)],
    }
}

/// Options of folders in memory: as open as `/tmp`, and nothing there makes anybody more powerful.
pub(super) const SCRATCH: [&str; 5] = ["rw", "exec", "nosuid", "nodev", "mode=1777"];

/// The environment with those defaults that `env` and the image leave open, and the one variable that keeps NVIDIA's hook from giving GPUs to a container that asked for none (images
/// ask by themselves), or more than were asked for where CDI gives them. With the hook it is the engine's to set.
pub(super) fn environment(plan: &ContainerPlan, images: &BTreeSet<String>, by_hook: bool) -> Vec<(String, String)> {
    let ours = "NVIDIA_VISIBLE_DEVICES";
    let open = plan.env_defaults.iter().filter(|(name, _)| !plan.env.contains_key(*name) && !images.contains(*name));
    let theirs = plan.env.iter().chain(open).filter(|(name, _)| name.as_str() != ours);
    let mut all: Vec<(String, String)> = theirs.map(|(name, value)| (name.clone(), value.clone())).collect();
    if plan.gpus.is_empty() || !by_hook {
        all.push((ours.to_owned(), "void".to_owned()));
    }
    all
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn a_container_without_gpus_cannot_ask_for_them() {
        let env = [("NVIDIA_VISIBLE_DEVICES".to_owned(), "all".to_owned()), ("A".to_owned(), "1".to_owned())];
        let mut plan = ContainerPlan { env: env.into(), ..ContainerPlan::default() };
        let value = |plan: &ContainerPlan, by_hook| {
            let all = environment(plan, &BTreeSet::new(), by_hook);
            all.iter().find(|(name, _)| name == "NVIDIA_VISIBLE_DEVICES").map(|(_, value)| value.clone())
        };
        assert_eq!(value(&plan, true).as_deref(), Some("void"));
        plan.gpus = vec!["GPU-1".to_owned()];
        assert_eq!(value(&plan, false).as_deref(), Some("void"), "CDI gives the device, and the hook nothing more");
        assert_eq!(value(&plan, true), None);
    }

    #[test]
    fn defaults_give_way_to_the_job_and_to_the_image() {
        let pairs = |names: &[&str], value: &str| {
            names.iter().map(|name| ((*name).to_owned(), value.to_owned())).collect::<BTreeMap<_, _>>()
        };
        let env_defaults = pairs(&["HOME", "OMP_NUM_THREADS", "THIRD"], "ours");
        let plan = ContainerPlan { env: pairs(&["HOME"], "the job's"), env_defaults, ..ContainerPlan::default() };
        let all = environment(&plan, &BTreeSet::from(["OMP_NUM_THREADS".to_owned()]), false);
        let expected = [("HOME", "the job's"), ("THIRD", "ours"), ("NVIDIA_VISIBLE_DEVICES", "void")]
            .map(|(n, v)| (n.to_owned(), v.to_owned()));
        assert_eq!(all, expected);
    }

    #[test]
    fn only_root_keeps_capabilities() {
        for user in ["", "0", "root", "0:1000", "root:x"] {
            assert_eq!(capabilities(user).len(), 6, "{user:?}");
        }
        for user in ["1000", "nobody", "1000:0", "00x", "rooty"] {
            assert!(capabilities(user).is_empty(), "{user:?}");
        }
    }

    #[test]
    fn bounds_never_exceed_what_the_host_allows() {
        let limits = "Max processes             96365                32768                processes\nMax open files  1 unlimited files\n";
        assert_eq!((hard_limit(limits, "Max processes"), hard_limit(limits, "Max open files")), (32_768, u64::MAX));
        let ceilings = Ceilings::found(Some(i32::try_from(std::process::id()).expect("a process number")));
        assert!(ceilings.nproc > 0 && ceilings.nproc <= NPROC);
        let plan = ContainerPlan { cpus_milli: 1, memory_bytes: 1, ..ContainerPlan::default() };
        let bounds = bounds(&plan, &ceilings);
        assert_eq!((bounds.nano_cpus, bounds.memory), (10_000_000, 6 << 20));
        let hard = getrlimit(Resource::Nofile).maximum.unwrap_or(u64::MAX);
        assert!(bounds.ulimits[0].1 > 0 && bounds.ulimits[0].1.unsigned_abs() <= hard);
        assert_eq!(bounds.ulimits[2], ("core", 0));
    }
}
