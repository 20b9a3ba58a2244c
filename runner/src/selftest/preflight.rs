//! The checks themselves: a container runs and tells its exit code, its output arrives, limits hold, and promised GPUs are there.
use std::collections::BTreeMap;
use std::time::Duration;

use dsg_schemas::ids::RunnerId;
use dsg_schemas::reason::EndReason;
use dsg_schemas::wire::log::Stream;
use dsg_schemas::wire::{Check, Facts};

use super::image::image;
use crate::container::{ContainerPlan, Engine, Exit, Failure, State, label};

/// Whose containers these are: the sweep at the next start finds what a crash leaves behind.
#[derive(Clone, Debug, Default)]
pub struct Subject {
    pub grid: String,
    pub runner: RunnerId,
}

/// No attempt ever has this number, so that a leftover of the self-test is nobody's attempt.
const ATTEMPT: &str = "0";
const MEMORY_BYTES: u64 = 64 << 20;
const EXIT_CODE: i32 = 7;
/// For one container of a few milliseconds, on a host that may be busy.
const PATIENCE: Duration = Duration::from_secs(120);

/// Runs the checks. GPUs that did not prove themselves are taken out of the facts, with the reason in `gpu_note`. No check stops
/// another.
pub async fn preflight(engine: &dyn Engine, subject: &Subject, facts: &mut Facts) -> Vec<Check> {
    let mut checks = Vec::new();
    let loaded = match image() {
        Ok(image) => engine.load_image(image.archive).await,
        Err(error) => Err(trouble(&format!("failed to pack the self-test image: {error}"))),
    };
    let image = match loaded {
        Ok(id) => id,
        Err(failure) => {
            checks.push(check("engine", Err(failure.message)));
            drop_gpus(facts, "the self-test image could not be loaded");
            return checks;
        }
    };
    let bench = Bench { engine, subject, image };
    checks.push(check("run", bench.runs().await));
    checks.push(check("limits", bench.limits().await));
    if !facts.gpus.is_empty() {
        let result = bench.gpus(facts).await;
        if let Err(why) = &result {
            drop_gpus(facts, why);
        }
        checks.push(check("gpu", result));
    }
    checks
}

fn trouble(message: &str) -> Failure {
    Failure { reason: EndReason::EngineError, message: message.to_owned(), engine_gone: false }
}

fn check(name: &str, result: Result<String, String>) -> Check {
    let passed = result.is_ok();
    Check { name: name.to_owned(), passed, note: result.unwrap_or_else(|why| why) }
}

fn drop_gpus(facts: &mut Facts, why: &str) {
    if !facts.gpus.is_empty() {
        facts.gpu_note = Some(format!("{} GPUs are here, but not offered: {why}", facts.gpus.len()));
        facts.gpus.clear();
    }
}

struct Bench<'a> {
    engine: &'a dyn Engine,
    subject: &'a Subject,
    image: String,
}

struct Run {
    exit: Exit,
    stdout: String,
    stderr: String,
}

