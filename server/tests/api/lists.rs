//! Lists: filters, cursors, the map, events.
use dsg_schemas::api::{
    Act, Acted, ChunkView, JobView, Page, QueueEntry, RunnerState, RunnerView, TokenKind, TokenView,
};
use dsg_schemas::reason::EndReason;
use futures_util::StreamExt;
use reqwest::Method;

use super::grid::{Grid, HELLO, PATIENCE, ended, running, succeeded};

#[tokio::test]
async fn pages_of_jobs_show_each_job_once() {
    let grid = Grid::start().await;
    for n in 0..7 {
        grid.submit(&HELLO.replace("name: hello", &format!("name: job-{n}"))).await;
    }
    let mut seen = Vec::new();
    let mut path = "/api/v1/jobs?limit=3".to_owned();
    loop {
        let page: Page<JobView> = grid.get(&path).await;
        assert!(page.rows.len() <= 3);
        seen.extend(page.rows.into_iter().map(|job| job.id.0));
        match page.next {
            Some(cursor) => path = format!("/api/v1/jobs?limit=3&cursor={cursor}"),
            None => break,
        }
    }
    assert_eq!(seen, [7, 6, 5, 4, 3, 2, 1]);
    let found: Page<JobView> = grid.get("/api/v1/jobs?text=JOB-4&state=open&owner=admin").await;
    assert_eq!((found.rows.len(), found.rows[0].id.0, found.next), (1, 5, None));
    for nothing in ["?state=ended", "?owner=mara", "?text=nowhere"] {
        assert_eq!(grid.get::<Page<JobView>>(&format!("/api/v1/jobs{nothing}")).await.rows, [], "{nothing}");
    }
}

#[tokio::test]
async fn pages_of_chunks_and_the_map_agree() {
    let grid = Grid::start().await;
    let mut ada = grid.runner("ada").await;
    let job = grid.submit(&HELLO.replace("count: 2", "count: 9")).await;
    let attempts = ada.sync(&grid, Vec::new()).await.orders.start;
    ada.sync(&grid, vec![succeeded(attempts[0].attempt), ended(attempts[1].attempt, EndReason::Exit, 1)]).await;
    let mut seen = Vec::new();
    let mut path = format!("/api/v1/jobs/{job}/chunks?limit=2");
    loop {
        let page: Page<ChunkView> = grid.get(&path).await;
        seen.extend(page.rows.into_iter().map(|chunk| chunk.state as u8));
        match page.next {
            Some(cursor) => path = format!("/api/v1/jobs/{job}/chunks?limit=2&cursor={cursor}"),
            None => break,
        }
    }
    let map = grid.call::<()>(Method::GET, &format!("/api/v1/jobs/{job}/map"), &grid.token, None).await;
    assert_eq!(map.bytes().await.expect("bytes").to_vec(), seen);
    assert_eq!(seen.len(), 9);
    let failed: Page<ChunkView> = grid.get(&format!("/api/v1/jobs/{job}/chunks?state=failed")).await;
    assert_eq!((failed.rows.len(), failed.rows[0].id.index, failed.rows[0].exit_code), (1, 1, Some(1)));
}

#[tokio::test]
async fn a_change_is_told_to_whoever_listens() {
    let grid = Grid::start().await;
    let stream = grid.call::<()>(Method::GET, "/api/v1/events", &grid.token, None).await;
    let mut events = stream.bytes_stream();
    let mut next = async || {
        let piece =
            tokio::time::timeout(PATIENCE, events.next()).await.expect("in time").expect("a piece").expect("bytes");
        String::from_utf8(piece.to_vec()).expect("text")
    };
    let revision = |event: &str| -> u64 {
        let data = event.lines().find_map(|line| line.strip_prefix("data: ")).expect("data");
        serde_json::from_str::<dsg_schemas::api::Change>(data).expect("a change").revision
    };
    let first = revision(&next().await);
    grid.submit(HELLO).await;
    assert!(revision(&next().await) > first);
}

/// All rows of a list, two at a time; each page but the last must be full.
async fn walk<T: serde::de::DeserializeOwned>(grid: &Grid, path: &str) -> Vec<T> {
    let mut rows = Vec::new();
    let mut cursor = String::new();
    loop {
        let from = if cursor.is_empty() { String::new() } else { format!("&cursor={cursor}") };
        let page: Page<T> = grid.get(&format!("{path}limit=2{from}")).await;
        assert!(page.rows.len() == 2 || page.next.is_none());
        rows.extend(page.rows);
        match page.next {
            Some(next) => cursor = next,
            None => return rows,
        }
    }
}

