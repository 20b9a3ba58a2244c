//! A container that writes more than its engine keeps, while no runner looks.
use std::process::Command;

use anyhow::{Context, Result, ensure};
use dsg_schemas::api::JobState;
use dsg_tests::lab::Lab;

use super::{shell, stdout};

/// Lines of about 78 and 52 bytes in the engine's log, where each carries its time: just more than 64 MiB of them.
const DOCKERS_LINES: u64 = 900_000;
const PODMANS_LINES: u64 = 1_400_000;
const WRITER: &str = "
  trap 'go=1' USR1
  wait_for_word() { until [ -n \"$go\" ]; do sleep 0.1; done; go=; }
  echo first
  wait_for_word
  seq 1 $LINES
  wait_for_word
  echo last";

pub async fn what_was_rotated_away_is_declared(lab: &mut Lab, socket: &str) -> Result<()> {
    let lines = match lab.client.runners().await?[0].facts.engine.kind.as_str() {
        "docker" => DOCKERS_LINES,
        _ => PODMANS_LINES,
    };
    let script = format!("env: {{LINES: '{lines}'}}\nchunks: {{count: 1}}\nscript: |{WRITER}");
    let job = lab.client.submit(&shell("rotation", &script)).await?;
    log_ends_with(lab, job, "first\n").await?;
    lab.kill_runner("ada")?;
    let identity: serde_json::Value = serde_json::from_slice(&std::fs::read(lab.path("ada/identity.json"))?)?;
    let attempt = lab.client.chunk_at(job, 0).await?.history[0].id;
    let name = format!("dsg-{}-{attempt}", identity["grid"].as_str().context("no grid")?);
    let engine = Engine { socket: socket.trim_start_matches("unix://").to_owned(), name };

    engine.call(&["-X", "POST"], "kill?signal=USR1")?;
    let written = lab.client.eventually("the container has written everything", |_| async {
        let last = engine.call(&[], "logs?stdout=true&tail=1")?;
        Ok(last.ends_with(format!("{lines}\n").as_bytes()).then_some(()))
    });
    written.await?;
    lab.restart_runner("ada").await?;
    log_ends_with(lab, job, &format!("\n{lines}\n")).await.context("the next life of the runner reads on")?;
    engine.call(&["-X", "POST"], "kill?signal=USR1")?;

    let detail = lab.client.ended(job).await?;
    ensure!(detail.job.state == JobState::Succeeded, "{detail:?}");
    let log = String::from_utf8(stdout(&lab.client, &lab.client.chunk_at(job, 0).await?).await?)?;
    let rest =
        log.strip_prefix("first\n").with_context(|| format!("it begins with {:?}", &log[..log.len().min(100)]))?;
    let (hole, rest) = rest.trim_start().split_once('\n').context("one line only")?;
    ensure!(hole.contains("lost here"), "no hole is declared: {hole:?}");
    let numbers = rest.strip_suffix("last\n").context("the last line is missing, or there twice")?;
    let first: u64 = numbers.lines().next().context("no line is left")?.parse()?;
    ensure!(first > 1 && first < lines, "from {first} on");
    ensure!(numbers.lines().map(str::parse).eq((first..=lines).map(Ok)), "the lines after the hole are not whole");
    Ok(())
}

async fn log_ends_with(lab: &Lab, job: dsg_schemas::ids::JobId, end: &str) -> Result<()> {
    let what = format!("the log ends with {end:?}");
    let ends = lab.client.eventually(&what, |client| async move {
        let chunk = client.chunk_at(job, 0).await?;
        let log = if chunk.history.is_empty() { Vec::new() } else { stdout(&client, &chunk).await? };
        Ok(log.ends_with(end.as_bytes()).then_some(()))
    });
    ends.await
}

/// One container, by the engine's own API: the runner that would know it is not there.
struct Engine {
    socket: String,
    name: String,
}

impl Engine {
    fn call(&self, more: &[&str], path: &str) -> Result<Vec<u8>> {
        let url = format!("http://engine/containers/{}/{path}", self.name);
        let done = Command::new("curl").args(["-fsS", "--unix-socket", &self.socket]).args(more).arg(&url).output()?;
        ensure!(done.status.success(), "{url}: {}", String::from_utf8_lossy(&done.stderr));
        Ok(done.stdout)
    }
}
