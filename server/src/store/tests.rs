//! The store alone: what was committed is there after a restart, and only for us.
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use dsg_core::row::{ChunkRow, Key, Meta, Row};
use dsg_schemas::ids::{AttemptId, ChunkId, JobId};
use serde_json::json;

use super::torture::{commit, content, revision};
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

/// With jobs that ended and one that is held, a runner and tokens; written by the last server that knew no checksums.
const VERSION_1: &[u8] = include_bytes!("testdata/version-1.redb");

#[tokio::test]
async fn a_store_of_version_1_is_taken_over_with_everything_in_it() {
    let dir = tempfile::tempdir().expect("a directory");
    std::fs::write(dir.path().join("dsg.redb"), VERSION_1).expect("written");
    for start in ["the first", "the second"] {
        let server = crate::start(crate::Config::local(dir.path())).await.expect(start);
        let app = &server.app;
        assert_eq!(app.grid, "ca3b9b6a2c3cd35e");
        assert!(server.welcome.is_none(), "its tokens are known");
        let mut jobs = Vec::new();
        let all = app.store.read(|rows| {
            rows.jobs_newest_first(None, |job| {
                jobs.push((job.name, job.held, job.tally.succeeded));
                true
            })
        });
        all.expect("rows");
        let expected = [("waits", true, 0), ("fails", false, 2), ("hello", false, 10)];
        assert_eq!(jobs, expected.map(|(name, held, succeeded)| (name.to_owned(), held, succeeded)));
        assert_eq!(app.store.read(|rows| rows.states(JobId(1), 0)).expect("rows"), [5; 10]);
        assert_eq!(app.store.read(|rows| Ok(rows.runners()?.len())).expect("rows"), 1);
        assert!(app.store.read(|rows| rows.spec(JobId(3))).expect("rows").is_some());
        let chunk = ChunkId { job: JobId(1), stage: 0, index: 6 };
        assert_eq!(app.store.read(|rows| rows.chunk(chunk)).expect("rows").expect("a chunk").attempts, [AttemptId(7)]);
        assert_eq!(app.doors.book().tokens().count(), 3);
        content(&app.store).expect("every row is sealed");
        // Its log begins in the middle, so it needs a snapshot; the server takes it without being asked.
        while super::snapshots(dir.path()).expect("listed").is_empty() {
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
        server.stop().await;
    }
}

#[test]
fn a_store_of_a_newer_version_is_refused_and_left_alone() {
    let dir = tempfile::tempdir().expect("a directory");
    drop(Store::open(dir.path(), 1 << 20).expect("opened"));
    let database = redb::Database::open(dir.path().join("dsg.redb")).expect("opened");
    let write = database.begin_write().expect("begun");
    write.open_table(super::tables::META).expect("a table").insert("version", b"99".as_slice()).expect("written");
    write.commit().expect("committed");
    drop(database);
    let error = Store::open(dir.path(), 1 << 20).err().expect("refused");
    assert!(matches!(error, StoreError::Version { found: 99, .. }), "{error}");
}

/// A data directory with a snapshot and a log that goes on behind it.
fn with_history() -> (tempfile::TempDir, super::torture::Content) {
    let dir = tempfile::tempdir().expect("a directory");
    let store = Store::open(dir.path(), 1 << 20).expect("opened");
    for number in 1..=10 {
        store.commit(&commit(number)).expect("committed");
    }
    assert!(matches!(store.snapshot(), Ok(super::Taken::Written(_))));
    assert_eq!(store.snapshot().expect("looked"), super::Taken::Unchanged);
    for number in 11..=30 {
        store.commit(&commit(number)).expect("committed");
        match number {
            20 => assert!(matches!(store.snapshot(), Ok(super::Taken::Written(_)))),
            // The log goes on in a new file.
            13 | 16 => store.reopen().expect("opened again"),
            _ => {}
        }
    }
    let rows = content(&store).expect("rows");
    store.close();
    (dir, rows)
}

fn told(dir: &Path, named: Option<&str>) -> Result<String, String> {
    let mut lines = Vec::new();
    super::restore(dir, named, |line| lines.push(line)).map_err(|error| error.to_string())?;
    Ok(lines.join("\n"))
}

fn reopened(dir: &Path) -> (u64, super::torture::Content) {
    let store = Store::open(dir, 1 << 20).expect("opened");
    (revision(&store), content(&store).expect("rows"))
}

fn is(dir: &Path, revision: u64, rows: &super::torture::Content) {
    let found = reopened(dir);
    assert!(found.0 == revision && found.1 == *rows, "commit {} and other rows than those of {revision}", found.0);
}

fn damage(file: &Path) {
    let mut bytes = std::fs::read(file).expect("read");
    let middle = bytes.len() / 3..bytes.len() / 3 * 2;
    bytes[middle].fill(0xa5);
    std::fs::write(file, bytes).expect("written");
}

#[test]
fn a_restore_reaches_the_last_acknowledged_change() {
    let (dir, rows) = with_history();
    damage(&dir.path().join("dsg.redb"));
    let error = Store::open(dir.path(), 1 << 20).err().expect("refused").to_string();
    assert!(error.contains("dsg-server restore --data"), "{error}");
    let text = told(dir.path(), None).expect("restored");
    assert!(
        text.contains("restored up to commit 30") && text.contains("nothing that was acknowledged is lost"),
        "{text}"
    );
    is(dir.path(), 30, &rows);
    let aside = super::disk::names(dir.path()).expect("listed");
    assert!(aside.iter().any(|name| name.starts_with("dsg.redb.damaged-")), "{aside:?}");
}

#[test]
fn a_file_that_is_gone_is_not_begun_anew_but_restored() {
    let (dir, rows) = with_history();
    std::fs::remove_file(dir.path().join("dsg.redb")).expect("removed");
    let error = Store::open(dir.path(), 1 << 20).err().expect("refused");
    assert!(matches!(error, StoreError::Missing { .. }), "{error}");
    told(dir.path(), None).expect("restored");
    is(dir.path(), 30, &rows);
}

#[test]
fn the_snapshot_before_a_damaged_one_does_as_well() {
    let (dir, rows) = with_history();
    let newest = super::snapshots(dir.path()).expect("listed").remove(0).0;
    damage(&dir.path().join("snapshots").join(format!("{newest}.redb")));
    let text = told(dir.path(), None).expect("restored");
    assert!(text.contains(&format!("snapshot {newest} cannot be used")), "{text}");
    is(dir.path(), 30, &rows);
}

#[test]
fn without_a_snapshot_the_log_alone_is_enough_while_it_goes_back_to_the_beginning() {
    let dir = tempfile::tempdir().expect("a directory");
    let first = dir.path().join("redo").join(format!("{:020}.redo", 1));
    for number in 1..=5 {
        let store = Store::open(dir.path(), 1 << 20).expect("opened");
        store.commit(&commit(number)).expect("committed");
    }
    let rows = reopened(dir.path()).1;
    damage(&dir.path().join("dsg.redb"));
    told(dir.path(), None).expect("restored");
    is(dir.path(), 5, &rows);
    std::fs::remove_file(first).expect("removed");
    let error = told(dir.path(), None).expect_err("refused");
    assert!(error.contains("no good snapshot"), "{error}");
}

#[test]
fn what_a_restore_cannot_reach_is_told_and_does_not_come_back_later() {
    let (dir, _) = with_history();
    // Between the snapshots.
    std::fs::remove_file(dir.path().join("redo").join(format!("{:020}.redo", 11))).expect("removed");
    let old = super::snapshots(dir.path()).expect("listed").remove(1).0;
    let error = told(dir.path(), Some("2026-01-01T00-00-00Z-1")).expect_err("refused");
    assert!(error.contains("--list"), "{error}");
    let text = told(dir.path(), Some(&old)).expect("restored");
    assert!(text.contains("restored up to commit 10") && text.contains("LOST: commits 11 to 30"), "{text}");
    {
        let store = Store::open(dir.path(), 1 << 20).expect("opened");
        assert_eq!(revision(&store), 10);
        store.commit(&commit(11)).expect("committed");
        store.close();
    }
    std::fs::remove_file(dir.path().join("dsg.redb")).expect("removed");
    let text = told(dir.path(), None).expect("restored");
    assert!(
        text.contains("restored up to commit 11") && text.contains("nothing that was acknowledged is lost"),
        "{text}"
    );
}

#[test]
fn nothing_is_restored_under_a_running_server() {
    let (dir, _) = with_history();
    let store = Store::open(dir.path(), 1 << 20).expect("opened");
    let error = told(dir.path(), None).expect_err("refused");
    assert!(error.contains("stop it first"), "{error}");
    let error = super::dump(dir.path(), &mut Vec::new()).expect_err("refused").to_string();
    assert!(error.contains("stop it first"), "{error}");
    drop(store);
}

#[test]
fn a_torn_end_of_the_log_is_told() {
    let (dir, rows) = with_history();
    let last = dir.path().join("redo").join(format!("{:020}.redo", 21));
    let mut bytes = std::fs::read(&last).expect("read");
    bytes.extend_from_slice(&[7; 100]);
    std::fs::write(&last, bytes).expect("written");
    is(dir.path(), 30, &rows);
    std::fs::remove_file(dir.path().join("dsg.redb")).expect("removed");
    let text = told(dir.path(), None).expect("restored");
    assert!(text.contains("100 bytes that are no whole commit"), "{text}");
    is(dir.path(), 30, &rows);
}

#[test]
fn a_commit_that_failed_is_not_made_up_for_and_one_that_only_the_log_has_is() {
    let dir = tempfile::tempdir().expect("a directory");
    let file = dir.path().join("dsg.redb");
    let store = Store::open(dir.path(), 1 << 20).expect("opened");
    store.commit(&commit(1)).expect("committed");
    store.fail_next_commit.store(true, Ordering::SeqCst);
    store.commit(&commit(2)).expect_err("refused");
    store.reopen().expect("opened again");
    store.close();
    assert_eq!(reopened(dir.path()).0, 1, "its callers were told that nothing was done");

    let old = std::fs::read(&file).expect("read");
    let store = Store::open(dir.path(), 1 << 20).expect("opened");
    store.commit(&commit(2)).expect("committed");
    let rows = content(&store).expect("rows");
    store.close();
    std::fs::write(&file, old).expect("written");
    is(dir.path(), 2, &rows);
}

#[test]
fn a_store_that_is_older_than_its_snapshots_is_not_gone_on_with() {
    let (dir, rows) = with_history();
    let all = super::snapshots(dir.path()).expect("listed");
    let snapshot = |place: usize| dir.path().join("snapshots").join(format!("{}.redb", all[place].0));
    std::fs::copy(snapshot(1), dir.path().join("dsg.redb")).expect("copied");
    let redo = dir.path().join("redo");
    std::fs::rename(&redo, dir.path().join("aside")).expect("moved");
    let error = Store::open(dir.path(), 1 << 20).err().expect("refused");
    assert!(matches!(error, StoreError::Behind { have: 10, .. }), "{error}");
    std::fs::rename(dir.path().join("aside"), &redo).expect("moved back");
    is(dir.path(), 30, &rows);
}

#[test]
fn snapshots_and_log_alone_are_a_backup() {
    let (dir, rows) = with_history();
    let _running = Store::open(dir.path(), 1 << 20).expect("opened");
    let backup = tempfile::tempdir().expect("a directory");
    for folder in ["snapshots", "redo"] {
        std::fs::create_dir(backup.path().join(folder)).expect("made");
        for name in super::disk::names(&dir.path().join(folder)).expect("listed") {
            let path = |data: &Path| data.join(folder).join(&name);
            std::fs::copy(path(dir.path()), path(backup.path())).expect("copied");
        }
    }
    told(backup.path(), None).expect("restored");
    is(backup.path(), 30, &rows);
}

#[test]
fn snapshots_and_logs_are_for_our_eyes_only() {
    let (dir, _) = with_history();
    for folder in ["snapshots", "redo"] {
        let folder = dir.path().join(folder);
        let mode = |path: &Path| std::fs::metadata(path).expect("there").permissions().mode() & 0o777;
        assert_eq!(mode(&folder), 0o700);
        for name in super::disk::names(&folder).expect("listed") {
            assert_eq!(mode(&folder.join(&name)), 0o600, "{name}");
        }
    }
}

#[test]
fn a_dump_shows_every_row_and_no_hash() {
    let dir = tempfile::tempdir().expect("a directory");
    std::fs::write(dir.path().join("dsg.redb"), VERSION_1).expect("written");
    drop(Store::open(dir.path(), 1 << 20).expect("opened"));
    let before = std::fs::read(dir.path().join("dsg.redb")).expect("read");
    let mut out = Vec::new();
    super::dump(dir.path(), &mut out).expect("dumped");
    let text = String::from_utf8(out).expect("text");
    let has = |start: &str| text.lines().any(|line| line.starts_with(start));
    assert!(has("jobs\t3\t{\"id\":3") && has("blocks\t(1, 0, 0)\t[[10,\"succeeded\"]]"), "{text}");
    assert!(has("meta\tversion\t2") && has("runners\t1\t") && has("auth\t"), "{text}");
    for line in text.lines() {
        let hashes = line.split(|other: char| !other.is_ascii_hexdigit()).filter(|word| word.len() == 64).count();
        assert!(hashes == 0, "{line}");
    }
    assert_eq!(std::fs::read(dir.path().join("dsg.redb")).expect("read"), before, "nothing was changed");
}

#[test]
fn a_dump_of_a_store_that_was_not_closed_shows_what_was_acknowledged() {
    let (dir, _) = with_history();
    let store = Store::open(dir.path(), 1 << 20).expect("opened");
    store.commit(&commit(31)).expect("committed");
    // As a kill would leave it.
    let left = tempfile::tempdir().expect("a directory");
    std::fs::create_dir(left.path().join("redo")).expect("made");
    std::fs::copy(dir.path().join("dsg.redb"), left.path().join("dsg.redb")).expect("copied");
    for name in super::disk::names(&dir.path().join("redo")).expect("listed") {
        std::fs::copy(dir.path().join("redo").join(&name), left.path().join("redo").join(&name)).expect("copied");
    }
    let mut out = Vec::new();
    super::dump(left.path(), &mut out).expect("dumped");
    let text = String::from_utf8(out).expect("text");
    assert!(text.contains("meta\trevision\t{\"revision\":31,"), "{text}");
    assert!(text.contains("meta\tcounters\t{\"next_job\":31,"), "{text}");
}
