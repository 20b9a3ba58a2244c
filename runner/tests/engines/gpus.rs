//! GPUs through CDI, with a stand-in for what NVIDIA's toolkit writes, and through its hook, with a stand-in for that.
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use dsg_runner::container::Engine;
use dsg_runner::probe::host;
use dsg_runner::selftest::{Subject, preflight};
use dsg_schemas::ids::RunnerId;
use dsg_schemas::reason::EndReason;
use dsg_schemas::wire::Gpu;
use serde_json::json;

use crate::bench::{Bench, MIB};

/// Stands in for what NVIDIA's toolkit writes: two devices that every host has, under the names of GPUs.
const CDI: &str = r#"{"cdiVersion": "0.5.0", "kind": "nvidia.com/gpu", "devices": [
  {"name": "GPU-dsg-0", "containerEdits": {"deviceNodes": [{"path": "/dev/nvidia0", "hostPath": "/dev/zero", "permissions": "rw"}]}},
  {"name": "GPU-dsg-1", "containerEdits": {"deviceNodes": [{"path": "/dev/nvidia1", "hostPath": "/dev/null", "permissions": "rw"}]}}]}"#;
/// Where Podman looks; a folder of the test's own can be named to it from 5.5 on only.
const CDI_FOLDER: &str = "/etc/cdi";

/// Docker from 25 on is told of a folder of the lab's own (tests/lab/newer); with Podman only on a host without real GPUs, because the
/// description has to lie where the engine looks.
pub async fn gpus_come_through_cdi(bench: Arc<Bench>) {
    let folder = match std::env::var_os("DSG_TEST_DOCKER_CDI") {
        Some(folder) if bench.kind == "docker" => PathBuf::from(folder),
        None if bench.kind == "docker" => return,
        _ => PathBuf::from(CDI_FOLDER),
    };
    let described = std::fs::read_dir(&folder).into_iter().flatten().flatten();
    if described.into_iter().any(|file| std::fs::read_to_string(file.path()).is_ok_and(|text| text.contains("nvidia")))
    {
        return eprintln!("SKIPPED: {} describes NVIDIA devices already, so no stand-in was tested", folder.display());
    }
    let existed = folder.exists();
    let file = folder.join("dsg-test.json");
    if std::fs::create_dir_all(&folder).and_then(|()| std::fs::write(&file, CDI)).is_err() {
        return eprintln!("SKIPPED: {} cannot be written to, so GPUs through CDI were not tested", folder.display());
    }
    let _gone_at_the_end = Removed(file, !existed);
    two_are_proved(&bench).await;

    let mut plan = bench
        .plan(18, &["gpu", "then", "limits", "then", "id", "then", "env", "then", "list", "/out", "then", "exit", "5"]);
    plan.gpus = vec!["GPU-dsg-1".to_owned()];
    plan.folders = vec!["/out".to_owned()];
    plan.user = Some("1234".to_owned());
    plan.env = BTreeMap::from([("ODD".to_owned(), "a b=c".to_owned())]);
    plan.shm_bytes = Some(32 * MIB);
    let id = bench.engine.create(&plan).await.expect("created");
    assert_eq!(bench.engine.create(&plan).await.as_ref(), Ok(&id), "the same by both create calls");
    let config = bench.raw_inspect(&id).await["HostConfig"].clone();
    assert_eq!((&config["Privileged"], &config["NetworkMode"]), (&false.into(), &"none".into()));
    assert_eq!((&config["ShmSize"], &config["MemorySwap"]), (&(32 * MIB).into(), &(64 * MIB).into()));
    let run = bench.run(&plan).await;
    let text = run.text();
    assert!(text.contains("nvidia1") && !text.contains("nvidia0"), "only the one that was asked for: {text}");
    for line in [
        &format!("memory {}", 64 * MIB),
        "pids 4096",
        "CapEff: 0000000000000000",
        "NoNewPrivs: 1",
        "Uid: 1234 1234 1234 1234",
        "ODD=a b=c",
    ] {
        assert!(text.lines().any(|have| have == line), "{line:?} is missing in\n{text}");
    }
    // With the period behind it on cgroup v2.
    assert!(text.contains("cpu-quota 100000"), "{text}");
    assert_eq!(run.exit.code, 5);
    bench.remove(&run.id).await;

    plan.gpus = vec!["GPU-of-nobody".to_owned()];
    let refused = match bench.engine.create(&plan).await {
        Err(failure) => failure,
        Ok(id) => {
            // Podman prepares the container for its output already, Docker at its start.
            let attached = bench.engine.attach(&id).await;
            let started = bench.engine.start(&id).await;
            bench.remove(&id).await;
            attached.map(drop).and(started).expect_err("nobody has that GPU")
        }
    };
    assert_eq!(refused.reason, EndReason::GpuError, "{refused}");
}

