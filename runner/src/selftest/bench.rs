//! Containers of the self-test: made, run to their end, read and removed.
use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use dsg_schemas::reason::EndReason;
use dsg_schemas::wire::log::Stream;
use tokio::sync::mpsc::Receiver;

use super::Subject;
use crate::container::{Bind, ContainerPlan, Engine, Exit, Failure, Piece, State, label};

/// No attempt ever has this number, so that a leftover of the self-test is nobody's attempt.
const ATTEMPT: &str = "0";
/// For one container of a few milliseconds, on a host that may be busy.
const PATIENCE: Duration = Duration::from_secs(120);
/// What is asked for, and must be seen inside.
pub const MEMORY_BYTES: u64 = 64 << 20;
pub const CPUS_MILLI: u64 = 500;

pub struct Bench<'a> {
    pub engine: &'a dyn Engine,
    pub subject: &'a Subject,
    pub image: String,
}

/// What a container is to have.
#[derive(Clone, Copy, Debug)]
pub struct Wants<'a> {
    /// Part of its name.
    pub name: &'a str,
    pub command: &'a [&'a str],
    pub memory: bool,
    pub cpus: bool,
    pub network: &'a str,
    pub gpus: &'a [String],
    /// Of the host, for it to see at [`files::PATH`](super::files::PATH).
    pub file: Option<&'a Path>,
}

impl Default for Wants<'_> {
    fn default() -> Self {
        Wants { name: "run", command: &[], memory: true, cpus: true, network: "none", gpus: &[], file: None }
    }
}

pub struct Run {
    pub exit: Exit,
    pub stdout: String,
    pub stderr: String,
    /// What the engine itself kept of its stdout.
    pub log: Result<String, String>,
}

impl Bench<'_> {
    pub async fn run(&self, wants: Wants<'_>) -> Result<Run, String> {
        let plan = self.plan(wants);
        // Dropped in the middle by a runner that is stopped, it is left to the sweep of the next start.
        let id = self.engine.create(&plan).await.map_err(|failure| failure.message)?;
        let run = tokio::time::timeout(PATIENCE, self.watch(&id))
            .await
            .unwrap_or_else(|_| Err(trouble(&format!("the container did not end within {} s", PATIENCE.as_secs()))));
        let removed = self.engine.remove(&id).await;
        let run = run.map_err(|failure| failure.message)?;
        removed.map_err(|failure| failure.message)?;
        Ok(run)
    }

    fn plan(&self, wants: Wants<'_>) -> ContainerPlan {
        let Wants { name, command, memory, cpus, network, gpus, file } = wants;
        let Subject { grid, runner, nonce, lock: _, secrets: _ } = self.subject;
        let labels =
            [(label::GRID, grid.clone()), (label::RUNNER, runner.to_string()), (label::ATTEMPT, ATTEMPT.to_owned())];
        ContainerPlan {
            name: format!("dsg-selftest-{name}-{nonce}"),
            labels: labels.into_iter().map(|(name, value)| (name.to_owned(), value)).collect(),
            image: self.image.clone(),
            command: command.iter().map(|word| (*word).to_owned()).collect(),
            env: BTreeMap::new(),
            network: network.to_owned(),
            cpus_milli: if cpus { CPUS_MILLI } else { 0 },
            memory_bytes: if memory { MEMORY_BYTES } else { 0 },
            gpus: gpus.to_vec(),
            binds: file.map(|file| Bind::read_only(file, super::files::PATH)).into_iter().collect(),
            ..ContainerPlan::default()
        }
    }

    async fn watch(&self, id: &str) -> Result<Run, Failure> {
        let pieces = self.engine.attach(id).await?;
        self.engine.start(id).await?;
        let (stdout, stderr) = collect(pieces).await;
        let exit = loop {
            self.engine.wait(id).await?;
            match self.engine.inspect(id).await? {
                State::Exited(exit) => break exit,
                State::Running { .. } | State::Paused => {}
                State::Created => return Err(trouble("the container was started, and did not run")),
                State::Gone => return Err(trouble("the container vanished; does something else clean up here?")),
            }
        };
        let log = self.log(id).await.map_err(|failure| failure.message);
        Ok(Run { exit, stdout, stderr, log })
    }

    async fn log(&self, id: &str) -> Result<String, Failure> {
        let mut reading = self.engine.logs(id, false).await?;
        let mut stdout = Vec::new();
        while let Some(piece) = reading.recv().await.transpose()? {
            if piece.stream == Stream::Stdout {
                stdout.extend_from_slice(&piece.bytes);
            }
        }
        Ok(String::from_utf8_lossy(&stdout).into_owned())
    }
}

async fn collect(mut pieces: Receiver<Piece>) -> (String, String) {
    let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
    while let Some(piece) = pieces.recv().await {
        match piece.stream {
            Stream::Stdout => stdout.extend_from_slice(&piece.bytes),
            Stream::Stderr => stderr.extend_from_slice(&piece.bytes),
        }
    }
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    (text(stdout), text(stderr))
}

fn trouble(message: &str) -> Failure {
    Failure { reason: EndReason::EngineError, message: message.to_owned(), engine_gone: false }
}
