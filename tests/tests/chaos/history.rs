//! The checker: reads everything that the server says about a job, and compares it with what must be true of any job.
use std::collections::BTreeMap;

use anyhow::{Context, Result, ensure};
use dsg_schemas::api::{AttemptView, ChunkDetail, ChunkState, JobDetail, JobState, ManifestLine};
use dsg_schemas::ids::{AttemptId, JobId};
use dsg_schemas::limits::GRID_REQUEUES;
use dsg_schemas::reason::EndReason;
use dsg_tests::client::hex;
use dsg_tests::lab::Lab;
use reqwest::Method;
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::work::Work;

/// A job that went through, whatever happened meanwhile.
pub struct History {
    pub chunks: Vec<ChunkDetail>,
}

impl History {
    /// Waits for the end and checks what must hold.
    pub async fn read(lab: &Lab, job: JobId, work: &Work) -> Result<History> {
        let history = History::checked(lab, job, work).await;
        if history.is_err() {
            lab.keep();
        }
        history
    }

    async fn checked(lab: &Lab, job: JobId, work: &Work) -> Result<History> {
        let detail = ended(lab, job).await?;
        let mut chunks = Vec::new();
        for index in 0..work.chunks {
            chunks.push(lab.client.chunk_at(job, index).await?);
        }
        let history = History { chunks };
        history.check_tallies(&detail, work)?;
        for chunk in &history.chunks {
            check_chunk(chunk).with_context(|| format!("{chunk:?}"))?;
        }
        history.check_logs(lab, work).await?;
        history.check_results(lab, &detail, work).await?;
        history.check_starts(lab)?;
        Ok(history)
    }

    /// Attempts beyond the first of each chunk.
    pub fn extra(&self) -> usize {
        self.chunks.iter().map(|chunk| chunk.history.len() - 1).sum()
    }

    /// The most that any chunk had.
    pub fn most(&self) -> usize {
        self.chunks.iter().map(|chunk| chunk.history.len()).max().unwrap_or(0)
    }

    pub fn attempts(&self) -> impl Iterator<Item = &AttemptView> {
        self.chunks.iter().flat_map(|chunk| &chunk.history)
    }

    fn check_tallies(&self, detail: &JobDetail, work: &Work) -> Result<()> {
        let tally = &detail.job.chunks;
        ensure!(detail.job.state == JobState::Succeeded, "{detail:?}");
        ensure!(tally.succeeded == u64::from(work.chunks) && tally.total() == tally.succeeded, "{tally:?}");
        let mut failures = BTreeMap::new();
        for reason in self.attempts().filter_map(|attempt| attempt.reason) {
            if reason != EndReason::Succeeded {
                *failures.entry(reason).or_default() += 1;
            }
        }
        ensure!(detail.failures == failures, "counted {:?}, but the history has {failures:?}", detail.failures);
        let mut ids: Vec<AttemptId> = self.attempts().map(|attempt| attempt.id).collect();
        let before = ids.len();
        ids.sort_unstable();
        ids.dedup();
        ensure!(ids.len() == before, "an attempt belongs to two chunks");
        Ok(())
    }

    /// All that it printed, once, of the accepted attempt; of one that was given up, a beginning of it.
    async fn check_logs(&self, lab: &Lab, work: &Work) -> Result<()> {
        let printed = work.printed();
        for attempt in self.attempts() {
            let log = lab.client.log(attempt.id, "stdout").await?;
            let whole = if attempt.accepted { log == printed } else { printed.starts_with(&log) };
            ensure!(whole, "attempt {} has another log: {:?}", attempt.id, String::from_utf8_lossy(&log));
        }
        Ok(())
    }

    async fn check_results(&self, lab: &Lab, detail: &JobDetail, work: &Work) -> Result<()> {
        let rows = lab.client.gathered(detail, "rows").await?;
        ensure!(rows == work.rows(), "gathered {:?}", String::from_utf8_lossy(&rows));
        let path = format!("/api/v1/jobs/{}/manifest", detail.job.id);
        let manifest = lab.client.request(Method::GET, &path).send().await?.error_for_status()?.text().await?;
        let lines: Vec<ManifestLine> = manifest.lines().map(serde_json::from_str).collect::<Result<_, _>>()?;
        ensure!(lines.len() == self.chunks.len(), "a manifest of {} lines", lines.len());
        for (index, (line, chunk)) in (0..).zip(lines.iter().zip(&self.chunks)) {
            let accepted = chunk.history.iter().find(|attempt| attempt.accepted).context("nothing was accepted")?;
            ensure!(line.index == index && line.status == ChunkState::Succeeded, "{line:?}");
            ensure!(
                line.attempt == Some(accepted.number) && line.outputs == accepted.outputs,
                "{line:?}: {accepted:?}"
            );
            let [row] = &line.outputs[..] else { anyhow::bail!("{line:?}") };
            ensure!(row.sha256 == hex(&Sha256::digest(Work::row(index))), "{line:?}");
            lab.client.blob(&row.sha256).await?;
        }
        Ok(())
    }

