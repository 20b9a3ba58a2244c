//! Start, look, wait, stop, remove, and the list of what is ours.
use std::time::Duration;

use bollard::container::LogOutput;
use bollard::query_parameters::{
    LogsOptionsBuilder, RemoveContainerOptionsBuilder, StartContainerOptions, StopContainerOptionsBuilder,
    WaitContainerOptionsBuilder,
};
use dsg_schemas::ids::{AttemptId, RunnerId};
use futures_util::StreamExt;
use serde_json::json;

use super::DockerEngine;
use super::failure::{Trouble, start_reason};
use super::plain::{escaped, escaped_path};
use super::state::state;
use crate::container::{Exit, Failure, Own, State, label};
use crate::room::Space;

/// A wait returns by then, ended or not; whoever waits looks and waits again.
const WAIT: Duration = Duration::from_secs(600);
/// How long an engine may take to end a container beyond its grace, in deadlines of other calls.
const STOP_SLACK: u32 = 2;

impl DockerEngine {
    pub(super) async fn start_watched(&self, id: &str) -> Result<(), Failure> {
        self.watches.expect(id);
        let started = self.deadline(self.short.start_container(id, None::<StartContainerOptions>)).await;
        self.watches.started(id);
        if let Err(trouble) = started {
            // It may run all the same: only what the engine says now counts.
            if let Ok(State::Running { .. } | State::Exited(_)) = self.look(id).await {
                return Ok(());
            }
            self.watches.forget(id);
            let reason = start_reason(&trouble);
            return Err(trouble.sorted("start the container", reason));
        }
        Ok(())
    }

    pub(super) async fn look(&self, id: &str) -> Result<State, Failure> {
        let inspected = match self.plain.get(&format!("/containers/{}/json", escaped_path(id))).await {
            Ok(inspected) => inspected,
            Err(trouble) if trouble.missing() => return Ok(State::Gone),
            Err(trouble) => return Err(trouble.failed("look at the container")),
        };
        // Names and short ids lead here, too; watches know only whole ids.
        let id = inspected["Id"].as_str().unwrap_or(id);
        let (state, process) = state(&inspected);
        Ok(match state {
            State::Running { .. } => {
                self.watches.adopt(id, process);
                state
            }
            State::Exited(exit) => State::Exited(self.completed(id, exit).await),
            State::Created | State::Paused | State::Gone => state,
        })
    }

    /// The exit with what the engine does not tell: the kernel's word on memory, and an init that found no command.
    async fn completed(&self, id: &str, mut exit: Exit) -> Exit {
        let seen = self.watches.verdict(id, exit.code).await;
        exit.oom = exit.oom.or(seen.oom);
        exit.peak_memory_bytes = seen.peak_memory_bytes;
        exit.cpu_ms = seen.cpu_ms;
        (exit.read_bytes, exit.written_bytes) = (seen.read_bytes, seen.written_bytes);
        if matches!(exit.code, 126 | 127) && exit.error.is_empty() {
            exit.error = self.init_complaint(id).await.unwrap_or_default();
        }
        exit
    }

    /// With an init as process 1 a command that cannot be started is an exit code of the init, and its reason a line on stderr.
    async fn init_complaint(&self, id: &str) -> Option<String> {
        let options = LogsOptionsBuilder::default().stderr(true).tail("3").build();
        let mut lines = Box::pin(self.short.logs(id, Some(options)));
        let read = async {
            let mut text = String::new();
            while let Some(Ok(LogOutput::StdErr { message })) = lines.next().await {
                text.push_str(&String::from_utf8_lossy(&message));
            }
            text
        };
        let text = tokio::time::timeout(Duration::from_secs(10), read).await.ok()?;
        text.lines().find_map(complaint).map(str::to_owned)
    }

    pub(super) async fn wait_for_end(&self, id: &str) -> Result<(), Failure> {
        let options = WaitContainerOptionsBuilder::default().condition("not-running").build();
        let mut waiting = Box::pin(self.long.wait_container(id, Some(options)));
        let answer = match tokio::time::timeout(WAIT, waiting.next()).await {
            Err(_) | Ok(None) => return Ok(()),
            Ok(Some(answer)) => answer,
        };
        match answer {
            // Its code is not to be believed, on Podman least of all.
            Ok(_) | Err(bollard::errors::Error::DockerContainerWaitError { .. }) => Ok(()),
            Err(error) => match Trouble::from(error) {
                trouble if trouble.missing() => Ok(()),
                trouble => Err(trouble.failed("wait for the container")),
            },
        }
    }