/// Only Docker, and only where the stand-in is what dockerd finds: its devices are called so.
pub async fn gpus_come_through_the_hook(bench: Arc<Bench>) {
    if bench.kind != "docker" {
        return;
    }
    if std::env::var_os("DSG_TEST_HOOK").is_none() {
        return eprintln!("SKIPPED: DSG_TEST_HOOK is not set, so GPUs through NVIDIA's hook were not tested");
    }
    two_are_proved(&bench).await;
    for (attempt, own, other) in [(45, 0, 1), (46, 1, 0)] {
        let mut plan = bench.plan(attempt, &["gpu", "then", "env"]);
        plan.gpus = vec![format!("GPU-dsg-{own}")];
        let id = bench.engine.create(&plan).await.expect("created");
        let requests = bench.raw_inspect(&id).await["HostConfig"]["DeviceRequests"].clone();
        let expected = json!([{
            "Driver": "nvidia",
            "Count": 0,
            "DeviceIDs": [format!("GPU-dsg-{own}")],
            "Capabilities": [["gpu", "utility", "compute"]],
            "Options": requests[0]["Options"],
        }]);
        assert_eq!(requests, expected);
        let run = bench.run(&plan).await;
        let text = run.text();
        let has = |line: String| text.lines().any(|have| have == line);
        assert!(
            has(format!("nvidia{own} opens")) && !text.contains(&format!("nvidia{other}")),
            "its own alone: {text}"
        );
        assert!(has(format!("NVIDIA_VISIBLE_DEVICES=GPU-dsg-{own}")), "{text}");
        bench.remove(&run.id).await;
    }
    // Nor does it help to ask by a variable, as images do.
    let mut plan = bench.plan(47, &["env", "then", "gpu"]);
    plan.env = BTreeMap::from([("NVIDIA_VISIBLE_DEVICES".to_owned(), "GPU-dsg-0".to_owned())]);
    let run = bench.run(&plan).await;
    assert_eq!(run.exit.code, 3, "no device is there: {}", run.text());
    assert!(run.text().contains("NVIDIA_VISIBLE_DEVICES=void"), "{}", run.text());
    bench.remove(&run.id).await;
}

async fn two_are_proved(bench: &Bench) {
    let gpu = |uuid: &str| Gpu { uuid: uuid.to_owned(), ..Gpu::default() };
    let mut facts = host();
    facts.gpus = vec![gpu("GPU-dsg-0"), gpu("GPU-dsg-1")];
    let subject = Subject {
        grid: bench.grid.clone(),
        runner: RunnerId(4713),
        nonce: format!("gpus-{}", std::process::id()),
        lock: None,
        secrets: None,
    };
    let checks = preflight(&bench.engine, &subject, &mut facts).await;
    assert!(checks.iter().all(|check| check.passed), "{checks:#?}");
    assert_eq!((facts.gpus.len(), facts.gpu_note), (2, None));
}

/// Takes a file away again, and its folder if that was made for it.
struct Removed(PathBuf, bool);

impl Drop for Removed {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
        if let (true, Some(folder)) = (self.1, self.0.parent()) {
            let _ = std::fs::remove_dir(folder);
        }
    }
}
