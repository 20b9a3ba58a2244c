//! An engine of the test's own that hangs, is killed and is stopped while containers run: seen soon, over by itself, and never a success
//! that was none.
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result, ensure};
use dsg_schemas::api::{ChunkState, JobState, RunnerState};
use dsg_schemas::ids::JobId;
use dsg_tests::client::Client;
use dsg_tests::lab::Lab;

use super::{in_state, shell, stdout};

/// Answers TERM with 0, as well-behaved programs do: an engine that stops makes an end of it that looks like success.
const COUNTS: &str = "chunks: {count: 1}
script: |
  trap 'exit 0' TERM
  for step in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15; do echo $step; sleep 1; done
";
const QUICK: &str = "chunks: {count: 1}\ncommand: ['true']";

/// `outlived`: whether containers go on while the engine is away.
pub async fn an_engine_may_be_unwell(engine: OwnEngine, outlived: bool) -> Result<()> {
    let mut engine = engine;
    let mut lab = Lab::start().await?;
    engine.start().await?;
    engine.load()?;
    let socket = format!("unix://{}", engine.socket.display());
    lab.add_runner("ada", &["--engine", &socket, "--cpus", "4", "--memory", "4GiB"]).await?;
    let client = &lab.client;

    let job = begun(client).await?;
    engine.signal("STOP")?;
    says(client, |why| why.contains("engine does not answer")).await.context("an engine that hangs")?;
    let waits = client.submit(&shell("waits", QUICK)).await?;
    engine.signal("CONT")?;
    is_right(client, waits, Some(1)).await.context("what waited for the engine that hung")?;
    is_right(client, job, Some(1)).await.context("what ran while it hung")?;

    let job = begun(client).await?;
    engine.kill()?;
    says(client, |why| why.contains("engine does not answer")).await.context("an engine that is gone")?;
    engine.start().await?;
    is_right(client, job, outlived.then_some(1)).await.context("what ran when it was killed")?;

    let job = begun(client).await?;
    engine.signal("TERM")?;
    engine.gone()?;
    engine.start().await?;
    is_right(client, job, outlived.then_some(1)).await.context("what ran when it was stopped")
}

async fn begun(client: &Client) -> Result<JobId> {
    let job = client.submit(&shell("counts", COUNTS)).await?;
    in_state(client, job, ChunkState::Running).await?;
    let writes = client.eventually("it writes", |client| async move {
        let chunk = client.chunk_at(job, 0).await?;
        Ok((!stdout(&client, &chunk).await?.is_empty()).then_some(()))
    });
    writes.await?;
    Ok(job)
}

/// The runner takes nothing new, and the server knows why.
async fn says(client: &Client, matches: impl Fn(&str) -> bool + Copy) -> Result<()> {
    let said = client.eventually("the runner says so", |client| async move {
        let runner = client.runners().await?.pop().context("no runner")?;
        Ok((runner.state != RunnerState::Ready && matches(&runner.why)).then_some(()))
    });
    said.await
}

/// Succeeded, and the attempt that did so wrote everything that it had to. `attempts`: how many it took, where that is known.
async fn is_right(client: &Client, job: JobId, attempts: Option<usize>) -> Result<()> {
    let detail = client.ended(job).await?;
    let chunk = client.chunk_at(job, 0).await?;
    ensure!(detail.job.state == JobState::Succeeded, "{:#?}", chunk.history);
    ensure!(attempts.is_none_or(|count| chunk.history.len() == count), "{:#?}", chunk.history);
    let log = String::from_utf8(stdout(client, &chunk).await?)?;
    let expected: String = (1..=15).map(|step| format!("{step}\n")).collect();
    ensure!(detail.job.name != "counts" || log == expected, "{log:?} of {:#?}", chunk.history);
    Ok(())
}

/// Started by the test, so that nothing else suffers with it.
pub struct OwnEngine {
    words: Vec<String>,
    load: String,
    pub socket: PathBuf,
    log: PathBuf,
    process: Option<Child>,
    /// Removed with it.
    folder: tempfile::TempDir,
}