    pub(super) async fn stop_with_grace(&self, id: &str, grace_ms: u64) -> Result<(), Failure> {
        let seconds = i32::try_from(grace_ms.div_ceil(1_000)).unwrap_or(i32::MAX);
        let options = StopContainerOptionsBuilder::default().t(seconds).build();
        let limit = Duration::from_millis(grace_ms) + self.plain.deadline * STOP_SLACK;
        self.thaw_if_frozen(id).await;
        let stopped = tokio::time::timeout(limit, self.long.stop_container(id, Some(options))).await;
        match stopped.map(|answer| answer.map_err(Trouble::from)) {
            Ok(Ok(())) => Ok(()),
            Ok(Err(trouble)) if trouble.missing() => Ok(()),
            Ok(Err(trouble)) => match self.look(id).await {
                Ok(State::Exited(_) | State::Gone | State::Created) => Ok(()),
                Ok(State::Running { .. } | State::Paused) | Err(_) => Err(trouble.failed("stop the container")),
            },
            Err(_) => {
                let silent = Trouble::Silent(format!("it is not stopped after {} s", limit.as_secs()));
                Err(silent.failed("stop the container"))
            }
        }
    }

    pub(super) async fn remove_with_volumes(&self, id: &str) -> Result<(), Failure> {
        match self.remove_once(id).await {
            Ok(()) => Ok(()),
            Err(_) => {
                self.thaw_if_frozen(id).await;
                self.remove_once(id).await
            }
        }
    }

    async fn remove_once(&self, id: &str) -> Result<(), Failure> {
        self.watches.forget(id);
        let options = RemoveContainerOptionsBuilder::default().force(true).v(true).build();
        match self.deadline(self.short.remove_container(id, Some(options))).await {
            Ok(()) => Ok(()),
            Err(trouble) if trouble.missing() || trouble.says(&["is already in progress"]) => Ok(()),
            Err(trouble) => Err(trouble.failed("remove the container")),
        }
    }

    pub(super) async fn list_own(&self, grid: &str, runner: RunnerId) -> Result<Vec<Own>, Failure> {
        let labels = [format!("{}={grid}", label::GRID), format!("{}={runner}", label::RUNNER)];
        let filters = escaped(&json!({ "label": labels }).to_string());
        let listed = self.plain.get(&format!("/containers/json?all=true&filters={filters}")).await;
        let listed = listed.map_err(|trouble| trouble.failed("list our containers"))?;
        let containers = listed.as_array().map(Vec::as_slice).unwrap_or_default();
        Ok(containers.iter().filter_map(|container| own(container, grid, runner)).collect())
    }

    /// The engine walks over every file of the layer for this: to be asked now and then only.
    pub(super) async fn layer_bytes(&self, id: &str) -> Result<Option<u64>, Failure> {
        let measured = self.plain.get(&format!("/containers/{}/json?size=true", escaped_path(id))).await;
        let measured = measured.map_err(|trouble| trouble.failed("measure what the container has written"))?;
        Ok(measured["SizeRw"].as_u64())
    }

    pub(super) async fn ask_space(&self) -> Result<Option<Space>, Failure> {
        let Some(root) = self.data_root.clone() else { return Ok(None) };
        Ok(tokio::task::spawn_blocking(move || Space::around(&root)).await.ok().flatten())
    }

    /// The client's own time-out covers only the headers.
    pub(super) async fn deadline<T>(
        &self,
        call: impl Future<Output = Result<T, bollard::errors::Error>>,
    ) -> Result<T, Trouble> {
        let answer = tokio::time::timeout(self.plain.deadline, call).await;
        answer.map_err(|_| Trouble::Silent("no answer in time".to_owned()))?.map_err(Trouble::from)
    }
}

/// What tini and catatonit say when there is no such program.
fn complaint(line: &str) -> Option<&str> {
    let known = line.contains("[FATAL tini (") || line.contains("failed to exec pid1");
    known.then(|| line.trim())
}

/// Ours by its labels, which are checked again: a filter that an engine ignored must not cost somebody else's container.
pub(super) fn own(container: &serde_json::Value, grid: &str, runner: RunnerId) -> Option<Own> {
    let labels = container["Labels"].as_object()?;
    let value = |name: &str| labels.get(name).and_then(|value| value.as_str());
    if value(label::GRID) != Some(grid) || value(label::RUNNER) != Some(runner.to_string().as_str()) {
        return None;
    }
    Some(Own {
        id: container["Id"].as_str()?.to_owned(),
        attempt: AttemptId(value(label::ATTEMPT)?.parse().ok()?),
        labels: labels
            .iter()
            .map(|(name, value)| (name.clone(), value.as_str().unwrap_or_default().to_owned()))
            .collect(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_whole_labels_make_a_container_ours() {
        let with = |grid: &str, runner: &str, attempt: &str| {
            json!({"Id": "abc", "Labels":
            {"dsg.grid": grid, "dsg.runner": runner, "dsg.attempt": attempt, "more": "1"}})
        };
        let found = own(&with("g", "3", "17"), "g", RunnerId(3)).expect("ours");
        assert_eq!((found.attempt, found.labels.len()), (AttemptId(17), 4));
        for other in [with("h", "3", "17"), with("g", "33", "17"), with("g", "3", "x"), json!({"Id": "abc"})] {
            assert_eq!(own(&other, "g", RunnerId(3)), None, "{other}");
        }
    }

    #[test]
    fn an_init_that_finds_no_command_is_understood() {
        assert!(complaint("[FATAL tini (7)] exec nope failed: No such file or directory").is_some());
        assert!(complaint("sh: nope: not found").is_none());
    }
}
