//! What is in memory of the rows on disk.
use std::collections::BTreeMap;
use std::sync::Arc;

use dsg_core::Grid;
use dsg_core::row::{JobRow, Key, Row};
use dsg_schemas::ids::JobId;

use super::thread::{Settings, StartError};
use crate::auth::Book;
use crate::store::{Store, StoreError};

/// All live rows, and the book's.
pub type Stored = (Vec<(Key, Row)>, Vec<(String, Vec<u8>)>);

/// Thrown away whole when a commit fails.
pub struct State {
    pub grid: Grid,
    pub book: Book,
    pub open_jobs: BTreeMap<JobId, Arc<JobRow>>,
}

impl State {
    pub fn read(store: &Store) -> Result<Stored, StoreError> {
        store.read(|rows| Ok((rows.live_rows()?, rows.auth()?)))
    }

    pub fn new((rows, auth): Stored, now_ms: u64, settings: &Settings) -> Result<State, StartError> {
        let mut book = Book::load(auth)?;
        book.follow(rows.iter().map(|(key, row)| (key, Some(row))));
        let mut open_jobs = BTreeMap::new();
        for (key, row) in &rows {
            follow_job(&mut open_jobs, *key, Some(row));
        }
        let mut grid = Grid::load(now_ms, rows).map_err(|error| StartError::Rows(error.to_string()))?;
        let Settings { half_life_ms, lease_ms, secret_key } = settings;
        grid.set_half_life(*half_life_ms);
        grid.set_lease(*lease_ms);
        grid.set_secret_key(secret_key.clone());
        Ok(State { grid, book, open_jobs })
    }
}

pub fn follow_job(open_jobs: &mut BTreeMap<JobId, Arc<JobRow>>, key: Key, row: Option<&Row>) {
    let Key::Job(job) = key else { return };
    match row {
        Some(Row::Job(row)) if !row.state.is_final() => open_jobs.insert(job, Arc::new((**row).clone())),
        Some(_) | None => open_jobs.remove(&job),
    };
}