impl OwnEngine {
    /// A dockerd in a network namespace of its own, because one without a bridge takes that of the others away. `from`: the command of
    /// the engine that has the image.
    pub fn docker(from: &str) -> Result<OwnEngine> {
        let folder = tempfile::Builder::new().prefix("dsg-engine.").tempdir()?;
        let at = |name: &str| folder.path().join(name).display().to_string();
        let socket = folder.path().join("docker.sock");
        let words = format!(
            "unshare --net dockerd --bridge none --iptables=false --ip-forward=false --ip-masq=false --data-root {} --exec-root {} --pidfile {} --host unix://{}",
            at("data"),
            at("exec"),
            at("pid"),
            socket.display()
        );
        let load = format!("{from} save dsg-shell:1 | docker -H unix://{} load", socket.display());
        Ok(OwnEngine::new(&words, load, socket, folder))
    }

    /// Another service over the storage that the tests share: containers are nobody's children but their monitors'.
    pub fn podman(command: &str) -> Result<OwnEngine> {
        let folder = tempfile::Builder::new().prefix("dsg-engine.").tempdir()?;
        let socket = folder.path().join("podman.sock");
        let words = format!("{command} system service -t 0 unix://{}", socket.display());
        Ok(OwnEngine::new(&words, "true".to_owned(), socket, folder))
    }

    fn new(words: &str, load: String, socket: PathBuf, folder: tempfile::TempDir) -> OwnEngine {
        let words = words.split_whitespace().map(str::to_owned).collect();
        let log = folder.path().join("log");
        OwnEngine { words, load, socket, log, process: None, folder }
    }

    async fn start(&mut self) -> Result<()> {
        let log = File::options().create(true).append(true).open(&self.log)?;
        let (first, rest) = self.words.split_first().context("no words")?;
        let mut command = Command::new(first);
        command.args(rest).current_dir(self.folder.path()).stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        self.process = Some(command.spawn().with_context(|| format!("starting {first}"))?);
        let socket = self.socket.clone();
        let answers = Client::new("http://127.0.0.1:1", "", None)?;
        let answers = answers.eventually("the engine answers", |_| {
            let ready = answers_at(&socket);
            async move { Ok(ready.then_some(())) }
        });
        answers.await.with_context(|| format!("it says:\n{}", std::fs::read_to_string(&self.log).unwrap_or_default()))
    }

    fn load(&self) -> Result<()> {
        let loaded = Command::new("sh").args(["-c", &self.load]).output()?;
        ensure!(loaded.status.success(), "{}: {}", self.load, String::from_utf8_lossy(&loaded.stderr));
        Ok(())
    }

    fn signal(&self, word: &str) -> Result<()> {
        let process = self.process.as_ref().context("it is not running")?.id();
        let told = Command::new("kill").args([&format!("-{word}"), &process.to_string()]).status()?;
        ensure!(told.success(), "kill ended with {told}");
        Ok(())
    }

    fn kill(&mut self) -> Result<()> {
        let mut process = self.process.take().context("it is not running")?;
        process.kill()?;
        process.wait()?;
        Ok(())
    }

    /// Waits for its end.
    fn gone(&mut self) -> Result<()> {
        self.process.take().context("it is not running")?.wait()?;
        Ok(())
    }
}

fn answers_at(socket: &Path) -> bool {
    let mut asked = Command::new("curl");
    asked.args(["-fsS", "--max-time", "2", "--unix-socket"]).arg(socket).arg("http://engine/_ping");
    asked.stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok_and(|status| status.success())
}

impl Drop for OwnEngine {
    fn drop(&mut self) {
        let _ = self.signal("CONT");
        let _ = self.signal("TERM");
        if let Some(mut process) = self.process.take() {
            let _ = process.wait();
        }
        // What a test that failed left mounted would be in the way of removing the folder.
        let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
        let folder = self.folder.path().display().to_string();
        let within = mounts.lines().filter_map(|line| line.split(' ').nth(4)).filter(|path| path.starts_with(&folder));
        for path in within.collect::<Vec<_>>().into_iter().rev() {
            let _ = Command::new("umount").args(["-l", path]).status();
        }
    }
}
