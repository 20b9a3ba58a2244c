//! The store alone: what was committed is there after a restart, and only for us.
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use dsg_core::row::{ChunkRow, Key, Meta, Row};
use dsg_schemas::ids::{AttemptId, ChunkId, JobId};
use serde_json::json;

use super::{Changes, Store, StoreError};

fn chunk(id: ChunkId, attempts: Vec<AttemptId>) -> ChunkRow {
    let row = json!({"id": id, "attempts": attempts, "failures": 0, "requeues": 0, "rule_uses": [],
        "waiting_since_ms": 0, "failed_on": [], "message": ""});
    serde_json::from_value(row).expect("a row of the first version")
}

fn changes(rows: impl IntoIterator<Item = (Key, Row)>) -> Changes {
    Changes { rows: rows.into_iter().map(|(key, row)| (key, Some(row))).collect(), ..Changes::default() }
}

#[test]
fn rows_survive_a_restart_and_a_removed_job_leaves_nothing() {
    let dir = tempfile::tempdir().expect("a directory");
    let job = JobId(7);
    let id = ChunkId { job, stage: 0, index: 5 };
    let attempt = AttemptId(3);
    {
        let store = Store::open(dir.path(), 1 << 20).expect("opened");
        let block: Arc<[u8]> = vec![0, 1, 5].into();
        let written = changes([
            (Key::Meta, Row::Meta(Meta { next_job: 8, ..Meta::default() })),
            (Key::Block(job, 0, 0), Row::Block(block)),
            (Key::Chunk(id), Row::Chunk(chunk(id, vec![attempt]))),
        ]);
        store.commit(&written).expect("committed");
    }
    let store = Store::open(dir.path(), 1 << 20).expect("opened again");
    let found = store.read(|rows| Ok((rows.states(job, 0)?, rows.chunk(id)?, rows.state(ChunkId { index: 2, ..id })?)));
    assert_eq!(found.expect("read"), (vec![0, 1, 5], Some(chunk(id, vec![attempt])), Some(5)));
    assert_eq!(store.read(|rows| rows.live_rows()).expect("read")[0].0, Key::Meta);

    let removed = store.commit(&Changes { removed_jobs: vec![job], ..Changes::default() }).expect("committed");
    assert_eq!(removed, [attempt]);
    let left = store.read(|rows| Ok((rows.states(job, 0)?, rows.chunk(id)?))).expect("read");
    assert_eq!(left, (Vec::new(), None));
}

#[test]
fn only_the_owner_may_read_the_files() {
    let dir = tempfile::tempdir().expect("a directory");
    let data = dir.path().join("data");
    let _store = Store::open(&data, 1 << 20).expect("opened");
    let mode = |path: &Path| std::fs::metadata(path).expect("there").permissions().mode() & 0o777;
    assert_eq!((mode(&data), mode(&data.join("dsg.redb"))), (0o700, 0o600));
}

#[test]
fn a_failed_commit_closes_the_store_and_opening_it_again_shows_the_old_rows() {
    let dir = tempfile::tempdir().expect("a directory");
    let store = Store::open(dir.path(), 1 << 20).expect("opened");
    let meta = |next_job| changes([(Key::Meta, Row::Meta(Meta { next_job, ..Meta::default() }))]);
    store.commit(&meta(1)).expect("committed");
    store.fail_next_commit.store(true, Ordering::SeqCst);
    store.commit(&meta(2)).expect_err("refused");
    assert!(matches!(store.read(|rows| rows.grid()), Err(StoreError::Closed)));
    store.reopen().expect("opened again");
    let rows = store.read(|rows| rows.live_rows()).expect("read");
    assert_eq!(rows, [(Key::Meta, Row::Meta(Meta { next_job: 1, ..Meta::default() }))]);
}
