//! Runners that are killed and started again at once. Pretended containers die with their runner, as real ones do with their host.
use anyhow::{Result, ensure};
use dsg_schemas::reason::EndReason;

use crate::history::History;
use crate::work::{RUNNER, Work, lab};

#[tokio::test(flavor = "multi_thread")]
async fn killed_runners_come_back_and_what_they_lost_runs_again() -> Result<()> {
    let mut lab = lab(&[]).await?;
    for name in ["ada", "byron", "clara"] {
        lab.add_runner(name, &RUNNER).await?;
    }
    let work = Work { chunks: 90, run_ms: 250, lines: 3 };
    let job = work.submit(&lab).await?;
    // Each is killed once: a chunk that took three runners down would rightly be taken for the cause.
    for (part, name) in (1..).zip(["ada", "byron"]) {
        let some = lab.client.eventually("a part is done", |client| async move {
            Ok((client.job(job).await?.job.chunks.succeeded >= part * 15).then_some(()))
        });
        some.await?;
        lab.kill_runner(name)?;
        lab.restart_runner(name).await?;
    }
    let history = History::read(&lab, job, &work).await?;
    let lost = history.attempts().filter(|attempt| attempt.reason == Some(EndReason::RunnerLost)).count();
    ensure!(lost > 0, "two runners were killed in the middle of work, and nothing was lost");
    ensure!(lost <= 2 * 4, "two runners of four places lost {lost} attempts");
    Ok(())
}
