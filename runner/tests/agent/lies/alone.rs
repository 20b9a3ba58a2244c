//! One lie at a time, and what must be made of it.
use std::time::Duration;

use dsg_schemas::reason::EndReason::{self, EngineError, Exit, GpuError, Oom, Succeeded};
use dsg_schemas::wire::log::Stream;

use super::engine::LyingEngine;
use super::script::{Call, How, Lie, Program, Script};
use super::{lie_of, offer, run_within};
use crate::fake::Fake;

/// An honest answer has as long as a busy machine needs.
const DEADLINE: Duration = Duration::from_secs(10);

fn lines() -> Vec<(Stream, Vec<u8>)> {
    (0..20).map(|n| (Stream::Stdout, format!("line {n} of twenty\n").into_bytes())).collect()
}

fn script(code: i32, lies: &[(Call, How, u32)]) -> Script {
    let program = Program { output: lines(), pause_ms: 2, code, ..Program::default() };
    let lies = lies.iter().map(|(call, how, times)| Lie { call: *call, how: *how, after: 0, times: *times }).collect();
    Script { program, lies, ..Script::default() }
}

#[tokio::test]
async fn each_lie_alone_is_seen_through() {
    let always = 1_000_000;
    let gpus = || vec!["GPU-1".to_owned()];
    let oom = Script { program: Program { oom: true, ..script(0, &[]).program }, ..Script::default() };
    let cases: Vec<(&str, Script, &[EndReason])> = vec![
        ("no lie", script(0, &[]), &[Succeeded]),
        ("wait says 0 while it runs", script(3, &[(Call::Wait, How::Zero, always)]), &[Exit]),
        ("wait breaks off", script(3, &[(Call::Wait, How::Cut(30), always)]), &[Exit]),
        ("it ended before it began", script(3, &[(Call::Inspect, How::EndedBefore, always)]), &[EngineError]),
        ("nobody knows when it ended", script(3, &[(Call::Inspect, How::EndedNever, always)]), &[EngineError]),
        ("half an answer, then the truth", script(3, &[(Call::Inspect, How::Short(40), 3)]), &[Exit]),
        ("it still runs, for a while", script(3, &[(Call::Inspect, How::StillRuns, 3)]), &[Exit]),
        ("500 of a start that was done", script(0, &[(Call::Start, How::DoneAndRefuses(500), 1)]), &[Succeeded]),
        ("409 of a start that was not", script(0, &[(Call::Start, How::Refuses(409), 1)]), &[EngineError]),
        ("a start that never was", script(0, &[(Call::Start, How::Claims, 1)]), &[EngineError]),
        ("a start that comes later", script(0, &[(Call::Start, How::Later(20), 1)]), &[Succeeded]),
        ("404 after create", script(0, &[(Call::Create, How::Claims, 1)]), &[EngineError]),
        ("500 for 409", script(0, &[(Call::Create, How::DoneAndRefuses(500), 1)]), &[EngineError]),
        ("a part of it was killed for memory", oom, &[Oom]),
        ("no GPU", Script { gpus: gpus(), gpus_ignored: true, ..script(0, &[]) }, &[GpuError]),
        ("a GPU", Script { gpus: gpus(), ..script(0, &[]) }, &[Succeeded]),
        ("live output is cut", script(0, &[(Call::Attach, How::Cut(300), 1)]), &[Succeeded]),
        (
            "live output is cut, and so is the log",
            script(0, &[(Call::Attach, How::Cut(300), 1), (Call::Logs, How::Cut(400), 2)]),
            &[Succeeded],
        ),
        (
            "live output is cut, and the log looks shorter",
            script(0, &[(Call::Attach, How::Cut(300), 1), (Call::Logs, How::Short(200), 2)]),
            &[Succeeded],
        ),
        (
            "live output is cut, and the log is never whole",
            script(0, &[(Call::Attach, How::Cut(300), 1), (Call::Logs, How::Cut(400), always)]),
            &[Succeeded],
        ),
    ];
    let (fake, folder) = (Fake::start().await, tempfile::tempdir().expect("dir"));
    let state = folder.path().join("state");
    fake.joined(&state).await;
    let engine = LyingEngine::start(folder.path().join("engine.sock"), false);
    let runner = run_within(&fake, &engine, &state, DEADLINE).await;
    // No multiple of five: those have a time limit.
    let attempts: Vec<u64> = (1..).filter(|attempt| attempt % 5 != 0).take(cases.len()).collect();
    for (attempt, (_, script, _)) in attempts.iter().zip(&cases) {
        offer(&fake, &engine, *attempt, script.clone());
    }
    for (attempt, (name, _, reasons)) in attempts.iter().zip(&cases) {
        let found = lie_of(&fake, &engine, *attempt).await;
        assert_eq!(found, None, "{name}");
        let ended = fake.ended(*attempt).await;
        assert!(reasons.contains(&ended.reason), "{name}: {ended:?}");
    }
    let declared = |attempt: u64| fake.change(|state| state.gaps.get(&attempt).is_some_and(|gaps| !gaps[0].is_empty()));
    let gaps: Vec<&str> =
        attempts.iter().zip(&cases).filter(|(attempt, _)| declared(**attempt)).map(|(_, (name, ..))| *name).collect();
    assert_eq!(gaps, ["live output is cut, and the log is never whole"], "nothing else is called incomplete");
    runner.stop().await;
}

