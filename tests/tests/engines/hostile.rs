//! Containers that mean no good, or do not know better: they stay within their bounds, and beside them work goes on.
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use dsg_schemas::api::{ChunkState, JobState, LogPage};
use dsg_schemas::reason::EndReason;
use dsg_tests::lab::Lab;

use super::{in_state, shell, stdout};

/// Few, so that the bomb is over soon and the machine has other things to do.
const POLICY: &str = "[policy.most]\npids = 64\n";
const BOMB: &str = "chunks: {count: 1}
script: |
  bomb() { bomb | bomb & bomb; }
  bomb
";
/// Three times as many as there may be: those that have ended must not count for ever.
const ORPHANS: &str = "chunks: {count: 1}
script: |
  left=200
  while [ $left -gt 0 ]; do (true &); left=$((left - 1)); done
  echo none is left
";
const FLOOD: u64 = 50_000_000;
/// For longer than a call to the engine may take, and read from the engine's log by another life of the runner: Podman sends nothing
/// there, not even headers, before the first byte.
const SILENT: &str = "chunks: {count: 1}\nscript: |\n  sleep 70\n  echo spoke";

pub async fn what_means_no_good_stays_within_its_bounds(socket: &str) -> Result<()> {
    let mut lab = Lab::start().await?;
    let policy = lab.path("runner.toml");
    std::fs::write(&policy, POLICY)?;
    let policy = policy.display().to_string();
    lab.add_runner("ada", &["--config", &policy, "--engine", socket, "--cpus", "4", "--memory", "4GiB"]).await?;
    let silent = lab.client.submit(&shell("silent", SILENT)).await?;
    in_state(&lab.client, silent, ChunkState::Running).await?;
    lab.kill_runner("ada")?;
    lab.restart_runner("ada").await?;

    let client = &lab.client;
    let bomb = client.submit(&shell("bomb", BOMB)).await?;
    let orphans = client.submit(&shell("orphans", ORPHANS)).await?;
    let script = format!("chunks: {{count: 1}}\nscript: |\n  tr '\\0' x < /dev/zero | head -c {FLOOD}\n");
    let flood = client.submit(&shell("flood", &script)).await?;

    let ended = client.ended(orphans).await?;
    let log = stdout(client, &client.chunk_at(orphans, 0).await?).await?;
    ensure!(log == b"none is left\n", "{ended:?}: {:?}", String::from_utf8_lossy(&log));

    let ended = client.ended(bomb).await?;
    let chunk = client.chunk_at(bomb, 0).await?;
    ensure!(ended.job.state == JobState::Failed && chunk.chunk.reason == Some(EndReason::Exit), "{chunk:?}");
    let attempt = chunk.history.last().context("it ran")?.id;
    let said = String::from_utf8_lossy(&client.log(attempt, "stderr").await?).into_owned();
    ensure!(said.contains("can't fork"), "the bomb was not held: {said:?}");

    let ended = client.ended(flood).await?;
    let chunk = client.chunk_at(flood, 0).await?;
    ensure!(ended.job.state == JobState::Succeeded, "{chunk:?}");
    let attempt = chunk.history.last().context("it ran")?.id;
    let page: LogPage = client.get(&format!("/api/v1/attempts/{attempt}/log?limit=1")).await?;
    ensure!(page.stdout_bytes == FLOOD, "{} bytes of one line of {FLOOD}", page.stdout_bytes);

    // The silence is longer than anything here is waited for.
    tokio::time::sleep(Duration::from_secs(40)).await;
    let speaks = client.eventually("what is silent speaks", |client| async move {
        let chunk = client.chunk_at(silent, 0).await?;
        Ok((stdout(&client, &chunk).await? == b"spoke\n").then_some(()))
    });
    speaks.await?;
    let ended = client.ended(silent).await?;
    let chunk = client.chunk_at(silent, 0).await?;
    ensure!(ended.job.state == JobState::Succeeded && chunk.history.len() == 1, "{:#?}", chunk.history);
    Ok(())
}
