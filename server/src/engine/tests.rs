//! What happens when the disk fails: nothing is answered that is not there, and the server goes on from what is.
use std::sync::atomic::Ordering;

use dsg_core::event::{Answer, Event, Join};
use dsg_schemas::ids::RunnerId;

use super::Refused;
use super::thread::standstill;
use crate::Config;
use crate::auth::{Entry, Kind};

fn enrol(name: &str) -> Event {
    Event::Join(Join::Enrol { name: name.to_owned(), credential_sha256: name.to_owned() })
}

#[tokio::test]
async fn a_failed_commit_is_an_error_for_its_callers_and_leaves_no_trace() {
    let data = tempfile::tempdir().expect("a directory");
    let server = crate::start(Config::local(data.path())).await.expect("a server");
    let app = server.app.clone();
    app.store.fail_next_commit.store(true, Ordering::SeqCst);
    assert_eq!(app.engine.apply(enrol("ada")).await, Err(Refused::Store));
    assert!(app.doors.book().runner("ada").is_none());
    let enrolled = app.engine.apply(enrol("byron")).await;
    let first = Answer::Enrolled { runner: RunnerId(1), name: "byron".to_owned() };
    assert_eq!(enrolled, Ok(first), "the id of the one that failed is free");

    let entry = Entry {
        id: "1".to_owned(),
        kind: Kind::Link { role: dsg_schemas::api::Role::Viewer },
        name: "mara".to_owned(),
        created_ms: 0,
        expires_ms: None,
        uses_left: None,
        parent: None,
    };
    app.store.fail_next_commit.store(true, Ordering::SeqCst);
    let put = app.engine.book(move |book, _| book.put("hash".to_owned(), entry)).await;
    assert_eq!(put, Err(Refused::Store));
    assert!(app.doors.book().get("hash").is_none());
    assert!(app.banners.all().is_empty(), "it could be opened again at once: {:?}", app.banners.all());
    assert_eq!(app.store.read(|rows| Ok(rows.runners()?.len())).expect("read"), 1);
    server.stop().await;
}

#[tokio::test]
async fn a_store_that_cannot_be_opened_is_told_and_taken_up_again() {
    let data = tempfile::tempdir().expect("a directory");
    let server = crate::start(Config::local(data.path())).await.expect("a server");
    let app = server.app.clone();
    let file = data.path().join("dsg.redb");
    let aside = data.path().join("aside");
    let health = async || crate::api::overview::healthz(axum::extract::State(app.clone())).await.0.as_u16();
    assert_eq!(health().await, 200);
    // A folder in its place: whatever the engine tries, the file cannot be opened.
    std::fs::rename(&file, &aside).expect("moved");
    std::fs::create_dir(&file).expect("made");
    app.store.fail_next_commit.store(true, Ordering::SeqCst);
    assert_eq!(app.engine.apply(enrol("ada")).await, Err(Refused::Store));
    let mut revisions = app.engine.revisions();
    while health().await != 503 {
        revisions.changed().await.expect("a summary");
    }
    assert!(app.banners.all().iter().any(|banner| banner.contains("store")), "{:?}", app.banners.all());
    assert_eq!(app.engine.apply(enrol("ada")).await, Err(Refused::Store));

    std::fs::remove_dir(&file).expect("removed");
    std::fs::rename(&aside, &file).expect("moved back");
    while health().await != 200 {
        // Each message makes it try, a little later than the last time.
        let _ = app.engine.apply(enrol("byron")).await;
        revisions.changed().await.expect("a summary");
    }
    assert!(app.banners.all().is_empty(), "{:?}", app.banners.all());
    server.stop().await;
}

#[tokio::test]
async fn on_a_full_disk_rows_are_loaded_once_and_nothing_is_tried_before_there_is_room() {
    let data = tempfile::tempdir().expect("a directory");
    let server = crate::start(Config::local(data.path())).await.expect("a server");
    let app = server.app.clone();
    let (runner, loads) = (Some(RunnerId(1)), || app.store.reopened.load(Ordering::SeqCst));
    let known = async || app.engine.ask(|grid, _| grid.runner_views(0).len()).await.expect("an answer");
    app.engine.apply(enrol("ada")).await.expect("there is room");
    let before = loads();
    *app.store.only_free_bytes.lock().expect("no panic") = Some(0);
    for name in 0..300 {
        assert_eq!(app.engine.apply(enrol(&format!("late-{name}"))).await, Err(Refused::DiskFull));
    }
    // So are people with what is not of the grid, and nobody's lease is looked at.
    let entry = app.doors.book().tokens().next().expect("the admin's").1.clone();
    let put = app.engine.book(move |book, _| book.put("hash".to_owned(), entry)).await;
    assert_eq!(put, Err(Refused::DiskFull));
    assert!(app.doors.book().get("hash").is_none());
    assert_eq!(loads() - before, 1, "once, after the one commit that was refused");
    assert_eq!(known().await, 1, "what was acknowledged is there, and may be looked at; what was refused is not");
    assert!(app.banners.all().iter().any(|banner| banner.contains("is full")), "{:?}", app.banners.all());

    *app.store.only_free_bytes.lock().expect("no panic") = None;
    let begun = std::time::Instant::now();
    let enrolled = loop {
        match app.engine.apply(enrol("byron")).await {
            Err(Refused::DiskFull) => assert!(begun.elapsed().as_secs() < 60, "it is not tried again"),
            other => break other,
        }
        tokio::task::yield_now().await;
    };
    let next = Answer::Enrolled { runner: RunnerId(2), name: "byron".to_owned() };
    assert_eq!(enrolled, Ok(next), "the ids of those that were refused are free");
    assert_eq!(loads() - before, 1);
    assert!(app.banners.all().is_empty(), "{:?}", app.banners.all());
    assert_eq!(app.store.read(|rows| Ok(rows.runners()?.len())).expect("read"), 2);
    assert_eq!(app.doors.book().runner("ada"), runner);
    server.stop().await;
}

#[test]
fn only_a_pause_that_is_not_the_loops_own_is_a_standstill() {
    assert_eq!(standstill(10_000, 11_000), None, "it waited for a message");
    assert_eq!(standstill(10_000, 14_900), None, "a large batch");
    assert_eq!(standstill(10_000, 3_610_000), Some(11_000), "an hour, but for the second that it would have waited");
}
