//! A person's desk: the built program `dsg`, a folder for job files, a login, and a lab to talk to.
use std::path::PathBuf;
use std::process::Stdio;

use anyhow::{Context, Result, bail, ensure};
use dsg_tests::client::PATIENCE;
use dsg_tests::lab::{Lab, program};
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::process::{Child, ChildStderr, Command};
use tokio::time::timeout;

pub struct Desk {
    pub lab: Lab,
    folder: PathBuf,
}

/// What came of a command.
#[derive(Debug)]
pub struct Said {
    pub code: i32,
    pub out: String,
    pub err: String,
}

impl Said {
    /// Fails unless it ended with this status.
    #[track_caller]
    pub fn ends_with(self, code: i32) -> Result<Said> {
        ensure!(self.code == code, "ended with {}, not {code}: {self:?}", self.code);
        Ok(self)
    }

    pub fn json(&self) -> Result<Value> {
        serde_json::from_str(&self.out).with_context(|| format!("{self:?}"))
    }

    /// Of `-o ndjson`.
    pub fn rows(&self) -> Result<Vec<Value>> {
        self.out.lines().map(|line| serde_json::from_str(line).with_context(|| line.to_owned())).collect()
    }
}

/// Runners take what they are given in tests: cheap, and several chunks at once.
pub const RUNNER: [&str; 5] = ["--pretend", "--cpus", "4", "--memory", "4GiB"];

impl Desk {
    /// A desk without a login, with these runners in the lab.
    pub async fn new(runners: &[&str]) -> Result<Desk> {
        let mut lab = Lab::start().await?;
        for name in runners {
            lab.add_runner(name, &RUNNER).await?;
        }
        let folder = lab.path("desk");
        std::fs::create_dir(&folder)?;
        Ok(Desk { lab, folder })
    }

    /// Logged in as the admin, as the README says.
    pub async fn logged_in(runners: &[&str]) -> Result<Desk> {
        let desk = Desk::new(runners).await?;
        let token = std::fs::read_to_string(desk.lab.path("server/admin.token"))?;
        desk.dsg(&["login", &desk.lab.client.url, "--token", token.trim()]).await?.ends_with(0)?;
        Ok(desk)
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    pub fn put(&self, name: &str, text: &str) -> Result<()> {
        Ok(std::fs::write(self.path(name), text)?)
    }

    pub fn read(&self, name: &str) -> Result<String> {
        std::fs::read_to_string(self.path(name)).with_context(|| name.to_owned())
    }

    fn command(&self, login: &str, words: &[&str]) -> Command {
        let mut command = Command::new(program("dsg"));
        command.args(words).current_dir(&self.folder).env("XDG_CONFIG_HOME", self.path(login));
        for variable in ["DSG_URL", "DSG_TOKEN_FILE", "BROWSER", "DISPLAY", "WAYLAND_DISPLAY"] {
            command.env_remove(variable);
        }
        command.stdin(Stdio::null()).kill_on_drop(true);
        command
    }

    pub async fn dsg(&self, words: &[&str]) -> Result<Said> {
        self.dsg_as("me", words).await
    }

    /// With a login of its own, by this name.
    pub async fn dsg_as(&self, login: &str, words: &[&str]) -> Result<Said> {
        let ended = timeout(PATIENCE, self.command(login, words).output()).await;
        let ended = ended.with_context(|| format!("dsg {words:?} hangs"))??;
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
        let code = ended.status.code().context("killed")?;
        Ok(Said { code, out: text(ended.stdout), err: text(ended.stderr) })
    }

    /// Starts a command that goes on until something happens.
    pub fn begin(&self, words: &[&str]) -> Result<Going> {
        let mut command = self.command("me", words);
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn()?;
        let talk = BufReader::new(child.stderr.take().context("no stderr")?).lines();
        Ok(Going { child, talk, said: Vec::new() })
    }

    /// Submits a job of pretended chunks, and returns its number.
    pub async fn submit(&self, name: &str, words: &str, more: &str) -> Result<String> {
        self.put("job.yaml", &pretend(name, words, more))?;
        let said = self.dsg(&["submit", "job.yaml"]).await?.ends_with(0)?;
        Ok(said.out.trim().to_owned())
    }

    /// Types a command again until it shows this: lists are some tenths of a second behind.
    pub async fn shows(&self, words: &[&str], so: impl Fn(&Said) -> bool) -> Result<Said> {
        let (what, so) = (format!("dsg {words:?} shows what was waited for"), &so);
        let look = |_| async move { self.dsg(words).await?.ends_with(0).map(|said| so(&said).then_some(said)) };
        self.lab.client.eventually(&what, look).await
    }

    /// Waits until a job has so many chunks in this state.
    pub async fn until(&self, job: &str, state: &str, count: u64) -> Result<()> {
        let what = format!("job {job} has {count} chunks {state}");
        let path = format!("/api/v1/jobs/{job}");
        let so = self.lab.client.eventually(&what, |client| {
            let path = path.clone();
            async move {
                let detail: Value = client.get(&path).await?;
                Ok((detail["chunks"][state] == count).then_some(()))
            }
        });
        so.await
    }
}

pub fn pretend(name: &str, words: &str, more: &str) -> String {
    format!(
        "name: {name}\nimage: pretend/{name}\nresources: {{cpus: 1, memory: 16MiB}}\ncommand: [pretend, {words}]\n{more}\n"
    )
}

/// A command that runs, and what it has said so far.
pub struct Going {
    child: Child,
    talk: Lines<BufReader<ChildStderr>>,
    said: Vec<String>,
}

impl Going {
    /// Waits until it says this.
    pub async fn says(&mut self, words: &str) -> Result<()> {
        loop {
            match timeout(PATIENCE, self.talk.next_line()).await {
                Ok(Ok(Some(line))) => self.said.push(line),
                Ok(Ok(None)) => bail!("it ended without saying {words:?}: {:?}", self.said),
                Ok(Err(error)) => return Err(error.into()),
                Err(_) => bail!("it never said {words:?}: {:?}", self.said),
            }
            if self.said.last().is_some_and(|line| line.contains(words)) {
                return Ok(());
            }
        }
    }

    /// Ctrl-C.
    pub async fn interrupt(&self) -> Result<()> {
        let pid = self.child.id().context("it has ended")?.to_string();
        let sent = Command::new("kill").args(["-INT", &pid]).status().await?;
        ensure!(sent.success(), "kill ended with {sent}");
        Ok(())
    }

    /// Its status, and everything that it said.
    pub async fn ended(mut self) -> Result<(i32, String)> {
        while let Some(line) = timeout(PATIENCE, self.talk.next_line()).await.context("it does not end")?? {
            self.said.push(line);
        }
        let status = timeout(PATIENCE, self.child.wait()).await.context("it does not end")??;
        Ok((status.code().context("killed")?, self.said.join("\n")))
    }
}
