//! From an order to a container, complete: what the container sees is job-spec 4.5.
use std::collections::BTreeMap;
use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use dsg_schemas::ids::{AttemptId, RunnerId};
use dsg_schemas::wire::{Ended, InputOrder, StartOrder};

use super::disk;
use crate::container::{Bind, ContainerPlan, label};
use crate::policy::LocalPolicy;
use crate::spool::Folder;

/// Of an attempt's folder.
const DSG: &str = "dsg";
const ITEMS_FILE: &str = "/dsg/items.jsonl";
const SCRIPT: &str = "/dsg/script";
pub const OUTPUT_DIR: &str = "/out";

/// Writes what the container sees in `/dsg`.
pub fn lay_out(folder: &Folder, order: &StartOrder) -> io::Result<()> {
    let dsg = folder.part(DSG)?;
    put(&dsg.join("items.jsonl"), order.items.as_bytes(), 0o644)?;
    match &order.script {
        Some(script) => put(&dsg.join("script"), script.as_bytes(), 0o755),
        None => Ok(()),
    }
}

/// Puts the plan together.
pub fn container_plan(
    order: &StartOrder,
    folder: &Folder,
    image_id: &str,
    inputs: Vec<Bind>,
    grid: &str,
    runner: RunnerId,
    policy: &LocalPolicy,
) -> Result<ContainerPlan, Box<Ended>> {
    policy.judge(order)?;
    let dsg = folder.part(DSG).map_err(|error| Box::new(disk("find the chunk's items", &error)))?;
    let mut binds = vec![Bind::read_only(&dsg, "/dsg")];
    binds.extend(inputs);
    let (entrypoint, command) = command(order);
    // Making a folder in a container is a call of its own, and not a cheap one: only for what is fetched from it or measured.
    let out = Some(OUTPUT_DIR.to_owned()).filter(|_| !order.inputs.iter().any(is_output_dir));
    let (folders, scratch) =
        if order.outputs.is_empty() && order.limits.disk_bytes == 0 { (None, out) } else { (out, None) };
    let labels = [
        (label::GRID, grid.to_owned()),
        (label::RUNNER, runner.to_string()),
        (label::ATTEMPT, order.attempt.to_string()),
        (label::CHUNK, order.chunk.to_string()),
    ];
    let mut plan = ContainerPlan {
        name: container_name(grid, order.attempt),
        labels: labels.map(|(key, value)| (key.to_owned(), value)).into(),
        image: image_id.to_owned(),
        entrypoint,
        command,
        env: environment(order),
        env_defaults: defaults(order),
        workdir: order.workdir.clone(),
        user: order.user.clone(),
        network: order.network.clone(),
        cpus_milli: order.limits.cpus_milli,
        memory_bytes: order.limits.memory_bytes,
        shm_bytes: order.limits.shm_bytes,
        gpus: order.limits.gpus.clone(),
        binds,
        devices: Vec::new(),
        folders: folders.into_iter().collect(),
        scratch: scratch.into_iter().collect(),
        pids: None,
        capabilities: None,
    };
    policy.apply(order, &mut plan)?;
    Ok(plan)
}

pub fn container_name(grid: &str, attempt: AttemptId) -> String {
    format!("dsg-{grid}-{attempt}")
}

/// An input that lies right there takes the place of the folder.
fn is_output_dir(input: &InputOrder) -> bool {
    input.path.trim_end_matches('/') == OUTPUT_DIR
}

fn put(path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    fs::write(path, bytes)?;
    fs::set_permissions(path, Permissions::from_mode(mode))
}

/// A script takes the place of the image's entry point, too.
fn command(order: &StartOrder) -> (Option<Vec<String>>, Vec<String>) {
    let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
    match &order.script {
        Some(script) if script.starts_with("#!") => (Some(words(&[SCRIPT])), Vec::new()),
        Some(_) => (Some(words(&["/bin/sh", SCRIPT])), Vec::new()),
        None => (order.entrypoint.clone(), order.command.clone()),
    }
}

