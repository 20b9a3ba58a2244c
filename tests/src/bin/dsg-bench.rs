//! `make bench`: prints the figures of the project, one `name: value unit` each. Takes the engine from DSG_TEST_DOCKER.
use std::time::Duration;

use anyhow::Result;
use dsg_tests::bench::grid::Work;
use dsg_tests::bench::{
    check, containers, crash, flood, grid, growth, latency, log, million, print, print_spread, process, spread,
};
use dsg_tests::lab::Lab;

/// The kernel counts CPU time in hundredths of a second: this makes a step of it 0.02 percent.
const IDLE: Duration = Duration::from_secs(60);

#[tokio::main]
async fn main() -> Result<()> {
    let only: Vec<String> = std::env::args().skip(1).collect();
    let wanted = |name: &str| only.is_empty() || only.iter().any(|word| word == name);
    if wanted("check") {
        check::worst()?;
    }
    if wanted("idle") {
        idle_memory().await?;
    }
    if wanted("grid") {
        grid_speed().await?;
    }
    if wanted("classes") {
        growth::classes().await?;
    }
    if wanted("latency") {
        chunk_latency().await?;
    }
    if wanted("crash") {
        println!("rerun_after_kill9: {} chunks", crash::rerun().await?);
    }
    if wanted("million") {
        million::all().await?;
    }
    if wanted("intake") {
        flood::intake().await?;
    }
    let docker = std::env::var("DSG_TEST_DOCKER");
    match docker {
        Ok(socket) if ["log", "flood", "containers"].into_iter().any(wanted) => {
            match log::missing() {
                _ if !wanted("log") => {}
                None => log_latency(&socket).await?,
                Some(reason) => eprintln!("SKIPPED: log: {reason}"),
            }
            if wanted("flood") {
                flood::of_containers(&socket).await?;
            }
            if wanted("containers") {
                containers::overhead(&socket, &only).await?;
            }
        }
        Ok(_) => {}
        Err(_) => eprintln!(
            "SKIPPED: log, flood and containers need a Docker: {}",
            std::env::var("DSG_SKIP_DOCKER").unwrap_or_default()
        ),
    }
    Ok(())
}

/// With the engine that is there: the looks at it are the runner's work while it waits.
async fn idle_memory() -> Result<()> {
    let mut lab = Lab::start().await?;
    match std::env::var("DSG_TEST_DOCKER") {
        Ok(socket) => lab.add_runner("ada", &["--engine", &format!("unix://{socket}")]).await?,
        Err(_) => lab.add_runner("ada", &["--pretend"]).await?,
    }
    // Long enough that start-up has given back what it took.
    tokio::time::sleep(Duration::from_secs(5)).await;
    let (server, runner) = lab.pids();
    print("server_idle_mib", process::resident_mib(server)?, "MiB");
    print("runner_idle_mib", process::resident_mib(runner)?, "MiB");
    let before = process::cpu_seconds(runner)?;
    tokio::time::sleep(IDLE).await;
    let used = process::cpu_seconds(runner)? - before;
    print("runner_idle_cpu_percent", used / IDLE.as_secs_f64() * 100.0, "percent of one core");
    Ok(())
}

async fn grid_speed() -> Result<()> {
    let (mut pace, mut cpu) = (Vec::new(), Vec::new());
    for _ in 0..3 {
        let found = grid::run(Work { chunks: 100_000, classes: 1, runners: 50, places: 64 }).await?;
        pace.push(found.chunks_per_second);
        cpu.push(found.cpu_us_per_chunk);
    }
    print_spread("grid_chunks_per_second_100k", &pace, "chunks/s");
    print_spread("server_cpu_us_per_chunk", &cpu, "us");
    Ok(())
}

async fn chunk_latency() -> Result<()> {
    let found = spread(&latency::one_chunk_ms().await?);
    let (least, most) = (found.least, found.most);
    println!("one_chunk_latency_ms_p50: {:.1} ms (of 50 jobs, {least:.1} to {most:.1})", found.median);
    Ok(())
}

async fn log_latency(socket: &str) -> Result<()> {
    let mut lab = Lab::start().await?;
    lab.add_runner("ada", &["--engine", &format!("unix://{socket}")]).await?;
    let found = log::latencies_ms(&lab.client).await?;
    let all = spread(&found);
    println!(
        "log_latency_ms_p50: {:.0} ms (of {} lines, {:.0} to {:.0})",
        all.median,
        found.len(),
        all.least,
        all.most
    );
    Ok(())
}