    /// What the runners wrote down: no attempt's container was started twice, by one runner or by two.
    fn check_starts(&self, lab: &Lab) -> Result<()> {
        let mut started: BTreeMap<String, Vec<&str>> = BTreeMap::new();
        let logs: Vec<(&str, String)> = lab.runner_logs().collect();
        for (name, log) in &logs {
            for line in log.lines().filter(|line| line.contains("\"starting\"")) {
                let line: Value = serde_json::from_str(line).with_context(|| line.to_owned())?;
                let attempt = line["fields"]["attempt"].as_str().context("an attempt without a number")?;
                started.entry(attempt.to_owned()).or_default().push(name);
            }
        }
        let twice: Vec<_> = started.iter().filter(|(_, by)| by.len() > 1).collect();
        ensure!(twice.is_empty(), "attempts that were started more than once: {twice:?}");
        for attempt in self.attempts().filter(|attempt| attempt.accepted) {
            let (by, is_real) =
                (started.get(&attempt.id.to_string()), |name: &str| logs.iter().any(|(n, _)| *n == name));
            let known = by.is_some_and(|by| by[0] == attempt.runner_name);
            ensure!(known || !is_real(&attempt.runner_name), "{attempt:?} was started by {by:?}");
        }
        Ok(())
    }
}

/// So often the wait for progress may be in vain: a runner that met misfortune several times in a row tries again after a quarter of a
/// minute, and the last chunk has nobody beside it who shows progress meanwhile.
const QUIET_TIMES: u32 = 5;

/// Waits as long as there is progress: the weather may be bad for long.
async fn ended(lab: &Lab, job: JobId) -> Result<JobDetail> {
    let (mut done, mut quiet) = (0, 0);
    loop {
        let what = format!("more than {done} chunks of job {job} are done");
        let further = lab.client.eventually(&what, |client| async move {
            let detail = client.job(job).await?;
            Ok((detail.job.state.is_final() || detail.job.chunks.ended() > done).then_some(detail))
        });
        let detail = match further.await {
            Ok(detail) => detail,
            Err(_) if quiet < QUIET_TIMES => {
                quiet += 1;
                eprintln!("job {job}: {done} chunks are done, and none more for long");
                continue;
            }
            Err(error) => return Err(error),
        };
        quiet = 0;
        if detail.job.state.is_final() {
            return Ok(detail);
        }
        done = detail.job.chunks.ended();
    }
}

fn check_chunk(chunk: &ChunkDetail) -> Result<()> {
    let history = &chunk.history;
    ensure!(chunk.chunk.state == ChunkState::Succeeded && chunk.chunk.attempts as usize == history.len());
    for (number, attempt) in (1..).zip(history) {
        ensure!(attempt.number == number, "attempts are numbered with holes");
        ensure!(attempt.phase == "ended" && attempt.ended_ms.is_some(), "an attempt of an ended job goes on");
    }
    for pair in history.windows(2) {
        let order = pair[0].id < pair[1].id && pair[0].ended_ms <= Some(pair[1].leased_ms);
        ensure!(order, "two attempts counted at the same time");
    }
    let accepted: Vec<&AttemptView> = history.iter().filter(|attempt| attempt.accepted).collect();
    ensure!(
        accepted.len() == 1 && history.last().is_some_and(|last| last.accepted),
        "not accepted exactly once, at last"
    );
    let succeeded = history.iter().filter(|attempt| attempt.reason == Some(EndReason::Succeeded)).count();
    ensure!(succeeded == 1, "succeeded {succeeded} times");
    let requeues = history.len() - 1;
    ensure!(requeues <= GRID_REQUEUES as usize, "requeued {requeues} times");
    let given_up = history.iter().filter(|attempt| !attempt.accepted);
    let mut reasons = given_up.filter_map(|attempt| attempt.reason);
    ensure!(reasons.all(is_the_grids), "failed by a fault of its own, which it has not");
    Ok(())
}

/// Nothing in this work fails by itself.
fn is_the_grids(reason: EndReason) -> bool {
    matches!(reason, EndReason::RunnerLost | EndReason::Evicted | EndReason::PullFailed)
}
