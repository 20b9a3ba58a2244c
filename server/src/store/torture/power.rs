//! Power cuts: at every sync of a workload, and again while the store recovers from the first one.
use std::path::Path;

use super::sim::{Files, Op, PowerLine, SimDisk};
use super::{Content, Dice, bring_to_disk, commit, content, count, revision};
use crate::store::Store;

const COMMITS: u64 = 300;

fn open(disk: &SimDisk, dir: &Path) -> Result<Store, crate::store::StoreError> {
    Store::open_on(Box::new(disk.clone()), dir, 1 << 20)
}

#[test]
fn whenever_power_is_cut_what_was_acknowledged_is_there_and_nothing_is_half_done() {
    let dir = tempfile::tempdir().expect("a directory");
    let disk = SimDisk::default();
    let store = open(&disk, dir.path()).expect("opened");
    let begin = disk.files();
    disk.take_journal();
    let mut truth: Vec<Content> = vec![content(&store).expect("rows")];
    for number in 1..=COMMITS {
        if number.is_multiple_of(3) {
            bring_to_disk(&store);
        }
        store.commit(&commit(number)).expect("committed");
        disk.acknowledged(number);
        truth.push(content(&store).expect("rows"));
    }
    let journal = disk.take_journal();
    drop(store);
    let syncs = journal.iter().filter(|op| matches!(op, Op::Sync { .. })).count();
    assert!(syncs as u64 > COMMITS + COMMITS / 3, "{syncs}");

    let seed = count("DSG_TORTURE_SEED", 1);
    let every = count("DSG_TORTURE_POWER_EVERY", 1);
    let mut line = PowerLine::new(begin);
    let (mut acknowledged, mut number) = (0, 0u64);
    for op in &journal {
        if let Op::Acknowledged(commit) = op {
            acknowledged = *commit;
        }
        if matches!(op, Op::Sync { .. }) {
            number += 1;
            if number.is_multiple_of(every) {
                let mut dice = Dice(seed << 32 | number);
                let left = line.cut(&mut dice);
                survive(left, dir.path(), &truth, acknowledged, &mut dice, &format!("seed {seed}, sync {number}"));
            }
        }
        line.step(op);
    }
}

/// Opens what a power cut left, with another one in the middle of it.
fn survive(left: Files, dir: &Path, truth: &[Content], acknowledged: u64, dice: &mut Dice, what: &str) {
    let disk = SimDisk::with(left.clone());
    check(&disk, dir, truth, acknowledged, what);
    let journal = disk.take_journal();
    let syncs = journal.iter().filter(|op| matches!(op, Op::Sync { .. })).count() as u64;
    let again = dice.roll(syncs);
    let mut line = PowerLine::new(left);
    let mut number = 0;
    for op in &journal {
        if matches!(op, Op::Sync { .. }) {
            if number == again {
                break;
            }
            number += 1;
        }
        line.step(op);
    }
    let disk = SimDisk::with(line.cut(dice));
    check(&disk, dir, truth, acknowledged, &format!("{what}, and sync {again} of the recovery"));
}

fn check(disk: &SimDisk, dir: &Path, truth: &[Content], acknowledged: u64, what: &str) {
    let store = open(disk, dir).unwrap_or_else(|error| panic!("{what}: {error}"));
    let reached = revision(&store);
    assert!(reached >= acknowledged, "{what}: commit {acknowledged} was acknowledged, {reached} is there");
    let rows = content(&store).unwrap_or_else(|error| panic!("{what}: {error:?}"));
    assert!(rows == truth[reached as usize], "{what}: commit {reached} is there in part");
}
