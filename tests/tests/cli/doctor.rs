//! `dsg-runner doctor`, as whoever sets up a host types it.
use std::process::{Command, Output};

use anyhow::{Result, ensure};
use dsg_tests::lab::program;

use super::desk::Desk;

fn doctor(state: &std::path::Path, words: &[&str]) -> Result<Output> {
    Ok(Command::new(program("dsg-runner")).arg("doctor").arg("--state").arg(state).args(words).output()?)
}

#[tokio::test(flavor = "multi_thread")]
async fn doctor_looks_beside_a_runner_that_runs() -> Result<()> {
    let desk = Desk::logged_in(&["ada"]).await?;
    let long = desk.submit("long", "run_ms=forever", "chunks: {count: 1}").await?;
    desk.until(&long, "running", 1).await?;
    let memory = tempfile::tempdir_in("/dev/shm")?;
    let place = memory.path().join("secrets").display().to_string();
    let ended = doctor(&desk.lab.path("ada"), &["--pretend", "-o", "json", "--secrets-dir", &place])?;
    let said: serde_json::Value = serde_json::from_slice(&ended.stdout)?;
    let checks = said["checks"].as_array().cloned().unwrap_or_default();
    let server = checks.iter().find(|check| check["name"] == "server");
    ensure!(server.is_some_and(|check| check["passed"] == true), "{said}");
    ensure!(ended.status.code() == Some(0), "{ended:?}");
    ensure!(checks.iter().any(|check| check["name"] == "secrets"), "{said}");
    ensure!(memory.path().read_dir()?.next().is_none(), "it left something behind");
    // The runner was neither replaced nor disturbed.
    desk.until(&long, "running", 1).await?;
    desk.dsg(&["cancel", &long]).await?.ends_with(0)?;
    Ok(())
}

#[test]
fn doctor_says_what_is_wrong_before_join() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let state = dir.path().join("state");
    let ended = doctor(&state, &["--engine", "unix:///nowhere/engine.sock"])?;
    let (out, err) = (String::from_utf8_lossy(&ended.stdout), String::from_utf8_lossy(&ended.stderr));
    ensure!(ended.status.code() == Some(1), "{ended:?}");
    ensure!(out.contains("FAILED") && out.contains("/nowhere/engine.sock (--engine)"), "{out}");
    ensure!(out.contains("\nengine failed: ") && out.contains("  It blocks everything."), "{out}");
    ensure!(out.contains("this runner has not joined a grid yet"), "{out}");
    ensure!(err.contains("dsg-runner: 1 of ") && err.contains(" checks failed"), "{err}");
    ensure!(!state.exists(), "nothing was made");
    Ok(())
}
