//! Secrets on a real engine: a file that the container's own user reads, in memory, masked, and in no inspection.
use std::process::Command;

use anyhow::{Context, Result, ensure};
use dsg_schemas::api::{ChunkState, JobState};
use dsg_tests::lab::Lab;

use super::{in_state, shell, stdout};

const VALUE: &str = "correct horse battery staple";
const JOB: &str = "chunks: {count: 1}
user: '1234:1234'
secrets: [{name: token}, {name: token-again, file: /etc/keys/site.pem}]
script: |
  cat /run/secrets/token; echo
  printf 'correct hor'; sleep 1; echo 'se battery staple'
  printf 'user:%s' \"$(cat /etc/keys/site.pem)\" | base64
  cat /run/secrets/token | tr 'a-z' 'b-za'; echo
  (echo other > /run/secrets/token) 2>/dev/null && echo written || echo read-only
  grep ' /run/secrets/token ' /proc/self/mountinfo | grep -c ' - tmpfs '
  env | grep -c horse
  cat /run/secrets/token >&2
  exit 3";

/// `engine`: the words of its command line.
pub async fn secrets_are_files_of_one_container(engine: &str, socket: &str) -> Result<()> {
    let memory = tempfile::tempdir_in("/dev/shm").context("this test needs a folder in memory")?;
    let place = memory.path().join("secrets").display().to_string();
    let mut lab = Lab::start().await?;
    lab.add_runner("ada", &["--engine", socket, "--cpus", "2", "--memory", "1GiB", "--secrets-dir", &place]).await?;
    for name in ["token", "token-again"] {
        let call = lab.client.request(reqwest::Method::PUT, &format!("/api/v1/secrets/{name}"));
        let call = call.header("content-type", "application/octet-stream").body(VALUE);
        call.send().await?.error_for_status()?;
    }
    let client = &lab.client;
    let runners = client.runners().await?;
    let check = runners[0].facts.checks.iter().find(|check| check.name == "secrets").context("no check")?;
    ensure!(check.passed, "{check:?}");

    let text = shell("endless", "secrets: [{name: token}]\ncommand: [sleep, '600']\nchunks: {count: 1}");
    let endless = client.submit(&format!("{text}timeouts: {{grace: 1s}}\n")).await?;
    in_state(client, endless, ChunkState::Running).await?;
    let job = client.submit(&shell("secrets", JOB)).await?;
    let detail = client.ended(job).await?;
    ensure!(detail.job.state == JobState::Failed, "{detail:?}");
    let chunk = client.chunk_at(job, 0).await?;
    ensure!(chunk.chunk.exit_code == Some(3), "{:?}", chunk.chunk);
    let text = String::from_utf8(stdout(client, &chunk).await?)?;
    let lines: Vec<&str> = text.lines().collect();
    let stars = "*".repeat(VALUE.len());
    ensure!(lines.len() == 7 && lines[0] == stars && lines[1] == stars, "{text}");
    let encoded = lines[2].trim_matches(|c: char| c != '*');
    ensure!(encoded.len() >= VALUE.len() * 8 / 6 - 1 && encoded.chars().all(|c| c == '*'), "{text}");
    ensure!(lines[3].len() == VALUE.len() && !lines[3].contains('*'), "what is encrypted is not found: {text}");
    ensure!(lines[4..] == ["read-only", "1", "0"], "{text}");
    let attempt = chunk.history.last().context("no attempt")?;
    ensure!(client.log(attempt.id, "stderr").await? == stars.as_bytes());

    // The engine tells everybody who asks, of the one that still runs, too.
    let mut words = engine.split(' ');
    let program = words.next().context("no engine is named")?;
    let words: Vec<&str> = words.collect();
    let listed = Command::new(program).args(&words).args(["ps", "--all", "--quiet"]).output()?;
    let ids = String::from_utf8(listed.stdout)?;
    let inspected = Command::new(program).args(&words).arg("inspect").args(ids.split_whitespace()).output()?;
    let told = String::from_utf8_lossy(&inspected.stdout).into_owned();
    ensure!(told.contains("/run/secrets/token") && !told.contains("horse"), "{told}");
    for entry in std::fs::read_dir("/proc")? {
        let line = std::fs::read(entry?.path().join("cmdline")).unwrap_or_default();
        ensure!(!String::from_utf8_lossy(&line).contains("staple"), "ps shows it");
    }
    let kept = || -> Result<usize> {
        let runner = std::fs::read_dir(&place)?.next().context("no folder of the runner")??.path();
        Ok(std::fs::read_dir(runner)?.count())
    };
    ensure!(kept()? == 1, "only what runs has secrets here");
    super::cancelled_while_running(client, endless).await?;
    let gone = client.eventually("the secrets are removed", |_| async { Ok((kept()? == 0).then_some(())) });
    gone.await
}
