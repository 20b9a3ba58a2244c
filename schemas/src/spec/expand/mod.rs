//! From a chunk source to items: counted and checked before anything is expanded, and then found one by one.
mod files;
mod items;
mod matrix;
mod range;
mod rows;
mod split;
mod table;

use std::collections::BTreeSet;

pub use files::matcher;
pub use items::{Items, Shape};
pub use rows::format;
pub use split::Split;
pub use table::Table;

use super::chunk::shared_variables;
use super::draft::Sources;
use super::job::{Chunks, GatherMode, Job};
use super::problem::{Found, Report, Rule};
use super::rules;
use crate::limits;

pub struct Expanded {
    pub items: Items,
    pub split: Split,
    pub shape: Shape,
    /// Uploads that the job uses.
    pub used: BTreeSet<String>,
}

/// Where the files of a `files:` source are found in the container.
pub const FILES: &str = "/in/files";

/// `None` if it cannot be done; then it was said why.
pub fn expand(job: &Job, sources: &Sources<'_>, report: &mut Report) -> Option<Expanded> {
    if report.is_doubtful("/chunks") || report.has_problem_in("chunks") {
        return None;
    }
    let before = report.count();
    let mut used: BTreeSet<String> = BTreeSet::new();
    for input in &job.inputs {
        used.extend(rules::uploads_of(&input.from, sources.uploads).map(|(path, _)| path.to_owned()));
    }
    let items = open(&job.chunks, sources, &mut used, report)?;
    let count = items.len();
    if count == 0 {
        report.add(Found::new(Rule::EmptySource, pointer(&job.chunks), "this source gives no chunks at all"));
        return None;
    }
    let split = split::split(&job.chunks, count, report)?;
    split::weigh(&items, &split, pointer(&job.chunks), report);
    let shape = items.shape();
    warn_of_shared_variables(job, &shape, report);
    warn_of_many_files(job, split.chunks, report);
    (report.count() == before).then_some(Expanded { items, split, shape, used })
}

/// The container of a gather is not given a million files.
fn warn_of_many_files(job: &Job, chunks: u32, report: &mut Report) {
    let files = u64::from(chunks) * job.outputs.len() as u64;
    let container = job.gather.iter().any(|step| step.mode == GatherMode::Run);
    if container && files > limits::GATHER_FILES as u64 {
        report.warnings.push(format!(
            "the gather's container finds the outputs of the chunks in /in/chunks only where they are at most {} files, and here they are {files}; it finds the joined files and the manifest",
            limits::GATHER_FILES
        ));
    }
}

/// `Mass` and `mass` are two columns, and one variable: no reason to refuse somebody's table, but one to say so.
fn warn_of_shared_variables(job: &Job, shape: &Shape, report: &mut Report) {
    let Shape::Columns { all, some, values: _ } = shape else { return };
    if !rules::alone(job) {
        return;
    }
    for (variable, columns) in shared_variables(all.union(some).map(String::as_str)) {
        let columns = columns.iter().map(|column| format!("`{column}`")).collect::<Vec<_>>().join(" and ");
        report.warnings.push(format!(
            "the columns {columns} would all be ITEM_{variable}, so that it is not set; read them from $DSG_ITEM, or rename one"
        ));
    }
}

fn open(chunks: &Chunks, sources: &Sources<'_>, used: &mut BTreeSet<String>, report: &mut Report) -> Option<Items> {
    let Chunks { count, range, items, matrix, files, rows, .. } = chunks;
    match (count, range, items, matrix, files, rows) {
        (Some(count), None, None, None, None, None) => Some(Items::Nothing(*count)),
        (None, Some(range), None, None, None, None) => range::open(range, report),
        (None, None, Some(items), None, None, None) => Some(Items::List(items.clone())),
        (None, None, None, Some(matrix), None, None) => matrix::open(matrix, Some(report)).map(Items::Matrix),
        (None, None, None, None, Some(files), None) => {
            files::open(files, sources.uploads, used, report).map(Items::Table)
        }
        (None, None, None, None, None, Some(rows)) => rows::open(rows, sources, used, report).map(Items::Table),
        // The rules have said so.
        _ => None,
    }
}

/// The items of a job that was checked before. A table comes later, as a blob.
pub fn reopen(chunks: &Chunks) -> Option<Items> {
    let Chunks { count, range, items, matrix, files: _, rows: _, .. } = chunks;
    match (count, range, items, matrix) {
        (Some(count), ..) => Some(Items::Nothing(*count)),
        (_, Some(range), ..) => range::reopen(range),
        (_, _, Some(items), _) => Some(Items::List(items.clone())),
        (_, _, _, Some(matrix)) => matrix::open(matrix, None).map(Items::Matrix),
        (None, None, None, None) => None,
    }
}

fn pointer(chunks: &Chunks) -> &'static str {
    match chunks {
        Chunks { count: Some(_), .. } => "/chunks/count",
        Chunks { range: Some(_), .. } => "/chunks/range",
        Chunks { items: Some(_), .. } => "/chunks/items",
        Chunks { matrix: Some(_), .. } => "/chunks/matrix",
        Chunks { files: Some(_), .. } => "/chunks/files",
        Chunks { rows: Some(_), .. } => "/chunks/rows",
        _ => "/chunks",
    }
}
