//! A job of a million chunks: what it costs to submit, to keep, to look at, to cancel, to run, and to find again after a crash.
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use dsg_schemas::api::{Act, Explanation};
use dsg_schemas::ids::JobId;
use reqwest::Method;

use super::grid::{Work, run, spec, succeeded};
use super::pretend::{PretendRunner, fleet, run_all};
use super::process::{cpu_seconds, resident_mib};
use super::{print, spread};
use crate::client::{Client, PATIENCE};
use crate::lab::Lab;

const MILLION: u64 = 1_000_000;
const RUNNERS: usize = 50;
const PLACES: u64 = 64;
/// Looks at a page or an explanation; the median counts.
const LOOKS: usize = 21;
/// Between two looks at a server that starts.
const LOOK: Duration = Duration::from_millis(2);

/// Prints every figure that a million chunks have.
pub async fn all() -> Result<()> {
    let mut lab = Lab::start().await?;
    let ca = lab.ca()?;
    // One that has room for nothing: it only says that it is there.
    let idle = PretendRunner::join(&lab.client, Some(&ca), "idle", 0).await?;
    let job = submit(&lab.client, idle).await?;
    // Long enough that the submit has given back what it took.
    tokio::time::sleep(Duration::from_secs(2)).await;
    let waiting_mib = resident_mib(lab.pids().0)?;
    let waiting = looks(&lab.client, job, MILLION - 1).await?;
    cancel(&lab.client).await?;
    let found_waiting = found_again(&mut lab).await?;
    let (halfway, cpu_us) = work(&mut lab, &ca, job).await?;
    let ran_mib = resident_mib(lab.pids().0)?;
    let ended = looks(&lab.client, job, MILLION - 1).await?;
    eprintln!("million: {waiting_mib:.1} MiB while it waits, {ran_mib:.1} MiB once it has run");
    print("server_mib_1m", waiting_mib.max(ran_mib), "MiB");
    eprintln!("million: found again {found_waiting:.2} s after the kill while it waits, {halfway:.2} s half done");
    print("restart_seconds_1m", found_waiting.max(halfway), "s");
    waiting.worse(ended).print();
    let ten_thousand = Work { chunks: 10_000, classes: 1, runners: RUNNERS, places: PLACES };
    let mut small = Vec::new();
    for _ in 0..5 {
        small.push(run(ten_thousand).await?.cpu_us_per_chunk);
    }
    let small = spread(&small).median;
    eprintln!("million: {cpu_us:.1} us of CPU per chunk, {small:.1} us in a job of 10,000");
    print("grid_cost_growth_1m_over_10k", cpu_us / small, "ratio");
    Ok(())
}

