//! What the owner of a runner does not allow: told at submit and by explain, and refused by the runner's own file at the start.
use std::fs;

use anyhow::{Result, ensure};
use dsg_tests::lab::program;

use super::desk::{Desk, RUNNER};

const POLICY: &str = r#"
[policy]
images = ["dsg-*"]
most = { memory = "1GiB" }

[policy.mounts.datasets]
path = "DATA"
"#;

#[tokio::test(flavor = "multi_thread")]
async fn what_no_runner_allows_is_told_at_once() -> Result<()> {
    let mut desk = Desk::logged_in(&[]).await?;
    let (data, file) = (desk.lab.path("datasets"), desk.lab.path("runner.toml"));
    fs::create_dir(&data)?;
    fs::write(&file, POLICY.replace("DATA", &data.to_string_lossy()))?;
    let file = file.to_string_lossy().into_owned();
    let options: Vec<&str> = RUNNER.into_iter().chain(["--config", &file]).collect();
    desk.lab.add_runner("ada", &options).await?;

    let said = desk.dsg(&["runners"]).await?.ends_with(0)?;
    let rules = "ada allows: images dsg-*; mounts datasets; at most 1GiB of memory";
    ensure!(said.err.contains(rules), "{said:?}");

    let job = |image: &str, more: &str| {
        format!(
            "name: n\nimage: {image}\ncommand: [exit=0]\nchunks: {{count: 1}}\nresources: {{memory: 64MiB}}\n{more}"
        )
    };
    desk.put("wrong.yaml", &job("python:3", ""))?;
    let said = desk.dsg(&["submit", "wrong.yaml"]).await?.ends_with(0)?;
    let sentence = "no runner in the grid allows this image: ada allows dsg-*";
    ensure!(said.err.contains(sentence), "{said:?}");
    let said = desk.dsg(&["explain", "1"]).await?.ends_with(0)?;
    ensure!(said.out.contains(sentence), "{said:?}");

    desk.put("writes.yaml", &job("dsg-fit", "mounts: [{name: datasets, path: /data, write: true}]\n"))?;
    let said = desk.dsg(&["submit", "writes.yaml"]).await?.ends_with(0)?;
    ensure!(said.err.contains("the only runner, ada, lets nobody write to its mount `datasets`"), "{said:?}");

    desk.put("right.yaml", &job("dsg-fit", "mounts: [{name: datasets, path: /data}]\n"))?;
    let said = desk.dsg(&["submit", "right.yaml", "--follow"]).await?.ends_with(0)?;
    ensure!(!said.err.contains("no runner"), "{said:?}");

    // Refused by the runner alone: the server was told of a folder that is not there any more. No retry is spent.
    fs::remove_dir(&data)?;
    desk.put("late.yaml", &job("dsg-fit", "mounts: [{name: datasets, path: /data}]\n"))?;
    desk.dsg(&["submit", "late.yaml"]).await?.ends_with(0)?;
    let refused = "refused it (its runner cannot give mount `datasets`";
    desk.shows(&["explain", "4"], |said| said.out.contains(refused)).await?;
    let said = desk.dsg(&["show", "4", "-o", "json"]).await?.ends_with(0)?;
    ensure!(said.json()?["state"] == "waiting", "{said:?}");
    fs::create_dir(&data)?;
    desk.lab.stop_runner("ada")?;
    desk.lab.restart_runner("ada").await?;
    desk.dsg(&["wait", "4"]).await?.ends_with(0)?;
    Ok(())
}

#[test]
fn a_runner_does_not_start_with_a_policy_that_it_does_not_understand() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let file = dir.path().join("runner.toml");
    fs::write(&file, "[policy]\nimgaes = [\"dsg-*\"]\n")?;
    let ended = std::process::Command::new(program("dsg-runner"))
        .arg("--state")
        .arg(dir.path().join("state"))
        .arg("--pretend")
        .env("DSG_RUNNER_CONFIG", &file)
        .output()?;
    let said = String::from_utf8_lossy(&ended.stderr).into_owned();
    ensure!(ended.status.code() == Some(1), "{said}");
    ensure!(said.contains("runner.toml:2:1: policy.imgaes: there is no key `imgaes` here"), "{said}");
    ensure!(said.contains("did you mean `images`?"), "{said}");
    ensure!(!dir.path().join("state").exists(), "nothing was begun");
    Ok(())
}
