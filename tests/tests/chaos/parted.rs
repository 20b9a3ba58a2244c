//! Runners that cannot be heard for a while, shorter and longer than their lease, and runners that sleep.
use std::time::Duration;

use anyhow::{Result, ensure};
use dsg_schemas::ids::JobId;
use dsg_tests::lab::Lab;
use dsg_tests::proxy::Proxy;

use crate::history::History;
use crate::work::{RUNNER, Work, lab};

/// All at once: they wait more than they work.
#[tokio::test(flavor = "multi_thread")]
async fn runners_come_back_from_where_nobody_hears_them() -> Result<()> {
    let (shorter, longer) =
        (a_parting_shorter_than_the_lease_is_seen_by_nobody(), a_longer_one_costs_one_attempt_at_most());
    let (ended, sleep) = (
        what_ended_meanwhile_counts_when_nobody_else_took_it(),
        a_sleep_longer_than_the_lease_costs_one_attempt_at_most(),
    );
    tokio::try_join!(shorter, longer, ended, sleep)?;
    Ok(())
}

/// Chunks of this run are there when the network parts, and end meanwhile.
pub async fn begun(lab: &Lab, work: &Work) -> Result<JobId> {
    let job = work.submit(lab).await?;
    let running = lab.client.eventually("chunks run", |client| async move {
        let tally = client.job(job).await?.job.chunks;
        Ok((tally.running >= 6 && tally.succeeded >= 1).then_some(()))
    });
    running.await?;
    Ok(job)
}

async fn a_parting_shorter_than_the_lease_is_seen_by_nobody() -> Result<()> {
    let mut lab = lab(&["--lease", "20s"]).await?;
    let proxy = Proxy::start(lab.address(), 1).await?;
    for name in ["ada", "byron"] {
        lab.add_runner_at(&proxy.url, name, &RUNNER).await?;
    }
    let work = Work { chunks: 40, run_ms: 700, lines: 3 };
    let job = begun(&lab, &work).await?;
    proxy.part(Duration::from_secs(4)).await;
    let history = History::read(&lab, job, &work).await?;
    ensure!(history.extra() == 0, "{} ran again", history.extra());
    Ok(())
}

/// One runner is parted for longer than its lease while another is not: what it held runs once more at most, and counts once. What
/// ended meanwhile and was not given away is taken when it comes back.
async fn a_longer_one_costs_one_attempt_at_most() -> Result<()> {
    let mut lab = lab(&["--lease", "3s"]).await?;
    let (near, far) = (Proxy::start(lab.address(), 1).await?, Proxy::start(lab.address(), 2).await?);
    lab.add_runner_at(&near.url, "near", &RUNNER).await?;
    lab.add_runner_at(&far.url, "far", &RUNNER).await?;
    let work = Work { chunks: 40, run_ms: 900, lines: 3 };
    let job = begun(&lab, &work).await?;
    far.part(Duration::from_secs(7)).await;
    let history = History::read(&lab, job, &work).await?;
    ensure!(history.extra() > 0, "nothing was lost by a parting of two leases");
    ensure!(history.most() <= 2, "a chunk had {} attempts", history.most());
    Ok(())
}

/// Nobody else can take what it holds: all of it counts when it comes back.
async fn what_ended_meanwhile_counts_when_nobody_else_took_it() -> Result<()> {
    let mut lab = lab(&["--lease", "3s"]).await?;
    let proxy = Proxy::start(lab.address(), 1).await?;
    lab.add_runner_at(&proxy.url, "ada", &["--pretend", "--cpus", "12", "--memory", "4GiB", "--log-json"]).await?;
    let work = Work { chunks: 24, run_ms: 1500, lines: 3 };
    let job = begun(&lab, &work).await?;
    proxy.part(Duration::from_secs(7)).await;
    let history = History::read(&lab, job, &work).await?;
    ensure!(history.extra() == 0, "{} ran again, and nobody else was there", history.extra());
    Ok(())
}

/// As a laptop that is closed and opened again.
async fn a_sleep_longer_than_the_lease_costs_one_attempt_at_most() -> Result<()> {
    let mut lab = lab(&["--lease", "3s"]).await?;
    for name in ["near", "sleeper"] {
        lab.add_runner(name, &RUNNER).await?;
    }
    let work = Work { chunks: 40, run_ms: 900, lines: 3 };
    let job = begun(&lab, &work).await?;
    lab.signal_runner("sleeper", "STOP")?;
    tokio::time::sleep(Duration::from_secs(6)).await;
    lab.signal_runner("sleeper", "CONT")?;
    let history = History::read(&lab, job, &work).await?;
    ensure!(history.extra() > 0, "nothing was lost by a sleep of two leases");
    ensure!(history.most() <= 2, "a chunk had {} attempts", history.most());
    Ok(())
}
