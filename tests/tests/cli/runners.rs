//! Runners: listed, drained until they are empty, let back, and removed.
use anyhow::{Result, ensure};

use super::desk::{Desk, RUNNER, Said};

#[tokio::test(flavor = "multi_thread")]
async fn a_drain_waits_until_the_runner_is_empty() -> Result<()> {
    let desk = Desk::logged_in(&["ada"]).await?;
    let long = desk.submit("long", "run_ms=forever", "chunks: {count: 1}").await?;
    desk.until(&long, "running", 1).await?;
    let mut drain = desk.begin(&["drain", "ada"])?;
    drain.says(&format!("runner ada still runs 1: {long}/0")).await?;
    is(&desk, "ada", "draining").await?;
    // It takes nothing new, and says so to whoever asks.
    let next = desk.submit("next", "exit=0", "chunks: {count: 1}").await?;
    desk.shows(&["explain", &next], |said| said.out.contains("ada") && said.out.contains("drain")).await?;
    desk.dsg(&["cancel", &long]).await?.ends_with(0)?;
    let (code, said) = drain.ended().await?;
    ensure!(code == 0 && said.ends_with("runner ada is empty"), "{code}: {said}");
    desk.until(&next, "waiting", 1).await?;
    desk.dsg(&["undrain", "ada"]).await?.ends_with(0)?;
    desk.dsg(&["wait", &next]).await?.ends_with(0)?;
    is(&desk, "ada", "ready").await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_drain_need_not_be_waited_for() -> Result<()> {
    let desk = Desk::logged_in(&["ada"]).await?;
    let long = desk.submit("long", "run_ms=forever", "chunks: {count: 1}").await?;
    desk.until(&long, "running", 1).await?;
    desk.dsg(&["drain", "ada", "--no-wait"]).await?.ends_with(0)?;
    let mut drain = desk.begin(&["drain", "ada"])?;
    drain.says("still runs 1").await?;
    drain.interrupt().await?;
    let (code, said) = drain.ended().await?;
    ensure!(code == 130 && said.contains("runner ada goes on draining"), "{code}: {said}");
    is(&desk, "ada", "draining").await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_runner_is_paused_resumed_and_evicted() -> Result<()> {
    let desk = Desk::logged_in(&["ada"]).await?;
    let long = desk.submit("long", "run_ms=forever", "chunks: {count: 1}").await?;
    desk.until(&long, "running", 1).await?;
    let chunk = format!("{long}/0");
    let said = desk.dsg(&["pause", "ada"]).await?.ends_with(0)?;
    ensure!(said.err.contains("ada freezes 1 attempt and takes nothing new until it is resumed"), "{said:?}");
    is(&desk, "ada", "paused").await?;
    desk.shows(&["explain", &chunk], |said| said.out.contains("(paused: it holds its memory")).await?;
    desk.shows(&["show", &chunk], |said| said.out.contains("paused: it holds its memory")).await?;
    let next = desk.submit("next", "exit=0", "chunks: {count: 1}").await?;
    desk.shows(&["explain", &next], |said| said.out.contains("ada paused by ")).await?;
    desk.dsg(&["resume", "ada"]).await?.ends_with(0)?;
    desk.dsg(&["wait", &next]).await?.ends_with(0)?;
    is(&desk, "ada", "ready").await?;
    desk.shows(&["explain", &chunk], |said| !said.out.contains("paused")).await?;
    desk.dsg(&["pause", "ada"]).await?.ends_with(0)?;
    desk.shows(&["explain", &chunk], |said| said.out.contains("(paused")).await?;
    let said = desk.dsg(&["evict", "ada"]).await?.ends_with(0)?;
    ensure!(said.err.contains("ada stops 1 attempt, whose chunks wait again at no cost"), "{said:?}");
    desk.until(&long, "waiting", 1).await?;
    is(&desk, "ada", "evicted").await?;
    desk.shows(&["show", &chunk], |said| said.out.contains("stopped on ada by ")).await?;
    desk.dsg(&["resume", "ada"]).await?.ends_with(0)?;
    // It had no retry to spend.
    desk.until(&long, "running", 1).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_removed_runner_has_to_join_again() -> Result<()> {
    let mut desk = Desk::logged_in(&["ada", "byron"]).await?;
    let said = desk.dsg(&["runners"]).await?.ends_with(0)?;
    ensure!(said.out.lines().count() == 3 && said.out.contains("byron"), "{said:?}");
    desk.lab.kill_runner("byron")?;
    desk.dsg(&["remove-runner", "byron"]).await?.ends_with(2)?;
    desk.dsg(&["remove-runner", "byron", "--yes"]).await?.ends_with(0)?;
    let said = desk.shows(&["runners", "-o", "json"], |said| !said.out.contains("byron")).await?;
    ensure!(said.json()?["rows"][0]["name"] == "ada", "{said:?}");
    let said = desk.dsg(&["drain", "byron"]).await?.ends_with(5)?;
    ensure!(said.err.contains("there are ada"), "{said:?}");
    // Its name is free again, its old identity worthless.
    desk.lab.add_runner("byron-again", &RUNNER).await?;
    is(&desk, "byron-again", "ready").await
}

async fn is(desk: &Desk, name: &str, state: &str) -> Result<()> {
    let so =
        |said: &Said| said.rows().is_ok_and(|rows| rows.iter().any(|row| row["name"] == name && row["state"] == state));
    desk.shows(&["runners", "-o", "ndjson"], so).await?;
    Ok(())
}
