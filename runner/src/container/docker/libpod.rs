//! Libpod's own create call, for GPUs on Podman before 5.4, where the Docker-like call drops every GPU request without a word.
use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::gpu::cdi_name;
use super::hardening::{Ceilings, LOG_MAX_BYTES, SCRATCH, bounds, environment, granted};
use crate::container::ContainerPlan;

/// Answers with `{"Id": …}`.
pub(super) const CREATE: &str = "/v4.0.0/libpod/containers/create";
/// What the Docker-like call makes of `nano_cpus`.
const CPU_PERIOD: i64 = 100_000;

/// The same container as the Docker-like call makes, in libpod's words.
pub(super) fn body(
    plan: &ContainerPlan,
    images: &BTreeSet<String>,
    init: bool,
    ceilings: &Ceilings,
    capabilities: &[&str],
) -> Value {
    let bounds = bounds(plan, ceilings);
    let env: serde_json::Map<String, Value> =
        environment(plan, images, false).into_iter().map(|(name, value)| (name, Value::String(value))).collect();
    let limits: Vec<Value> =
        bounds.ulimits.iter().map(|(name, value)| json!({"type": name, "hard": value, "soft": value})).collect();
    let mounts = plan.binds.iter().map(|bind| {
        let mode = if bind.write { "rw" } else { "ro" };
        let options = if bind.named { [mode, "bind", "private"] } else { [mode, "rbind", "rprivate"] };
        json!({"type": "bind", "source": bind.host, "destination": bind.container, "options": options})
    });
    let scratch = plan.scratch.iter().map(|path| json!({"type": "tmpfs", "destination": path, "options": SCRATCH}));
    let gpus = plan.gpus.iter().map(|gpu| cdi_name(gpu));
    let others = plan.devices.iter().map(|device| format!("{}:{}:rw", device.host, device.container));
    let devices = gpus.chain(others).map(|path| json!({"path": path}));
    let mut body = json!({
        "name": plan.name,
        "image": plan.image,
        "env": env,
        "labels": plan.labels,
        "cap_drop": ["ALL"],
        "cap_add": granted(capabilities, plan),
        "no_new_privileges": true,
        "netns": {"nsmode": plan.network},
        "ipcns": {"nsmode": "private"},
        "r_limits": limits,
        "resource_limits": {
            "memory": {"limit": bounds.memory, "swap": bounds.memory},
            "cpu": {"period": CPU_PERIOD, "quota": bounds.nano_cpus / (1_000_000_000 / CPU_PERIOD)},
            "pids": {"limit": bounds.pids},
        },
        "log_configuration": {"driver": "k8s-file", "size": LOG_MAX_BYTES},
        "mounts": mounts.chain(scratch).collect::<Vec<_>>(),
        "devices": devices.collect::<Vec<_>>(),
        "create_working_dir": true,
    });
    let mut set = |key: &str, value: Option<Value>| {
        if let Some(value) = value {
            body[key] = value;
        }
    };
    set("entrypoint", plan.entrypoint.as_ref().map(|list| json!(list)));
    set("command", (!plan.command.is_empty()).then(|| json!(plan.command)));
    set("work_dir", plan.workdir.as_ref().map(|path| json!(path)));
    set("user", plan.user.as_ref().map(|user| json!(user)));
    set("shm_size", plan.shm_bytes.map(|bytes| json!(bytes)));
    set("init", init.then(|| json!(true)));
    body
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gpus_are_cdi_devices_and_cpus_a_quota() {
        let plan = ContainerPlan { gpus: vec!["GPU-1".into()], cpus_milli: 1_500, ..ContainerPlan::default() };
        let body = body(&plan, &BTreeSet::new(), false, &Ceilings::found(None), &[]);
        assert_eq!(body["devices"][0]["path"], "nvidia.com/gpu=GPU-1");
        assert_eq!(body["resource_limits"]["cpu"]["quota"], 150_000);
        assert_eq!(body["init"], Value::Null);
        assert_eq!(body["cap_drop"], json!(["ALL"]));
    }
}
