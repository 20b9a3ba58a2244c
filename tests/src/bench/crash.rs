//! What a `kill -9` of the server costs: chunks that run again.
use anyhow::{Result, ensure};
use dsg_schemas::api::{ChunkView, JobState, Page};

use crate::lab::Lab;

const CHUNKS: u64 = 2_000;
const RUNNERS: usize = 4;

/// Attempts beyond the first of all chunks of a job whose server is killed half-way; real runner programs, pretended containers.
pub async fn rerun() -> Result<u64> {
    let mut lab = Lab::start().await?;
    for number in 0..RUNNERS {
        lab.add_runner(&format!("pretend-{number}"), &["--pretend", "--cpus", "16", "--memory", "16GiB"]).await?;
    }
    let spec = format!(
        "name: killed\nimage: pretend/short\nresources: {{cpus: 1, memory: 16MiB}}\ncommand: [pretend, run_ms=100]\n\
         chunks: {{count: {CHUNKS}}}\n"
    );
    let job = lab.client.submit(&spec).await?;
    let half = lab.client.eventually("half of the job is done", |client| async move {
        Ok((client.job(job).await?.job.chunks.succeeded >= CHUNKS / 2).then_some(()))
    });
    half.await?;
    lab.kill_server()?;
    lab.start_server().await?;
    let detail = lab.client.ended(job).await?;
    ensure!(detail.job.state == JobState::Succeeded && detail.job.chunks.succeeded == CHUNKS, "{:?}", detail.job);
    let (mut seen, mut again, mut cursor) = (0, 0, 0);
    loop {
        let page: Page<ChunkView> =
            lab.client.get(&format!("/api/v1/jobs/{job}/chunks?limit=200&cursor={cursor}")).await?;
        seen += page.rows.len() as u64;
        again += page.rows.iter().map(|chunk| u64::from(chunk.attempts.saturating_sub(1))).sum::<u64>();
        match page.next {
            Some(next) => cursor = next.parse()?,
            None => break,
        }
    }
    ensure!(seen == CHUNKS, "the list of chunks has {seen} of {CHUNKS}");
    Ok(again)
}
