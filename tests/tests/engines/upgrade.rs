//! An upgrade as docs/install.md describes it: drained, stopped, another program in its place, started, let back. What ran goes on.
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use dsg_schemas::api::{Act, ChunkState, JobState, RunnerState};
use dsg_tests::lab::{Lab, program};

use super::{in_state, shell, stdout};

const LONG: &str = "chunks: {count: 1}
script: |
  echo before
  for step in 1 2 3 4 5 6 7 8; do sleep 1; done
  echo after
";

pub async fn containers_live_through_an_upgrade(socket: &str) -> Result<()> {
    let mut lab = Lab::start().await?;
    // The old program, in a place of its own, so that there is something to replace.
    let installed = lab.path("installed");
    std::fs::copy(program("dsg-runner"), &installed).context("installing the runner")?;
    lab.programs.insert("dsg-runner".to_owned(), installed.clone());
    lab.add_runner("ada", &["--engine", socket, "--cpus", "4", "--memory", "4GiB"]).await?;
    let job = lab.client.submit(&shell("long", LONG)).await?;
    in_state(&lab.client, job, ChunkState::Running).await?;
    let runner = lab.client.runners().await?[0].id;
    lab.client.act(Act::Drain { runner }).await?;
    lab.stop_runner("ada")?;
    newer(&installed)?;
    lab.restart_runner("ada").await?;
    let next = lab.client.submit(&shell("next", "chunks: {count: 1}\ncommand: [echo, hello]")).await?;
    let ended = lab.client.ended(job).await?;
    ensure!(ended.job.state == JobState::Succeeded, "{ended:?}");
    let chunk = lab.client.chunk_at(job, 0).await?;
    ensure!(chunk.history.len() == 1, "it ran {} times", chunk.history.len());
    ensure!(stdout(&lab.client, &chunk).await? == b"before\nafter\n", "its log has a gap");
    // It is still drained, as it was told: nothing new has begun.
    let state = lab.client.runners().await?[0].state;
    ensure!(state == RunnerState::Draining, "{state:?}");
    ensure!(
        lab.client.chunk_at(next, 0).await?.chunk.state == ChunkState::Waiting,
        "it took work while it was drained"
    );
    lab.client.act(Act::Undrain { runner }).await?;
    ensure!(lab.client.ended(next).await?.job.state == JobState::Succeeded);
    Ok(())
}

/// Another file with another content in its place, as `install` does it.
fn newer(installed: &Path) -> Result<()> {
    let fresh = installed.with_extension("new");
    std::fs::copy(program("dsg-runner"), &fresh)?;
    let stripped = Command::new("strip").arg(&fresh).status();
    ensure!(stripped.is_ok_and(|status| status.success()), "strip (Debian's binutils) is not there");
    std::fs::rename(&fresh, installed)?;
    Ok(())
}
