//! A server that is gone for long: leases do not age meanwhile, and what ended meanwhile is told afterwards.
use std::time::Duration;

use anyhow::{Result, ensure};
use dsg_schemas::ids::JobId;
use dsg_tests::lab::Lab;
use dsg_tests::proxy::{Proxy, Weather};

use crate::history::History;
use crate::setting;
use crate::work::{RUNNER, Work, lab};

/// Returns when all of it runs.
async fn run(lab: &Lab, job: JobId, work: Work) -> Result<()> {
    let all_run = lab.client.eventually("all of it runs", |client| async move {
        Ok((client.job(job).await?.job.chunks.running == u64::from(work.chunks)).then_some(()))
    });
    all_run.await
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_leases_without_a_server_cost_nothing() -> Result<()> {
    let lease = setting("DSG_CHAOS_LEASE", 3);
    let mut lab = lab(&["--lease", &format!("{lease}s")]).await?;
    // Some end while the server is gone, and some go on until after it is back.
    let work = Work { chunks: 8, run_ms: lease * 2_000, lines: 5 };
    let long = Work { run_ms: lease * 10_000 + 4_000, chunks: 4, ..work };
    let proxy = Proxy::start(lab.address(), 1).await?;
    lab.add_runner_at(&proxy.url, "ada", &RUNNER).await?;
    let long_job = long.submit(&lab).await?;
    run(&lab, long_job, long).await?;
    for name in ["byron", "clara", "dora"] {
        lab.add_runner(name, &RUNNER).await?;
    }
    let job = work.submit(&lab).await?;
    run(&lab, job, work).await?;
    lab.kill_server()?;
    tokio::time::sleep(Duration::from_secs(lease * 10)).await;
    // Ada is the last to come back, while others have places free: what it holds is still its own.
    proxy.set(Weather { parted: true, ..Weather::default() });
    lab.start_server().await?;
    proxy.part(Duration::from_millis(200)).await;
    for (job, work) in [(job, work), (long_job, long)] {
        let history = History::read(&lab, job, &work).await?;
        ensure!(history.extra() == 0, "{} chunks of job {job} ran again", history.extra());
    }
    Ok(())
}
