//! The probe against a stand-in for NVIDIA's library, `tests/nvml/stub.c`: it proves how the driver is read, not a GPU.
use std::fs;
use std::process::Command;

use tempfile::TempDir;

use super::*;

struct Driver(TempDir);

impl Driver {
    /// Needs a C compiler, as the build of the program does.
    fn new(script: &str) -> Driver {
        let driver = Driver(tempfile::tempdir().expect("a folder"));
        driver.script(script);
        let built = Command::new("cc")
            .args(["-shared", "-fPIC", "-o"])
            .arg(driver.library())
            .arg(format!("-DSCRIPT={:?}", driver.0.path().join("script")))
            .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/nvml/stub.c"))
            .status();
        assert!(built.expect("cc").success());
        driver
    }

    fn library(&self) -> PathBuf {
        self.0.path().join("libnvidia-ml.so.1")
    }

    fn script(&self, words: &str) {
        fs::write(self.0.path().join("script"), words).expect("written");
    }

    fn probe(&self) -> GpuProbe {
        GpuProbe::open(Some(&self.library()))
    }
}

fn uuids(gpus: &Gpus) -> Vec<&str> {
    gpus.gpus.iter().map(|gpu| gpu.uuid.as_str()).collect()
}

#[test]
fn two_gpus_are_read_with_all_that_can_be_asked_for() {
    let driver = Driver::new("");
    let probe = driver.probe();
    let found = probe.gpus();
    assert_eq!(found.note, None);
    let expected = [("GPU-stub-0", "NVIDIA A100-SXM4-40GB", 40, "8.0"), ("GPU-stub-1", "NVIDIA T4", 16, "7.5")];
    let expected = expected.iter().zip(0..).map(|((uuid, model, gib, capability), index)| Gpu {
        uuid: (*uuid).into(),
        index,
        model: (*model).into(),
        memory_bytes: gib << 30,
        driver: Some("570.86.10".into()),
        compute_capability: Some((*capability).into()),
        unhealthy: None,
        shares: 0,
    });
    assert_eq!(found.gpus, expected.collect::<Vec<_>>());
    let load = |index: u32| GpuLoad {
        uuid: format!("GPU-stub-{index}"),
        busy_percent: Some(30 + index),
        memory_used_bytes: Some(1 << 30),
        celsius: Some(41 + index),
    };
    assert_eq!(probe.load(), [load(0), load(1)]);
}

#[test]
fn a_gpu_that_falls_off_while_the_runner_lives_is_marked_and_the_other_is_not() {
    let driver = Driver::new("");
    let probe = driver.probe();
    assert!(probe.gpus().gpus.iter().all(|gpu| gpu.unhealthy.is_none()));
    driver.script("lost1");
    let found = probe.gpus();
    assert_eq!(uuids(&found), ["GPU-stub-0", "GPU-stub-1"]);
    assert_eq!(found.gpus[0].unhealthy, None);
    let why = found.gpus[1].unhealthy.as_deref().expect("marked");
    assert!(why.contains("nvidia-smi"), "{why}");
    let load = probe.load();
    assert_eq!((load[0].busy_percent, load[1].busy_percent, load[1].celsius), (Some(30), None, None));
    driver.script("");
    assert_eq!(probe.gpus().gpus[1].unhealthy, None, "it came back");
}

#[test]
fn a_gpu_that_cannot_be_named_is_left_out_with_its_number() {
    let found = Driver::new("gone1").probe().gpus();
    assert_eq!(uuids(&found), ["GPU-stub-0"]);
    let note = found.note.expect("a reason");
    assert!(note.contains("GPU 1") && note.contains("nvidia-smi"), "{note}");
}

#[test]
fn of_a_split_gpu_the_instances_are_offered() {
    let found = Driver::new("mig0").probe().gpus();
    assert_eq!(uuids(&found), ["MIG-stub-0", "MIG-stub-1", "GPU-stub-1"]);
    assert_eq!(found.gpus[0].memory_bytes, 20 << 30);
}

#[test]
fn a_driver_without_gpus_or_of_another_version_says_so() {
    let found = Driver::new("none").probe().gpus();
    assert_eq!((found.gpus.len(), found.note.as_deref()), (0, Some("the NVIDIA driver works, and shows no GPU")));
    let note = Driver::new("mismatch").probe().gpus().note.expect("a reason");
    assert!(note.contains("reboot"), "{note}");
}

#[test]
fn a_library_that_cannot_be_loaded_is_no_gpu_with_its_reason() {
    let probe = GpuProbe::open(Some(Path::new("/nowhere/libnvidia-ml.so.1")));
    let found = probe.gpus();
    assert!(found.gpus.is_empty() && probe.load().is_empty());
    let note = found.note.expect("a reason");
    assert!(note.contains("/nowhere/libnvidia-ml.so.1"), "{note}");
}

#[test]
fn each_state_of_the_driver_says_what_to_do() {
    let cases = [
        (NvmlError::LibRmVersionMismatch, "reboot"),
        (NvmlError::DriverNotLoaded, "modprobe"),
        (NvmlError::NoPermission, "/dev/nvidia"),
        (NvmlError::LibraryNotFound, "no NVIDIA driver"),
        (NvmlError::FailedToLoadSymbol("nvmlInit_v2".into()), "nvmlInit_v2"),
    ];
    for (error, words) in cases {
        let told = why_none(&error, None);
        assert!(told.starts_with("no GPUs: ") && told.contains(words), "{told}");
    }
}
