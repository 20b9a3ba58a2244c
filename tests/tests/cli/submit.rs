//! Submit in all its ways.
use anyhow::{Result, ensure};

use super::desk::{Desk, pretend};

#[tokio::test(flavor = "multi_thread")]
async fn a_dry_run_shows_and_does_nothing() -> Result<()> {
    let desk = Desk::logged_in(&[]).await?;
    desk.put("job.yaml", &pretend("sweep", "'rate={{item.rate}}'", "chunks: {matrix: {rate: [0.1, 0.01]}}"))?;
    let said = desk.dsg(&["submit", "job.yaml", "--dry-run"]).await?.ends_with(0)?;
    ensure!(said.out.contains("command  pretend rate=0.01"), "{said:?}");
    ensure!(said.err.contains("job.yaml is right: 2 chunks"), "{said:?}");
    let said = desk.dsg(&["submit", "job.yaml", "--dry-run", "-o", "json"]).await?.ends_with(0)?;
    ensure!(said.json()?["chunks"] == 2, "{said:?}");
    ensure!(desk.dsg(&["jobs", "-o", "ndjson"]).await?.rows()?.is_empty(), "something was submitted");
    desk.dsg(&["submit", "job.yaml", "--dry-run", "--wait"]).await?.ends_with(2)?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn waiting_and_following_end_as_the_job_does() -> Result<()> {
    let desk = Desk::logged_in(&["ada"]).await?;
    desk.put("good.yaml", &pretend("good", "lines=2", "chunks: {count: 2}"))?;
    desk.put("bad.yaml", &pretend("bad", "exit=7, lines=1", "chunks: {count: 1}"))?;
    let said = desk.dsg(&["submit", "good.yaml", "--wait"]).await?.ends_with(0)?;
    ensure!(said.out.is_empty() && said.err.contains("2 of 2 chunks succeeded"), "{said:?}");
    desk.dsg(&["submit", "bad.yaml", "--wait"]).await?.ends_with(3)?;

    let said = desk.dsg(&["submit", "good.yaml", "--follow"]).await?.ends_with(0)?;
    let mut lines: Vec<&str> = said.out.lines().collect();
    lines.sort_unstable();
    let expected = ["[0@ada] line 0", "[0@ada] line 1", "[1@ada] line 0", "[1@ada] line 1"];
    ensure!(lines == expected, "with --follow the log is the data: {said:?}");
    let said = desk.dsg(&["submit", "bad.yaml", "--follow"]).await?.ends_with(3)?;
    ensure!(said.err.contains("chunk 4/0 failed after attempt 1: exit 7"), "{said:?}");
    Ok(())
}

/// A script that waits for a job must not wait for ever for the person who is to release it.
#[tokio::test(flavor = "multi_thread")]
async fn a_failed_canary_ends_the_waiting_and_says_what_can_be_done() -> Result<()> {
    let desk = Desk::logged_in(&["ada"]).await?;
    desk.put("job.yaml", &pretend("typo", "exit=2", "chunks: {count: 50, canary: 1}"))?;
    for how in ["--wait", "--follow"] {
        let said = desk.dsg(&["submit", "job.yaml", how]).await?.ends_with(3)?;
        ensure!(said.err.contains("the canary") && said.err.contains("49 other chunks did not start"), "{said:?}");
        ensure!(said.err.contains("dsg release"), "{said:?}");
    }
    let shown = desk.dsg(&["show", "1", "-o", "json"]).await?.ends_with(0)?.json()?;
    ensure!(shown["state"] == "held" && shown["chunks"]["held"] == 49, "{shown}");
    desk.dsg(&["release", "1"]).await?.ends_with(0)?;
    desk.dsg(&["wait", "1"]).await?.ends_with(3)?;
    let shown = desk.dsg(&["show", "1", "-o", "json"]).await?.ends_with(0)?.json()?;
    ensure!(shown["chunks"]["failed"] == 50, "{shown}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_number_of_the_job_is_all_that_a_script_gets() -> Result<()> {
    let desk = Desk::logged_in(&[]).await?;
    let spec = "params: {rate: {type: number, default: 1}}\nchunks: {count: 3}\nenv: {RATE: '{{params.rate}}'}";
    desk.put("job.yaml", &pretend("plain", "exit=0", spec))?;
    let said = desk.dsg(&["submit", "job.yaml", "--set", "rate=0.5"]).await?.ends_with(0)?;
    ensure!(said.out == "1\n", "{said:?}");
    let said = desk.dsg(&["submit", "job.yaml", "-o", "ndjson"]).await?.ends_with(0)?;
    let rows = said.rows()?;
    ensure!(rows.len() == 1 && rows[0]["job"] == 2 && rows[0]["chunks"] == 3, "{said:?}");
    let spec = desk.dsg(&["show", "1", "-o", "json"]).await?.ends_with(0)?.json()?;
    ensure!(spec["spec"].to_string().contains("0.5"), "--set went lost: {spec}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn files_go_with_the_job_and_a_wrong_job_goes_nowhere() -> Result<()> {
    let desk = Desk::logged_in(&["ada"]).await?;
    desk.put("planets.csv", "name,mass\nvenus,0.815\nearth,1\n")?;
    let rows = "chunks: {rows: {from: 'upload:planets.csv'}, label: '{{item.name}}'}";
    desk.put("rows.yaml", &pretend("rows", "exit=0", rows))?;
    desk.dsg(&["submit", "rows.yaml", "--wait"]).await?.ends_with(0)?;
    let said = desk.dsg(&["chunks", "1"]).await?.ends_with(0)?;
    ensure!(said.out.contains("venus") && said.out.contains("earth"), "{said:?}");

    desk.put("wrong.yaml", &pretend("wrong", "exit=0", "chunks: {cuont: 1}"))?;
    let said = desk.dsg(&["submit", "wrong.yaml"]).await?.ends_with(7)?;
    ensure!(said.err.contains("wrong.yaml:") && said.err.contains("count"), "{said:?}");
    desk.dsg(&["check", "wrong.yaml"]).await?.ends_with(7)?;
    desk.dsg(&["check", "rows.yaml"]).await?.ends_with(0)?;
    ensure!(desk.dsg(&["jobs", "-o", "ndjson"]).await?.rows()?.len() == 1, "a wrong job was made");
    Ok(())
}
