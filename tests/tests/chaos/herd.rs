//! Two hundred runners that all come back in one moment, after the server was restarted.
use std::collections::BTreeSet;
use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use dsg_schemas::ids::AttemptId;
use dsg_schemas::wire::{AttemptReport, HelloAnswer, Phase, SyncAnswer};
use reqwest::StatusCode;
use serde_json::Value;
use tokio::sync::Barrier;
use tokio::task::JoinSet;

use crate::paper::{HELLO, PaperRunner, SYNC, request};
use crate::setting;
use crate::work::lab;

/// Each of two places.
const PLACES: usize = 2;
/// Hello, the first sync, and one that gets what the first may have left to others.
const EXCHANGES: u32 = 6;

struct Returned {
    held: Vec<AttemptId>,
    exchanges: u32,
}

/// Says something until it is answered. Only "later" may come in between, and it must say when.
async fn insist(runner: &PaperRunner, path: &str, message: &Value, exchanges: &mut u32) -> Result<Value> {
    loop {
        *exchanges += 1;
        ensure!(*exchanges < 100, "asked in vain for ever");
        let answer = runner.client.request(reqwest::Method::POST, path).json(message).send().await?;
        let (status, later) = (answer.status(), answer.headers().contains_key("retry-after"));
        let text = answer.text().await?;
        if status.is_success() {
            return serde_json::from_str(&text).context(text);
        }
        ensure!(status == StatusCode::SERVICE_UNAVAILABLE && later, "{path} answered {status}: {text}");
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
}

/// Comes back with what it held, and takes what it gets until its places are full.
async fn come_back(runner: PaperRunner, held: Vec<AttemptId>, gate: Arc<Barrier>) -> Result<Returned> {
    gate.wait().await;
    let mut returned = Returned { held, exchanges: 0 };
    let hello = serde_json::to_value(runner.hello())?;
    let greeted: HelloAnswer = serde_json::from_value(insist(&runner, HELLO, &hello, &mut returned.exchanges).await?)?;
    for seq in 1.. {
        let running =
            |id: &AttemptId| AttemptReport { attempt: *id, phase: Phase::Running { since_ms: 1, paused: false } };
        let sync = request(&greeted, seq, returned.held.iter().map(running).collect(), 0);
        let answer = insist(&runner, SYNC, &serde_json::to_value(sync)?, &mut returned.exchanges).await?;
        let answer: SyncAnswer = serde_json::from_value(answer)?;
        ensure!(answer.orders.stop.is_empty() && answer.orders.forget.is_empty(), "{answer:?}");
        returned.held.extend(answer.orders.start.iter().map(|start| start.attempt));
        if returned.held.len() == PLACES {
            break;
        }
    }
    Ok(returned)
}

#[tokio::test(flavor = "multi_thread")]
async fn two_hundred_come_back_at_once() -> Result<()> {
    let count = setting("DSG_CHAOS_HERD", 200) as usize;
    let mut lab = lab(&[]).await?;
    let mut herd = Vec::new();
    for number in 0..count {
        herd.push(PaperRunner::join(&lab.client, &format!("runner-{number}"), PLACES as u64).await?);
    }
    let spec = format!(
        "name: herd\nimage: pretend/herd\nresources: {{cpus: 1, memory: 16MiB}}\nchunks: {{count: {}}}\n",
        count * PLACES
    );
    let job = lab.client.submit(&spec).await?;
    // Half of the work is under way when the server goes down: the first half of the herd holds it.
    let mut all: JoinSet<Result<(PaperRunner, Returned)>> = JoinSet::new();
    let (early, late) = herd.split_at(count / 2);
    let gate = Arc::new(Barrier::new(early.len()));
    for runner in early.iter().cloned() {
        let gate = gate.clone();
        all.spawn(async move { Ok((runner.clone(), come_back(runner, Vec::new(), gate).await?)) });
    }
    let mut before: Vec<(PaperRunner, Vec<AttemptId>)> =
        late.iter().map(|runner| (runner.clone(), Vec::new())).collect();
    for done in all.join_all().await {
        let (runner, Returned { held, .. }) = done?;
        before.push((runner, held));
    }
    lab.kill_server()?;
    lab.start_server().await?;

    let gate = Arc::new(Barrier::new(count));
    let mut all: JoinSet<Result<(PaperRunner, Returned)>> = JoinSet::new();
    let kept: BTreeSet<AttemptId> = before.iter().flat_map(|(_, held)| held).copied().collect();
    for (runner, held) in before {
        let gate = gate.clone();
        all.spawn(async move { Ok((runner.clone(), come_back(runner, held, gate).await?)) });
    }
    let (mut leased, mut most) = (BTreeSet::new(), 0);
    for done in all.join_all().await {
        let (runner, Returned { held, exchanges }) = done?;
        most = most.max(exchanges);
        for attempt in held {
            ensure!(leased.insert(attempt), "attempt {attempt} was leased to {} and to another", runner.name);
        }
    }
    eprintln!("{count} runners came back; the slowest needed {most} exchanges");
    ensure!(most <= EXCHANGES, "one needed {most} exchanges");
    ensure!(leased.len() == count * PLACES && leased.is_superset(&kept), "{} leases", leased.len());
    let tally = lab.client.job(job).await?.job.chunks;
    ensure!(tally.running + tally.leased == leased.len() as u64 && tally.waiting == 0, "{tally:?}");
    Ok(())
}
