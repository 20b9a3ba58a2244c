//! What a new server prints is ready to paste: the link into a browser, the line into a host's shell.
use std::process::Stdio;

use anyhow::{Context, Result, ensure};
use dsg_tests::lab::program;
use tokio::process::Command;

use super::desk::Desk;

#[tokio::test(flavor = "multi_thread")]
async fn what_the_first_start_prints_works_as_printed() -> Result<()> {
    let mut desk = Desk::new(&[]).await?;
    let lab = &desk.lab;
    // The server answers a moment before it has printed all of it; what it prints last is waited for.
    let printed = lab.client.eventually("the first start prints", |_| async move {
        let said = lab.log("server.log");
        Ok(said.contains("The admin token is in ").then_some(said))
    });
    let said = printed.await?;
    let line_with = |words: &str| {
        let line = said.lines().find(|line| line.contains(words));
        line.map(str::trim).with_context(|| format!("no {words:?} in {said}"))
    };
    let (link, join) = (line_with("/login?code=")?.to_owned(), line_with("dsg-runner join")?.to_owned());
    let fingerprint = line_with("fingerprint is ")?.split(" is ").nth(1).context("no fingerprint")?.to_owned();
    ensure!(join.ends_with(&format!(".{fingerprint}")), "the join token promises another authority: {join}");
    let token = line_with("The admin token is in ")?.split(" is in ").nth(1).context("no path")?.to_owned();

    let browser = desk.lab.browser()?;
    browser.log_in(&link, "/").await?;

    // A shell finds the programs in its PATH; the environment says where the runner keeps its state, and what is behind the printed
    // line only makes it pretend.
    let programs = program("dsg-runner").parent().context("no folder")?.to_owned();
    let path = format!("{}:{}", programs.display(), std::env::var("PATH").unwrap_or_default());
    let mut runner = Command::new("sh")
        .args(["-c", &format!("exec {join} --pretend --cpus 2")])
        .env("PATH", path)
        .env("DSG_RUNNER_STATE", desk.lab.path("joined"))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()?;
    let token = std::fs::read_to_string(&token).with_context(|| token.clone())?;
    desk.dsg(&["login", &desk.lab.client.url, "--token", token.trim()]).await?.ends_with(0)?;
    let job = desk.submit("first", "exit=0", "chunks: {count: 1}").await?;
    desk.dsg(&["wait", &job]).await?.ends_with(0)?;
    runner.kill().await?;

    // A second start has nothing to give away.
    desk.lab.kill_server()?;
    desk.lab.start_server().await?;
    ensure!(desk.lab.log("server.log").matches("/login?code=").count() == 1, "a second start printed a second link");
    Ok(())
}