/// The submit, while a runner goes on to sync: how long both take.
async fn submit(client: &Client, mut idle: PretendRunner) -> Result<JobId> {
    let (done, mut is_done) = tokio::sync::oneshot::channel::<()>();
    let beats = tokio::spawn(async move {
        let mut beats = Vec::new();
        while is_done.try_recv().is_err() {
            let begun = Instant::now();
            idle.sync(0).await?;
            beats.push(begun.elapsed().as_secs_f64() * 1000.0);
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        anyhow::Ok(beats)
    });
    tokio::time::sleep(Duration::from_millis(200)).await;
    let begun = Instant::now();
    let job = client.submit(&spec("million", MILLION, 0)).await?;
    let seconds = begun.elapsed().as_secs_f64();
    tokio::time::sleep(Duration::from_millis(200)).await;
    // The other end is there until it hears this.
    let _ = done.send(());
    let mut beats = beats.await??;
    beats.sort_by(f64::total_cmp);
    let at = (beats.len() * 99).div_ceil(100).saturating_sub(1);
    let slow = beats.get(at).context("no sync came through")?;
    print("submit_1m_seconds", seconds, "s");
    eprintln!("million: {} syncs around the submit, the slowest {:.1} ms", beats.len(), beats[beats.len() - 1]);
    print("heartbeat_ms_p99_during_submit", *slow, "ms");
    Ok(job)
}

/// Another job of the same size, cancelled while all of it waits.
async fn cancel(client: &Client) -> Result<()> {
    let job = client.submit(&spec("cancelled", MILLION, 1)).await?;
    let begun = Instant::now();
    let acted = client.act(Act::Cancel { job }).await?;
    let ms = begun.elapsed().as_secs_f64() * 1000.0;
    ensure!(acted.count == MILLION, "{acted:?}");
    print("cancel_ack_ms_1m", ms, "ms");
    Ok(())
}

/// How long it takes to look at the job.
struct Looks {
    explain_ms: f64,
    page_ms: f64,
    page_kb: f64,
}

impl Looks {
    fn worse(self, other: Looks) -> Looks {
        Looks {
            explain_ms: self.explain_ms.max(other.explain_ms),
            page_ms: self.page_ms.max(other.page_ms),
            page_kb: self.page_kb.max(other.page_kb),
        }
    }

    fn print(&self) {
        print("explain_ms_1m", self.explain_ms, "ms");
        print("job_page_ms_1m", self.page_ms, "ms");
        print("job_page_kb_1m", self.page_kb, "kB");
    }
}

async fn looks(client: &Client, job: JobId, chunk: u64) -> Result<Looks> {
    let (mut explains, mut pages, mut bytes) = (Vec::new(), Vec::new(), 0);
    for _ in 0..LOOKS {
        let begun = Instant::now();
        let explained: Explanation = client.get(&format!("/api/v1/jobs/{job}/explain/main/{chunk}")).await?;
        explains.push(begun.elapsed().as_secs_f64() * 1000.0);
        ensure!(!explained.summary.is_empty(), "{explained:?}");
        let begun = Instant::now();
        let page =
            client.request(Method::GET, &format!("/jobs/{job}")).send().await?.error_for_status()?.text().await?;
        pages.push(begun.elapsed().as_secs_f64() * 1000.0);
        bytes = bytes.max(page.len());
        ensure!(page.contains("Map of the chunks"), "this is no job page: {page}");
    }
    let (explain_ms, page_ms) = (spread(&explains).median, spread(&pages).median);
    eprintln!("million: explained in {explain_ms:.1} ms, its page in {page_ms:.1} ms");
    Ok(Looks { explain_ms, page_ms, page_kb: bytes as f64 / 1000.0 })
}

/// Kills the server and starts it again: seconds until it says that it is well.
async fn found_again(lab: &mut Lab) -> Result<f64> {
    lab.kill_server()?;
    let begun = Instant::now();
    lab.spawn_server()?;
    loop {
        let healthy = lab.client.request(Method::GET, "/healthz").send().await;
        if healthy.is_ok_and(|answer| answer.status().is_success()) {
            return Ok(begun.elapsed().as_secs_f64());
        }
        ensure!(begun.elapsed() < PATIENCE, "the server did not come up:\n{}", lab.log("server.log"));
        tokio::time::sleep(LOOK).await;
    }
}

/// Runs all of it, with a kill half-way: seconds until it was found again, and the server's CPU time per chunk.
async fn work(lab: &mut Lab, ca: &[u8], job: JobId) -> Result<(f64, f64)> {
    let mut runners = fleet(&lab.client, Some(ca), RUNNERS, PLACES).await?;
    let cpu = cpu_seconds(lab.pids().0)?;
    let ran = run_all(&mut runners, MILLION / 2).await?;
    let first = cpu_seconds(lab.pids().0)? - cpu;
    let found = found_again(lab).await?;
    for runner in &mut runners {
        runner.hello().await?;
    }
    let cpu = cpu_seconds(lab.pids().0)?;
    let rest = run_all(&mut runners, MILLION - ran).await?;
    let second = cpu_seconds(lab.pids().0)? - cpu;
    ensure!(ran + rest == MILLION, "{ran} and {rest} chunks ended");
    succeeded(&lab.client, job, MILLION).await?;
    eprintln!(
        "million: {:.1} us of CPU per chunk in the first half, {:.1} in the second",
        first * 1e6 / ran as f64,
        second * 1e6 / rest as f64
    );
    Ok((found, (first + second) * 1e6 / MILLION as f64))
}
