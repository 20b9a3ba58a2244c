//! What is looked at without a container: the engine, the disk, the owner's mounts, the server and its clock.
use std::path::{Path, PathBuf};
use std::time::Duration;

use dsg_schemas::wire::{Check, EngineFacts, Work};

use super::verdict::{failed, passed, warned};
use crate::link::{Link, LinkError};
use crate::policy::LocalPolicy;

/// Further apart, log lines of this host and times of the server do not fit together any more.
const APART_MS: u64 = 30_000;

pub fn engine(facts: &EngineFacts) -> Check {
    let EngineFacts { kind, version, api_version, rootless, cgroup_version } = facts;
    let api = if api_version.is_empty() { String::new() } else { format!(", API {api_version}") };
    let cgroup = cgroup_version.map(|version| format!(", cgroup v{version}")).unwrap_or_default();
    let rootless = if *rootless { ", rootless" } else { "" };
    passed("engine", format!("{kind} {version}{api}{cgroup}{rootless}"))
}

/// `low`: why nothing new is taken. Without figures, which change all the time: the runner says them elsewhere.
pub fn disk(low: Option<&str>) -> Check {
    match low {
        None => passed("disk", "enough is free for new work"),
        Some(why) => failed("disk", Work::Everything, why, "make room; then work is taken again without a restart"),
    }
}

/// `shown`: with the folders and devices themselves, which are no business of the server's.
pub fn mounts(policy: &LocalPolicy, shown: bool) -> Vec<Check> {
    let folder = Named {
        what: "its folder",
        shown,
        repair: "make the folder or mount what it lies on, or take it out of runner.toml; then start the runner again",
    };
    let mount = |name: &String, found| folder.check(format!("mount {name}"), Work::Mount(name.clone()), found);
    let device = Named {
        what: "it",
        shown,
        repair: "load the driver that makes the device, or take it out of runner.toml; then start the runner again",
    };
    let of_device = |name: &String, found| device.check(format!("device {name}"), Work::Device(name.clone()), found);
    let mut checks = Vec::new();
    checks.extend(policy.absent.iter().map(|(name, absent)| mount(name, Err(folder.absent(&absent.path)))));
    checks.extend(policy.mounts.iter().map(|(name, present)| mount(name, present.now())));
    checks.extend(policy.absent_devices.iter().map(|(name, path)| of_device(name, Err(device.absent(path)))));
    checks.extend(policy.devices.iter().map(|(name, present)| of_device(name, present.now().map(Path::to_owned))));
    checks
}

/// What the owner gave a name to in the policy.
struct Named {
    /// In place of its path, where that is not shown.
    what: &'static str,
    shown: bool,
    repair: &'static str,
}

impl Named {
    fn absent(&self, path: &Path) -> String {
        let what = if self.shown { path.display().to_string() } else { self.what.to_owned() };
        format!("{what} is not there")
    }

    fn check(&self, title: String, work: Work, found: Result<PathBuf, String>) -> Check {
        match found {
            Ok(path) if self.shown => passed(&title, path.display().to_string()),
            Ok(_) => passed(&title, format!("{} is there", self.what)),
            Err(why) => failed(&title, work, why, self.repair),
        }
    }
}

/// Asks the server something that changes nothing there. The second is about the clocks, where it answered.
pub async fn server(link: &Link, within: Duration) -> Vec<Check> {
    let asked_ms = crate::now_ms();
    let their_ms = match link.knock(within).await {
        Ok(their_ms) => their_ms,
        Err(error) => {
            let repair = match &error {
                LinkError::Refused { status: 401 | 403, .. } => {
                    "this runner was removed or its credential revoked: join again with dsg-runner join URL --token T"
                }
                LinkError::Unreachable(text) if text.contains("certificate") => {
                    "the server's certificate is not from the authority that was kept at join: if that is meant, join again"
                }
                LinkError::Unreachable(_) => "see that the server runs and that no firewall is between",
                LinkError::Refused { .. } | LinkError::Broken(_) | LinkError::Certificate(_) => {
                    "see that the address is that of dsg-server, or join again"
                }
            };
            return vec![failed("server", Work::Everything, error.to_string(), repair)];
        }
    };
    let reached = passed("server", "it was reached, and takes this runner's credential");
    let clock = their_ms.map(|their_ms| clock(asked_ms, crate::now_ms(), their_ms));
    std::iter::once(reached).chain(clock).collect()
}

/// The server's time was taken between the two of ours, and is in whole seconds.
fn clock(before_ms: u64, after_ms: u64, their_ms: u64) -> Check {
    let behind = (their_ms).saturating_sub(after_ms);
    let ahead = before_ms.saturating_sub(their_ms + 999);
    let by = behind.max(ahead);
    if by <= APART_MS {
        return passed("clock", "it agrees with the server's");
    }
    let word = if behind > 0 { "behind" } else { "ahead of" };
    let note = format!("this host's clock is {} s {word} the server's", by / 1000);
    warned(
        "clock",
        note,
        "let both hosts keep time (systemd-timesyncd or chrony); until then times of log lines are off",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clocks_may_differ_by_less_than_half_a_minute() {
        for (before, after, their, fine) in [
            (100_000, 100_100, 100_000, true),
            (100_000, 160_000, 130_000, true),
            (100_000, 100_100, 70_000, true),
            (100_000, 100_100, 69_000, false),
            (100_000, 100_100, 131_000, false),
        ] {
            let check = clock(before, after, their);
            assert_eq!(check.passed, fine, "{check:?}");
            assert_eq!(check.blocks, None, "no work needs it");
        }
        assert_eq!(clock(0, 0, 60_000).note, "this host's clock is 60 s behind the server's");
        assert_eq!(clock(61_000, 61_000, 0).note, "this host's clock is 60 s ahead of the server's");
    }
}
