//! SIGTERM in the middle of work, again and again: both programs end by themselves and soon, and nothing is lost or done twice.
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use dsg_tests::client::PATIENCE;

use crate::history::History;
use crate::work::{RUNNER, Work, lab};

#[tokio::test(flavor = "multi_thread")]
async fn stopping_under_load_loses_nothing() -> Result<()> {
    let mut lab = lab(&[]).await?;
    for name in ["ada", "byron"] {
        lab.add_runner(name, &RUNNER).await?;
    }
    let work = Work { chunks: 80, run_ms: 200, lines: 3 };
    let job = work.submit(&lab).await?;
    for part in 1..=2 {
        let some = lab.client.eventually("a part is done", |client| async move {
            Ok((client.job(job).await?.job.chunks.succeeded >= part * 20).then_some(()))
        });
        some.await?;
        let begun = Instant::now();
        lab.stop_server()?;
        report("the server", begun)?;
        lab.start_server().await?;
    }
    let begun = Instant::now();
    lab.stop_runner("byron")?;
    report("a runner", begun)?;
    lab.restart_runner("byron").await?;
    let history = History::read(&lab, job, &work).await?;
    // Pretended containers die with their runner's process: those of byron run again, and nothing else.
    let again: Vec<_> = history.attempts().filter(|attempt| !attempt.accepted).collect();
    let are_its = again.iter().all(|attempt| attempt.runner_name == "byron");
    ensure!(are_its && again.len() <= 4, "{again:?}");
    Ok(())
}

/// Said, and only bounded by patience: machines are shared.
fn report(who: &str, begun: Instant) -> Result<()> {
    let took: Duration = begun.elapsed();
    eprintln!("{who} ended {} ms after SIGTERM", took.as_millis());
    ensure!(took < PATIENCE, "{who} took {took:?} to end");
    Ok(())
}
