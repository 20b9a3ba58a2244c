//! Whether GPUs that the driver shows come through to a container.
use dsg_schemas::wire::{Check, Facts, Work};

use super::bench::{Bench, Wants};
use super::verdict::{failed, passed};

const TOOLKIT: &str = "install the NVIDIA Container Toolkit; for Podman run nvidia-ctk cdi generate --output=/etc/cdi/nvidia.yaml \
                       --device-name-strategy=uuid; then start the runner again";

/// GPUs that did not prove themselves are taken out of the facts, with the reason in `gpu_note`. `least`: the bounds that can be kept here.
pub async fn gpus(bench: &Bench<'_>, least: Wants<'_>, facts: &mut Facts) -> Option<Check> {
    // What is ill is not offered anyway, and must not keep the others away.
    if facts.gpus.iter().all(|gpu| gpu.unhealthy.is_some()) {
        return None;
    }
    Some(match tried(bench, least, facts).await {
        Ok(seen) => passed("gpu", seen),
        Err(why) => {
            withdraw(facts, &why);
            failed("gpu", Work::Gpus, why, TOOLKIT)
        }
    })
}

pub fn withdraw(facts: &mut Facts, why: &str) {
    if !facts.gpus.is_empty() {
        let here = match facts.gpus.len() {
            1 => "a GPU is here".to_owned(),
            several => format!("{several} GPUs are here"),
        };
        facts.gpu_note = Some(format!("{here}, but not offered: {why}"));
        facts.gpus.clear();
    }
}

/// Tries each way that the engine knows, and keeps the first that gives all devices.
async fn tried(bench: &Bench<'_>, least: Wants<'_>, facts: &Facts) -> Result<String, String> {
    let healthy = facts.gpus.iter().filter(|gpu| gpu.unhealthy.is_none());
    let uuids: Vec<String> = healthy.map(|gpu| gpu.uuid.clone()).collect();
    let mut failures = Vec::new();
    for (index, way) in bench.engine.gpu_ways().iter().enumerate() {
        bench.engine.choose_gpu_way(index);
        match in_one_way(bench, least, &uuids).await {
            Ok(1) => return Ok(format!("a GPU was seen inside a container, by {way}")),
            Ok(devices) => return Ok(format!("{devices} GPUs were seen inside a container, by {way}")),
            Err(why) => failures.push(format!("by {way}: {why}")),
        }
    }
    Err(format!("a container does not get them: {}", failures.join("; ")))
}

async fn in_one_way(bench: &Bench<'_>, least: Wants<'_>, uuids: &[String]) -> Result<usize, String> {
    let run = bench.run(Wants { name: "gpu", command: &["gpu"], gpus: uuids, ..least }).await?;
    let opened = run.stdout.lines().filter(|line| line.ends_with(" opens")).count();
    // MIG instances share the device of their GPU.
    let physical = uuids.iter().filter(|uuid| !uuid.starts_with("MIG")).count();
    if run.exit.code != 0 || opened == 0 {
        let seen = format!("{}{}", run.stdout, run.stderr);
        let seen = seen.trim();
        return Err(if seen.is_empty() {
            "the engine took the request, and no device is there".to_owned()
        } else {
            seen.replace('\n', ", ")
        });
    }
    if opened < physical {
        return Err(format!("only {opened} of {physical} devices are there"));
    }
    Ok(opened)
}
