//! The life of jobs: submit, orders, reports, results.
use dsg_schemas::api::{Act, Acted, ChunkDetail, ChunkState, JobState, Overview, Retries, Submit, Submitted};
use dsg_schemas::ids::AttemptId;
use dsg_schemas::reason::EndReason;
use dsg_schemas::wire::{Phase, StoredFile, SyncAnswer};
use reqwest::Method;

use super::grid::{Grid, HELLO, PATIENCE, ended, preparing, read, running, succeeded};

#[tokio::test]
async fn a_job_runs_from_submit_to_success() {
    let grid = Grid::start().await;
    let mut ada = grid.runner("ada").await;
    let job = grid.submit(HELLO).await;
    let answer = ada.sync(&grid, Vec::new()).await;
    let attempts: Vec<AttemptId> = answer.orders.start.iter().map(|order| order.attempt).collect();
    assert_eq!(attempts.len(), 2);
    let order = &answer.orders.start[0];
    assert_eq!(
        (order.command.as_slice(), order.image.as_str()),
        (["echo".to_owned(), "hi".to_owned()].as_slice(), "busybox")
    );
    assert_eq!(order.env["DSG_JOB_ID"], job.to_string());

    ada.sync(&grid, attempts.iter().map(|attempt| preparing(*attempt)).collect()).await;
    let first: ChunkDetail = grid.get(&format!("/api/v1/jobs/{job}/chunks/main/0")).await;
    assert_eq!((first.chunk.state, first.history[0].note.as_str()), (ChunkState::Leased, "pulling image"));
    ada.sync(&grid, attempts.iter().map(|attempt| running(*attempt)).collect()).await;
    assert_eq!(grid.job(job).await.job.state, JobState::Running);

    let answer = ada.sync(&grid, attempts.iter().map(|attempt| succeeded(*attempt)).collect()).await;
    assert_eq!(answer.orders.forget, attempts);
    let done = grid.job(job).await;
    assert_eq!((done.job.state, done.job.chunks.succeeded), (JobState::Succeeded, 2));
    let first: ChunkDetail = grid.get(&format!("/api/v1/jobs/{job}/chunks/main/0")).await;
    assert_eq!((first.history[0].exit_code, first.history[0].accepted), (Some(0), true));
    assert_eq!(first.history[0].runner_name, "ada");
    grid.server.stop().await;
}

#[tokio::test]
async fn a_success_counts_once_its_outputs_are_stored() {
    let grid = Grid::start().await;
    let mut ada = grid.runner("ada").await;
    let spec =
        "name: out\nimage: busybox\ncommand: [true]\nchunks: {count: 1}\noutputs: [{name: result, path: /out/r}]\n";
    let job = grid.submit(&spec.replace("[true]", "['true']")).await;
    let attempt = ada.sync(&grid, Vec::new()).await.orders.start[0].attempt;
    let bytes = b"forty-two";
    let mut report = succeeded(attempt);
    if let Phase::Ended(ended) = &mut report.phase {
        let sha256 = "7ea9d3b9e9d1a3d3ea0ad8e33c0d8d0b9a6f4f0d3e8aa1ffe7a6a4c5e9a0b1c2".to_owned();
        ended.outputs = vec![StoredFile { name: "result".into(), file: "r".into(), size: bytes.len() as u64, sha256 }];
    }
    let answer = ada.sync(&grid, vec![report.clone()]).await;
    assert!(answer.orders.forget.is_empty(), "its output is nowhere");
    let chunk: ChunkDetail = grid.get(&format!("/api/v1/jobs/{job}/chunks/main/0")).await;
    assert_eq!((chunk.chunk.state, chunk.history[0].phase.as_str()), (ChunkState::Storing, "storing"));

    let (hash, _) = grid.server.app.blobs.write(bytes).expect("stored");
    if let Phase::Ended(ended) = &mut report.phase {
        ended.outputs[0].sha256 = hash.to_string();
    }
    assert_eq!(ada.sync(&grid, vec![report]).await.orders.forget, [attempt]);
    let chunk: ChunkDetail = grid.get(&format!("/api/v1/jobs/{job}/chunks/main/0")).await;
    assert_eq!(chunk.history[0].outputs[0].sha256, hash.to_string());
    assert_eq!(grid.job(job).await.job.state, JobState::Succeeded);
}

