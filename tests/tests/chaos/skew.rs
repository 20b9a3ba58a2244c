//! Programs of different age: what is understood works, what is not is refused with a sentence, and nothing is understood by half.
use anyhow::{Context, Result, ensure};
use dsg_schemas::ids::AttemptId;
use dsg_schemas::wire::{HelloAnswer, PROTOCOL, SyncAnswer};
use dsg_tests::proxy::{Proxy, Weather};
use reqwest::StatusCode;
use serde_json::{Value, json};

use crate::history::History;
use crate::paper::{HELLO, PaperRunner, SYNC};
use crate::work::{RUNNER, Work, lab};

/// Real programs, each hearing fields from the other that it does not know.
#[tokio::test(flavor = "multi_thread")]
async fn fields_of_a_later_version_disturb_nobody() -> Result<()> {
    let mut lab = lab(&[]).await?;
    let proxy = Proxy::start(lab.address(), 1).await?;
    proxy.set(Weather { newer: true, ..Weather::default() });
    for name in ["ada", "byron"] {
        lab.add_runner_at(&proxy.url, name, &RUNNER).await?;
    }
    let work = Work { chunks: 30, run_ms: 20, lines: 2 };
    let job = work.submit(&lab).await?;
    let history = History::read(&lab, job, &work).await?;
    ensure!(history.extra() == 0, "{} ran again", history.extra());
    Ok(())
}

/// The versions before and after ours.
#[tokio::test(flavor = "multi_thread")]
async fn another_protocol_is_refused_with_what_to_do() -> Result<()> {
    let lab = lab(&[]).await?;
    let work = Work { chunks: 1, run_ms: 1, lines: 1 };
    work.submit(&lab).await?;
    let runner = PaperRunner::join(&lab.client, "other", 4).await?;
    for protocol in [PROTOCOL - 1, PROTOCOL + 1] {
        let mut hello = serde_json::to_value(runner.hello())?;
        hello["protocol"] = json!(protocol);
        let (status, problem) = runner.say(HELLO, &hello).await?;
        ensure!(status == StatusCode::CONFLICT && problem["code"] == "protocol", "{protocol}: {status} {problem}");
        let detail = problem["detail"].as_str().context("no sentence")?;
        ensure!(detail.contains(&format!("the runner {protocol}")) && detail.contains("update the older"), "{detail}");
    }
    // Refused at the door, it has no session, and so no say.
    let sync = json!({"session": "1", "seq": 1, "attempts": []});
    let (status, problem) = runner.say(SYNC, &sync).await?;
    ensure!(!status.is_success(), "a sync without a session was answered {status} {problem}");
    Ok(())
}

/// A message with a part that we do not know is not taken at all: no half of it counts.
#[tokio::test(flavor = "multi_thread")]
async fn an_unknown_phase_is_refused_whole() -> Result<()> {
    let lab = lab(&[]).await?;
    let work = Work { chunks: 2, run_ms: 1, lines: 1 };
    let job = work.submit(&lab).await?;
    let runner = PaperRunner::join(&lab.client, "later", 4).await?;
    let greeted: HelloAnswer = runner.greet().await?;
    // The least that an old runner may say.
    let sync = |seq: u64, attempts: Value| json!({"session": greeted.session, "seq": seq, "attempts": attempts});
    let (status, answer) = runner.say(SYNC, &sync(1, json!([]))).await?;
    ensure!(status.is_success(), "{status} {answer}");
    let answer: SyncAnswer = serde_json::from_value(answer)?;
    let [first, second] = &answer.orders.start[..] else { anyhow::bail!("{answer:?}") };
    let ids: [AttemptId; 2] = [first.attempt, second.attempt];
    let hovering = json!([
        {"attempt": ids[0], "phase": {"is": "running", "since_ms": 1}},
        {"attempt": ids[1], "phase": {"is": "hovering", "above": "the desk"}},
    ]);
    let (status, problem) = runner.say(SYNC, &sync(2, hovering)).await?;
    ensure!(status.is_client_error(), "{status} {problem}");
    let sentence = problem["detail"].as_str().unwrap_or_default();
    ensure!(sentence.contains("hovering"), "it does not say what it did not understand: {problem}");
    let tally = lab.client.job(job).await?.job.chunks;
    ensure!(tally.leased == 2 && tally.running == 0, "half of a message counted: {tally:?}");
    // The same number again, said so that it is understood: the refused one was not taken for heard.
    let known = json!(ids.map(|id| json!({"attempt": id, "phase": {"is": "running", "since_ms": 1}, "mood": "fine"})));
    let (status, answer) = runner.say(SYNC, &sync(2, known)).await?;
    ensure!(status.is_success(), "{status} {answer}");
    ensure!(lab.client.job(job).await?.job.chunks.running == 2);
    Ok(())
}
