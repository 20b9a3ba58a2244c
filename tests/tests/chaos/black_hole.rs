//! A runner that fails whatever it is given at once, and so would swallow a whole queue: it is put to rest after a few.
use anyhow::{Context, Result, ensure};
use dsg_schemas::api::RunnerState;
use dsg_schemas::reason::EndReason;

use crate::history::History;
use crate::paper::{PaperRunner, ended, request};
use crate::work::{RUNNER, Work, lab};

const WHY: &str = "no route to the registry";

/// Fails each attempt the moment it gets it.
async fn swallow(hole: PaperRunner) -> Result<()> {
    let greeted = hole.greet().await?;
    let mut reports = Vec::new();
    for seq in 1.. {
        let answer = hole.sync(&request(&greeted, seq, reports.clone(), 200)).await?;
        reports.retain(|report: &dsg_schemas::wire::AttemptReport| !answer.orders.forget.contains(&report.attempt));
        reports.extend(answer.orders.start.iter().map(|start| ended(start.attempt, EndReason::PullFailed, WHY)));
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_runner_that_fails_everything_is_put_to_rest() -> Result<()> {
    let mut lab = lab(&[]).await?;
    for name in ["ada", "byron", "clara"] {
        lab.add_runner(name, &RUNNER).await?;
    }
    let work = Work { chunks: 120, run_ms: 100, lines: 2 };
    let job = work.submit(&lab).await?;
    // The job has started elsewhere: it is not the job's own fault.
    let started = lab.client.eventually("some chunks are done", |client| async move {
        Ok((client.job(job).await?.job.chunks.succeeded >= 6).then_some(()))
    });
    started.await?;
    let hole = PaperRunner::join(&lab.client, "hole", 2).await?;
    let swallowing = tokio::spawn(swallow(hole));
    let history = History::read(&lab, job, &work).await?;
    swallowing.abort();
    let lost: Vec<_> = history.attempts().filter(|attempt| attempt.runner_name == "hole").collect();
    ensure!((3..=5).contains(&lost.len()), "it swallowed {}", lost.len());
    ensure!(lost.iter().all(|attempt| attempt.message.contains(WHY)), "{lost:?}");
    let runners = lab.client.runners().await?;
    let hole = runners.iter().find(|runner| runner.name == "hole").context("where is it?")?;
    ensure!(hole.state == RunnerState::Blocked && hole.why.contains(WHY), "{hole:?}");
    Ok(())
}
