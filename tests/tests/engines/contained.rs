//! A runner that is itself a container, beside those that it starts: docs/install.md says how.
use std::process::Command;

use anyhow::{Context, Result, ensure};
use dsg_schemas::api::{CreateToken, CreatedToken, JobState, RunnerState, TokenKind};
use dsg_schemas::reason::EndReason;
use dsg_tests::lab::{Lab, program};

use super::{example, says_its_number, shell};

const HUNGRY: &str = "chunks: {count: 1}\nscript: |\n  tail /dev/zero";

/// `engine`: the words of its command line.
pub async fn a_runner_in_a_container_runs_jobs(engine: &str, socket: &str) -> Result<()> {
    let build = concat!(env!("CARGO_MANIFEST_DIR"), "/../images/build");
    let built = Command::new(build)
        .arg("runner")
        .args(engine.split(' '))
        .env("DSG_RUNNER_PROGRAM", program("dsg-runner"))
        .status()?;
    ensure!(built.success(), "images/build runner ended with {built}");

    let lab = Lab::start().await?;
    let create = CreateToken { kind: TokenKind::Join, name: "carl".to_owned(), hours: None, uses: None };
    let answer = lab.client.request(reqwest::Method::POST, "/api/v1/tokens").json(&create).send().await?;
    let token: CreatedToken = answer.error_for_status()?.json().await?;
    let state = lab.path("carl");
    std::fs::create_dir(&state)?;
    let memory = tempfile::tempdir_in("/dev/shm")?;
    let place = memory.path().join("secrets").display().to_string();
    std::fs::create_dir(&place)?;
    let carl = Contained { engine, socket, place, name: format!("dsg-test-carl-{}", std::process::id()) };
    let same = format!("{0}:{0}", state.display());
    carl.run(&same, &["--rm"], &["join", &lab.client.url, "--token", &token.secret, "--name", "carl", "--only"])?;
    carl.run(&same, &["-d", "--name", &carl.name], &["--cpus", "2", "--memory", "1GiB"])?;
    let ready = lab.client.eventually("carl is ready", |client| async move {
        let runners = client.runners().await?;
        Ok(runners.into_iter().find(|runner| runner.name == "carl" && runner.state == RunnerState::Ready))
    });
    let runner = ready.await.with_context(|| carl.logs())?;
    let failed: Vec<_> = runner.facts.checks.iter().filter(|check| !check.passed).collect();
    ensure!(failed.is_empty(), "{failed:?}");
    // With a script, so that files of the runner are mounted; and the kernel's word is heard from inside.
    let hello = lab.client.submit(&example("hello.yaml")?).await?;
    let hungry = lab.client.submit(&shell("hungry", HUNGRY)).await?;
    says_its_number(&lab.client, hello).await.with_context(|| carl.logs())?;
    ensure!(lab.client.ended(hungry).await?.job.state == JobState::Failed);
    let chunk = lab.client.chunk_at(hungry, 0).await?;
    ensure!(chunk.chunk.reason == Some(EndReason::Oom), "{:?}", chunk.chunk);
    carl.tell(&["stop", "--time", "15", &carl.name])?;
    // At another path the engine mounts something else, or nothing: no chunk is to find that out.
    let other = format!("{}:/elsewhere", state.display());
    let said = carl.output(&other, &["--rm"], &["doctor", "--state", "/elsewhere", "-o", "json"])?;
    let report: serde_json::Value = serde_json::from_slice(&said.stdout).with_context(|| format!("{said:?}"))?;
    let checks = report["checks"].as_array().cloned().unwrap_or_default();
    let files = checks.iter().find(|check| check["name"] == "files").context("files was not looked at")?;
    ensure!(files["passed"] == false && files["blocks"] == "everything", "{files}");
    ensure!(checks.iter().any(|check| check["name"] == "run" && check["passed"] == true), "{report}");
    Ok(())
}

struct Contained<'a> {
    engine: &'a str,
    socket: &'a str,
    /// In memory, for secrets.
    place: String,
    name: String,
}

impl Contained<'_> {
    fn words(&self, state: &str, more: &[&str], arguments: &[&str]) -> Vec<String> {
        let socket = self.socket.trim_start_matches("unix://");
        let mount = format!("{socket}:/run/engine.sock");
        let folder = state.rsplit(':').next().unwrap_or_default();
        let place = format!("DSG_RUNNER_STATE={folder}");
        let (secrets, memory) = (format!("DSG_RUNNER_SECRETS_DIR={}", self.place), format!("{0}:{0}", self.place));
        let host = ["--network", "host", "--pid", "host", "--cgroupns", "host", "-v", "/sys/fs/cgroup:/sys/fs/cgroup"];
        let mut words =
            vec!["run", "-v", &mount, "-v", state, "-e", &place, "-e", "DSG_RUNNER_ENGINE=unix:///run/engine.sock"];
        words.extend(host);
        words.extend(["-v", &memory, "-e", &secrets]);
        if self.engine.starts_with("podman") {
            // Its own default may be more than the machine of a test may give.
            words.extend(["--ulimit", "nofile=1024:1024", "--ulimit", "nproc=4096:4096"]);
        }
        words.extend(more);
        words.push("dsg-runner:1");
        words.extend(arguments);
        words.into_iter().map(str::to_owned).collect()
    }

    fn output(&self, state: &str, more: &[&str], arguments: &[&str]) -> Result<std::process::Output> {
        let words = self.words(state, more, arguments);
        Ok(self.command()?.args(words).output()?)
    }

    fn run(&self, state: &str, more: &[&str], arguments: &[&str]) -> Result<()> {
        let said = self.output(state, more, arguments)?;
        ensure!(said.status.success(), "{}", String::from_utf8_lossy(&said.stderr));
        Ok(())
    }

    fn command(&self) -> Result<Command> {
        let mut words = self.engine.split(' ');
        let mut command = Command::new(words.next().context("no engine is named")?);
        command.args(words);
        Ok(command)
    }

    fn tell(&self, words: &[&str]) -> Result<()> {
        let said = self.command()?.args(words).output()?;
        ensure!(said.status.success(), "{}", String::from_utf8_lossy(&said.stderr));
        Ok(())
    }

    fn logs(&self) -> String {
        let said = self.command().and_then(|mut command| Ok(command.args(["logs", &self.name]).output()?));
        said.map_or_else(|error| error.to_string(), |said| String::from_utf8_lossy(&said.stderr).into_owned())
    }
}

impl Drop for Contained<'_> {
    fn drop(&mut self) {
        drop(self.tell(&["rm", "--force", &self.name]));
    }
}
