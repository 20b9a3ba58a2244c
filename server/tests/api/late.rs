//! Log lines that a runner brings after it was taken for lost: they are what happened, and are taken whoever has its chunk by then.
use std::time::Instant;

use dsg_schemas::api::{ChunkDetail, LogPage};
use dsg_schemas::ids::{AttemptId, JobId};
use dsg_schemas::reason::EndReason;
use dsg_schemas::wire::log::{LogAnswer, LogHave, Stream};
use dsg_schemas::wire::{AttemptReport, Ended, Phase, SyncAnswer};

use crate::grid::{Grid, PATIENCE, Runner, is, problem, read, running};

const ONE: &str = "name: late\nimage: busybox\ncommand: [echo, hi]\nchunks: {count: 1}\n";

/// A grid in which silence is noticed at once, and nobody waits for late lines before a log is closed.
async fn hasty() -> Grid {
    Grid::with(tempfile::tempdir().expect("a directory"), |config| {
        config.lease_ms = 300;
        config.log_grace_ms = 0;
    })
    .await
}

/// An attempt that runs, has said so much, and is then cut off until it is given up.
async fn cut_off(grid: &Grid, runner: &mut Runner) -> (JobId, AttemptId) {
    let job = grid.submit(ONE).await;
    let attempt = runner.sync(grid, Vec::new()).await.orders.start[0].attempt;
    runner.sync(grid, vec![running(attempt)]).await;
    say(grid, runner, attempt, 0, b"early\n").await;
    let begun = Instant::now();
    while chunk(grid, job).await.history[0].reason != Some(EndReason::RunnerLost) {
        assert!(begun.elapsed() < PATIENCE, "a silent runner is not given up");
        tokio::task::yield_now().await;
    }
    let page = log(grid, attempt).await;
    assert!(page.ended && page.unheard, "closed, and honest about it: {page:?}");
    let path = format!("/jobs/{job}/chunks/main/0?attempt=1");
    let shown = grid.call::<()>(reqwest::Method::GET, &path, &grid.token, None).await.text().await.expect("a page");
    assert!(shown.contains("its runner has not said that this is all"), "{shown}");
    (job, attempt)
}

async fn chunk(grid: &Grid, job: JobId) -> ChunkDetail {
    grid.get(&format!("/api/v1/jobs/{job}/chunks/main/0")).await
}

async fn log(grid: &Grid, attempt: AttemptId) -> LogPage {
    grid.get(&format!("/api/v1/attempts/{attempt}/log")).await
}

fn lines(page: &LogPage) -> Vec<&str> {
    page.lines.iter().map(|line| &line.text[..]).collect()
}

async fn say(grid: &Grid, runner: &Runner, attempt: AttemptId, offset: u64, text: &[u8]) -> LogHave {
    read::<LogAnswer>(grid.append(runner, attempt, &[(Stream::Stdout, offset, text)]).await).await.have
}

/// Its runner's own word: that it ended well after so many bytes.
fn told(attempt: AttemptId, stdout_bytes: u64) -> AttemptReport {
    let ended = Ended::before_start(EndReason::Succeeded, "");
    let ended = Ended { exit_code: Some(0), run_ms: 5, stdout_bytes, ..ended };
    AttemptReport { attempt, phase: Phase::Ended(Box::new(ended)) }
}

/// As the last word, with nothing more to start.
async fn tell(grid: &Grid, runner: &mut Runner, report: AttemptReport) -> SyncAnswer {
    let request = runner.request(vec![report], 0);
    read(runner.send(grid, &request).await).await
}

#[tokio::test]
async fn lines_of_one_that_comes_back_to_its_chunk_are_taken_after_its_log_was_closed() {
    let grid = hasty().await;
    let mut ada = grid.runner("ada").await;
    let (job, attempt) = cut_off(&grid, &mut ada).await;
    assert_eq!(say(&grid, &ada, attempt, 6, b"late\n").await.stdout, 11);
    assert_eq!(tell(&grid, &mut ada, told(attempt, 11)).await.orders.forget, [attempt]);
    assert_eq!(chunk(&grid, job).await.history[0].reason, Some(EndReason::Succeeded));
    let page = log(&grid, attempt).await;
    assert_eq!((lines(&page), page.missing_bytes), (vec!["early", "late"], 0));
    assert!(page.ended && !page.unheard, "its runner has said that this is all: {page:?}");
    let after = problem(grid.append(&ada, attempt, &[(Stream::Stdout, 11, b"forged\n")]).await).await;
    assert_eq!(after.code, "fenced", "what its runner has told is over");
}

#[tokio::test]
async fn lines_of_one_that_comes_back_too_late_are_taken_all_the_same() {
    let grid = hasty().await;
    let mut ada = grid.runner("ada").await;
    let (job, attempt) = cut_off(&grid, &mut ada).await;
    let mut byron = grid.runner("byron").await;
    let other = byron.sync(&grid, Vec::new()).await.orders.start[0].attempt;
    assert_ne!(other, attempt);
    assert_eq!(say(&grid, &ada, attempt, 6, b"late\n").await.stdout, 11);
    assert_eq!(lines(&log(&grid, attempt).await), ["early", "late"]);
    let forged = problem(grid.append(&byron, attempt, &[(Stream::Stdout, 11, b"forged\n")]).await).await;
    assert_eq!(forged.code, "fenced", "somebody else's");
    // After a restart nobody remembers it but its row.
    let grid = grid.restart().await;
    assert_eq!(say(&grid, &ada, attempt, 11, b"later\n").await.stdout, 17);
    // It says how much it wrote: what is not here is missing, and said so. Its result does not count.
    ada.hello(&grid, "boot-1").await;
    let answer = tell(&grid, &mut ada, told(attempt, 20)).await;
    assert_eq!(answer.orders.forget, [attempt]);
    let page = log(&grid, attempt).await;
    assert_eq!((&lines(&page)[..3], page.missing_bytes), (&["early", "late", "later"][..], 3));
    let history = chunk(&grid, job).await.history;
    assert_eq!((history[0].reason, history[0].accepted), (Some(EndReason::RunnerLost), false));
}

#[tokio::test]
async fn lines_of_a_job_that_was_deleted_are_not() {
    let grid = hasty().await;
    let mut ada = grid.runner("ada").await;
    let (job, attempt) = cut_off(&grid, &mut ada).await;
    for act in ["cancel", "delete"] {
        let act = serde_json::json!({"act": act, "job": job});
        is(&grid.call(reqwest::Method::POST, "/api/v1/acts", &grid.token, Some(&act)).await, 200);
    }
    is(&grid.append(&ada, attempt, &[(Stream::Stdout, 6, b"late\n")]).await, 409);
}
