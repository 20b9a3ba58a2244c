//! A lab of real processes: a server and runners, each with a folder of its own, all ended when the lab is dropped.
use std::collections::BTreeMap;
use std::fs::File;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use dsg_schemas::api::{CreateToken, CreatedToken, RunnerState, TokenKind};
use tempfile::TempDir;

use crate::browser::Browser;
use crate::client::{Client, PATIENCE};
use crate::far_host::FarHost;

pub struct Lab {
    folder: TempDir,
    address: SocketAddr,
    server: Option<Child>,
    runners: Vec<(String, Vec<String>, Option<Child>)>,
    pub client: Client,
    /// More words for the server, each time it is started.
    options: Vec<String>,
    kept: AtomicBool,
    /// The words that start a runner on another host, by the runner's name.
    hosts: BTreeMap<String, Vec<String>>,
    /// Programs that are installed elsewhere than where they were built, by their name.
    pub programs: BTreeMap<String, PathBuf>,
    /// Set for every program that is started from now on.
    pub environment: Vec<(String, String)>,
}

/// Where the programs lie: beside the one that is running (a benchmark), or a folder above it (a test).
pub fn program(name: &str) -> PathBuf {
    let running = std::env::current_exe().unwrap_or_default();
    let beside = running.with_file_name(name);
    let above = running.parent().and_then(Path::parent).unwrap_or(Path::new(".")).join(name);
    if beside.exists() { beside } else { above }
}

impl Lab {
    /// A server with TLS on, on a free port.
    pub async fn start() -> Result<Lab> {
        Lab::with(Ipv4Addr::LOCALHOST, &[]).await
    }

    /// The same on another address of this machine.
    pub async fn at(ip: Ipv4Addr, options: &[&str]) -> Result<Lab> {
        Lab::with(ip, options).await
    }

    /// A server on plain HTTP, so that a proxy can look into what is said.
    pub async fn plain(options: &[&str]) -> Result<Lab> {
        Lab::with(Ipv4Addr::LOCALHOST, &[&["--plain-http"], options].concat()).await
    }

