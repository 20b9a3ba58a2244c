//! What the engines are asked for, whole, for a handful of policies and orders: `golden/` has the expected requests, and a change of
//! any right of any container shows there. `BLESS=1` writes them anew.
use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use dsg_schemas::ids::{AttemptId, RunnerId};
use dsg_schemas::wire::{MountOrder, OutputOrder, StartOrder};
use serde_json::{Value, json};

use super::create::{Settled, body};
use super::gpu::GpuWay;
use super::hardening::{Ceilings, capabilities};
use super::libpod;
use crate::attempt::{container_plan, test_order};
use crate::settings;
use crate::spool::Spool;

struct Case {
    name: &'static str,
    /// `DATA` stands for a folder of this test.
    policy: &'static str,
    way: Option<GpuWay>,
    order: fn(&mut StartOrder),
}

const OPEN: &str = "";
const MOUNTS: &str =
    "[policy.mounts.datasets]\npath = \"DATA/sets\"\n[policy.mounts.scratch]\npath = \"DATA/scratch\"\nwrite = true\n";
const DEVICES: &str = "[policy.devices.null]\npath = \"/dev/null\"\n";
const STRICT: &str = "[policy]\nimages = [\"pretend/*\"]\nnetworks = [\"none\"]\ncapabilities = [\"CHOWN\", \"SETUID\"]\ngpus = [\"GPU-1\"]\n[policy.most]\npids = 64\ntime = \"1h\"\ndisk = \"1GiB\"\n";

const CASES: &[Case] = &[
    Case { name: "plain", policy: OPEN, way: None, order: |_| {} },
    Case {
        name: "bridge-user",
        policy: OPEN,
        way: None,
        order: |order| {
            order.network = "bridge".to_owned();
            order.user = Some("1000:1000".to_owned());
            order.workdir = Some("/in".to_owned());
            order.limits.shm_bytes = Some(1 << 20);
            order.outputs = vec![OutputOrder { name: "o".to_owned(), path: "/out/o".to_owned(), required: true }];
        },
    },
    Case {
        name: "mounts",
        policy: MOUNTS,
        way: None,
        order: |order| {
            let mount = |name: &str, write| MountOrder { name: name.to_owned(), path: format!("/{name}"), write };
            order.mounts = vec![mount("datasets", false), mount("scratch", true)];
        },
    },
    Case {
        name: "mount-read-only-unless-asked",
        policy: MOUNTS,
        way: None,
        order: |order| {
            order.mounts = vec![MountOrder { name: "scratch".to_owned(), path: "/s".to_owned(), write: false }];
        },
    },
    Case { name: "strict", policy: STRICT, way: None, order: |order| order.timeouts.run_ms = Some(1) },
    Case {
        name: "strict-gpu-hook",
        policy: STRICT,
        way: Some(GpuWay::Hook),
        order: |order| {
            order.timeouts.run_ms = Some(1);
            order.limits.gpus = vec!["GPU-1".to_owned()];
        },
    },
    Case { name: "device", policy: DEVICES, way: None, order: |order| order.devices = vec!["null".to_owned()] },
    Case {
        name: "gpu-cdi",
        policy: OPEN,
        way: Some(GpuWay::Cdi),
        order: |order| order.limits.gpus = vec!["GPU-1".to_owned()],
    },
];

#[test]
fn engines_are_asked_for_exactly_this() {
    let dir = tempfile::tempdir().expect("dir");
    let root = dir.path().canonicalize().expect("real");
    for folder in ["data/sets", "data/scratch"] {
        fs::create_dir_all(root.join(folder)).expect("a folder");
    }
    let spool = Spool::open(&root.join("state")).expect("spool");
    let mut wrong = Vec::new();
    for Case { name, policy, way, order: change } in CASES {
        let text = policy.replace("DATA", &root.join("data").to_string_lossy());
        let policy = settings::parse(&text).expect("a right policy").local_policy(spool.root()).expect("usable");
        let mut order = test_order(1);
        change(&mut order);
        policy.narrow(&mut order);
        let folder = spool.folder(AttemptId(1));
        let plan = container_plan(&order, &folder, "sha256:1", Vec::new(), "g", RunnerId(2), &policy).expect("allowed");
        let user = order.user.as_deref().unwrap_or_default();
        let settled = Settled {
            init: true,
            way: *way,
            ceilings: Ceilings::highest(),
            capabilities: capabilities(user),
            images_env: BTreeSet::new(),
        };
        let docker = serde_json::to_value(body(&plan, &settled)).expect("JSON");
        let podman = libpod::body(&plan, &BTreeSet::new(), true, &settled.ceilings, settled.capabilities);
        let found = json!({"docker": sorted(&docker), "libpod": sorted(&podman)});
        let found = serde_json::to_string_pretty(&found).expect("JSON") + "\n";
        // What differs from run to run.
        let found = found.replace(&*root.to_string_lossy(), "ROOT").replace(&policy.fingerprint(), "FINGERPRINT");
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("src/container/docker/golden/{name}.json"));
        if std::env::var_os("BLESS").is_some() {
            fs::write(&path, &found).expect("writable");
        }
        if fs::read_to_string(&path).unwrap_or_default() != found {
            wrong.push(format!("{name}: {found}"));
        }
    }
    assert!(wrong.is_empty(), "BLESS=1 takes them as they are\n{}", wrong.join("\n"));
}

/// Maps of bollard's have no order.
fn sorted(value: &Value) -> Value {
    match value {
        Value::Object(map) => {
            let mut entries: Vec<_> = map.iter().map(|(key, value)| (key.clone(), sorted(value))).collect();
            entries.sort_by(|(a, _), (b, _)| a.cmp(b));
            Value::Object(entries.into_iter().collect())
        }
        Value::Array(items) => items.iter().map(sorted).collect(),
        other => other.clone(),
    }
}
