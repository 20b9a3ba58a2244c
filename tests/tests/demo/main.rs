//! `job-specs/demo` as a person starts it: in a pipe and on a real terminal, to its end and interrupted. Run by `make engines`.
//!
//! One test, because there is one demo folder: at its real size in a pipe, then smaller on a terminal, each time on Docker; then on
//! Podman as a machine without Docker would take it, where that does not touch a Podman service of the machine itself.
mod run;

use anyhow::{Context, Result, ensure};
use dsg_schemas::api::Act;
use dsg_schemas::ids::JobId;
use dsg_tests::browser::Browser;
use dsg_tests::client::Client;
use tokio::net::TcpStream;

use run::{Demo, Engine, home, in_a_pipe};

const JOB: JobId = JobId(1);

#[tokio::test(flavor = "multi_thread")]
async fn the_demo_does_what_it_says() -> Result<()> {
    match Engine::docker() {
        Some(docker) => {
            in_a_pipe_it_ends_with_the_result(&docker).await.context("in a pipe")?;
            on_a_terminal_it_stays_up(&docker).await.context("on a terminal")?;
            an_interrupt_stops_everything(&docker).await.context("interrupted")?;
        }
        None => eprintln!("SKIPPED: the demo was not run on Docker: {}", skipped("DOCKER")),
    }
    match Engine::podman()? {
        Some(podman) => a_failed_job_is_the_exit_status(&podman).await.context("on Podman")?,
        None => eprintln!("SKIPPED: the demo was not run on Podman: {}", skipped("PODMAN")),
    }
    Ok(())
}

fn skipped(engine: &str) -> String {
    let there = "there is none, or this machine has engines of its own that the demo would take";
    std::env::var(format!("DSG_SKIP_{engine}")).unwrap_or_else(|_| there.to_owned())
}

/// The real size: 22 windows, thousands of draws each, one table, one picture, and nothing left behind.
async fn in_a_pipe_it_ends_with_the_result(engine: &Engine) -> Result<()> {
    let ended = in_a_pipe(engine, &[]).output().await?;
    let said = String::from_utf8_lossy(&ended.stdout);
    ensure!(ended.status.code() == Some(0), "{:?}: {said}", ended.status);
    ensure!(said.contains("22 of 22 chunks succeeded"), "{said}");
    ensure!(!said.contains("/login?code="), "nobody is there to open a link: {said}");
    let results = home().join("results");
    let table = std::fs::read_to_string(results.join("windows.csv")).context("windows.csv")?;
    ensure!(table.lines().count() == 23, "22 windows and a heading: {table}");
    ensure!(said.contains(&results.display().to_string()), "the picture's place is not said: {said}");
    let png = std::fs::read(results.join("figure.png")).context("figure.png")?;
    ensure!(png.starts_with(b"\x89PNG\r\n"), "no picture");
    nothing_is_left(engine).await
}

/// Until Ctrl-C, with a dashboard that the printed link opens, once.
async fn on_a_terminal_it_stays_up(engine: &Engine) -> Result<()> {
    let mut demo = Demo::on_a_terminal(engine, &["--set", "draws=100"])?;
    let link = demo.says("/login?code=").await?;
    let browser = Browser::new(None)?;
    let page = browser.log_in(&link, &format!("/jobs/{JOB}")).await?;
    ensure!(page.contains("co2-growth"), "the page does not show the job: {page}");
    ensure!(browser.status(&link).await? == 401, "the link worked twice");
    demo.press_ctrl_c().await?;
    let (status, said) = demo.ended().await?;
    ensure!(status.code() == Some(0), "after a job that succeeded: {status}: {said}");
    nothing_is_left(engine).await
}

/// Ctrl-C while containers run: they are ended before those who know of them.
async fn an_interrupt_stops_everything(engine: &Engine) -> Result<()> {
    let mut demo = Demo::on_a_terminal(engine, &["--set", "draws=100000"])?;
    running(&mut demo).await?;
    ensure!(!engine.containers(&grid()?).await?.is_empty(), "a chunk runs without a container");
    demo.press_ctrl_c().await?;
    let (status, said) = demo.ended().await?;
    ensure!(status.code() == Some(130), "{status}: {said}");
    ensure!(said.contains("Stopping: the job is cancelled"), "{said}");
    ensure!(said.contains("is empty"), "the runner was not waited for: {said}");
    nothing_is_left(engine).await
}

/// Cancelled by somebody else while it runs: without a terminal that is how the demo ends, too.
async fn a_failed_job_is_the_exit_status(engine: &Engine) -> Result<()> {
    let mut demo = Demo::of(in_a_pipe(engine, &["--set", "draws=100000"]))?;
    let client = running(&mut demo).await?;
    client.act(Act::Cancel { job: JOB }).await?;
    let (status, said) = demo.ended().await?;
    ensure!(status.code() == Some(3), "{status}: {said}");
    ensure!(said.contains("the job ended with status 3"), "{said}");
    nothing_is_left(engine).await
}

/// Waits until a chunk of the demo's job runs.
async fn running(demo: &mut Demo) -> Result<Client> {
    demo.says("submitted: co2-growth").await?;
    let (url, token) = (read("server/url")?, read("server/admin.token")?);
    let client = Client::new(&url, &token, None)?;
    let running = client.eventually("a chunk of the demo runs", |client| async move {
        Ok((client.job(JOB).await?.job.chunks.running > 0).then_some(()))
    });
    running.await.with_context(|| demo.said())?;
    Ok(client)
}

fn read(name: &str) -> Result<String> {
    let path = home().join(name);
    Ok(std::fs::read_to_string(&path).with_context(|| path.display().to_string())?.trim().to_owned())
}

/// The grid, as its runner noted it: every container carries it as a label.
fn grid() -> Result<String> {
    let identity: serde_json::Value = serde_json::from_str(&read("runner/identity.json")?)?;
    Ok(identity["grid"].as_str().context("an identity without a grid")?.to_owned())
}

/// No server, no runner, no container, no engine service: whatever was started has ended.
async fn nothing_is_left(engine: &Engine) -> Result<()> {
    let url = read("server/url")?;
    let answer = TcpStream::connect(url.trim_start_matches("http://")).await;
    ensure!(answer.is_err(), "a server still listens at {url}");
    let mine = format!("{}/", home().display());
    for entry in std::fs::read_dir("/proc")? {
        let command = entry?.path().join("cmdline");
        let words = std::fs::read(&command).unwrap_or_default();
        let words = String::from_utf8_lossy(&words).replace('\0', " ");
        ensure!(!words.contains(&mine), "a process is left: {words}");
    }
    let left = engine.containers(&grid()?).await?;
    ensure!(left.is_empty(), "containers are left: {left:?}");
    Ok(())
}