    async fn with(ip: Ipv4Addr, options: &[&str]) -> Result<Lab> {
        let folder = tempfile::Builder::new().prefix("dsg-lab.").tempdir()?;
        let address = TcpListener::bind((IpAddr::V4(ip), 0))?.local_addr()?;
        let client = Client::new("http://127.0.0.1:1", "", None)?;
        let options = options.iter().map(|word| (*word).to_owned()).collect();
        let mut lab = Lab {
            folder,
            address,
            server: None,
            runners: Vec::new(),
            client,
            options,
            kept: AtomicBool::new(false),
            hosts: BTreeMap::new(),
            programs: BTreeMap::new(),
            environment: Vec::new(),
        };
        lab.start_server().await?;
        Ok(lab)
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// `who` names its log, and the host where it runs.
    fn spawn(&self, name: &str, who: &str, arguments: &[String]) -> Result<Child> {
        let program = self.programs.get(name).cloned().unwrap_or_else(|| program(name));
        let log = File::options().create(true).append(true).open(self.path(&format!("{who}.log")))?;
        let mut command = match self.hosts.get(who).and_then(|words| words.split_first()) {
            Some((first, rest)) => {
                let mut command = Command::new(first);
                command.args(rest).arg(&program);
                command
            }
            None => Command::new(&program),
        };
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        command.args(arguments).stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        command.spawn().with_context(|| format!("starting {}; `make build` makes it", program.display()))
    }

    /// Starts the server and does not wait for it.
    pub fn spawn_server(&mut self) -> Result<()> {
        let data = self.path("server");
        let listen = self.address.to_string();
        let mut arguments = ["--data", &data.to_string_lossy(), "--listen", &listen].map(str::to_owned).to_vec();
        arguments.extend(self.options.iter().cloned());
        self.server = Some(self.spawn("dsg-server", "server", &arguments)?);
        Ok(())
    }

    pub async fn start_server(&mut self) -> Result<()> {
        self.spawn_server()?;
        let begun = Instant::now();
        loop {
            if let Ok(client) = self.admin()
                && client.get::<dsg_schemas::api::Whoami>("/api/v1/whoami").await.is_ok()
            {
                self.client = client;
                return Ok(());
            }
            if begun.elapsed() > PATIENCE {
                bail!("the server did not come up:\n{}", self.log("server.log"));
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// The server's own authority, as PEM.
    pub fn ca(&self) -> Result<Vec<u8>> {
        Ok(std::fs::read(self.path("server/tls/ca.pem"))?)
    }

    fn admin(&self) -> Result<Client> {
        let token = std::fs::read_to_string(self.path("server/admin.token"))?;
        if self.options.iter().any(|word| word == "--plain-http") {
            return Client::new(&format!("http://{}", self.address()), token.trim(), None);
        }
        let ca = self.ca()?;
        Client::new(&format!("https://{}", self.address()), token.trim(), Some(&ca))
    }

    /// Where the server listens, while it runs and while it does not.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Of the server and of the first runner; 0 where there is none.
    pub fn pids(&self) -> (u32, u32) {
        let runner = self.runners.first().and_then(|(_, _, child)| child.as_ref());
        (self.server.as_ref().map_or(0, Child::id), runner.map_or(0, Child::id))
    }

    pub fn log(&self, name: &str) -> String {
        std::fs::read_to_string(self.path(name)).unwrap_or_default()
    }

    /// What each runner wrote, with its name.
    pub fn runner_logs(&self) -> impl Iterator<Item = (&str, String)> {
        self.runners.iter().map(|(name, ..)| (name.as_str(), self.log(&format!("{name}.log"))))
    }

    /// Leaves logs and data behind when it ends: a test has failed.
    pub fn keep(&self) {
        self.kept.store(true, Ordering::Relaxed);
    }

    /// `kill -9`, as a crash would.
    pub fn kill_server(&mut self) -> Result<()> {
        kill(self.server.take())
    }

    /// SIGTERM, and waits for its end.
    pub fn stop_server(&mut self) -> Result<()> {
        let mut child = self.server.take().context("it is not running")?;
        signal("TERM", child.id())?;
        let status = child.wait()?;
        anyhow::ensure!(status.success(), "the server ended with {status}");
        Ok(())
    }

    /// As in `STOP`.
    pub fn signal_runner(&self, name: &str, word: &str) -> Result<()> {
        let runner = self.runners.iter().find(|(known, ..)| known == name).context("no such runner")?;
        signal(word, runner.2.as_ref().context("it is not running")?.id())
    }

    pub fn kill_runner(&mut self, name: &str) -> Result<()> {
        let runner = self.runners.iter_mut().find(|(known, ..)| known == name).context("no such runner")?;
        kill(runner.2.take())
    }

    /// SIGTERM, and waits for its end: containers stay.
    pub fn stop_runner(&mut self, name: &str) -> Result<()> {
        let runner = self.runners.iter_mut().find(|(known, ..)| known == name).context("no such runner")?;
        let mut child = runner.2.take().context("it is not running")?;
        signal("TERM", child.id())?;
        let status = child.wait()?;
        anyhow::ensure!(status.success(), "{name} ended with {status}");
        Ok(())
    }

    /// Joins a runner to the server and starts it; returns once it takes work.
    pub async fn add_runner(&mut self, name: &str, more: &[&str]) -> Result<()> {
        let url = self.client.url.clone();
        self.add_runner_at(&url, name, more).await
    }

    /// The same, where the runner knows the server by another address: that of a proxy.
    pub async fn add_runner_at(&mut self, url: &str, name: &str, more: &[&str]) -> Result<()> {
        let create = CreateToken { kind: TokenKind::Join, name: name.to_owned(), hours: None, uses: None };
        let answer = self.client.request(reqwest::Method::POST, "/api/v1/tokens").json(&create).send().await?;
        let token: CreatedToken = answer.error_for_status()?.json().await?;
        let state = self.path(name).to_string_lossy().into_owned();
        let mut arguments: Vec<String> = vec!["--state".into(), state];
        arguments.extend(more.iter().map(|word| (*word).to_owned()));
        let mut join = arguments.clone();
        join.extend(["join", url, "--token", &token.secret, "--name", name].map(str::to_owned));
        let child = self.spawn("dsg-runner", name, &join)?;
        self.runners.push((name.to_owned(), arguments, Some(child)));
        self.runner_ready(name).await
    }

    /// The same on another host, where the server must be reached at an address of [`Lab::at`].
    pub async fn add_runner_on(&mut self, host: &FarHost, name: &str, more: &[&str]) -> Result<()> {
        self.hosts.insert(name.to_owned(), host.words());
        self.add_runner(name, more).await
    }

    /// Starts a killed runner again, with the identity that it has.
    pub async fn restart_runner(&mut self, name: &str) -> Result<()> {
        let at = self.runners.iter().position(|(known, ..)| known == name).context("no such runner")?;
        let child = self.spawn("dsg-runner", name, &self.runners[at].1)?;
        self.runners[at].2 = Some(child);
        Ok(())
    }

    /// Starts a second runner with a copy of the state folder, as a cloned machine would.
    pub fn clone_runner(&mut self, name: &str, copy: &str) -> Result<()> {
        let runner = self.runners.iter().find(|(known, ..)| known == name).context("no such runner")?;
        let (from, to) = (self.path(name), self.path(copy));
        let copied = Command::new("cp").arg("-r").args([&from, &to]).status()?;
        anyhow::ensure!(copied.success(), "copying {} ended with {copied}", from.display());
        let (from, to) = (from.to_string_lossy().into_owned(), to.to_string_lossy().into_owned());
        let arguments =
            runner.1.iter().map(|word| if *word == from { to.clone() } else { word.clone() }).collect::<Vec<_>>();
        let child = self.spawn("dsg-runner", copy, &arguments)?;
        self.runners.push((copy.to_owned(), arguments, Some(child)));
        Ok(())
    }

    /// A browser that trusts the server's own authority.
    pub fn browser(&self) -> Result<Browser> {
        Browser::new(Some(&self.ca()?))
    }

    async fn runner_ready(&self, name: &str) -> Result<()> {
        let what = format!("runner {name} is ready");
        let ready = self.client.eventually(&what, |client| async move {
            let runners = client.runners().await?;
            let found = runners.iter().find(|runner| runner.name == name && runner.state == RunnerState::Ready);
            Ok(found.map(|_| ()))
        });
        ready.await.with_context(|| format!("{name} says:\n{}", self.log(&format!("{name}.log"))))
    }
}

fn signal(word: &str, process: u32) -> Result<()> {
    let told = Command::new("kill").args([&format!("-{word}"), &process.to_string()]).status()?;
    anyhow::ensure!(told.success(), "kill ended with {told}");
    Ok(())
}

fn kill(child: Option<Child>) -> Result<()> {
    let mut child = child.context("it is not running")?;
    child.kill()?;
    child.wait()?;
    Ok(())
}

impl Drop for Lab {
    fn drop(&mut self) {
        for child in self.runners.iter_mut().filter_map(|(_, _, child)| child.as_mut()).chain(self.server.as_mut()) {
            let _ = child.kill();
            let _ = child.wait();
        }
        if std::thread::panicking() || self.kept.load(Ordering::Relaxed) {
            // The evidence of a failure is worth more than a clean folder.
            let kept = std::mem::replace(&mut self.folder, tempfile::tempdir().expect("a temporary folder")).keep();
            eprintln!("the lab's logs and data are kept in {}", kept.display());
        }
    }
}