#[tokio::test]
async fn one_intent_to_submit_gives_one_job() {
    let grid = Grid::start().await;
    let submit = Submit { spec: HELLO.to_owned(), request: Some("abc".to_owned()), ..Submit::default() };
    let one: Submitted = grid.post("/api/v1/jobs", &submit).await;
    let two: Submitted = grid.post("/api/v1/jobs", &submit).await;
    assert_eq!((one.job, one.chunks), (two.job, 2));
    assert!(one.warnings.iter().any(|warning| warning.contains("runner")), "no runner is there: {:?}", one.warnings);
    let other = grid.token(dsg_schemas::api::TokenKind::Submitter, "mara").await;
    let three: Submitted = read(grid.call(Method::POST, "/api/v1/jobs", &other, Some(&submit)).await).await;
    assert_ne!(one.job, three.job, "another person's word is another intent");
}

#[tokio::test]
async fn a_held_sync_is_answered_when_there_is_work() {
    let grid = Grid::start().await;
    let mut ada = grid.runner("ada").await;
    let request = ada.request(Vec::new(), 20_000);
    let hold = async { read::<SyncAnswer>(ada.send(&grid, &request).await).await };
    let (answer, _) =
        tokio::time::timeout(PATIENCE, async { tokio::join!(hold, grid.submit(HELLO)) }).await.expect("in time");
    assert_eq!((answer.seq, answer.orders.start.len()), (1, 2));
}

#[tokio::test]
async fn a_newer_sync_sends_the_held_one_away() {
    let grid = Grid::start().await;
    let mut ada = grid.runner("ada").await;
    let older = ada.request(Vec::new(), 20_000);
    let mut newer = ada.clone();
    let hold = async { read::<SyncAnswer>(ada.send(&grid, &older).await).await };
    // Sent again until the held one is gone: whichever comes first, none of them may hang.
    let (held, _) = tokio::join!(hold, async {
        for _ in 0..3 {
            let request = newer.request(Vec::new(), 0);
            newer.send(&grid, &request).await;
        }
    });
    assert!(held.orders.is_empty());
}

#[tokio::test]
async fn a_failed_chunk_is_retried_after_the_job_left_memory() {
    let grid = Grid::start().await;
    let mut ada = grid.runner("ada").await;
    let job = grid.submit(&HELLO.replace("count: 2", "count: 1")).await;
    let attempt = ada.sync(&grid, Vec::new()).await.orders.start[0].attempt;
    ada.sync(&grid, vec![ended(attempt, EndReason::Exit, 3)]).await;
    let failed = grid.job(job).await;
    assert_eq!((failed.job.state, failed.failures[&EndReason::Exit]), (JobState::Failed, 1));
    assert!(failed.why.is_some_and(|why| !why.is_empty()));

    let acted: Acted = grid.post("/api/v1/acts", &Act::Retry { job, which: Retries::Failed }).await;
    assert_eq!(acted.count, 1);
    let attempt = ada.sync(&grid, Vec::new()).await.orders.start[0].attempt;
    ada.sync(&grid, vec![succeeded(attempt)]).await;
    let chunk: ChunkDetail = grid.get(&format!("/api/v1/jobs/{job}/chunks/main/0")).await;
    assert_eq!((chunk.chunk.state, chunk.history.len()), (ChunkState::Succeeded, 2));

    let acted: Acted = grid.post("/api/v1/acts", &Act::Delete { job }).await;
    assert!(acted.count > 0, "{acted:?}");
    let gone = grid.refused::<()>(Method::GET, &format!("/api/v1/jobs/{job}"), &grid.token, None).await;
    assert_eq!(gone.code, "not_found");
}