/// A program that answers TERM with 0, and an engine that stops: nothing else tells this end from a good one.
#[tokio::test]
async fn an_engine_that_ends_its_containers_is_not_believed_about_them() {
    for outlived in [false, true] {
        let (fake, folder) = (Fake::start().await, tempfile::tempdir().expect("dir"));
        let state = folder.path().join("state");
        fake.joined(&state).await;
        let engine = LyingEngine::start(folder.path().join("engine.sock"), outlived);
        let runner = run_within(&fake, &engine, &state, DEADLINE).await;
        let program = Program { output: lines(), pause_ms: 20, traps: true, ..Program::default() };
        offer(&fake, &engine, 1, Script { program, ..Script::default() });
        while !engine.world().containers.values().any(|truth| truth.log.len() > 1) {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        engine.restart(Duration::from_millis(50), false).await;
        let ended = fake.ended(1).await;
        assert_eq!(ended.reason, if outlived { Succeeded } else { EngineError }, "{}", ended.message);
        assert_eq!(lie_of(&fake, &engine, 1).await, None);
        runner.stop().await;
    }
}

/// Hung or gone: the server is told why nothing new is taken, and that it is over.
#[tokio::test]
async fn an_engine_that_is_ill_is_shown_and_so_is_that_it_is_well_again() {
    let (fake, folder) = (Fake::start().await, tempfile::tempdir().expect("dir"));
    let state = folder.path().join("state");
    fake.joined(&state).await;
    let engine = LyingEngine::start(folder.path().join("engine.sock"), false);
    let runner = run_within(&fake, &engine, &state, Duration::from_millis(400)).await;
    let told = |state: &crate::fake::State, ill: bool| {
        let no_more = state.syncs.last().map(|sync| sync.no_more.clone());
        no_more.is_some_and(|why| why.is_some_and(|why| why.contains("engine does not answer")) == ill)
    };
    for hung in [true, false] {
        fake.until("it takes work", |state| told(state, false)).await;
        if hung {
            engine.change(|world| world.hung = true);
            fake.until("it hangs, and that is told", |state| told(state, true)).await;
            engine.change(|world| world.hung = false);
        } else {
            let restart = engine.restart(Duration::from_secs(1), false);
            tokio::join!(restart, fake.until("it is gone, and that is told", |state| told(state, true)));
        }
        fake.until("it takes work again, by itself", |state| told(state, false)).await;
    }
    offer(&fake, &engine, 1, script(0, &[]));
    fake.ended(1).await;
    runner.stop().await;
}
