//! Every message may be lost, late, doubled or cut: the job is as if none had been.
use anyhow::{Context, Result, ensure};
use dsg_tests::proxy::{FATES, Proxy, Weather};

use crate::history::History;
use crate::setting;
use crate::work::{RUNNER, Work, lab};

async fn storm(seed: u64) -> Result<()> {
    pass_through(seed).await.with_context(|| format!("the weather of seed {seed}; again with: make chaos SEED={seed}"))
}

async fn pass_through(seed: u64) -> Result<()> {
    let mut lab = lab(&[]).await?;
    let proxy = Proxy::start(lab.address(), seed).await?;
    for name in ["ada", "byron", "clara"] {
        lab.add_runner_at(&proxy.url, name, &RUNNER).await?;
    }
    let work = Work { chunks: setting("DSG_CHAOS_CHUNKS", 100) as u32, run_ms: 60, lines: 4 };
    proxy.set(Weather { percent: 30, late_ms: 500, ..Weather::default() });
    let job = work.submit(&lab).await?;
    let history = History::read(&lab, job, &work).await?;
    let met = proxy.met();
    eprintln!("seed {seed}: {met:?}, {} extra attempts", history.extra());
    ensure!(FATES.iter().all(|fate| met.contains_key(fate)), "some fates met nobody: {met:?}");
    ensure!(history.extra() == 0, "a lease lasts far longer than any of this, and yet {} ran again", history.extra());
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_weather_changes_nothing() -> Result<()> {
    let first = setting("DSG_CHAOS_SEED", 1);
    let last = first + setting("DSG_CHAOS_SEEDS", 2);
    // Two at a time: they wait more than they work.
    for seed in (first..last).step_by(2) {
        let second = async { if seed + 1 < last { storm(seed + 1).await } else { Ok(()) } };
        tokio::try_join!(storm(seed), second)?;
    }
    Ok(())
}
