//! Why a container ended. Pure. Who killed it comes first, and we know it only of ourselves.
use dsg_schemas::reason::EndReason;
use dsg_schemas::units::{Bytes, Millis};
use dsg_schemas::wire::{Ended, StartOrder};

use crate::container::Exit;

/// What ends containers without a word about it, and did while this one ran: no code that came of it is the command's own, 0 least of
/// all, with which many programs answer TERM.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Uprooted {
    Machine,
    Engine,
}

/// The end of a container as inspect and our own memory tell it. Outputs are not looked at yet. `gpu_fault`: of a GPU that it held.
pub fn verdict(
    killed: Option<EndReason>,
    exit: &Exit,
    order: &StartOrder,
    uprooted: Option<Uprooted>,
    gpu_fault: Option<&str>,
) -> Ended {
    let signal = (129..=192).contains(&exit.code).then_some(exit.code - 128);
    let (reason, message) = match killed {
        Some(EndReason::GpuError) => (EndReason::GpuError, broken_gpu(gpu_fault)),
        Some(reason) => (reason, own_doing(reason, order)),
        None if exit.oom == Some(true) => (EndReason::Oom, out_of_memory(exit, order)),
        None if uprooted == Some(Uprooted::Machine) => {
            (EndReason::RunnerLost, "the machine was restarted before the container was seen to end".to_owned())
        }
        None if uprooted == Some(Uprooted::Engine) => (
            EndReason::EngineError,
            format!(
                "the container engine was restarted, and ends its containers when it stops: exit code {} is not believed; \"live-restore\": true in its daemon.json lets them live",
                exit.code
            ),
        ),
        None if exit.code == 0 => (EndReason::Succeeded, String::new()),
        None if gpu_fault.is_some() => {
            let message = format!("{} (it ended with exit code {})", broken_gpu(gpu_fault), exit.code);
            (EndReason::GpuError, message)
        }
        // With an init in between, the container starts and only then finds that there is no such command.
        None if matches!(exit.code, 126 | 127) && !exit.error.is_empty() => (
            EndReason::BadCommand,
            format!("the command could not be started: {}; check the spelling, and that the image has it", exit.error),
        ),
        None => match signal {
            Some(signal) => (EndReason::Signal, by_signal(signal, exit, order)),
            None => (EndReason::Exit, by_code(exit)),
        },
    };
    Ended {
        exit_code: Some(exit.code),
        signal: if reason == EndReason::Exit { None } else { signal },
        run_ms: exit.run_ms,
        peak_memory_bytes: exit.peak_memory_bytes,
        cpu_ms: exit.cpu_ms,
        read_bytes: exit.read_bytes,
        written_bytes: exit.written_bytes,
        ..Ended::before_start(reason, message)
    }
}

fn own_doing(reason: EndReason, order: &StartOrder) -> String {
    let shown = |limit: Option<u64>| limit.map_or_else(|| "its limit".to_owned(), |ms| Millis(ms).to_string());
    match reason {
        EndReason::RunTimeout => {
            format!(
                "it ran longer than timeouts.run = {}; raise it, or make the chunks smaller",
                shown(order.timeouts.run_ms)
            )
        }
        EndReason::Stalled => {
            format!(
                "it wrote nothing for timeouts.stall = {}; print progress, or raise it",
                shown(order.timeouts.stall_ms)
            )
        }
        EndReason::PolicyDenied => format!(
            "it wrote more than resources.disk = {} into its own file system; raise it, or write less",
            Bytes(order.limits.disk_bytes)
        ),
        _ => String::new(),
    }
}

fn broken_gpu(fault: Option<&str>) -> String {
    let fault = fault.unwrap_or("it is well again by now");
    format!("a GPU that it held broke while it ran, and it runs again at no cost of its own: {fault}")
}

fn out_of_memory(exit: &Exit, order: &StartOrder) -> String {
    let limit = Bytes(order.limits.memory_bytes);
    match exit.code {
        0 => format!(
            "a part of it was ended by the kernel at its memory limit of {limit}, though the command said it went well"
        ),
        _ => format!("it was ended by the kernel at its memory limit of {limit}; raise resources.memory"),
    }
}

fn by_signal(signal: i32, exit: &Exit, order: &StartOrder) -> String {
    let limit = order.limits.memory_bytes;
    let near = exit.peak_memory_bytes.is_some_and(|peak| limit > 0 && peak >= limit - limit / 20);
    match (signal, near) {
        (9, true) => format!(
            "probably out of memory: it was killed (signal 9) while it used {} of {}; raise resources.memory",
            Bytes(exit.peak_memory_bytes.unwrap_or(0)),
            Bytes(limit)
        ),
        _ => format!("it was ended by signal {signal}, which DSG did not send"),
    }
}

