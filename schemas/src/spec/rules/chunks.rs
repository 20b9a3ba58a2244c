//! One source, and a batch that goes with it.
use crate::api::Uploads;
use crate::spec::expand;
use crate::spec::job::{Batch, Chunks};
use crate::spec::problem::{Found, Report, Rule};

use super::inputs::check_upload;

const SOURCES: [&str; 6] = ["count", "range", "items", "matrix", "files", "rows"];

pub fn check(chunks: &Chunks, uploads: Option<&Uploads>, report: &mut Report) {
    let Chunks {
        count,
        range,
        items,
        matrix,
        files,
        rows,
        batch,
        label: _,
        parallelism: _,
        per_runner: _,
        canary: _,
        max_failed: _,
        fail_fast: _,
    } = chunks;
    let given = [count.is_some(), range.is_some(), items.is_some(), matrix.is_some(), files.is_some(), rows.is_some()];
    let given: Vec<&str> = SOURCES.iter().zip(given).filter(|(_, given)| *given).map(|(name, _)| *name).collect();
    match given[..] {
        [_] => {}
        // One of them may be there, but wrong, and then it was said.
        [] if report.is_doubtful("/chunks") => {}
        [] => report.add(
            Found::new(Rule::ChunkSource, "/chunks", "says not where the chunks come from").allowed(SOURCES).at_key(),
        ),
        _ => {
            let message = format!("takes one source, not {}", given.join(" and "));
            report.add(Found::new(Rule::ChunkSource, "/chunks", message).at_key());
        }
    }
    if let Some(batch) = batch {
        let Batch { items, into } = batch;
        let message = match (items, into) {
            _ if count.is_some() => Some("`count` has no items to put together"),
            (Some(_), Some(_)) => Some("take `items` per chunk, or `into` so many chunks, not both"),
            (None, None) if report.is_doubtful("/chunks/batch") => None,
            (None, None) => Some("says neither `items` nor `into`"),
            (Some(_), None) | (None, Some(_)) => None,
        };
        if let Some(message) = message {
            report.add(Found::new(Rule::Batch, "/chunks/batch", message).at_key());
        }
    }
    if let Some(files) = files
        && check_upload("/chunks/files/glob", &files.glob, "glob", uploads, report)
        && let Err(error) = expand::matcher(files.glob.strip_prefix("upload:").unwrap_or_default())
    {
        report.add(Found::new(Rule::Glob, "/chunks/files/glob", format!("this is not a glob: {error}")));
    }
    if let Some(rows) = rows
        && check_upload("/chunks/rows/from", &rows.from, "file", uploads, report)
    {
        if rows.from.ends_with('/') {
            report.add(Found::new(Rule::UploadForm, "/chunks/rows/from", "must be one file, not a folder"));
        } else if expand::format(rows).is_none() {
            let message = "the file's ending does not tell its format; say it in `chunks.rows.format`";
            report.add(
                Found::new(Rule::RowsFormat, "/chunks/rows/from", message).allowed(["csv", "tsv", "jsonl", "lines"]),
            );
        }
    }
    if items.as_ref().is_some_and(Vec::is_empty) {
        report.add(Found::new(Rule::EmptySource, "/chunks/items", "this source gives no chunks at all"));
    }
}