impl Bench<'_> {
    async fn runs(&self) -> Result<String, String> {
        let run = self.container("run", &["echo", "dsg is here", "then", "exit", &EXIT_CODE.to_string()], &[]).await?;
        if run.exit.code != EXIT_CODE {
            return Err(format!(
                "a container that exits with {EXIT_CODE} was told to have exited with {}; results of this engine cannot be trusted",
                run.exit.code
            ));
        }
        if run.stdout != "dsg is here\n" {
            return Err(format!("the output of a container arrived as {:?}", run.stdout));
        }
        Ok("a container ran, and its exit code and output arrived".to_owned())
    }

    async fn limits(&self) -> Result<String, String> {
        let run = self.container("limits", &["limits"], &[]).await?;
        let value = |name: &str| {
            run.stdout
                .lines()
                .find_map(|line| line.strip_prefix(name)?.strip_prefix([' ', ':']))
                .unwrap_or_default()
                .trim()
        };
        let mut wrong = Vec::new();
        if value("memory").parse() != Ok(MEMORY_BYTES) {
            wrong.push(format!("memory is {:?} instead of {MEMORY_BYTES} bytes", value("memory")));
        }
        if value("pids").parse::<i64>() != Ok(dsg_schemas::limits::PIDS) {
            wrong.push(format!("pids are {:?}", value("pids")));
        }
        if value("NoNewPrivs") != "1" {
            wrong.push("programs may gain privileges".to_owned());
        }
        if wrong.is_empty() {
            return Ok("memory, processes and privileges are bounded inside a container".to_owned());
        }
        Err(format!(
            "limits do not hold inside a container: {}; a chunk could take the whole host. Rootless engines need cgroup v2 with the memory, pids and cpu controllers delegated",
            wrong.join(", ")
        ))
    }

    /// Tries each way that the engine knows, and keeps the first that gives all devices.
    async fn gpus(&self, facts: &Facts) -> Result<String, String> {
        let uuids: Vec<String> = facts.gpus.iter().map(|gpu| gpu.uuid.clone()).collect();
        let mut failed = Vec::new();
        for (index, way) in self.engine.gpu_ways().iter().enumerate() {
            self.engine.choose_gpu_way(index);
            match self.gpus_in_one_way(&uuids).await {
                Ok(devices) => return Ok(format!("{devices} GPU devices were seen inside a container, by {way}")),
                Err(why) => failed.push(format!("by {way}: {why}")),
            }
        }
        Err(format!(
            "a container does not get them: {}. Install the NVIDIA Container Toolkit; for Podman run nvidia-ctk cdi generate --output=/etc/cdi/nvidia.yaml --device-name-strategy=uuid",
            failed.join("; ")
        ))
    }

    async fn gpus_in_one_way(&self, uuids: &[String]) -> Result<usize, String> {
        let run = self.container("gpu", &["gpu"], uuids).await?;
        let opened = run.stdout.lines().filter(|line| line.ends_with(" opens")).count();
        // MIG instances share the device of their GPU.
        let physical = uuids.iter().filter(|uuid| !uuid.starts_with("MIG")).count();
        if run.exit.code != 0 || opened == 0 {
            let seen = format!("{}{}", run.stdout, run.stderr);
            let seen = seen.trim();
            return Err(if seen.is_empty() {
                "the engine took the request, and no device is there".to_owned()
            } else {
                seen.replace('\n', ", ")
            });
        }
        if opened < physical {
            return Err(format!("only {opened} of {physical} devices are there"));
        }
        Ok(opened)
    }

    async fn container(&self, name: &str, command: &[&str], gpus: &[String]) -> Result<Run, String> {
        let Subject { grid, runner } = self.subject;
        let labels =
            [(label::GRID, grid.clone()), (label::RUNNER, runner.to_string()), (label::ATTEMPT, ATTEMPT.to_owned())];
        let plan = ContainerPlan {
            name: format!("dsg-selftest-{name}-{}", std::process::id()),
            labels: labels.into_iter().map(|(name, value)| (name.to_owned(), value)).collect(),
            image: self.image.clone(),
            command: command.iter().map(|word| (*word).to_owned()).collect(),
            env: BTreeMap::new(),
            network: "none".to_owned(),
            cpus_milli: 1_000,
            memory_bytes: MEMORY_BYTES,
            gpus: gpus.to_vec(),
            ..ContainerPlan::default()
        };
        // What a crash of an earlier process with our number left.
        self.engine.remove(&plan.name).await.map_err(|failure| failure.message)?;
        let id = self.engine.create(&plan).await.map_err(|failure| failure.message)?;
        let run = tokio::time::timeout(PATIENCE, self.watch(&id))
            .await
            .unwrap_or_else(|_| Err(trouble(&format!("the container did not end within {} s", PATIENCE.as_secs()))));
        let removed = self.engine.remove(&id).await;
        let run = run.map_err(|failure| failure.message)?;
        removed.map_err(|failure| failure.message)?;
        Ok(run)
    }

    async fn watch(&self, id: &str) -> Result<Run, Failure> {
        let mut pieces = self.engine.attach(id).await?;
        self.engine.start(id).await?;
        let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
        while let Some(piece) = pieces.recv().await {
            match piece.stream {
                Stream::Stdout => stdout.extend_from_slice(&piece.bytes),
                Stream::Stderr => stderr.extend_from_slice(&piece.bytes),
            }
        }
        let exit = loop {
            self.engine.wait(id).await?;
            match self.engine.inspect(id).await? {
                State::Exited(exit) => break exit,
                State::Running { .. } | State::Paused => {}
                State::Created => return Err(trouble("the container was started, and did not run")),
                State::Gone => return Err(trouble("the container vanished; does something else clean up here?")),
            }
        };
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
        Ok(Run { exit, stdout: text(stdout), stderr: text(stderr) })
    }
}
