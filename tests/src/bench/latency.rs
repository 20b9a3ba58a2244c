//! How long one chunk takes that does nothing: from its submit to its end, with a runner that waits for it.
use std::time::{Duration, Instant};

use anyhow::{Result, bail, ensure};
use dsg_schemas::api::JobState;

use super::grid::spec;
use crate::client::{Client, PATIENCE};
use crate::lab::Lab;

const JOBS: usize = 50;
/// Between two looks at the job; it is part of what is measured.
const LOOK: Duration = Duration::from_millis(1);

/// Milliseconds of each of `JOBS` jobs of one chunk: the real runner program, whose containers are pretended.
pub async fn one_chunk_ms() -> Result<Vec<f64>> {
    let mut lab = Lab::start().await?;
    lab.add_runner("ada", &["--pretend"]).await?;
    let mut found = Vec::new();
    for _ in 0..JOBS {
        found.push(one(&lab.client).await?);
    }
    Ok(found)
}

async fn one(client: &Client) -> Result<f64> {
    let begun = Instant::now();
    let job = client.submit(&spec("one", 1, 0)).await?;
    loop {
        let detail = client.job(job).await?;
        if detail.job.state.is_final() {
            ensure!(detail.job.state == JobState::Succeeded, "{:?}", detail.job);
            return Ok(begun.elapsed().as_secs_f64() * 1000.0);
        }
        if begun.elapsed() > PATIENCE {
            bail!("job {job} does not end: {:?}", detail.job);
        }
        tokio::time::sleep(LOOK).await;
    }
}
