//! Writing the log.
use std::io;

use super::record::{Header, Record};
use super::scan::name;
use crate::store::disk::{Append, Disk};

#[derive(Default)]
pub struct Log {
    /// `None`: the next record begins a file.
    file: Option<Box<dyn Append>>,
    /// Written since the log was last rotated.
    bytes: u64,
}

impl Log {
    /// The record is on disk when this returns.
    pub fn append(&mut self, disk: &dyn Disk, grid: &str, record: &Record) -> io::Result<()> {
        let bytes = record.bytes();
        if self.file.is_none() {
            let first = record.reached.revision;
            self.file = Some(disk.create_redo(&name(first), &Header { first, grid: grid.to_owned() }.bytes())?);
        }
        if let Some(file) = &mut self.file {
            file.append(&bytes)?;
        }
        self.bytes += bytes.len() as u64;
        Ok(())
    }

    /// The next record begins a new file: the old ones can be removed one by one.
    pub fn rotate(&mut self) {
        *self = Log::default();
    }

    pub fn bytes(&self) -> u64 {
        self.bytes
    }
}
