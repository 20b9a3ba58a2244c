//! A runner on a host of its own, and a wire between it and the server that loses every packet, or those of one direction, for shorter
//! and longer than the lease. Nothing says no: connections hang until somebody gives them up.
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use dsg_schemas::api::{RunnerState, RunnerView};
use dsg_schemas::ids::JobId;
use dsg_tests::far_host::{FarHost, Lost};
use dsg_tests::lab::Lab;

use crate::history::History;
use crate::parted::begun;
use crate::setting;
use crate::work::{RUNNER, Work, logging};

/// All at once: they wait more than they work.
#[tokio::test(flavor = "multi_thread")]
async fn a_wire_that_loses_packets_loses_no_work() -> Result<()> {
    let mut hosts = Vec::new();
    for _ in 0..4 {
        let Some(host) = FarHost::new()? else { return Ok(()) };
        hosts.push(host);
    }
    tokio::try_join!(
        a_cut_shorter_than_the_lease_is_seen_by_nobody(&hosts[0]),
        a_longer_one_costs_one_attempt_at_most(&hosts[1], Lost::Both),
        a_longer_one_costs_one_attempt_at_most(&hosts[2], Lost::ToIt),
        a_longer_one_costs_one_attempt_at_most(&hosts[3], Lost::FromIt),
    )?;
    Ok(())
}

async fn a_cut_shorter_than_the_lease_is_seen_by_nobody(host: &FarHost) -> Result<()> {
    let mut lab = logging(Lab::at(host.near_ip(), &["--lease", "20s"]).await?);
    lab.add_runner("near", &RUNNER).await?;
    lab.add_runner_on(host, "far", &RUNNER).await?;
    let work = Work { chunks: 40, run_ms: 700, lines: 3 };
    let job = begun(&lab, &work).await?;
    host.lose(Lost::Both)?;
    // What is under way has arrived by then.
    tokio::time::sleep(Duration::from_secs(1)).await;
    let before = runner(&lab, "far").await?.last_seen_ms;
    tokio::time::sleep(Duration::from_secs(3)).await;
    let after = runner(&lab, "far").await?.last_seen_ms;
    host.lose(Lost::Nothing)?;
    ensure!(before == after, "heard at {after:?}, after {before:?}, through a wire that was cut");
    let history = History::read(&lab, job, &work).await?;
    ensure!(history.extra() == 0, "{} ran again", history.extra());
    is_back(&lab, "far").await
}

/// Another runner is there to take what is lost. Of one direction is worse than of both: the server goes on giving work away in answers
/// that nobody hears, or the runner does what it was told and cannot say so.
async fn a_longer_one_costs_one_attempt_at_most(host: &FarHost, lost: Lost) -> Result<()> {
    let lease = setting("DSG_CHAOS_LEASE", 3);
    let mut lab = logging(Lab::at(host.near_ip(), &["--lease", &format!("{lease}s")]).await?);
    lab.add_runner("near", &RUNNER).await?;
    lab.add_runner_on(host, "far", &RUNNER).await?;
    // As long as this, so that the cut ends while both have an attempt of the same chunk.
    let work = Work { chunks: 16, run_ms: 4000, lines: 3 };
    let job = begun(&lab, &work).await?;
    host.lose(lost)?;
    // Counted from when it was last heard: open connections bring one request more each where only answers are lost.
    tokio::time::sleep(Duration::from_secs(lease)).await;
    let given_away = lab.client.eventually("what it held is given to another", |client| async move {
        for index in 0..work.chunks {
            if client.chunk_at(job, index).await?.history.len() > 1 {
                return Ok(Some(()));
            }
        }
        Ok(None)
    });
    given_away.await?;
    host.lose(Lost::Nothing)?;
    check(&lab, job, &work).await.with_context(|| format!("packets lost: {lost:?}"))?;
    is_back(&lab, "far").await
}

async fn check(lab: &Lab, job: JobId, work: &Work) -> Result<()> {
    let history = History::read(lab, job, work).await?;
    ensure!(history.extra() > 0, "nothing was lost by a cut longer than the lease");
    ensure!(history.most() <= 2, "a chunk had {} attempts", history.most());
    let lost = history.attempts().filter(|attempt| !attempt.accepted);
    let others: Vec<_> = lost.filter(|attempt| attempt.runner_name != "far").collect();
    ensure!(others.is_empty(), "lost by a runner whose wire was whole: {others:?}");
    Ok(())
}

async fn runner(lab: &Lab, name: &str) -> Result<RunnerView> {
    let runners = lab.client.runners().await?;
    runners.into_iter().find(|runner| runner.name == name).context("no such runner")
}

/// Whatever hung is given up, and it takes work again.
async fn is_back(lab: &Lab, name: &str) -> Result<()> {
    let back = lab.client.eventually("it is back", |client| async move {
        let runners = client.runners().await?;
        let found = runners.iter().find(|runner| runner.name == name && runner.state == RunnerState::Ready);
        Ok(found.filter(|runner| runner.holds.is_empty()).map(|_| ()))
    });
    back.await
}
