//! An order before the policy. The server has checked all of this; an owned server must not get further.
use std::path::Path;

use dsg_schemas::limits::SECRETS;
use dsg_schemas::policy::{Asked, MountNeed};
use dsg_schemas::reason::EndReason;
use dsg_schemas::spec::{is_name, pushed_name};
use dsg_schemas::wire::{Ended, StartOrder};

use super::LocalPolicy;
use crate::container::{Bind, ContainerPlan, HostDevice, label};

/// In the container; what belongs to the kernel or to us.
const SYSTEM: [&str; 4] = ["/dsg", "/proc", "/sys", "/dev"];

impl LocalPolicy {
    /// Whether an attempt may be begun; nothing is pulled for one that may not.
    pub fn judge(&self, order: &StartOrder) -> Result<(), Box<Ended>> {
        self.objection(order).map_or(Ok(()), |why| Err(refused(&why)))
    }

    /// Judges again and gives the plan what the policy says: the last step before the container is created.
    pub fn apply(&self, order: &StartOrder, plan: &mut ContainerPlan) -> Result<(), Box<Ended>> {
        self.judge(order)?;
        for wanted in &order.mounts {
            let Some(mount) = self.mounts.get(&wanted.name) else {
                return Err(refused(&format!("has no mount `{}`", wanted.name)));
            };
            let host = mount.now().map_err(|why| refused(&format!("cannot give mount `{}`: {why}", wanted.name)))?;
            let bind = Bind::read_only(&host, &wanted.path);
            plan.binds.push(Bind { write: wanted.write && mount.rule().write, named: true, ..bind });
        }
        for name in &order.devices {
            let Some(device) = self.devices.get(name) else {
                return Err(refused(&format!("has no device `{name}`")));
            };
            let host = device.now().map_err(|why| refused(&format!("cannot give device `{name}`: {why}")))?;
            let text = |path: &Path| path.to_string_lossy().into_owned();
            plan.devices.push(HostDevice { host: text(host), container: text(device.written()) });
        }
        plan.pids = self.rules.most.pids;
        plan.capabilities.clone_from(&self.rules.capabilities);
        plan.labels.insert(label::POLICY.to_owned(), self.fingerprint());
        Ok(())
    }

    /// Put behind "its runner".
    fn objection(&self, order: &StartOrder) -> Option<String> {
        let limits = &order.limits;
        if limits.cpus_milli == 0 || limits.memory_bytes == 0 {
            return Some("starts no container without a limit on processors or memory".to_owned());
        }
        if !matches!(order.network.as_str(), "none" | "bridge") {
            return Some(format!("knows no network {:?}, only none and bridge", order.network));
        }
        let paths = order.inputs.iter().map(|input| ("input", &input.name, &input.path));
        // A name becomes that of a file on this host.
        if let Some(secret) = order.secrets.iter().find(|secret| !is_name(&secret.name)) {
            return Some(format!("knows no secret {:?}", secret.name));
        }
        if order.secrets.len() > SECRETS {
            return Some(format!("gives a container at most {SECRETS} secrets"));
        }
        let paths = paths.chain(order.secrets.iter().map(|secret| ("secret", &secret.name, &secret.path)));
        let paths = paths.chain(order.mounts.iter().map(|mount| ("mount", &mount.name, &mount.path)));
        if let Some((what, name, path)) = paths.into_iter().find(|(_, _, path)| !may_be_filled(path)) {
            return Some(format!("cannot put {what} {name} at {path:?}"));
        }
        let wrong = |name: &&String| {
            ["NVIDIA_", "LD_"].iter().any(|start| name.starts_with(start))
                || *name == "CUDA_VISIBLE_DEVICES"
                || name.is_empty()
                || name.contains(['=', '\0'])
        };
        if let Some(name) = order.env.keys().find(wrong) {
            return Some(format!("does not allow the environment variable {name:?}"));
        }
        if let Some(gpu) = limits.gpus.iter().find(|gpu| self.gpus.as_ref().is_some_and(|some| !some.contains(gpu))) {
            return Some(format!("does not give GPU {gpu} away"));
        }
        let mounts = order.mounts.iter().map(|mount| MountNeed { name: mount.name.clone(), write: mount.write });
        let asked = Asked {
            image: &order.image,
            network: &order.network,
            mounts: &mounts.collect::<Vec<_>>(),
            devices: &order.devices,
            cpus_milli: limits.cpus_milli,
            memory_bytes: limits.memory_bytes,
            disk_bytes: limits.disk_bytes,
            run_ms: order.timeouts.run_ms,
            secrets: !order.secrets.is_empty(),
        };
        // An image of the server's own must not pass for one that the owner trusts by its name.
        if order.pushed.is_some() && pushed_name(&order.image).is_none() {
            return Some(format!("takes no image from the server under the name {:?}", order.image));
        }
        if order.image.is_empty() {
            return Some("was given no image".to_owned());
        }
        self.rules.objection(&asked).map(|objection| objection.to_string())
    }
}

