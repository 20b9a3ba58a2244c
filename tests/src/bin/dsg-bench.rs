//! `make bench`: prints the figures of the project, one `name: value unit` each. Takes the engine from DSG_TEST_DOCKER.
use std::time::Duration;

use anyhow::Result;
use dsg_tests::bench::{check, containers, grid, idle, log, print, print_spread, spread};
use dsg_tests::lab::Lab;

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
    let docker = std::env::var("DSG_TEST_DOCKER");
    match docker {
        Ok(socket) if wanted("log") || wanted("containers") => {
            match log::missing() {
                _ if !wanted("log") => {}
                None => log_latency(&socket).await?,
                Some(reason) => eprintln!("SKIPPED: log: {reason}"),
            }
            if wanted("containers") {
                containers::overhead(&socket).await?;
            }
        }
        Ok(_) => {}
        Err(_) => eprintln!(
            "SKIPPED: log and containers need a Docker: {}",
            std::env::var("DSG_SKIP_DOCKER").unwrap_or_default()
        ),
    }
    Ok(())
}

async fn idle_memory() -> Result<()> {
    let mut lab = Lab::start().await?;
    lab.add_runner("ada", &["--pretend"]).await?;
    // Long enough that start-up has given back what it took.
    tokio::time::sleep(Duration::from_secs(5)).await;
    let (server, runner) = lab.pids();
    print("server_idle_mib", idle::resident_mib(server)?, "MiB");
    print("runner_idle_mib", idle::resident_mib(runner)?, "MiB");
    Ok(())
}

async fn grid_speed() -> Result<()> {
    let mut found = Vec::new();
    for _ in 0..3 {
        let lab = Lab::start().await?;
        let ca = std::fs::read(lab.path("server/tls/ca.pem"))?;
        found.push(grid::chunks_per_second(&lab.client, Some(&ca), 100_000, 50, 64).await?);
    }
    print_spread("grid_chunks_per_second_100k", &found, "chunks/s");
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
