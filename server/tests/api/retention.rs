//! What rules remove, when, of which jobs, and who is told.
use std::time::Duration;

use dsg_core::event::{Act as CoreAct, Event, Expire, Expired};
use dsg_schemas::api::{Act, Acted, ChunkDetail, Overview, Retries, Submit, Submitted};
use dsg_schemas::ids::{AttemptId, ChunkId, JobId};
use dsg_schemas::reason::EndReason;
use dsg_schemas::units::{Bytes, Millis};
use dsg_schemas::wire::log::Stream;
use dsg_schemas::wire::{AttemptReport, Ended, Phase, StoredFile};
use dsg_server::blobs::BlobHash;
use dsg_server::retention::{Rules, What, pass};
use reqwest::Method;

use super::grid::{Grid, Runner, is, problem, running};

const DAY: u64 = 86_400_000;
const SPEC: &str = "name: sky
image: busybox
command: [fit]
chunks: {count: 2}
outputs: [{name: table, path: /out/t.txt}]
gather: {mode: concat, from: table, output: all}
";

fn days(count: u64) -> Option<Millis> {
    Some(Millis(count * DAY))
}

async fn grid(rules: Rules) -> Grid {
    Grid::with(tempfile::tempdir().expect("a directory"), |config| config.keep = rules).await
}

