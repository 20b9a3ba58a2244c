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
    assert_eq!(found.until_restart, ["GPU-stub-1".to_owned()].into(), "nothing that is said later makes it trusted");
    assert!(why.contains("start the runner again"), "{why}");
    driver.script("");
    let found = probe.gpus();
    assert_eq!((&found.gpus[1].unhealthy, found.until_restart.len()), (&None, 0), "it came back");
}

/// Of GPU 1, and whether only a reset helps.
fn ill(found: &Gpus) -> (Option<&str>, bool) {
    assert_eq!(found.gpus[0].unhealthy, None, "the other one is well");
    (found.gpus[1].unhealthy.as_deref(), found.until_restart.contains("GPU-stub-1"))
}

#[test]
fn memory_that_lost_something_and_a_reset_that_is_due_are_told_as_long_as_they_last() {
    let driver = Driver::new("");
    let probe = driver.probe();
    for (word, told) in [("ecc1", "lost what was in it 2 times"), ("reset1", "reset the GPU")] {
        driver.script(word);
        for _ in 0..2 {
            let found = probe.gpus();
            let (why, until_restart) = ill(&found);
            assert!(why.is_some_and(|why| why.contains(told)) && !until_restart, "{word}: {why:?}");
        }
        driver.script("");
        assert_eq!(ill(&probe.gpus()), (None, false), "{word}");
    }
}

#[test]
fn what_the_driver_reports_by_itself_is_heard_at_the_next_look_and_only_there() {
    let driver = Driver::new("");
    let probe = driver.probe();
    assert_eq!(ill(&probe.gpus()), (None, false));
    for (number, told, needs_a_reset) in
        [(79, "Xid 79 (it fell off the bus)", true), (94, "Xid 94", false), (999, "dmesg", false)]
    {
        driver.script(&format!("xid1={number}"));
        let found = probe.gpus();
        let (why, until_restart) = ill(&found);
        assert!(why.is_some_and(|why| why.contains(told)), "{number}: {why:?}");
        assert_eq!(until_restart, needs_a_reset, "{number}");
        assert_eq!(ill(&probe.gpus()), (None, false), "it was told");
    }
    // These come of a program that does wrong.
    for number in [13, 31, 43, 45] {
        driver.script(&format!("xid1={number}"));
        assert_eq!(ill(&probe.gpus()), (None, false), "{number}");
    }
}

#[test]
fn gpus_that_report_nothing_by_themselves_are_offered_all_the_same() {
    let driver = Driver::new("mute xid1=79");
    let found = driver.probe().gpus();
    assert_eq!((uuids(&found), ill(&found)), (vec!["GPU-stub-0", "GPU-stub-1"], (None, false)));
}

#[test]
fn an_error_of_a_split_gpu_is_one_of_all_its_instances() {
    let driver = Driver::new("mig0");
    let probe = driver.probe();
    driver.script("mig0 xid0=95");
    let found = probe.gpus();
    let ill = |index: usize| found.gpus[index].unhealthy.as_deref().is_some_and(|why| why.contains("Xid 95"));
    assert_eq!(([ill(0), ill(1), ill(2)], found.until_restart.len()), ([true, true, false], 2));
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
