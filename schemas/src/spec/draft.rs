//! From text to a plan: the one function behind `dsg check`, the server and the dashboard form.
use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::expand::{self, Expanded};
use super::interpolate;
use super::job::Job;
use super::plan::Plan;
use super::problem::Report;
use super::{conform, params, parse, rules};
use crate::api::{SpecProblem, Uploads};

/// The files beside a job file: their list, and how to read one (only `rows:` sources are ever read).
pub struct Sources<'a> {
    pub uploads: &'a Uploads,
    pub read: &'a dyn Fn(&str) -> std::io::Result<Vec<u8>>,
    /// Names of the secrets that the server keeps; `None`: nobody here knows them.
    pub secrets: Option<&'a BTreeSet<String>>,
}

/// A path that a job file refers to, relative to it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Wanted {
    File(String),
    /// Everything below it; ends with `/`.
    Folder(String),
    Glob(String),
}

struct Draft {
    report: Report,
    job: Option<Job>,
    params: BTreeMap<String, Value>,
}

/// Every problem at once, or a plan.
pub fn check(text: &str, set: &BTreeMap<String, String>, sources: &Sources<'_>) -> Result<Plan, Vec<SpecProblem>> {
    let Draft { mut report, job, params } = draft(text, set)?;
    let Some(mut job) = job else { return Err(report.into_problems()) };
    rules::check(&job, Some(sources.uploads), &mut report);
    if let Some(known) = sources.secrets {
        rules::known_secrets(&job, known, &mut report);
    }
    let expanded = expand::expand(&job, sources, &mut report);
    rules::references(&job, expanded.as_ref(), &mut report);
    let Some(Expanded { items, split, used, .. }) = expanded else { return Err(report.into_problems()) };
    if !report.is_clean() {
        return Err(report.into_problems());
    }
    job.timeouts.run = job.timeout.take().or(job.timeouts.run);
    let uploads = sources.uploads.iter().filter(|(path, _)| used.contains(*path));
    let uploads = uploads.map(|(path, upload)| (path.clone(), upload.clone())).collect();
    Ok(Plan::new(text.to_owned(), job, params, items, split, uploads, report.warnings))
}

/// Paths that a job file refers to, before anything is uploaded. The command line lists and hashes these.
pub fn wanted(text: &str, set: &BTreeMap<String, String>) -> Result<Vec<Wanted>, Vec<SpecProblem>> {
    let Draft { mut report, job, .. } = draft(text, set)?;
    let Some(job) = job else { return Err(report.into_problems()) };
    rules::check(&job, None, &mut report);
    if !report.is_clean() {
        return Err(report.into_problems());
    }
    let mut wanted: Vec<Wanted> = job.inputs.iter().filter_map(|input| rules::upload(&input.from)).collect();
    wanted.extend(job.chunks.rows.iter().filter_map(|rows| rules::upload(&rows.from)));
    let globs = job.chunks.files.iter().filter_map(|files| files.glob.strip_prefix("upload:"));
    wanted.extend(globs.map(|glob| Wanted::Glob(glob.to_owned())));
    wanted.sort();
    wanted.dedup();
    Ok(wanted)
}

fn draft(text: &str, set: &BTreeMap<String, String>) -> Result<Draft, Vec<SpecProblem>> {
    let root = parse::parse(text).map_err(|found| vec![found.place_in(None)])?;
    let mut report = Report::new(root);
    let params = params::params(set, &mut report);
    let filled = interpolate::put(&params, &mut report);
    let job = conform::conform(&filled, &mut report);
    Ok(Draft { report, job, params: params.values })
}
