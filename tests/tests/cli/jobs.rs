//! What is done to jobs: cancel, hold, release, retry, delete.
use anyhow::{Result, ensure};

use super::desk::{Desk, pretend};

#[tokio::test(flavor = "multi_thread")]
async fn a_job_is_held_released_and_cancelled() -> Result<()> {
    let desk = Desk::logged_in(&["ada"]).await?;
    let job = desk.submit("long", "run_ms=forever", "hold: true\nchunks: {count: 6}").await?;
    desk.until(&job, "held", 6).await?;
    let said = desk.dsg(&["release", &job]).await?.ends_with(0)?;
    ensure!(said.out.is_empty() && said.err.contains(&format!("job {job}")), "talk goes to stderr: {said:?}");
    // Four fit on the runner; the other two wait, and are held again while those four go on.
    desk.until(&job, "running", 4).await?;
    let said = desk.dsg(&["hold", &job, "-o", "json"]).await?.ends_with(0)?;
    ensure!(said.json()?["message"].is_string(), "{said:?}");
    desk.until(&job, "held", 2).await?;
    desk.until(&job, "running", 4).await?;
    desk.dsg(&["cancel", &job]).await?.ends_with(0)?;
    desk.dsg(&["wait", &job]).await?.ends_with(3)?;
    desk.until(&job, "cancelled", 6).await?;
    let said = desk.dsg(&["hold", &job]).await?.ends_with(8)?;
    ensure!(said.err.starts_with(&format!("error: cannot hold job {job}: ")), "{said:?}");
    Ok(())
}

/// Several at once: all are tried, the first failure is the status.
#[tokio::test(flavor = "multi_thread")]
async fn one_job_that_is_not_there_does_not_keep_the_others() -> Result<()> {
    let desk = Desk::logged_in(&[]).await?;
    let job = desk.submit("waits", "exit=0", "chunks: {count: 1}").await?;
    let said = desk.dsg(&["cancel", "99", &job]).await?.ends_with(5)?;
    ensure!(said.err.contains("cannot cancel job 99"), "{said:?}");
    desk.until(&job, "cancelled", 1).await?;
    desk.dsg(&["cancel", "soon"]).await?.ends_with(2)?;
    desk.dsg(&["cancel"]).await?.ends_with(2)?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn chunks_are_run_again_and_jobs_deleted() -> Result<()> {
    let desk = Desk::logged_in(&["ada"]).await?;
    let job = desk.submit("fails", "exit=3", "chunks: {count: 2}").await?;
    desk.dsg(&["wait", &job]).await?.ends_with(3)?;
    attempts(&desk, &job, &[1, 1]).await?;
    desk.dsg(&["retry", &job]).await?.ends_with(0)?;
    desk.dsg(&["wait", &job]).await?.ends_with(3)?;
    attempts(&desk, &job, &[2, 2]).await?;
    let one = format!("{job}/1");
    desk.dsg(&["retry", &one]).await?.ends_with(0)?;
    desk.dsg(&["wait", &job]).await?.ends_with(3)?;
    attempts(&desk, &job, &[2, 3]).await?;
    desk.dsg(&["retry", &job, "--all"]).await?.ends_with(0)?;
    desk.dsg(&["wait", &job]).await?.ends_with(3)?;
    attempts(&desk, &job, &[3, 4]).await?;
    desk.dsg(&["retry", &one, "--failed"]).await?.ends_with(2)?;

    let said = desk.dsg(&["delete", &job]).await?.ends_with(2)?;
    ensure!(said.err.contains("--yes"), "nobody can be asked here: {said:?}");
    desk.dsg(&["show", &job]).await?.ends_with(0)?;
    desk.dsg(&["delete", &job, "--yes"]).await?.ends_with(0)?;
    desk.dsg(&["show", &job]).await?.ends_with(5)?;
    Ok(())
}

async fn attempts(desk: &Desk, job: &str, expected: &[u64]) -> Result<()> {
    let said = desk.dsg(&["chunks", job, "--failed", "-o", "ndjson"]).await?.ends_with(0)?;
    let found: Vec<u64> = said.rows()?.iter().filter_map(|row| row["attempts"].as_u64()).collect();
    ensure!(found == expected, "{found:?} attempts, not {expected:?}: {said:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_open_job_is_not_deleted() -> Result<()> {
    let desk = Desk::logged_in(&[]).await?;
    let job = desk.submit("waits", "exit=0", "chunks: {count: 1}").await?;
    let said = desk.dsg(&["delete", &job, "--yes", "-o", "json"]).await?.ends_with(8)?;
    ensure!(said.json()?["status"] == 409, "programs get the problem as it came: {said:?}");
    Ok(())
}

/// Memory grows after each time that there was too little, up to the ceiling; every attempt shows what it got.
#[tokio::test(flavor = "multi_thread")]
async fn a_chunk_that_runs_out_of_memory_gets_more() -> Result<()> {
    let desk = Desk::logged_in(&["ada"]).await?;
    let rule =
        "retry: {backoff: {delay: 0s}, rules: [{when: {reason: oom}, action: retry, limit: 9, scale: {memory: 2}}]}";
    let text = pretend("hungry", "oom=true", &format!("chunks: {{count: 1}}\n{rule}"));
    desk.put("job.yaml", &text.replace("memory: 16MiB", "memory: 16MiB, max: {memory: 50MiB}"))?;
    desk.dsg(&["submit", "job.yaml", "--wait"]).await?.ends_with(3)?;
    let shown = desk.dsg(&["show", "1/0", "-o", "json"]).await?.ends_with(0)?.json()?;
    let history = shown["history"].as_array().cloned().unwrap_or_default();
    let raised: Vec<_> = history.iter().map(|attempt| attempt["raised_memory_bytes"].as_u64()).collect();
    ensure!(raised == [None, Some(32 << 20), Some(50 << 20)], "{raised:?}: {shown}");
    ensure!(shown["reason"] == "oom", "{shown}");
    ensure!(shown["message"].as_str().is_some_and(|text| text.contains("no more than the 50MiB")), "{shown}");
    Ok(())
}
