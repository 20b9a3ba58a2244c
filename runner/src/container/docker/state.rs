//! What inspect says, read leniently: Podman knows states that Docker does not, and each is decided here.
use serde_json::Value;

use crate::container::{Exit, State};

/// Podman notes the start only after it was told of it, and takes the end from a file's coarse time: a container that lives for
/// milliseconds seems to end before it began. A finish from an earlier life is older than this.
const CLOCK_SLACK_MS: i64 = 2_000;

/// The state of an inspected container, and of a running one its process.
pub(super) fn state(inspected: &Value) -> (State, Option<u32>) {
    let said = &inspected["State"];
    let status = said["Status"].as_str().unwrap_or_default();
    let started_ms = time_ms(said["StartedAt"].as_str());
    let finished_ms = time_ms(said["FinishedAt"].as_str());
    let process = said["Pid"].as_u64().and_then(|pid| u32::try_from(pid).ok()).filter(|pid| *pid > 0);
    let state = match (status, started_ms, finished_ms) {
        ("created" | "configured" | "initialized", None, _) => State::Created,
        ("running" | "stopping" | "restarting", since, _) => {
            State::Running { since_ms: since.unwrap_or_default().unsigned_abs() }
        }
        ("paused", ..) => State::Paused,
        // Podman says `stopped` between the end of the process and the end of its own clean-up.
        ("exited" | "stopped", Some(started), Some(finished)) if finished + CLOCK_SLACK_MS >= started => {
            State::Exited(Exit {
                code: said["ExitCode"].as_i64().and_then(|code| i32::try_from(code).ok()).unwrap_or(-1),
                oom: said["OOMKilled"].as_bool().filter(|killed| *killed),
                run_ms: (finished - started).max(0).unsigned_abs(),
                started_ms: started.unsigned_abs(),
                error: said["Error"].as_str().unwrap_or_default().to_owned(),
                peak_memory_bytes: None,
                cpu_ms: None,
                read_bytes: None,
                written_bytes: None,
            })
        }
        // Never started, but over: a start that failed.
        ("exited" | "stopped", None, _) => State::Created,
        // Began and then was forgotten (a reboot under Podman), is being removed, or says something that we do not know: its
        // end cannot be proved, so it is lost.
        _ => State::Gone,
    };
    (state, process)
}

/// `None` for a missing time and for the year 1, which is how Go writes one.
fn time_ms(text: Option<&str>) -> Option<i64> {
    let time: jiff::Timestamp = text?.parse().ok()?;
    Some(time.as_millisecond()).filter(|ms| *ms > 0)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const BEGAN: &str = "2026-11-23T10:00:00.5Z";
    const ENDED: &str = "2026-11-23T11:00:02.75+01:00";
    const NEVER: &str = "0001-01-01T00:00:00Z";

    fn of(status: &str, started: &str, finished: &str, code: i64) -> State {
        let inspected = json!({"State": {"Status": status, "StartedAt": started, "FinishedAt": finished, "ExitCode": code,
            "OOMKilled": false, "Error": "", "Pid": 7}});
        state(&inspected).0
    }

    #[test]
    fn only_a_proved_end_is_an_exit() {
        let exit = match of("exited", BEGAN, ENDED, 9) {
            State::Exited(exit) => exit,
            other => panic!("{other:?}"),
        };
        assert_eq!((exit.code, exit.run_ms, exit.oom), (9, 2_250, None));
        assert!(matches!(of("stopped", BEGAN, ENDED, 0), State::Exited(_)));
        assert_eq!(of("exited", ENDED, BEGAN, 0), State::Gone, "it ended before it began");
        let short = of("exited", "2026-11-23T10:00:00.504Z", BEGAN, 3);
        assert!(matches!(&short, State::Exited(exit) if exit.run_ms == 0 && exit.code == 3), "{short:?}");
        assert_eq!(of("exited", BEGAN, NEVER, 0), State::Gone, "no end is known");
        assert_eq!(of("created", NEVER, NEVER, 0), State::Created);
        assert_eq!(of("exited", NEVER, ENDED, 127), State::Created, "its start failed");
        assert_eq!(of("created", BEGAN, NEVER, 0), State::Gone, "it ran, and the engine forgot how it ended");
        assert_eq!(of("removing", BEGAN, ENDED, 0), State::Gone);
        assert_eq!(of("dead", BEGAN, ENDED, 0), State::Gone);
        assert_eq!(of("paused", BEGAN, NEVER, 0), State::Paused);
        assert_eq!(of("stopping", BEGAN, NEVER, 0), State::Running { since_ms: 1_795_428_000_500 });
        assert_eq!(state(&json!({})).0, State::Gone);
    }
}