#[tokio::test]
async fn the_overview_counts_what_waits_and_what_runs() {
    let grid = Grid::start().await;
    let mut ada = grid.runner("ada").await;
    grid.submit(&HELLO.replace("count: 2", "count: 10")).await;
    ada.sync(&grid, Vec::new()).await;
    let mut revisions = grid.server.app.engine.revisions();
    let overview = tokio::time::timeout(PATIENCE, async {
        loop {
            let overview: Overview = grid.get("/api/v1/overview").await;
            if overview.active > 0 {
                return overview;
            }
            revisions.changed().await.expect("a summary");
        }
    });
    let overview = overview.await.expect("in time");
    assert_eq!((overview.active, overview.waiting, overview.jobs.len()), (4, 6, 1), "ada has four cpus");
    assert_eq!(overview.runners[0].holds.len(), 4);
    assert!(overview.banners.is_empty(), "{:?}", overview.banners);
}

/// Rows of ended chunks leave memory: a retry of one, of the failed ones and of all finds them in the store.
#[tokio::test]
async fn a_retry_finds_the_attempts_that_its_chunks_had() {
    let grid = Grid::start().await;
    let mut ada = grid.runner("ada").await;
    let job = grid.submit(&HELLO.replace("count: 2", "count: 3")).await;
    let [zero, one, two] = ada.sync(&grid, Vec::new()).await.orders.start.try_into().expect("three orders");
    let goes_on = running(two.attempt);
    let reports = vec![ended(zero.attempt, EndReason::Exit, 3), succeeded(one.attempt), goes_on.clone()];
    ada.sync(&grid, reports).await;
    let retry = |which| Act::Retry { job, which };
    let acted: Acted = grid.post("/api/v1/acts", &retry(Retries::Chunks(vec![zero.chunk]))).await;
    assert_eq!(acted.count, 1, "{}", acted.message);
    let again = ada.sync(&grid, vec![goes_on.clone()]).await.orders.start.remove(0);
    assert_eq!((again.chunk, again.number), (zero.chunk, 2));
    ada.sync(&grid, vec![goes_on.clone(), ended(again.attempt, EndReason::Exit, 4)]).await;

    let acted: Acted = grid.post("/api/v1/acts", &retry(Retries::Failed)).await;
    assert_eq!(acted.count, 1, "{}", acted.message);
    let chunk = async |grid: &Grid, index: u32| -> ChunkDetail {
        grid.get(&format!("/api/v1/jobs/{job}/chunks/main/{index}")).await
    };
    let waits = chunk(&grid, 0).await;
    assert_eq!((waits.chunk.state, waits.chunk.attempts, waits.chunk.reason), (ChunkState::Waiting, 2, None));
    let grid = grid.restart().await;
    ada.hello(&grid, "boot-1").await;
    // The first answer may come before the rows are back in memory; the wait for work does not.
    let request = ada.request(vec![goes_on], 20_000);
    let third = read::<SyncAnswer>(ada.send(&grid, &request).await).await.orders.start.remove(0);
    assert_eq!((third.chunk, third.number), (zero.chunk, 3));

    ada.sync(&grid, vec![succeeded(two.attempt), succeeded(third.attempt)]).await;
    assert_eq!(grid.job(job).await.job.state, JobState::Succeeded);
    let acted: Acted = grid.post("/api/v1/acts", &retry(Retries::All)).await;
    assert_eq!(acted.count, 3, "{}", acted.message);
    let first = chunk(&grid, 1).await;
    assert_eq!((first.chunk.state, first.history.len(), first.history[0].accepted), (ChunkState::Waiting, 1, false));
    let manifest = grid.call::<()>(Method::GET, &format!("/api/v1/jobs/{job}/manifest"), &grid.token, None).await;
    let manifest = manifest.text().await.expect("a manifest");
    let nothing = manifest.matches("\"attempt\":null").count();
    assert_eq!(nothing, 3, "nothing counts until it has run again: {manifest}");
}