impl Grid {
    /// What is removed so many days from now.
    async fn pass(&self, days: u64) -> Vec<(JobId, What)> {
        let now_ms = self.server.app.clock.now_ms() + days * DAY;
        let done = pass(&self.server.app, now_ms, Duration::ZERO).await.expect("a pass");
        done.into_iter().map(|due| (due.job, due.what)).collect()
    }
    /// Runs what there is: each chunk logs a line and leaves a file with this text.
    async fn work(&self, runner: &mut Runner, text: &str, reason: EndReason) -> Vec<AttemptId> {
        let start = runner.sync(self, Vec::new()).await.orders.start;
        let mut reports = Vec::new();
        for order in &start {
            let text = format!("{text} {}\n", order.chunk.index);
            is(&self.append(runner, order.attempt, &[(Stream::Stdout, 0, b"hello\n")]).await, 200);
            let hash = BlobHash::of(text.as_bytes());
            is(&self.put(&runner.credential, hash, 0, text.len(), text.as_bytes()).await, 200);
            let (name, file) = ("table".to_owned(), "t.txt".to_owned());
            let outputs = vec![StoredFile { name, file, size: text.len() as u64, sha256: hash.to_string() }];
            let ended = Ended { exit_code: Some(0), outputs, stdout_bytes: 6, ..Ended::before_start(reason, "") };
            reports.push(AttemptReport { attempt: order.attempt, phase: Phase::Ended(Box::new(ended)) });
        }
        runner.sync(self, reports).await;
        start.into_iter().map(|order| order.attempt).collect()
    }
    fn has(&self, text: &str) -> bool {
        self.server.app.blobs.has(BlobHash::of(text.as_bytes()), text.len() as u64)
    }
    fn logs(&self) -> usize {
        self.server.app.logs.in_home(0).expect("a list").len()
    }
    /// Waits until so many attempts have a log; those that ended are closed a moment later.
    async fn until_logs(&self, count: usize) {
        while self.logs() != count {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
    async fn page(&self, path: &str) -> String {
        let answer = self.fetch(path, &[]).await;
        is(&answer, 200);
        answer.text().await.expect("a page")
    }
}

#[tokio::test]
async fn logs_outputs_and_at_last_the_job_go_by_age_and_everybody_is_told() {
    let rules = Rules { logs: days(10), outputs: days(20), jobs: days(90), ..Rules::default() };
    let grid = grid(rules).await;
    let mut ada = grid.runner("ada").await;
    let job = grid.submit(SPEC).await;
    let attempts = grid.work(&mut ada, "tile", EndReason::Succeeded).await;
    let before = grid.ended(job).await;
    assert_eq!((before.gathered.len(), grid.logs()), (1, 2));
    assert_eq!(grid.pass(9).await, []);

    assert_eq!(grid.pass(10).await, [(job, What::Logs)]);
    assert_eq!(grid.pass(10).await, [], "once is enough");
    let removed = grid.job(job).await.logs_removed.expect("told");
    assert_eq!((removed.why.as_str(), removed.count), ("older than 10d (--keep-logs)", 2));
    assert!(grid.logs() == 0 && grid.has("tile 0\n"));
    for path in ["log", "log/raw", "log/follow"] {
        let answer = grid.fetch(&format!("/api/v1/attempts/{}/{path}", attempts[0]), &[]).await;
        let problem = problem(answer).await;
        assert_eq!((problem.status, problem.code.as_str()), (410, "removed"), "{path}");
        assert!(
            problem.detail.contains("was removed on 20") && problem.detail.contains("(--keep-logs)"),
            "{problem:?}"
        );
    }
    let page = grid.page(&format!("/jobs/{job}/chunks/main/0")).await;
    assert!(page.contains("The logs of this job were") && page.contains("older than 10d"), "{page}");
    assert!(grid.page(&format!("/jobs/{job}")).await.contains("older than 10d"));

    assert_eq!(grid.pass(20).await, [(job, What::Outputs)]);
    let detail = grid.job(job).await;
    let removed = detail.outputs_removed.expect("told");
    assert_eq!((removed.why.as_str(), removed.count), ("older than 20d (--keep-outputs)", 3), "two and their table");
    assert!(detail.gathered.is_empty() && !grid.has("tile 0\n") && !grid.has("tile 0\ntile 1\n"));
    let chunk: ChunkDetail = grid.get(&format!("/api/v1/jobs/{job}/chunks/main/0")).await;
    assert!(chunk.history[0].outputs_removed.is_some() && chunk.history[0].log_removed.is_some());
    assert_eq!(chunk.history[0].outputs.len(), 1, "what there was is still known");
    let overview: Overview = grid.get("/api/v1/overview").await;
    assert_eq!(overview.removed_last_day, "logs of 1 job, outputs of 1 job");

    let all = grid.pass(90).await;
    assert_eq!(all, [(job, What::Job)]);
    is(&grid.fetch(&format!("/api/v1/jobs/{job}"), &[]).await, 404);
}

#[tokio::test]
async fn what_runs_keeps_everything_and_a_removed_half_is_not_run_again() {
    let rules = Rules { logs: days(0), outputs: days(0), jobs: days(50), ..Rules::default() };
    let grid = grid(rules).await;
    let mut ada = grid.runner("ada").await;
    let job = grid.submit(&SPEC.replace("count: 2", "count: 2, parallelism: 1")).await;
    grid.work(&mut ada, "first", EndReason::Succeeded).await;
    let attempt = ada.sync(&grid, Vec::new()).await.orders.start[0].attempt;
    ada.sync(&grid, vec![running(attempt)]).await;
    assert_eq!(grid.pass(1000).await, []);
    assert!(grid.has("first 0\n") && grid.logs() == 1);
    let _: Acted = grid.post("/api/v1/acts", &Act::Cancel { job }).await;
    grid.until_logs(2).await;

    assert_eq!(grid.pass(1).await, [(job, What::Logs), (job, What::Outputs)]);
    assert!(!grid.has("first 0\n") && grid.logs() == 0);
    let chunk = ChunkId { job, stage: 0, index: 1 };
    for which in [Retries::Failed, Retries::Chunks(vec![chunk])] {
        let act = Act::Retry { job, which };
        let problem = grid.refused(Method::POST, "/api/v1/acts", &grid.token, Some(&act)).await;
        assert_eq!((problem.status, problem.code.as_str()), (409, "outputs_removed"));
        assert!(problem.detail.contains("(--keep-outputs") && problem.detail.contains("--all"), "{problem:?}");
    }
    let old = { grid.get::<ChunkDetail>(&format!("/api/v1/jobs/{job}/chunks/main/0")).await.history[0].id };
    let _: Acted = grid.post("/api/v1/acts", &Act::Retry { job, which: Retries::All }).await;
    let detail = grid.job(job).await;
    assert!(detail.outputs_removed.is_none() && detail.logs_removed.is_none(), "it has new ones now");
    assert_eq!(grid.pass(1000).await, [], "it runs");
    // The container that was being stopped is gone by now.
    ada.hello(&grid, "boot-1").await;
    grid.work(&mut ada, "second", EndReason::Succeeded).await;
    grid.work(&mut ada, "second", EndReason::Succeeded).await;
    grid.ended(job).await;
    assert!(grid.has("second 0\n") && grid.logs() == 2);
    is(&grid.fetch(&format!("/api/v1/attempts/{old}/log"), &[]).await, 410);
    assert_eq!(grid.pass(1).await, [(job, What::Logs), (job, What::Outputs)]);
    assert!(!grid.has("second 0\n") && grid.logs() == 0);
}

#[tokio::test]
async fn what_a_crash_left_between_row_and_bytes_goes_after_the_next_start() {
    let grid = grid(Rules::default()).await;
    let mut ada = grid.runner("ada").await;
    let job = grid.submit(SPEC).await;
    grid.work(&mut ada, "tile", EndReason::Succeeded).await;
    let ended_ms = grid.ended(job).await.job.ended_ms.expect("ended");
    let other = grid.submit(&SPEC.replace("gather: {mode: concat, from: table, output: all}\n", "")).await;
    grid.work(&mut ada, "tile", EndReason::Succeeded).await;
    grid.ended(other).await;
    assert_eq!(grid.pass(1000).await, [], "nothing is removed where nobody asked for it");
    for what in [Expired::Logs { count: 2, bytes: 12 }, Expired::Outputs { count: 3, bytes: 30 }] {
        let expire = Expire { job, ended_ms, what, why: "a test".to_owned() };
        grid.server.app.engine.apply(Event::Act(CoreAct::Expire(expire))).await.expect("written down");
    }
    assert!(grid.logs() == 4 && grid.has("tile 0\ntile 1\n"));
    let grid = grid.restart().await;
    assert_eq!(grid.pass(0).await, []);
    assert_eq!(grid.logs(), 2, "those of the other job");
    assert!(!grid.has("tile 0\ntile 1\n") && grid.has("tile 0\n") && grid.has("tile 1\n"), "the other job has them");
}

#[tokio::test]
async fn above_a_size_the_oldest_give_way() {
    let grid = grid(Rules { size: Some(Bytes(20_000)), ..Rules::default() }).await;
    let mut ada = grid.runner("ada").await;
    let mut jobs = Vec::new();
    for text in ["one", "two", "three"] {
        let job = grid
            .submit("name: n\nimage: i\ncommand: [c]\nchunks: {count: 1}\noutputs: [{name: table, path: /out/t.txt}]\n")
            .await;
        grid.work(&mut ada, &text.repeat(2000), EndReason::Succeeded).await;
        grid.ended(job).await;
        jobs.push(job);
    }
    let done = grid.pass(0).await;
    assert_eq!(done, [(jobs[0], What::Outputs)]);
    let why = grid.job(jobs[0]).await.outputs_removed.expect("told").why;
    assert_eq!(why, "the logs and outputs of ended jobs are more than 20000B (--keep-size)");
    assert!(grid.has(&format!("{} 0\n", "two".repeat(2000))) && !grid.has(&format!("{} 0\n", "one".repeat(2000))));
    assert_eq!(grid.pass(0).await, []);
}

#[tokio::test]
async fn a_jobs_own_word_counts_where_it_is_shorter_and_a_longer_one_is_warned_of() {
    let grid = grid(Rules { outputs: days(20), ..Rules::default() }).await;
    let mut ada = grid.runner("ada").await;
    let spec = format!("{SPEC}retention: {{logs: 3d, outputs: 30d}}\n");
    let submit = Submit { spec, ..Submit::default() };
    let Submitted { job, warnings, .. } = grid.post("/api/v1/jobs", &submit).await;
    assert!(warnings.iter().any(|text| text.contains("`retention.outputs: 30d` is longer")), "{warnings:?}");
    assert!(!warnings.iter().any(|text| text.contains("retention.logs")), "{warnings:?}");
    grid.work(&mut ada, "tile", EndReason::Succeeded).await;
    grid.ended(job).await;
    assert_eq!(grid.pass(2).await, []);
    assert_eq!(grid.pass(3).await, [(job, What::Logs)]);
    assert_eq!(grid.job(job).await.logs_removed.expect("told").why, "older than 3d (`retention.logs` of its job file)");
    assert_eq!(grid.pass(20).await, [(job, What::Outputs)]);
}
