//! Bad disks: flipped bits, cut and zeroed files, other people's files. Either the store is refused with what to do, or every row is right.
use std::path::Path;

use super::sim::{Files, SimDisk};
use super::{Content, Dice, bring_to_disk, commit, content, count};
use crate::store::disk::ROWS;
use crate::store::{Store, StoreError};

/// A store with some history, closed well: that is when a plain open would trust every page.
fn written(dir: &Path) -> (Files, Content) {
    let disk = SimDisk::default();
    let store = Store::open_on(Box::new(disk.clone()), dir, 1 << 20).expect("opened");
    for number in 1..=60u64 {
        if number.is_multiple_of(4) {
            bring_to_disk(&store);
        }
        store.commit(&commit(number)).expect("committed");
    }
    let rows = content(&store).expect("rows");
    store.close();
    (disk.files(), rows)
}

#[derive(Debug, PartialEq)]
enum Found {
    Right,
    Refused,
}

fn look(files: Files, dir: &Path, truth: &Content, what: &str) -> Found {
    let opened = Store::open_on(Box::new(SimDisk::with(files)), dir, 1 << 20);
    let rows = opened.and_then(|store| content(&store).map_err(|trouble| store.tell(trouble)));
    match rows {
        Ok(rows) => {
            assert!(rows == *truth, "{what}: wrong rows were served");
            Found::Right
        }
        Err(error) => {
            let text = error.to_string();
            assert!(text.contains("dsg-server restore"), "{what}: {text}");
            Found::Refused
        }
    }
}

#[test]
fn no_flipped_bit_is_served_as_truth() {
    let dir = tempfile::tempdir().expect("a directory");
    let (files, truth) = written(dir.path());
    let (seed, flips) = (count("DSG_TORTURE_SEED", 1), count("DSG_TORTURE_FLIPS", 1000));
    let mut dice = Dice(seed);
    let mut refused = 0;
    for number in 0..flips {
        let mut files = files.clone();
        let rows = files.get_mut(ROWS).expect("rows");
        let bit = dice.roll(rows.len() as u64 * 8) as usize;
        rows[bit / 8] ^= 1 << (bit % 8);
        refused += u64::from(
            look(files, dir.path(), &truth, &format!("seed {seed}, flip {number}, bit {bit}")) == Found::Refused,
        );
    }
    assert!(
        refused > flips / 20,
        "{refused} of {flips} flips were noticed: the file is mostly empty, the test finds nothing"
    );
}

#[test]
fn no_cut_zeroed_or_foreign_file_is_served_as_truth() {
    let dir = tempfile::tempdir().expect("a directory");
    let (files, truth) = written(dir.path());
    let whole = files[ROWS].clone();
    let with = |rows: Vec<u8>| {
        files.clone().into_iter().filter(|(name, _)| name != ROWS).chain([(ROWS.to_owned(), rows)]).collect()
    };
    let mut dice = Dice(count("DSG_TORTURE_SEED", 1));
    for _ in 0..100 {
        let cut = dice.roll(whole.len() as u64) as usize;
        assert_eq!(look(with(whole[..cut].to_vec()), dir.path(), &truth, &format!("cut to {cut}")), Found::Refused);
    }
    for page in 0..whole.len() / 4096 {
        let mut zeroed = whole.clone();
        zeroed[page * 4096..(page + 1) * 4096].fill(0);
        look(with(zeroed), dir.path(), &truth, &format!("page {page} zeroed"));
    }
    let text = b"this is not a store".repeat(500);
    assert_eq!(look(with(text), dir.path(), &truth, "a text"), Found::Refused);
    assert_eq!(look(with(vec![0; whole.len()]), dir.path(), &truth, "zeros"), Found::Refused);
    let other = tempfile::tempdir().expect("a directory");
    let (theirs, _) = written(other.path());
    assert_eq!(look(with(theirs[ROWS].clone()), dir.path(), &truth, "another grid's"), Found::Refused);
}

#[test]
fn a_row_that_went_bad_while_the_server_runs_is_named() {
    let dir = tempfile::tempdir().expect("a directory");
    {
        let store = Store::open(dir.path(), 1 << 20).expect("opened");
        store.commit(&commit(1)).expect("committed");
    }
    // Past redb's own checksums: as if a page had changed after it was looked at.
    let database = redb::Database::open(dir.path().join(ROWS)).expect("opened");
    let write = database.begin_write().expect("begun");
    {
        let mut specs = write.open_table(crate::store::tables::SPECS).expect("a table");
        specs.insert(0, b"wrong".as_slice()).expect("written");
    }
    write.commit().expect("committed");
    drop(database);
    let store = Store::open(dir.path(), 1 << 20).expect("opened");
    let error = store.read(|rows| rows.spec(dsg_schemas::ids::JobId(0))).expect_err("refused");
    assert!(matches!(&error, StoreError::Rotten { table, key, .. } if table == "specs" && key == "0"), "{error}");
    assert!(error.to_string().contains("dsg-server restore --data"), "{error}");
    assert!(
        store
            .read(|rows| rows.chunk(dsg_schemas::ids::ChunkId { job: dsg_schemas::ids::JobId(0), stage: 0, index: 7 }))
            .is_ok()
    );
}
