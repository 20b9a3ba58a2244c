//! Two runners with one identity, as when a machine's disk was copied.
use anyhow::{Result, ensure};
use dsg_tests::client::PATIENCE;

use crate::history::History;
use crate::work::{RUNNER, Work, lab};

#[tokio::test(flavor = "multi_thread")]
async fn the_second_is_refused_and_the_first_undisturbed() -> Result<()> {
    let mut lab = lab(&[]).await?;
    lab.add_runner("ada", &RUNNER).await?;
    let work = Work { chunks: 40, run_ms: 200, lines: 2 };
    let job = work.submit(&lab).await?;
    let some = lab.client.eventually("some chunks are done", |client| async move {
        Ok((client.job(job).await?.job.chunks.succeeded >= 4).then_some(()))
    });
    some.await?;
    lab.clone_runner("ada", "copy")?;
    let begun = std::time::Instant::now();
    while !lab.log("copy.log").contains("join this one anew with its own token") {
        ensure!(begun.elapsed() < PATIENCE, "the copy was not refused:\n{}", lab.log("copy.log"));
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    let history = History::read(&lab, job, &work).await?;
    ensure!(history.extra() == 0, "{} ran again", history.extra());
    ensure!(!lab.log("copy.log").contains("\"taken\""), "the copy was given work:\n{}", lab.log("copy.log"));
    ensure!(!lab.log("ada.log").contains("clone"), "the first was disturbed:\n{}", lab.log("ada.log"));
    Ok(())
}
