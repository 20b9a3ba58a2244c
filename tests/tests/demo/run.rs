//! Starting the demo on an engine of the lab, reading what it says while it runs, and looking at what it leaves on the engine.
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use dsg_tests::lab::program;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::time::timeout;

const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../job-specs/demo");
/// How long the demo may be at one thing before it is called stuck: the whole job may lie within.
const PATIENCE: Duration = Duration::from_secs(600);

/// Where the demo keeps its data: beside the programs.
pub fn home() -> PathBuf {
    program("dsg").parent().and_then(Path::parent).unwrap_or(Path::new(".")).join("demo")
}

/// An engine of the lab: its command line, and the environment in which the demo takes it and no other.
pub struct Engine {
    command: Vec<String>,
    environment: Vec<(&'static str, String)>,
}

impl Engine {
    pub fn docker() -> Option<Engine> {
        let address = format!("unix://{}", std::env::var("DSG_TEST_DOCKER").ok()?);
        let command = ["docker", "-H", &address].map(str::to_owned).to_vec();
        Some(Engine { command, environment: vec![("DOCKER_HOST", address)] })
    }

    /// Without a socket to find, as on a machine where Podman was only just installed: the runner starts the service itself.
    pub fn podman() -> Result<Option<Engine>> {
        let Ok(command) = std::env::var("DSG_TEST_PODMAN_COMMAND") else { return Ok(None) };
        let others = ["/run/docker.sock", "/var/run/docker.sock", "/run/podman/podman.sock"];
        if others.iter().any(|socket| Path::new(socket).exists()) {
            return Ok(None);
        }
        let command: Vec<String> = command.split(' ').map(str::to_owned).collect();
        let folder_of = |option: &str| {
            let at = command.iter().position(|word| word == option)?;
            command.get(at + 1).cloned()
        };
        let (root, run) = (folder_of("--root").context("no --root")?, folder_of("--runroot").context("no --runroot")?);
        let storage = PathBuf::from(&root).with_extension("conf");
        std::fs::write(&storage, format!("[storage]\ngraphroot = {root:?}\nrunroot = {run:?}\n"))?;
        let storage = storage.to_string_lossy().into_owned();
        Ok(Some(Engine { command, environment: vec![("CONTAINERS_STORAGE_CONF", storage)] }))
    }

    /// The containers of a grid, ended ones too.
    pub async fn containers(&self, grid: &str) -> Result<Vec<String>> {
        let filter = format!("label=dsg.grid={grid}");
        let listed = Command::new(&self.command[0])
            .args(&self.command[1..])
            .args(["ps", "--all", "--quiet", "--filter", &filter])
            .output()
            .await?;
        ensure!(listed.status.success(), "{}", String::from_utf8_lossy(&listed.stderr));
        Ok(String::from_utf8_lossy(&listed.stdout).lines().map(str::to_owned).collect())
    }
}

fn command(engine: &Engine, program: &str) -> Command {
    let mut command = Command::new(program);
    command.env_remove("DOCKER_HOST").env_remove("CONTAINER_HOST").envs(engine.environment.iter().cloned());
    command.stdin(Stdio::null()).stdout(Stdio::piped());
    command
}

/// As from a cron job, which reads both streams as one.
pub fn in_a_pipe(engine: &Engine, arguments: &[&str]) -> Command {
    let mut command = command(engine, "sh");
    command.args(["-c", "exec \"$0\" \"$@\" 2>&1", SCRIPT]).args(arguments);
    command
}

/// A demo that runs, and what it has said so far.
pub struct Demo {
    child: Child,
    keyboard: Option<ChildStdin>,
    screen: ChildStdout,
    said: Vec<u8>,
}

impl Demo {
    pub fn of(mut command: Command) -> Result<Demo> {
        let mut child = command.spawn().context("starting the demo")?;
        let screen = child.stdout.take().context("no output")?;
        Ok(Demo { keyboard: child.stdin.take(), child, screen, said: Vec::new() })
    }

    /// `script` gives it a real terminal; what is written to its stdin is typed there. Whoever runs the tests in the background has
    /// Ctrl-C ignored in all that they start, and a shell cannot trap what it was started to ignore: `env` takes that back. And the
    /// shell by which `script` starts it must not stay: dash would, die of the Ctrl-C itself and end with 130 whatever the demo says.
    pub fn on_a_terminal(engine: &Engine, arguments: &[&str]) -> Result<Demo> {
        let mut command = command(engine, "env");
        let line = [&["exec", SCRIPT], arguments].concat().join(" ");
        command
            .args(["--default-signal=INT", "script", "--quiet", "--return", "--flush", "--command", &line, "/dev/null"])
            .stdin(Stdio::piped());
        Demo::of(command)
    }

    pub fn said(&self) -> String {
        String::from_utf8_lossy(&self.said).into_owned()
    }

    async fn more(&mut self) -> Result<bool> {
        let mut piece = [0; 4096];
        let read = timeout(PATIENCE, self.screen.read(&mut piece)).await;
        let count = read.with_context(|| format!("the demo hangs, and said {}", self.said()))??;
        self.said.extend_from_slice(&piece[..count]);
        Ok(count > 0)
    }

    /// Waits for a whole line with these words, and returns it.
    pub async fn says(&mut self, words: &str) -> Result<String> {
        loop {
            let said = self.said();
            let whole = said.rfind('\n').map_or("", |end| &said[..end]);
            if let Some(line) = whole.lines().find(|line| line.contains(words)) {
                return Ok(line.trim().to_owned());
            }
            if !self.more().await? {
                bail!("the demo ended without saying {words:?}: {said}");
            }
        }
    }

    pub async fn press_ctrl_c(&mut self) -> Result<()> {
        let keyboard = self.keyboard.as_mut().context("there is no terminal")?;
        keyboard.write_all(b"\x03").await?;
        Ok(keyboard.flush().await?)
    }

    /// Its end, and all that it said.
    pub async fn ended(mut self) -> Result<(ExitStatus, String)> {
        while self.more().await? {}
        Ok((self.child.wait().await?, self.said()))
    }
}