fn by_code(exit: &Exit) -> String {
    let code = format!("the command ended with exit code {}; its log says more", exit.code);
    if exit.error.is_empty() { code } else { format!("{code} (the engine adds: {})", exit.error) }
}

#[cfg(test)]
mod tests {
    use super::super::test_order as order;
    use super::*;

    #[test]
    fn the_reason_follows_from_who_killed_then_oom_then_signal_then_code() {
        let mut order = order(1);
        order.limits.memory_bytes = 1000;
        let exit = |code, oom, peak| Exit { code, oom, peak_memory_bytes: peak, ..Exit::default() };
        let (machine, engine) = (Some(Uprooted::Machine), Some(Uprooted::Engine));
        let cases = [
            (None, exit(0, None, None), None, EndReason::Succeeded, None, ""),
            (None, exit(3, Some(false), None), None, EndReason::Exit, None, "exit code 3"),
            (None, exit(137, Some(true), None), None, EndReason::Oom, Some(9), "memory limit"),
            (None, exit(0, Some(true), None), None, EndReason::Oom, None, "though the command said"),
            (None, exit(137, None, Some(960)), None, EndReason::Signal, Some(9), "probably out of memory"),
            (None, exit(137, None, Some(500)), None, EndReason::Signal, Some(9), "did not send"),
            (None, exit(137, None, None), None, EndReason::Signal, Some(9), "did not send"),
            (None, exit(139, Some(false), Some(990)), None, EndReason::Signal, Some(11), "signal 11"),
            (None, exit(255, None, None), None, EndReason::Exit, None, "255"),
            (None, exit(127, None, None), None, EndReason::Exit, None, "127"),
            (
                None,
                Exit { error: "exec x failed".to_owned(), ..exit(127, None, None) },
                None,
                EndReason::BadCommand,
                None,
                "exec x failed",
            ),
            (None, exit(255, None, None), machine, EndReason::RunnerLost, None, "restarted"),
            (None, exit(0, None, None), machine, EndReason::RunnerLost, None, "restarted"),
            (None, exit(143, None, None), engine, EndReason::EngineError, Some(15), "not believed"),
            (None, exit(0, None, None), engine, EndReason::EngineError, None, "live-restore"),
            (None, exit(137, Some(true), None), engine, EndReason::Oom, Some(9), "memory limit"),
            (
                Some(EndReason::RunTimeout),
                exit(137, Some(true), None),
                None,
                EndReason::RunTimeout,
                Some(9),
                "timeouts.run",
            ),
            (
                Some(EndReason::PolicyDenied),
                exit(143, None, None),
                None,
                EndReason::PolicyDenied,
                Some(15),
                "resources.disk",
            ),
            (Some(EndReason::Cancelled), exit(0, None, None), None, EndReason::Cancelled, None, ""),
        ];
        for (killed, exit, restarted, reason, signal, words) in cases {
            let ended = verdict(killed, &exit, &order, restarted, None);
            assert_eq!((ended.reason, ended.signal), (reason, signal), "{exit:?}");
            assert!(ended.message.contains(words), "{exit:?}: {}", ended.message);
        }
    }

    #[test]
    fn a_broken_gpu_is_not_the_jobs_failure_and_takes_no_success_away() {
        let exit = |code, oom| Exit { code, oom, ..Exit::default() };
        let fault = Some("GPU x: it fell off the bus");
        for (killed, exit, reason, words) in [
            (None, exit(1, None), EndReason::GpuError, "fell off the bus (it ended with exit code 1)"),
            (None, exit(139, None), EndReason::GpuError, "exit code 139"),
            (None, exit(0, None), EndReason::Succeeded, ""),
            (None, exit(137, Some(true)), EndReason::Oom, "memory limit"),
            (Some(EndReason::GpuError), exit(143, None), EndReason::GpuError, "fell off the bus"),
            (Some(EndReason::GpuError), exit(0, None), EndReason::GpuError, "fell off the bus"),
            (Some(EndReason::Cancelled), exit(143, None), EndReason::Cancelled, ""),
        ] {
            let ended = verdict(killed, &exit, &order(1), None, fault);
            assert_eq!(ended.reason, reason, "{killed:?} {exit:?}");
            assert!(ended.message.ends_with(words) || ended.message.contains(words), "{exit:?}: {}", ended.message);
        }
    }
}
