//! Reading the log: the commits after a given one, in order, until there are no more or one is missing.
use std::io;

use super::record::{HEADER, Header, Record};
use crate::store::disk::Disk;
use crate::store::trouble::Trouble;

const SUFFIX: &str = ".redo";

pub fn name(first: u64) -> String {
    format!("{first:020}{SUFFIX}")
}

/// The files of the log with the number of their first commit, oldest first.
pub fn files(disk: &dyn Disk) -> io::Result<Vec<(u64, String)>> {
    let mut files: Vec<_> = disk.redo_files()?.into_iter().filter_map(|name| Some((first(&name)?, name))).collect();
    files.sort();
    Ok(files)
}

/// The head of a log that begins with the first commit of all: an empty store and this log are as good as a snapshot.
pub fn begins_with_nothing(disk: &dyn Disk) -> io::Result<Option<Header>> {
    match files(disk)?.first() {
        Some((1, name)) => Header::read(&mut disk.read_redo(name)?),
        Some(_) | None => Ok(None),
    }
}

fn first(name: &str) -> Option<u64> {
    name.strip_suffix(SUFFIX)?.parse().ok()
}

/// How the log ends behind the commit that was asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ending {
    /// With a whole record, or before anything was written.
    Clean,
    /// The last file ends with bytes that are no whole record: a commit that was being written, or damage.
    Torn { file: String, at: u64, bytes: u64 },
    /// Commits are missing: those before this one are not there, or cannot be read.
    Gap { file: String, next: u64 },
    /// It was written by another grid.
    Foreign { file: String, grid: String },
}

/// What a walk through the log found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chain {
    /// The last commit that can be reached.
    pub last: u64,
    /// The last one that is in the log at all: below the one that was asked for, if the log is not what it should be.
    pub seen: u64,
    pub ending: Ending,
}

/// Where a record was found.
pub struct Spot<'a> {
    pub file: &'a str,
    pub at: u64,
}

impl Chain {
    /// Shows every commit after `have` to `visit`, until it answers false.
    pub fn walk(
        disk: &dyn Disk,
        grid: &str,
        have: u64,
        mut visit: impl FnMut(Record, Spot<'_>) -> Result<bool, Trouble>,
    ) -> Result<Chain, Trouble> {
        let files = files(disk)?;
        // Whatever is older than the last file that begins early enough is known.
        let begin = files.iter().rposition(|(first, _)| *first <= have + 1).unwrap_or(0);
        let mut chain = Chain { last: have, seen: 0, ending: Ending::Clean };
        for (_, name) in &files[begin..] {
            let mut from = disk.read_redo(name)?;
            let Some(header) = Header::read(&mut from)? else {
                chain.ending = Ending::Torn { file: name.clone(), at: 0, bytes: HEADER as u64 };
                continue;
            };
            if header.grid != grid {
                chain.ending = Ending::Foreign { file: name.clone(), grid: header.grid };
                return Ok(chain);
            }
            if header.first > chain.last + 1 {
                chain.ending = Ending::Gap { file: name.clone(), next: header.first };
                return Ok(chain);
            }
            let mut at = HEADER as u64;
            chain.ending = loop {
                let (record, size) = match Record::read(&mut from)? {
                    Ok(found) => found,
                    Err(0) => break Ending::Clean,
                    Err(bytes) => break Ending::Torn { file: name.clone(), at, bytes },
                };
                let revision = record.reached.revision;
                if revision > chain.last + 1 {
                    chain.ending = Ending::Gap { file: name.clone(), next: revision };
                    return Ok(chain);
                }
                if revision == chain.last + 1 {
                    if !visit(record, Spot { file: name, at })? {
                        return Ok(chain);
                    }
                    chain.last = revision;
                }
                chain.seen = chain.seen.max(revision);
                at += size;
            };
        }
        Ok(chain)
    }
}