pub fn refused(why: &str) -> Box<Ended> {
    Box::new(Ended::before_start(EndReason::Refused, format!("its runner {why}")))
}

fn may_be_filled(path: &str) -> bool {
    let clean = path.starts_with('/') && !path.split('/').any(|part| matches!(part, "." | ".."));
    let system = SYSTEM.iter().any(|folder| Path::new(path).starts_with(folder));
    clean && !system && !path.trim_matches('/').is_empty() && !path.contains('\0')
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use dsg_schemas::policy::{Most, Policy};
    use dsg_schemas::wire::{InputFile, InputOrder, MountOrder, SecretOrder};

    use super::super::{Device, Mount};
    use super::*;
    use crate::attempt::test_order;

    type Forge = fn(&mut StartOrder);

    fn strict(folder: &Path) -> LocalPolicy {
        let mount = Mount::at_start("data", folder, false, &[]).expect("a folder");
        let most =
            Most { cpus_milli: Some(1000), memory_bytes: Some(64 << 20), run_ms: Some(60_000), ..Most::default() };
        let rules = Policy {
            images: Some(vec!["pretend/*".to_owned()]),
            networks: Some(vec!["none".to_owned()]),
            most,
            secrets: Some(false),
            ..Policy::default()
        };
        let null = Device::at_start("null", Path::new("/dev/null")).expect("everywhere");
        LocalPolicy::new(rules, BTreeMap::from([("data".to_owned(), mount)]), Some(vec!["GPU-a".to_owned()]))
            .with_devices(BTreeMap::from([("null".to_owned(), null)]), BTreeMap::new())
    }

    fn good() -> StartOrder {
        let mut order = test_order(1);
        order.timeouts.run_ms = Some(60_000);
        order.limits.gpus = vec!["GPU-a".to_owned()];
        order.mounts = vec![MountOrder { name: "data".to_owned(), path: "/data".to_owned(), write: false }];
        order.devices = vec!["null".to_owned()];
        order
    }

    fn secret(name: &str, path: &str) -> SecretOrder {
        SecretOrder { name: name.to_owned(), path: path.to_owned() }
    }

    fn input(path: &str) -> InputOrder {
        let file = InputFile { under: String::new(), size: 0, sha256: "0".repeat(64) };
        InputOrder { name: "i".to_owned(), path: path.to_owned(), files: vec![file] }
    }

    #[test]
    fn an_owned_server_gets_no_further_than_the_runner_allows() {
        let folder = tempfile::tempdir().expect("dir");
        let policy = strict(folder.path());
        let mut plan = ContainerPlan::default();
        policy.apply(&good(), &mut plan).expect("within the policy");
        assert_eq!(plan.binds[0].container, "/data");
        let forged: [(Forge, &str); 25] = [
            (
                |order| order.pushed = Some(dsg_schemas::api::Upload { size: 1, sha256: "0".repeat(64) }),
                "its runner takes no image from the server under the name",
            ),
            (
                |order| order.image = "docker.io/evil/miner".to_owned(),
                "its runner does not allow this image, only pretend/*",
            ),
            (|order| order.image = String::new(), "its runner was given no image"),
            (|order| order.network = "host".to_owned(), "its runner knows no network \"host\", only none and bridge"),
            (|order| order.network = "container:x".to_owned(), "its runner knows no network"),
            (|order| order.network = "bridge".to_owned(), "its runner does not allow network bridge, only none"),
            (|order| order.mounts[0].name = "root".to_owned(), "its runner has no mount `root`, it has data"),
            (|order| order.mounts[0].write = true, "its runner lets nobody write to its mount `data`"),
            (|order| order.mounts[0].path = "/proc/x".to_owned(), "its runner cannot put mount data at"),
            (|order| order.devices = vec!["fuse".to_owned()], "its runner has no device `fuse`, it has null"),
            (|order| order.devices = vec!["/dev/null".to_owned()], "its runner has no device `/dev/null`"),
            (|order| order.limits.memory_bytes += 1, "its runner gives a container at most 64MiB of memory"),
            (|order| order.limits.memory_bytes = 0, "its runner starts no container without a limit"),
            (|order| order.limits.cpus_milli = 1001, "its runner gives a container at most 1 cpus"),
            (|order| order.limits.cpus_milli = 0, "its runner starts no container without a limit"),
            (|order| order.limits.gpus.push("GPU-b".to_owned()), "its runner does not give GPU GPU-b away"),
            (|order| order.timeouts.run_ms = None, "its runner gives a container at most 1m to run"),
            (|order| order.inputs = vec![input("/a/../etc")], "its runner cannot put input i at"),
            (|order| order.secrets = vec![secret("token", "/run/token")], "its runner takes no container with secrets"),
            (|order| order.secrets = vec![secret("../token", "/run/token")], "its runner knows no secret \"../token\""),
            (|order| order.secrets = vec![secret("token", "/sys/x")], "its runner cannot put secret token at"),
            (
                |order| order.secrets = vec![secret("token", "/run/token"); 17],
                "its runner gives a container at most 16 secrets",
            ),
            (
                |order| drop(order.env.insert("LD_PRELOAD".to_owned(), String::new())),
                "its runner does not allow the env",
            ),
            (
                |order| drop(order.env.insert("CUDA_VISIBLE_DEVICES".to_owned(), "0".to_owned())),
                "its runner does not allow",
            ),
            (
                |order| drop(order.env.insert("NVIDIA_VISIBLE_DEVICES".to_owned(), "all".to_owned())),
                "its runner does not allow the environment variable \"NVIDIA_VISIBLE_DEVICES\"",
            ),
        ];
        for (forge, expected) in forged {
            let mut order = good();
            forge(&mut order);
            let mut plan = ContainerPlan::default();
            let ended = policy.apply(&order, &mut plan).expect_err(expected);
            assert_eq!(ended.reason, EndReason::Refused);
            assert!(ended.message.starts_with(expected), "{}", ended.message);
            assert_eq!(plan, ContainerPlan::default(), "nothing was given");
        }
    }

    #[test]
    fn paths_in_the_container_are_plain_and_nobody_elses() {
        for wrong in ["/", "", "data", "/a/../etc", "/a/.", "/dsg", "/dsg/script", "//", "/dev/shm", "/sys"] {
            assert!(!may_be_filled(wrong), "{wrong:?}");
        }
        for fine in ["/data", "/in/a/b", "/device", "/out"] {
            assert!(may_be_filled(fine), "{fine:?}");
        }
    }

    #[test]
    fn what_is_left_open_is_bounded() {
        let folder = tempfile::tempdir().expect("dir");
        let mut policy = strict(folder.path());
        policy.rules.most.disk_bytes = Some(1 << 20);
        let mut order = good();
        policy.narrow(&mut order);
        assert_eq!(order.limits.disk_bytes, 1 << 20);
        order.limits.disk_bytes = 1;
        policy.narrow(&mut order);
        assert_eq!(order.limits.disk_bytes, 1, "a smaller one stays");
    }
}
