//! Little space on the server's disk: first nothing is uploaded any more, then nothing starts, and both end by themselves.
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use dsg_schemas::api::{Explanation, JobState, Overview, Submit, Upload};
use dsg_schemas::reason::EndReason;
use dsg_schemas::wire::{AttemptReport, Ended, Phase, StoredFile};
use dsg_server::blobs::BlobHash;
use dsg_server::housekeeping::look_at_disk;
use dsg_server::watermark::{Measure, Space};
use reqwest::Method;

use super::grid::{Grid, HELLO, is, problem, running};

const MIB: u64 = 1 << 20;
const WITH_FILE: &str =
    "name: n\nimage: i\ncommand: [c]\nchunks: {count: 1}\ninputs: [{name: a, from: 'upload:a.txt', path: /in/a}]\n";

#[tokio::test]
async fn uploads_stop_below_one_mark_and_starts_below_the_other_and_results_are_taken() {
    let free = Arc::new(AtomicU64::new(50 << 30));
    let (seen, data) = (free.clone(), tempfile::tempdir().expect("a directory"));
    let space = move || Space { free_bytes: seen.load(Ordering::SeqCst), total_bytes: 100 << 30 };
    let grid = Grid::with(data, |config| config.measure = Measure(Arc::new(move |_| Ok(space())))).await;
    let app = grid.server.app.clone();
    let mut ada = grid.runner("ada").await;
    let put = async |token: &str, text: &str| {
        grid.put(token, BlobHash::of(text.as_bytes()), 0, text.len(), text.as_bytes()).await
    };
    is(&put(&grid.token, "a").await, 200);
    let uploads = [("a.txt".to_owned(), Upload { size: 1, sha256: BlobHash::of(b"a").to_string() })].into();
    let with_file = Submit { spec: WITH_FILE.to_owned(), uploads, ..Submit::default() };
    let submit = async || grid.call(Method::POST, "/api/v1/jobs", &grid.token, Some(&with_file)).await;
    is(&submit().await, 201);
    let first = ada.sync(&grid, Vec::new()).await.orders.start[0].attempt;

    // 2 GiB are less than 5 % of this disk.
    free.store(2048 * MIB - 1, Ordering::SeqCst);
    assert!(!look_at_disk(&app, false).await);
    let overview: Overview = grid.get("/api/v1/overview").await;
    assert!(overview.banners.iter().any(|text| text.contains("nearly full (2047 MiB are free, 2048 MiB should be")));
    let page = grid.fetch("/jobs", &[]).await.text().await.expect("a page");
    assert!(page.contains("is nearly full"), "{page}");
    for answer in [put(&grid.token, "b").await, submit().await] {
        let problem = problem(answer).await;
        assert_eq!((problem.status, problem.code.as_str()), (507, "disk_low"));
        assert!(problem.detail.contains("2047 MiB are free") && problem.detail.contains("try again"), "{problem:?}");
    }
    let second = grid.submit(HELLO).await;
    let started = ada.sync(&grid, vec![running(first)]).await.orders.start;
    assert_eq!(started.len(), 2, "what brings no files runs");

    free.store(512 * MIB - 1, Ordering::SeqCst);
    assert!(look_at_disk(&app, false).await);
    let overview: Overview = grid.get("/api/v1/overview").await;
    assert!(overview.banners.iter().any(|text| text.contains("nothing new starts")), "{:?}", overview.banners);
    is(&put(&ada.credential, "result").await, 200);
    let sha256 = BlobHash::of(b"result").to_string();
    let outputs = vec![StoredFile { name: "o".into(), file: "o".into(), size: 6, sha256 }];
    let ends = |attempt, outputs| {
        let ended = Ended { exit_code: Some(0), outputs, ..Ended::before_start(EndReason::Succeeded, "") };
        AttemptReport { attempt, phase: Phase::Ended(Box::new(ended)) }
    };
    let mut reports: Vec<_> = started.iter().map(|order| ends(order.attempt, Vec::new())).collect();
    reports.push(ends(first, outputs));
    let answer = ada.sync(&grid, reports).await;
    assert_eq!((answer.orders.forget.len(), answer.orders.start.len()), (3, 0), "results are taken");
    assert_eq!(grid.job(second).await.job.state, JobState::Succeeded);
    let third = grid.submit(HELLO).await;
    assert!(ada.sync(&grid, Vec::new()).await.orders.start.is_empty(), "it waits");
    let why = "nothing new starts while the server's disk is almost full (511 MiB are free, 512 MiB should be)";
    let path = format!("/api/v1/jobs/{third}/explain/main/0");
    assert_eq!(grid.get::<Explanation>(&path).await.summary, why);
    assert_eq!(grid.job(third).await.why.as_deref(), Some(why));

    free.store(50 << 30, Ordering::SeqCst);
    assert!(!look_at_disk(&app, true).await);
    assert_eq!(grid.get::<Overview>("/api/v1/overview").await.banners, Vec::<String>::new());
    assert_eq!(ada.sync(&grid, Vec::new()).await.orders.start.len(), 2, "and goes on by itself");
    is(&put(&grid.token, "b").await, 200);
    is(&submit().await, 201);
}
