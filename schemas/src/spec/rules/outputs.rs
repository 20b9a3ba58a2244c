//! Outputs: named once, where the container can write, with wildcards only in the last part.
use crate::spec::job::{Job, Output};
use crate::spec::problem::{Found, Report, Rule};

use super::{names, paths};

pub fn check(pointer: &str, outputs: &[Output], job: &Job, report: &mut Report) {
    let listed: Vec<(String, &str)> =
        outputs.iter().enumerate().map(|(at, output)| (format!("{pointer}/{at}/name"), output.name.as_str())).collect();
    names::unique("output", &listed, report);
    for (at, output) in outputs.iter().enumerate() {
        let place = format!("{pointer}/{at}/path");
        let path = &output.path;
        if !paths::absolute(&place, path, report) {
            continue;
        }
        let (folder, file) = path.rsplit_once('/').unwrap_or(("", path));
        if path.ends_with('/') {
            let message = "must name a file, or files with `*`, not a folder";
            report.add(Found::new(Rule::OutputGlob, place, message).hint(format!("write {path}*")));
        } else if paths::has_wildcard(folder) || file.contains("**") {
            let message = "`*` and `?` may stand in the last part of the path only, and match within one folder";
            report.add(Found::new(Rule::OutputGlob, place, message));
        } else if let Some(other) = outputs[..at].iter().find(|other| other.path == *path) {
            report.add(Found::new(Rule::PathTwice, place, format!("output `{}` takes the same file", other.name)));
        } else if let Some(input) = job.inputs.iter().find(|input| paths::is_within(path, &input.path)) {
            let message = format!("lies in input `{}`, which is read-only", input.name);
            report.add(Found::new(Rule::PathTwice, place, message).hint("write under /out"));
        }
    }
}