fn environment(order: &StartOrder) -> BTreeMap<String, String> {
    let limits = &order.limits;
    let mut env = order.env.clone();
    let mut set = |name: String, value: String| drop(env.insert(name, value));
    for input in &order.inputs {
        set(format!("DSG_INPUT_{}", input.name.to_uppercase().replace('-', "_")), input.path.clone());
    }
    set("DSG_ITEMS_FILE".to_owned(), ITEMS_FILE.to_owned());
    set("DSG_CPUS".to_owned(), Cpus(limits.cpus_milli).to_string());
    set("DSG_MEMORY_BYTES".to_owned(), limits.memory_bytes.to_string());
    set("DSG_GPU_IDS".to_owned(), limits.gpus.join(","));
    set("DSG_OUTPUT_DIR".to_owned(), OUTPUT_DIR.to_owned());
    env
}

/// For programs that are told nothing: as many threads as there are cores, and a home that anybody may write to.
fn defaults(order: &StartOrder) -> BTreeMap<String, String> {
    let threads = (order.limits.cpus_milli / 1000).max(1).to_string();
    [("OMP_NUM_THREADS".to_owned(), threads), ("HOME".to_owned(), "/tmp".to_owned())].into()
}

/// Cores as people write them: `2`, `0.5`.
struct Cpus(u64);

impl std::fmt::Display for Cpus {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        (self.0 as f64 / 1000.0).fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use dsg_schemas::wire::{InputFile, OutputOrder};

    use super::super::test_order as order;
    use super::*;
    use crate::spool::Spool;

    fn plan(order: &StartOrder) -> Result<ContainerPlan, Box<Ended>> {
        let dir = tempfile::tempdir().expect("dir");
        let spool = Spool::open(dir.path()).expect("spool");
        container_plan(
            order,
            &spool.folder(AttemptId(1)),
            "sha256:1",
            Vec::new(),
            "g",
            RunnerId(2),
            &LocalPolicy::default(),
        )
    }

    fn input(path: &str) -> InputOrder {
        let file = InputFile { under: String::new(), size: 0, sha256: "0".repeat(64) };
        InputOrder { name: "co2-data".to_owned(), path: path.to_owned(), files: vec![file] }
    }

    #[test]
    fn the_container_sees_what_the_spec_promises() {
        let mut order = order(7);
        order.limits.cpus_milli = 2500;
        order.limits.memory_bytes = 1 << 20;
        order.limits.gpus = vec!["GPU-a".to_owned(), "GPU-b".to_owned()];
        order.env = [("OMP_NUM_THREADS".to_owned(), "9".to_owned())].into();
        order.inputs = vec![input("/data/co2.csv")];
        let plan = plan(&order).expect("a plan");
        let expected = [
            ("DSG_INPUT_CO2_DATA", "/data/co2.csv"),
            ("DSG_ITEMS_FILE", "/dsg/items.jsonl"),
            ("DSG_CPUS", "2.5"),
            ("DSG_MEMORY_BYTES", "1048576"),
            ("DSG_GPU_IDS", "GPU-a,GPU-b"),
            ("DSG_OUTPUT_DIR", "/out"),
            ("OMP_NUM_THREADS", "9"),
        ];
        let defaults = [("OMP_NUM_THREADS", "2"), ("HOME", "/tmp")];
        assert_eq!(plan.env_defaults, defaults.map(|(key, value)| (key.to_owned(), value.to_owned())).into());
        assert_eq!(plan.env, expected.map(|(key, value)| (key.to_owned(), value.to_owned())).into());
        assert_eq!((plan.name.as_str(), plan.folders.len(), plan.scratch), ("dsg-g-7", 0, vec!["/out".to_owned()]));
        order.outputs = vec![OutputOrder { name: "o".to_owned(), path: "/out/o".to_owned(), required: true }];
        let plan = self::plan(&order).expect("a plan");
        assert_eq!((plan.folders, plan.scratch.len()), (vec!["/out".to_owned()], 0));
        order.outputs = Vec::new();
        order.limits.disk_bytes = 1 << 30;
        assert_eq!(self::plan(&order).expect("a plan").folders, ["/out"], "what is in memory is on no disk");
    }

    #[test]
    fn a_script_runs_by_what_its_first_line_names() {
        for (script, entrypoint) in
            [("#!/usr/bin/env python3\n", vec!["/dsg/script"]), ("echo", vec!["/bin/sh", "/dsg/script"])]
        {
            let mut order = order(1);
            order.script = Some(script.to_owned());
            order.entrypoint = Some(vec!["ignored".to_owned()]);
            let plan = plan(&order).expect("a plan");
            assert_eq!(plan.entrypoint, Some(entrypoint.into_iter().map(str::to_owned).collect()));
            assert!(plan.command.is_empty());
        }
    }
}
