//! From a line written in a container to the line in the page: a real engine, the real log viewer in a real Chromium.
use std::path::Path;
use std::process::Stdio;

use anyhow::{Context, Result, ensure};
use dsg_schemas::api::{Act, ChunkState, LoginLink};
use reqwest::Method;
use tokio::process::Command;

use crate::client::Client;

const BROWSER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/browser");
/// Lines that are timed.
const LINES: usize = 100;
/// Writes the machine's uptime, so that each line carries the moment of its birth; until it is cancelled.
const SPEC: &str = "name: clock
image: dsg-shell:1
resources: {cpus: 0.25, memory: 32MiB}
timeouts: {run: 5m}
chunks: {count: 1}
script: |
  while read up rest < /proc/uptime; do echo $up; sleep 0.1; done
";

/// Why there is no browser to measure in; `None` where there is one.
pub fn missing() -> Option<&'static str> {
    let there = Path::new(BROWSER).join("node_modules/playwright-core").exists();
    (!there).then_some("the packages of tests/browser are not installed; tests/lab/chromium installs them")
}

/// Milliseconds of each line, from the container's clock to the page's.
pub async fn latencies_ms(client: &Client) -> Result<Vec<f64>> {
    let job = client.submit(SPEC).await?;
    client
        .eventually("the clock runs", |client| async move {
            Ok((client.chunk_at(job, 0).await?.chunk.state == ChunkState::Running).then_some(()))
        })
        .await?;
    let link: LoginLink =
        client.request(Method::POST, "/api/v1/login-links").send().await?.error_for_status()?.json().await?;
    let driver = Command::new("node")
        .arg(Path::new(BROWSER).join("latency.mjs"))
        .arg(format!("{}/jobs/{job}/chunks/main/0", client.url))
        .arg(LINES.to_string())
        .env("DSG_LOGIN_URL", &link.url)
        .stderr(Stdio::inherit())
        .output()
        .await
        .context("starting node")?;
    client.act(Act::Cancel { job }).await?;
    // Its container is gone before the runner is.
    let idle = client.eventually("the runner holds nothing", |client| async move {
        Ok(client.runners().await?.iter().all(|runner| runner.holds.is_empty()).then_some(()))
    });
    idle.await?;
    ensure!(driver.status.success(), "latency.mjs ended with {}", driver.status);
    serde_json::from_slice(&driver.stdout).context("latency.mjs prints a list of numbers")
}
