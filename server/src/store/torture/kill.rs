//! Kills: a process that commits and says so is ended at a random moment, again and again on the same files.
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use super::{Dice, commit, content, count, revision};
use crate::store::disk::ROWS;
use crate::store::{Store, restore};

const DATA: &str = "DSG_TORTURE_CHILD_DATA";

/// Not a test: what the process does that is killed.
#[test]
fn child() {
    let Ok(data) = std::env::var(DATA) else { return };
    let store = Store::open(Path::new(&data), 1 << 20).expect("opened");
    let mut out = std::io::stdout();
    for number in revision(&store) + 1.. {
        store.commit(&commit(number)).expect("committed");
        writeln!(out, "\nacknowledged {number}").and_then(|()| out.flush()).expect("told");
    }
}

fn start(data: &Path) -> Child {
    let program = std::env::current_exe().expect("this program");
    let mut command = Command::new(program);
    command.args(["store::torture::kill::child", "--exact", "--nocapture", "--test-threads=1"]).env(DATA, data);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().expect("a process")
}

#[test]
fn a_killed_process_loses_nothing_that_it_said_was_done() {
    let dir = tempfile::tempdir().expect("a directory");
    let (seed, kills) = (count("DSG_TORTURE_SEED", 1), count("DSG_TORTURE_KILLS", 50));
    let mut dice = Dice(seed);
    let mut acknowledged = 0;
    for number in 0..kills {
        let mut child = start(dir.path());
        let mut lines = BufReader::new(child.stdout.take().expect("its output")).lines();
        let mut hear = |line: std::io::Result<String>| {
            if let Some(number) = line.expect("a line").strip_prefix("acknowledged ") {
                acknowledged = number.parse().expect("a number");
                return true;
            }
            false
        };
        // Somewhere between the opening and some commits later.
        let mut left = dice.roll(6);
        while left > 0
            && let Some(line) = lines.next()
        {
            left -= u64::from(hear(line));
        }
        std::thread::sleep(Duration::from_micros(dice.roll(20_000)));
        child.kill().expect("killed");
        child.wait().expect("gone");
        for line in lines {
            hear(line);
        }
        let what = format!("seed {seed}, kill {number}: commit {acknowledged} was acknowledged");
        if number % 10 == 9 {
            // As if the file had been lost, too.
            std::fs::remove_file(dir.path().join(ROWS)).expect("removed");
            restore(dir.path(), None, |_| {}).unwrap_or_else(|error| panic!("{what}: {error}"));
        }
        let store = Store::open(dir.path(), 1 << 20).unwrap_or_else(|error| panic!("{what}: {error}"));
        let reached = revision(&store);
        assert!(reached >= acknowledged, "{what}, {reached} is there");
        let next = store.read(|rows| rows.live_rows()).expect("rows");
        let expected = commit(reached).rows.into_iter().next().and_then(|(key, row)| Some((key, row?)));
        assert_eq!(next.first(), expected.as_ref().filter(|_| reached > 0), "{what}");
        content(&store).unwrap_or_else(|error| panic!("{what}: {error:?}"));
        acknowledged = reached;
    }
    assert!(acknowledged > kills, "{acknowledged} commits in {kills} lives: the load was none");
}