#[tokio::test]
async fn runners_tokens_and_the_queue_have_pages_and_filters() {
    let grid = Grid::start().await;
    for name in ["ada", "byron", "curie"] {
        grid.runner(name).await;
    }
    let names = async |path: &str| -> Vec<String> {
        walk::<RunnerView>(&grid, path).await.into_iter().map(|runner| runner.name).collect()
    };
    let mut revisions = grid.server.app.engine.revisions();
    // Views of runners come from the summary, which is made a few times a second.
    let ready = async {
        while names("/api/v1/runners?state=ready&").await.len() < 3 {
            revisions.changed().await.expect("a summary");
        }
    };
    tokio::time::timeout(PATIENCE, ready).await.expect("in time");
    assert_eq!(names("/api/v1/runners?").await, ["ada", "byron", "curie"]);
    assert_eq!(names("/api/v1/runners?text=R&state=ready&").await, ["byron", "curie"]);
    assert_eq!(names("/api/v1/runners?state=draining&").await, [""; 0]);

    for name in ["mara", "otto", "lise"] {
        grid.token(TokenKind::Viewer, name).await;
    }
    let tokens: Vec<TokenView> = walk(&grid, "/api/v1/tokens?kind=viewer&").await;
    let mut found: Vec<&str> = tokens.iter().map(|token| token.name.as_str()).collect();
    found.sort_unstable();
    assert_eq!(found, ["lise", "mara", "otto"]);
    assert_eq!(walk::<TokenView>(&grid, "/api/v1/tokens?text=tt&").await[0].name, "otto");

    let jobs: Vec<_> = futures_util::future::join_all((0..5).map(|_| grid.submit(HELLO))).await;
    let queue: Vec<QueueEntry> = walk(&grid, "/api/v1/queue?").await;
    let mut queued: Vec<_> = queue.iter().map(|entry| entry.job).collect();
    queued.sort_unstable();
    queued.dedup();
    assert_eq!((queue.len(), queued.len()), (5, 5), "each job waits once");
    let one: Vec<QueueEntry> = walk(&grid, &format!("/api/v1/queue?job={}&", jobs[3])).await;
    assert_eq!((one.len(), one[0].job), (1, jobs[3]));
    assert_eq!(walk::<QueueEntry>(&grid, "/api/v1/queue?owner=nobody&").await, []);
}

/// A held sync is answered at once with a pause and its end, and an evicted attempt costs nothing.
#[tokio::test]
async fn a_runner_hears_of_a_pause_and_of_an_eviction() {
    let grid = Grid::start().await;
    let mut ada = grid.runner("ada").await;
    let job = grid.submit(HELLO).await;
    let attempt = ada.sync(&grid, vec![]).await.orders.start[0].attempt;
    assert!(!ada.sync(&grid, vec![running(attempt)]).await.pause);
    let runner = dsg_schemas::ids::RunnerId(1);
    for (act, pause) in [(Act::Pause { runner }, true), (Act::Resume { runner }, false)] {
        let request = ada.request(vec![running(attempt)], 20_000);
        let held = ada.send(&grid, &request);
        let said = async { grid.post::<_, Acted>("/api/v1/acts", &act).await };
        let (answer, acted) = tokio::join!(held, said);
        // The act may have come first: then the answer has nothing new to wait for, and the next one says the same.
        assert_eq!((acted.count, ada.sync(&grid, vec![running(attempt)]).await.pause), (1, pause));
        drop(answer);
    }
    grid.post::<_, Acted>("/api/v1/acts", &Act::Evict { runner }).await;
    let orders = ada.sync(&grid, vec![running(attempt)]).await.orders;
    assert_eq!((orders.stop[0].attempt, orders.stop[0].reason), (attempt, EndReason::Evicted));
    ada.sync(&grid, vec![ended(attempt, EndReason::Evicted, 143)]).await;
    let view: JobView = grid.get(&format!("/api/v1/jobs/{job}")).await;
    assert_eq!((view.chunks.waiting, view.chunks.failed), (2, 0));
    let page: Page<RunnerView> = grid.get("/api/v1/runners").await;
    assert_eq!(page.rows[0].state, RunnerState::Evicted);
}

/// A person who has drained a runner or submitted a job sees that, wherever they look next.
#[tokio::test]
async fn what_was_done_is_seen_at_once() {
    let grid = Grid::start().await;
    grid.runner("ada").await;
    for _ in 0..20 {
        let runner = dsg_schemas::ids::RunnerId(1);
        grid.post::<_, Acted>("/api/v1/acts", &Act::Drain { runner }).await;
        let page: Page<RunnerView> = grid.get("/api/v1/runners").await;
        assert_eq!(page.rows[0].state, RunnerState::Draining);
        grid.post::<_, Acted>("/api/v1/acts", &Act::Undrain { runner }).await;
        let page: Page<RunnerView> = grid.get("/api/v1/runners").await;
        assert_eq!(page.rows[0].state, RunnerState::Ready);
        let job = grid.submit(&HELLO.replace("name: hello", "name: hello\nhold: true")).await;
        let queue: Page<QueueEntry> = grid.get("/api/v1/queue").await;
        assert!(queue.rows.iter().any(|entry| entry.job == job));
    }
}
