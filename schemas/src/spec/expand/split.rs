//! How items become chunks: one each, so many per chunk, or into so many chunks.
use std::ops::Range;

use serde::{Deserialize, Serialize};

use super::items::Items;
use crate::limits;
use crate::spec::job::{Batch, Chunks};
use crate::spec::problem::{Found, Report, Rule};

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Split {
    pub items: u64,
    pub chunks: u32,
    /// Items per chunk; absent where they are shared out evenly.
    pub size: Option<u64>,
}

impl Split {
    /// The items of a chunk.
    pub fn range(&self, chunk: u32) -> Range<u64> {
        let at = |chunk: u32| match self.size {
            Some(size) => size.saturating_mul(u64::from(chunk)).min(self.items),
            None => {
                let share = u128::from(self.items) * u128::from(chunk) / u128::from(self.chunks.max(1));
                u64::try_from(share).unwrap_or(u64::MAX)
            }
        };
        if chunk < self.chunks { at(chunk)..at(chunk + 1) } else { self.items..self.items }
    }
}

pub fn split(chunks: &Chunks, items: u64, report: &mut Report) -> Option<Split> {
    let (count, size) = match chunks.batch.clone().unwrap_or_default() {
        Batch { into: Some(into), .. } => {
            if into > items {
                report.warnings.push(format!("there are only {items} items, so there are {items} chunks, not {into}"));
            }
            (into.min(items), None)
        }
        Batch { items: Some(size), .. } => (items.div_ceil(size.max(1)), Some(size.max(1))),
        Batch { .. } => (items, Some(1)),
    };
    match u32::try_from(count) {
        Ok(chunks) if count <= limits::CHUNKS_PER_JOB => Some(Split { items, chunks, size }),
        _ => {
            let message = format!("this makes {count} chunks; at most {} are taken", limits::CHUNKS_PER_JOB);
            let found = Found::new(Rule::TooManyChunks, super::pointer(chunks), message);
            report.add(found.hint("put several items into one chunk with `batch`"));
            None
        }
    }
}

/// The items of one chunk travel in its start order, so they have a limit.
pub fn weigh(items: &Items, split: &Split, pointer: &str, report: &mut Report) {
    let per_chunk = split.size.unwrap_or_else(|| split.items.div_ceil(u64::from(split.chunks.max(1))));
    let most = limits::ITEMS_BYTES as u64;
    let heaviest = match items {
        Items::Nothing(_) => 0,
        // No number is longer than 24 characters.
        Items::Numbers(_) => per_chunk.saturating_mul(25),
        Items::Windows(_) => per_chunk.saturating_mul(70),
        Items::Matrix(combinations) => per_chunk.saturating_mul(combinations.heaviest()),
        Items::List(items) => {
            let mut lengths = items.iter().map(|item| item.to_string().len() as u64 + 1);
            let mut take = |range: Range<u64>| range.filter_map(|_| lengths.next()).sum();
            (0..split.chunks).map(|chunk| take(split.range(chunk))).max().unwrap_or(0)
        }
        Items::Table(table) => {
            let mut lines = table.lines_from(0);
            let mut take = |range: Range<u64>| range.filter_map(|_| lines.next()).map(|line| line.len() as u64).sum();
            (0..split.chunks).map(|chunk| take(split.range(chunk))).max().unwrap_or(0)
        }
    };
    if heaviest > most {
        let message =
            format!("the items of one chunk may have {most} bytes together as JSON lines; these may have {heaviest}");
        report
            .add(Found::new(Rule::ItemTooLarge, pointer, message).hint("put fewer items into one chunk with `batch`"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_item_is_in_one_chunk() {
        for (items, chunks, size) in
            [(10, 4, Some(3)), (10, 4, None), (3, 3, None), (1, 1, Some(1)), (1_000_000_007, 7, None)]
        {
            let split = Split { items, chunks, size };
            let mut next = 0;
            for chunk in 0..chunks {
                let range = split.range(chunk);
                assert_eq!(range.start, next);
                assert!(range.end > range.start);
                next = range.end;
            }
            assert_eq!(next, items);
            assert!(split.range(chunks).is_empty());
        }
    }
}
