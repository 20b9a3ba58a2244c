//! What counts as a success, and what becomes of the outputs: nothing on a runner's word alone, nothing lost by a rule.
use dsg_schemas::api::{Act, Acted, ChunkDetail, ChunkState, ChunkView, JobDetail, JobState, ManifestLine, Page};
use dsg_schemas::ids::{AttemptId, JobId};
use dsg_schemas::reason::EndReason;
use dsg_schemas::wire::{AttemptReport, Phase, StoredFile};
use reqwest::Method;

use super::grid::{Grid, HELLO, PATIENCE, ended, succeeded};

const SPEC: &str = "name: out
image: busybox
command: [work]
chunks: {count: 3}
retry: {rules: [{when: {exit_codes: [3]}, action: accept}]}
outputs: [{name: table, path: /out/t.txt}]
gather:
  - {mode: concat, from: table, output: some, when: partial}
  - {mode: concat, from: table, output: every}
";

/// The report of an attempt that left this as its table.
fn with_table(grid: &Grid, mut report: AttemptReport, text: &str) -> AttemptReport {
    let (hash, size) = grid.server.app.blobs.write(text.as_bytes()).expect("stored");
    if let Phase::Ended(ended) = &mut report.phase {
        ended.outputs = vec![StoredFile { name: "table".into(), file: "t.txt".into(), size, sha256: hash.to_string() }];
    }
    report
}

async fn over(grid: &Grid, job: JobId) -> JobDetail {
    let mut revisions = grid.server.app.engine.revisions();
    let ended = tokio::time::timeout(PATIENCE, async {
        loop {
            let detail = grid.job(job).await;
            if detail.job.state.is_final() {
                return detail;
            }
            revisions.changed().await.expect("a summary");
        }
    });
    ended.await.expect("in time")
}

async fn text_of(grid: &Grid, file: &StoredFile) -> String {
    let path = format!("/api/v1/blobs/sha256/{}", file.sha256);
    grid.call::<()>(Method::GET, &path, &grid.token, None).await.text().await.expect("text")
}

#[tokio::test]
async fn an_accepted_exit_brings_its_outputs_and_a_bare_success_is_none() {
    let grid = Grid::start().await;
    let mut ada = grid.runner("ada").await;
    let job = grid.submit(SPEC).await;
    let attempts: Vec<AttemptId> =
        ada.sync(&grid, Vec::new()).await.orders.start.iter().map(|order| order.attempt).collect();
    let reports = vec![
        with_table(&grid, succeeded(attempts[0]), "zero\n"),
        with_table(&grid, ended(attempts[1], EndReason::Exit, 3), "one\n"),
        succeeded(attempts[2]),
    ];
    ada.sync(&grid, reports).await;
    let detail = over(&grid, job).await;
    assert_eq!((detail.job.state, detail.job.chunks.succeeded), (JobState::Partial, 2), "{detail:?}");
    let bare: ChunkDetail = grid.get(&format!("/api/v1/jobs/{job}/chunks/main/2")).await;
    assert_eq!(bare.chunk.reason, Some(EndReason::OutputMissing));
    assert!(bare.chunk.message.contains("table"), "{}", bare.chunk.message);
    let names: Vec<&str> = detail.gathered.iter().map(|file| file.name.as_str()).collect();
    assert_eq!(names, ["some"], "the step that wants every chunk is left out");
    assert_eq!(text_of(&grid, &detail.gathered[0]).await, "zero\none\n");
}

#[tokio::test]
async fn with_every_chunk_there_every_step_is_done() {
    let grid = Grid::start().await;
    let mut ada = grid.runner("ada").await;
    let job = grid.submit(SPEC).await;
    let start = ada.sync(&grid, Vec::new()).await.orders.start;
    let reports = start.iter().map(|order| with_table(&grid, succeeded(order.attempt), "line\n")).collect();
    ada.sync(&grid, reports).await;
    let detail = over(&grid, job).await;
    assert_eq!(detail.job.state, JobState::Succeeded, "{detail:?}");
    let names: Vec<&str> = detail.gathered.iter().map(|file| file.name.as_str()).collect();
    assert_eq!(names, ["some", "every"]);
}

#[tokio::test]
async fn a_chunk_that_never_ran_tells_why_it_ended() {
    let grid = Grid::start().await;
    let job = grid.submit(HELLO).await;
    let acted: Acted = grid.post("/api/v1/acts", &Act::Cancel { job }).await;
    assert_eq!(acted.count, 2);
    let list: Page<ChunkView> = grid.get(&format!("/api/v1/jobs/{job}/chunks")).await;
    let one: ChunkDetail = grid.get(&format!("/api/v1/jobs/{job}/chunks/main/1")).await;
    for chunk in list.rows.iter().chain([&one.chunk]) {
        assert_eq!((chunk.state, chunk.reason), (ChunkState::Cancelled, Some(EndReason::Cancelled)));
        assert_eq!(chunk.message, "cancelled by admin");
        assert!(chunk.ended_ms.is_some());
    }
    let manifest = grid.call::<()>(Method::GET, &format!("/api/v1/jobs/{job}/manifest"), &grid.token, None).await;
    let manifest = manifest.text().await.expect("text");
    let lines: Vec<ManifestLine> = manifest.lines().map(|line| serde_json::from_str(line).expect("a line")).collect();
    assert!(lines.len() == 2 && lines.iter().all(|line| line.reason == Some(EndReason::Cancelled)), "{lines:?}");
}
