//! Output without mercy: how much of it the grid takes in, and what that costs in memory.
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use dsg_schemas::api::{JobState, LogPage};

use super::{print, process};
use crate::client::Client;
use crate::lab::Lab;

const SECONDS: u64 = 10;
const GIGABYTE: u64 = 1_000_000_000;
const MEGABYTE: f64 = 1e6;
/// Before the memory of an idle process is taken as such.
const SETTLE: Duration = Duration::from_secs(5);
/// A gigabyte at a tenth of the pace that is asked for, three times over.
const MOST: Duration = Duration::from_secs(300);
const SAMPLE: Duration = Duration::from_millis(100);

/// Prints `log_intake_mb_per_second`: a container that always has more, through runner and server, with no engine in the way.
pub async fn intake() -> Result<()> {
    let mut lab = Lab::start().await?;
    lab.add_runner("ada", &["--pretend"]).await?;
    let spec = format!(
        "name: flood\nimage: pretend/image\nresources: {{cpus: 1, memory: 32MiB}}\ntimeouts: {{run: {SECONDS}s}}\ncommand: ['flood=true', 'line_bytes=16384']\nchunks: {{count: 1}}\n"
    );
    let job = lab.client.submit(&spec).await?;
    lab.client.ended(job).await?;
    let detail = lab.client.chunk_at(job, 0).await?;
    let attempt = detail.history.last().context("it ran")?;
    let ran = attempt.run_ms.filter(|ms| *ms > 0).context("it ran for a while")?;
    let bytes = page(&lab.client, attempt.id).await?.stdout_bytes;
    print("log_intake_mb_per_second", bytes as f64 / MEGABYTE / (ran as f64 / 1e3), "MB/s");
    Ok(())
}

/// Prints what a gigabyte from one container adds to the memory of server and runner, the most of both kinds: with newlines and without.
pub async fn of_containers(socket: &str) -> Result<()> {
    let mut lab = Lab::start().await?;
    lab.add_runner("ada", &["--engine", &format!("unix://{socket}")]).await?;
    tokio::time::sleep(SETTLE).await;
    let (server, runner) = lab.pids();
    let idle = (process::resident_mib(server)?, process::resident_mib(runner)?);
    let (mut most, mut pace) = (idle, Vec::new());
    for source in ["yes 'a line of output, as long as lines of output are'", "tr '\\0' x < /dev/zero"] {
        let over = Arc::new(AtomicBool::new(false));
        let watch = tokio::spawn(most_mib((server, runner), over.clone()));
        let begun = Instant::now();
        let flooded = flood(&lab.client, source).await;
        let seconds = begun.elapsed().as_secs_f64();
        over.store(true, Ordering::Relaxed);
        let seen = watch.await??;
        flooded?;
        most = (most.0.max(seen.0), most.1.max(seen.1));
        pace.push(GIGABYTE as f64 / MEGABYTE / seconds);
    }
    print("log_flood_server_mib", most.0 - idle.0, "MiB over idle");
    print("log_flood_runner_mib", most.1 - idle.1, "MiB over idle");
    super::print_spread("log_flood_mb_per_second", &pace, "MB/s");
    Ok(())
}

async fn flood(client: &Client, source: &str) -> Result<()> {
    let spec = format!(
        "name: flood\nimage: dsg-shell:1\nresources: {{cpus: 1, memory: 32MiB}}\ntimeouts: {{run: 30m}}\nchunks: {{count: 1}}\nscript: |\n  {source} | head -c {GIGABYTE}\n"
    );
    let job = client.submit(&spec).await?;
    let begun = Instant::now();
    let state = loop {
        match client.job(job).await?.job.state {
            state if state.is_final() => break state,
            _ => ensure!(begun.elapsed() < MOST, "a gigabyte is not through after {} s", MOST.as_secs()),
        }
        tokio::time::sleep(SAMPLE).await;
    };
    ensure!(state == JobState::Succeeded, "the job that floods ended as {state:?}");
    let chunk = client.chunk_at(job, 0).await?;
    let attempt = chunk.history.last().context("it ran")?.id;
    let page = page(client, attempt).await?;
    ensure!(page.stdout_bytes >= GIGABYTE, "{} bytes of {GIGABYTE} are accounted for", page.stdout_bytes);
    Ok(())
}

async fn page(client: &Client, attempt: dsg_schemas::ids::AttemptId) -> Result<LogPage> {
    client.get(&format!("/api/v1/attempts/{attempt}/log?limit=1")).await
}

async fn most_mib(pids: (u32, u32), over: Arc<AtomicBool>) -> Result<(f64, f64)> {
    let mut most: (f64, f64) = (0.0, 0.0);
    while !over.load(Ordering::Relaxed) {
        most = (most.0.max(process::resident_mib(pids.0)?), most.1.max(process::resident_mib(pids.1)?));
        tokio::time::sleep(SAMPLE).await;
    }
    Ok(most)
}
