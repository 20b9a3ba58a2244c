//! Each fault of an engine or host is found, under its name, and keeps away the work that needs it and no other.
use dsg_schemas::wire::{Check, Facts, Gpu, Work};

use super::{Subject, preflight};
use crate::container::pretend::{Fault, PretendEngine};

async fn checked(faults: &[Fault]) -> (Vec<Check>, Facts, PretendEngine) {
    let engine = PretendEngine::new();
    faults.iter().for_each(|fault| engine.plant(*fault));
    let gpus = ["GPU-a", "GPU-b"].map(|uuid| Gpu { uuid: uuid.to_owned(), ..Gpu::default() });
    let mut facts = Facts { gpus: gpus.to_vec(), ..Facts::default() };
    let file = tempfile::NamedTempFile::new().expect("a file");
    let lock = Some(file.path().to_owned());
    let subject = Subject { grid: "g".to_owned(), nonce: "1".to_owned(), lock, ..Subject::default() };
    let checks = preflight(&engine, &subject, &mut facts).await;
    (checks, facts, engine)
}

#[tokio::test]
async fn a_good_host_passes_every_check() {
    let (checks, facts, engine) = checked(&[]).await;
    let names: Vec<&str> = checks.iter().map(|check| check.name.as_str()).collect();
    let all =
        ["run", "exit code", "log", "memory", "cpus", "pids", "privileges", "no network", "network", "files", "gpu"];
    assert_eq!(names, all);
    assert!(checks.iter().all(|check| check.passed && check.blocks.is_none()), "{checks:#?}");
    assert_eq!((facts.gpus.len(), engine.names()), (2, Vec::<String>::new()), "nothing is left behind");
}

#[tokio::test]
async fn each_fault_is_found_and_keeps_away_what_needs_it() {
    use Work::{Cpus, Everything, Gpus, Memory, Network, NoNetwork};
    for (fault, expected) in [
        (Fault::Load, vec![("run", Everything)]),
        (Fault::Create, vec![("run", Everything)]),
        (Fault::CreateBounded, vec![("memory", Memory)]),
        (Fault::MemoryIgnored, vec![("memory", Memory)]),
        (Fault::CpusIgnored, vec![("cpus", Cpus)]),
        (Fault::PidsIgnored, vec![("pids", Everything)]),
        (Fault::PrivilegesKept, vec![("privileges", Everything)]),
        (Fault::ExitCode, vec![("exit code", Everything)]),
        (Fault::Output, vec![("log", Everything)]),
        (Fault::Log, vec![("log", Everything)]),
        (Fault::NetworkOpen, vec![("no network", NoNetwork)]),
        (Fault::NoBridge, vec![("network", Network)]),
        (Fault::BridgeDead, vec![("network", Network)]),
        (Fault::OtherFiles, vec![("files", Everything)]),
        (Fault::NoGpu, vec![("gpu", Gpus)]),
    ] {
        let (checks, facts, engine) = checked(&[fault]).await;
        let failed: Vec<(&str, Work)> = checks
            .iter()
            .filter(|check| !check.passed)
            .map(|check| (check.name.as_str(), check.blocks.clone().expect("it blocks something")))
            .collect();
        // The live output and the answers of the program are one and the same.
        let failed: Vec<_> = if fault == Fault::Output { failed[..1].to_vec() } else { failed };
        assert_eq!(failed, expected, "{fault:?}");
        assert!(checks.iter().all(|check| check.passed || !check.repair.is_empty()), "{fault:?}");
        let withdrawn = matches!(fault, Fault::NoGpu | Fault::Load | Fault::Create | Fault::Output);
        assert_eq!((facts.gpus.is_empty(), facts.gpu_note.is_some()), (withdrawn, withdrawn), "{fault:?}");
        assert_eq!(engine.names(), Vec::<String>::new(), "{fault:?}: nothing is left behind");
    }
}

#[tokio::test]
async fn a_gpu_that_is_ill_is_not_tried_and_keeps_no_other_away() {
    let gpu = |uuid: &str, ill: bool| {
        let unhealthy = ill.then(|| "it fell off the bus".to_owned());
        Gpu { uuid: uuid.to_owned(), unhealthy, ..Gpu::default() }
    };
    for (b_is_ill, tried) in [(false, Some("a GPU was seen")), (true, None)] {
        let mut facts = Facts { gpus: vec![gpu("GPU-a", true), gpu("GPU-b", b_is_ill)], ..Facts::default() };
        let checks = preflight(&PretendEngine::new(), &Subject::default(), &mut facts).await;
        let check = checks.iter().find(|check| check.name == "gpu");
        assert_eq!(
            check.map(|check| check.passed && check.note.starts_with(tried.unwrap_or("-"))),
            tried.map(|_| true)
        );
        assert_eq!(facts.gpus.len(), 2, "both are told");
    }
}

#[tokio::test]
async fn one_fault_does_not_hide_another() {
    let (checks, ..) = checked(&[Fault::CpusIgnored, Fault::NoBridge, Fault::NoGpu]).await;
    let failed: Vec<&str> = checks.iter().filter(|check| !check.passed).map(|check| check.name.as_str()).collect();
    assert_eq!(failed, ["cpus", "network", "gpu"]);
}
