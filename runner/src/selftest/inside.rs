//! What one container saw of itself, judged: its end, its output, its bounds and its network.
use dsg_schemas::wire::{Check, Work};

use super::bench::{CPUS_MILLI, MEMORY_BYTES, Run};
use super::verdict::{failed, passed};

/// Several steps in one container: making containers is what costs time.
pub const COMMAND: [&str; 11] =
    ["echo", "dsg", "is", "here", "then", "limits", "then", "network", "then", "exit", EXIT_WORD];
const EXIT_WORD: &str = "7";
const EXIT_CODE: i32 = 7;
const GREETING: &str = "dsg is here\n";
const DELEGATE: &str = "a rootless engine needs cgroup v2 with the controllers memory, pids and cpu delegated to its user (a drop-in for \
                        user@.service with Delegate=cpu memory pids); the runner tries again by itself";

/// Why the engine would not make a container with a bound on memory, or on cores.
#[derive(Debug, Default)]
pub struct Unbounded {
    pub memory: Option<String>,
    pub cpus: Option<String>,
}

pub fn judge(run: &Run, unbounded: &Unbounded) -> Vec<Check> {
    vec![exit(run), output(run), memory(run, unbounded), cpus(run, unbounded), pids(run), privileges(run), network(run)]
}

fn exit(run: &Run) -> Check {
    if run.exit.code == EXIT_CODE {
        return passed("exit code", "the code with which a container ended arrived");
    }
    let note = format!("a container that ends with {EXIT_CODE} was told to have ended with {}", run.exit.code);
    failed("exit code", Work::Everything, note, "results of this engine cannot be trusted: update it, or name another")
}

fn output(run: &Run) -> Check {
    let repair = "see the engine's own log, and whether its logging driver is json-file (Docker) or k8s-file (Podman)";
    if !run.stdout.starts_with(GREETING) {
        let note = format!("the live output of a container arrived as {:?}", shown(&run.stdout));
        return failed("log", Work::Everything, note, repair);
    }
    match &run.log {
        Ok(log) if *log == run.stdout => {
            passed("log", "the output of a container arrived, live and from the engine's log")
        }
        Ok(log) => {
            let note = format!("the engine's log has {} of the {} bytes of a container", log.len(), run.stdout.len());
            failed("log", Work::Everything, note, repair)
        }
        Err(why) => failed("log", Work::Everything, format!("the engine's log cannot be read: {why}"), repair),
    }
}

fn memory(run: &Run, unbounded: &Unbounded) -> Check {
    match (&unbounded.memory, value(run, "memory")) {
        (Some(why), _) => failed("memory", Work::Memory, why.clone(), DELEGATE),
        (None, seen) if seen.parse() == Ok(MEMORY_BYTES) => passed("memory", "the bound is there inside a container"),
        (None, seen) => {
            let note = format!("inside a container the bound on memory is {seen:?} instead of {MEMORY_BYTES} bytes");
            failed("memory", Work::Memory, note, DELEGATE)
        }
    }
}

fn cpus(run: &Run, unbounded: &Unbounded) -> Check {
    if let Some(why) = &unbounded.cpus {
        return failed("cpus", Work::Cpus, why.clone(), DELEGATE);
    }
    let (quota, period) = (value(run, "cpu-quota"), value(run, "cpu-period"));
    let (quota, period) = quota.split_once(' ').unwrap_or((quota, period));
    let milli = match (quota.parse::<u64>(), period.parse::<u64>()) {
        (Ok(quota), Ok(period)) => (quota * 1000).checked_div(period),
        (Ok(_) | Err(_), _) => None,
    };
    if milli == Some(CPUS_MILLI) {
        return passed("cpus", "the bound is there inside a container");
    }
    let note = format!("inside a container the bound on cores is {quota:?} of {period:?} µs instead of half a core");
    failed("cpus", Work::Cpus, note, DELEGATE)
}

fn pids(run: &Run) -> Check {
    let seen = value(run, "pids");
    if seen.parse() == Ok(dsg_schemas::limits::PIDS) {
        return passed("pids", "the number of processes is bounded inside a container");
    }
    let note = format!("inside a container the bound on processes is {seen:?}: one chunk could stop the host");
    failed("pids", Work::Everything, note, DELEGATE)
}

fn privileges(run: &Run) -> Check {
    if value(run, "NoNewPrivs") == "1" {
        return passed("privileges", "programs in a container gain none");
    }
    let note = "programs in a container may gain privileges, though no-new-privileges was asked for";
    failed("privileges", Work::Everything, note, "update the engine, or name another")
}

fn network(run: &Run) -> Check {
    match value(run, "network") {
        "none" => passed("no network", "a container without a network has none"),
        seen => {
            let note = format!("a container that was to have no network has {seen:?}");
            failed(
                "no network",
                Work::NoNetwork,
                note,
                "see the network settings of the engine; the runner tries again by itself",
            )
        }
    }
}

/// In a container with a network.
pub fn bridged(run: &Run) -> Check {
    match value(run, "network") {
        "none" | "" => no_bridge("a container that was to have a network has no route out".to_owned()),
        seen => passed("network", format!("a container with a network has {seen}")),
    }
}

pub fn no_bridge(note: String) -> Check {
    let repair = "let the engine have its default network (Docker: no bridge=none in daemon.json; Podman: the package netavark or \
                  containernetworking-plugins, rootless slirp4netns or passt); the runner tries again by itself";
    failed("network", Work::Network, note, repair)
}

pub fn value<'a>(run: &'a Run, name: &str) -> &'a str {
    let mut lines = run.stdout.lines();
    lines.find_map(|line| line.strip_prefix(name)?.strip_prefix([' ', ':'])).unwrap_or_default().trim()
}

fn shown(text: &str) -> String {
    text.chars().take(60).collect()
}
