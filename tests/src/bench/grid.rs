//! How fast the grid itself is, and what a chunk costs the server: pretend runners that end each attempt at once, over real HTTP,
//! against a real server with a real store.
use std::time::Instant;

use anyhow::{Result, ensure};
use dsg_schemas::api::JobState;
use dsg_schemas::ids::JobId;

use super::pretend::{fleet, run_all};
use super::process::cpu_seconds;
use crate::client::Client;
use crate::lab::Lab;

/// What is to be run: so many chunks in all, spread over as many jobs as there are different needs.
#[derive(Clone, Copy, Debug)]
pub struct Work {
    pub chunks: u64,
    pub classes: u64,
    pub runners: usize,
    pub places: u64,
}

/// From the submit to the end of the last job, every result durable before it is acknowledged.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    pub chunks_per_second: f64,
    /// CPU time of the server's process, user and kernel.
    pub cpu_us_per_chunk: f64,
}

/// On a fresh server.
pub async fn run(work: Work) -> Result<Pace> {
    let lab = Lab::start().await?;
    let ca = lab.ca()?;
    let mut fleet = fleet(&lab.client, Some(&ca), work.runners, work.places).await?;
    let (server, _) = lab.pids();
    let cpu = cpu_seconds(server)?;
    let begun = Instant::now();
    let mut jobs = Vec::new();
    for class in 0..work.classes {
        jobs.push(lab.client.submit(&spec("empty", work.chunks / work.classes, class)).await?);
    }
    let chunks = work.chunks / work.classes * work.classes;
    run_all(&mut fleet, chunks).await?;
    let seconds = begun.elapsed().as_secs_f64();
    let cpu = cpu_seconds(server)? - cpu;
    for job in jobs {
        succeeded(&lab.client, job, work.chunks / work.classes).await?;
    }
    Ok(Pace { chunks_per_second: chunks as f64 / seconds, cpu_us_per_chunk: cpu * 1e6 / chunks as f64 })
}

/// A job of so many chunks that do nothing; each class needs a little more memory than the one before.
pub fn spec(name: &str, chunks: u64, class: u64) -> String {
    let memory = 6 + class;
    format!(
        "name: {name}\nimage: pretend/empty\nresources: {{cpus: 1, memory: {memory}MiB}}\nchunks: {{count: {chunks}}}\n"
    )
}

pub async fn succeeded(client: &Client, job: JobId, chunks: u64) -> Result<()> {
    let detail = client.ended(job).await?;
    ensure!(detail.job.state == JobState::Succeeded && detail.job.chunks.succeeded == chunks, "{:?}", detail.job);
    Ok(())
}
