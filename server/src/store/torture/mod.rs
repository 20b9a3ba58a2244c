//! What the store must stand: power cuts, bad disks, kills. The long runs read their counts from DSG_TORTURE_*.
mod kill;
mod power;
mod rot;
pub mod sim;

use std::collections::BTreeMap;

use dsg_core::row::{ChunkRow, Key, Meta, Row};
use dsg_schemas::ids::{AttemptId, ChunkId, JobId};
use redb::{ReadTransaction, ReadableTable, TableHandle};
use serde_json::json;

use super::checked::{check, is_version};
use super::tables::{Definition, Visitor, each_table};
use super::trouble::Trouble;
use super::{Changes, Store};

/// What a commit of the workload writes: one row that grows, some that are written again and again, some that go.
pub fn commit(number: u64) -> Changes {
    let job = JobId(number / 40);
    let index = (number * 7 % 11) as u32;
    let id = ChunkId { job, stage: 0, index };
    let block: Vec<u8> = (0..700u64).map(|place| ((place * number) % 9) as u8).collect();
    let mut rows = BTreeMap::new();
    let meta = Meta { next_job: number, ..Meta::default() };
    rows.insert(Key::Meta, Some(Row::Meta(meta)));
    rows.insert(Key::Chunk(id), Some(Row::Chunk(chunk(id, number))));
    rows.insert(Key::Block(job, 0, 0), Some(Row::Block(block.into())));
    rows.insert(
        Key::Spec(job),
        Some(Row::Spec(format!("job {number}").repeat(number as usize % 60).into_bytes().into())),
    );
    let auth =
        [(format!("{:064x}", number % 5), (!number.is_multiple_of(3)).then(|| number.to_string().into_bytes()))].into();
    let removed_jobs = if number % 40 == 39 && job.0 > 1 { vec![JobId(job.0 - 2)] } else { Vec::new() };
    Changes { rows, removed_jobs, auth }
}

fn chunk(id: ChunkId, number: u64) -> ChunkRow {
    let row = json!({"id": id, "attempts": [AttemptId(number)], "failures": 0, "requeues": 0, "rule_uses": [],
        "waiting_since_ms": number, "failed_on": [], "message": "x".repeat(number as usize % 200)});
    serde_json::from_value(row).expect("a row")
}

/// Every row of a store, checked.
pub type Content = BTreeMap<(String, String), Vec<u8>>;

pub fn content(store: &Store) -> Result<Content, Trouble> {
    let place = store.database.read().expect("no panic");
    let read = redb::ReadableDatabase::begin_read(place.as_ref().expect("open"))?;
    let mut collecting = Collecting { read, rows: BTreeMap::new() };
    each_table(&mut collecting)?;
    Ok(collecting.rows)
}

pub fn revision(store: &Store) -> u64 {
    store.writer.lock().expect("no panic").reached.revision
}

/// With the next commit the rows on disk catch up with the log.
pub fn bring_to_disk(store: &Store) {
    store.writer.lock().expect("no panic").behind_bytes = usize::MAX / 2;
}

struct Collecting {
    read: ReadTransaction,
    rows: Content,
}

impl Visitor for Collecting {
    type Error = Trouble;
    fn table<K: redb::Key + 'static>(&mut self, table: Definition<K>) -> Result<(), Trouble> {
        let rows = self.read.open_table(table)?;
        for entry in rows.iter()? {
            let (key, value) = entry?;
            let key = key.value();
            let payload = if is_version::<K>(&key) { value.value() } else { check(table, &key, value.value())? };
            self.rows.insert((table.name().to_owned(), format!("{key:?}")), payload.to_vec());
        }
        Ok(())
    }
}

/// A count from the environment, for runs that are longer than those of every day.
pub fn count(name: &str, usual: u64) -> u64 {
    std::env::var(name).map_or(usual, |text| text.parse().expect("a number"))
}

/// A generator whose seed is printed by the test that fails.
pub struct Dice(pub u64);

impl Dice {
    pub fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut word = self.0;
        word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (word ^ (word >> 31)) % sides.max(1)
    }
}
