//! Inputs: what is sent with the job, and where the container finds it.
use crate::api::{Upload, Uploads};
use crate::limits;
use crate::spec::draft::Wanted;
use crate::spec::expand::FILES;
use crate::spec::job::Job;
use crate::spec::problem::{Found, Report, Rule, did_you_mean};

use super::{gather, mounts, paths, secrets};

/// `upload:data/` and `upload:data/a.csv` as what they want.
pub fn upload(from: &str) -> Option<Wanted> {
    let path = from.strip_prefix("upload:")?;
    Some(if path.ends_with('/') { Wanted::Folder(path.to_owned()) } else { Wanted::File(path.to_owned()) })
}

/// The uploads behind `upload:…`: one file, or all of a folder.
pub fn uploads_of<'u>(from: &str, uploads: &'u Uploads) -> impl Iterator<Item = (&'u str, &'u Upload)> {
    let path = from.strip_prefix("upload:").unwrap_or_default().to_owned();
    let fits = move |known: &str| if path.ends_with('/') { known.starts_with(&path) } else { known == path };
    uploads.iter().map(|(path, upload)| (path.as_str(), upload)).filter(move |(known, _)| fits(known))
}

/// The form of `upload:…`, and that it is there. `what` is "file" or "glob".
pub fn check_upload(pointer: &str, from: &str, what: &str, uploads: Option<&Uploads>, report: &mut Report) -> bool {
    let Some(path) = from.strip_prefix("upload:") else {
        let scheme = from.split(':').next().unwrap_or_default();
        let found = match scheme {
            "volume" => Found::new(Rule::NotSupported, pointer, "`volume:` is not supported by this version")
                .hint("use `upload:PATH`, or put the data into the image"),
            _ if from.starts_with("stages.") => {
                Found::new(Rule::NotSupported, pointer, "outputs of other stages are not supported by this version")
                    .hint("fetch them, and send them with the next job as `upload:PATH`")
            }
            _ => Found::new(Rule::UploadForm, pointer, format!("must be `upload:` and a {what} beside the job file"))
                .hint(format!("write upload:{from}")),
        };
        report.add(found);
        return false;
    };
    if !paths::beside(path) {
        let message = "must be a path relative to the job file, without `..`, `.`, `\\` or a leading /";
        report.add(Found::new(Rule::UploadPath, pointer, message));
        return false;
    }
    if let Some(uploads) = uploads
        && what != "glob"
        && uploads_of(from, uploads).next().is_none()
    {
        let message = if path.ends_with('/') {
            "no such folder beside the job file, or no file in it"
        } else {
            "no such file beside the job file"
        };
        let found = Found::new(Rule::UploadMissing, pointer, message);
        let near =
            did_you_mean(path, uploads.keys().map(String::as_str)).map(|near| format!("did you mean `upload:{near}`?"));
        report.add(match near {
            Some(hint) => found.hint(hint),
            None => found,
        });
        return false;
    }
    true
}

pub fn check(job: &Job, uploads: Option<&Uploads>, report: &mut Report) {
    if uploads.is_some_and(|uploads| uploads.len() > limits::UPLOADS) {
        let message = format!("at most {} files can be sent with a job", limits::UPLOADS);
        report.add(Found::new(Rule::UploadCount, "/inputs", message).hint("pack them, or put them into the image"));
    }
    let mut taken: Vec<(String, String)> = Vec::new();
    if job.chunks.files.is_some() {
        taken.push(("the files of `chunks.files`".to_owned(), FILES.to_owned()));
    }
    if gather::run(job).is_some() {
        taken.extend(gather::RESERVED_PATHS.iter().map(|path| ("the gather".to_owned(), (*path).to_owned())));
    }
    for (at, input) in job.inputs.iter().enumerate() {
        if report.is_full() {
            return;
        }
        let place = |key: &str| format!("/inputs/{at}/{key}");
        check_upload(&place("from"), &input.from, "file", uploads, report);
        if (input.name == "files" && job.chunks.files.is_some())
            || (gather::run(job).is_some() && gather::takes_name(job, &input.name))
        {
            report.add(Found::new(
                Rule::NameTwice,
                place("name"),
                format!("`{}` is the name of something that DSG adds", input.name),
            ));
        }
        if !paths::absolute(&place("path"), &input.path, report) {
            continue;
        }
        if paths::has_wildcard(&input.path) {
            report.add(Found::new(Rule::ContainerPath, place("path"), "an input's path has no wildcards"));
        }
        let clash =
            taken.iter().find(|(_, path)| paths::is_within(&input.path, path) || paths::is_within(path, &input.path));
        match clash {
            Some((who, path)) => {
                let message = format!("lies in the way of {who} at `{path}`");
                report.add(Found::new(Rule::PathTwice, place("path"), message));
            }
            None => taken.push((format!("input `{}`", input.name), input.path.clone())),
        }
    }
    secrets::check(job, &mut taken, report);
    mounts::check(job, taken, report);
}
