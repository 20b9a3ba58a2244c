//! A job file and what stands beside it, checked here before anything is sent.
use std::collections::BTreeMap;
use std::io::Read;
use std::path::{Path, PathBuf};

use dsg_schemas::api::{SpecProblem, Upload, Uploads};
use dsg_schemas::limits::SPEC_BYTES;
use dsg_schemas::spec::{self, Plan, Sources, Wanted};

use crate::exit::{Exit, Failure};
use crate::local::Files;
use crate::output::Output;
use crate::problem;

/// A job file as read.
pub struct JobFile {
    /// As typed; `-` is `stdin`.
    pub shown: String,
    pub text: String,
    folder: PathBuf,
}

/// A job file without problems.
pub struct Prepared {
    pub plan: Plan,
    pub files: Files,
}

impl JobFile {
    pub fn read(path: &str) -> Result<JobFile, Failure> {
        let fail = |error: std::io::Error| Failure::file("read", Path::new(path), &error);
        let mut bytes = Vec::new();
        // One byte more than allowed: the check says that it is too long.
        let most = SPEC_BYTES as u64 + 1;
        let (shown, folder) = match path {
            "-" => {
                std::io::stdin().take(most).read_to_end(&mut bytes).map_err(fail)?;
                ("stdin".to_owned(), PathBuf::from("."))
            }
            _ => {
                std::fs::File::open(path).map_err(fail)?.take(most).read_to_end(&mut bytes).map_err(fail)?;
                let folder = Path::new(path).parent().filter(|folder| !folder.as_os_str().is_empty());
                (path.to_owned(), folder.unwrap_or(Path::new(".")).to_owned())
            }
        };
        let text = String::from_utf8(bytes).map_err(|error| {
            Failure::new(
                Exit::Invalid,
                format!("{shown} is not UTF-8 from byte {} on", error.utf8_error().valid_up_to()),
            )
        })?;
        Ok(JobFile { shown, text, folder })
    }

    /// Checks it against the files beside it, without reading more of them than `rows:` needs.
    pub fn check(&self, set: &BTreeMap<String, String>) -> Result<Result<Prepared, Vec<SpecProblem>>, Failure> {
        let wanted = match spec::wanted(&self.text, set) {
            Ok(wanted) => wanted,
            Err(problems) => return Ok(Err(problems)),
        };
        let mut files = Files::beside(&self.folder)?;
        for wanted in &wanted {
            match wanted {
                Wanted::File(path) => files.add_file(path)?,
                Wanted::Folder(path) => files.add_folder(path)?,
                Wanted::Glob(pattern) => files.add_glob(pattern)?,
            }
        }
        let uploads = unread(&files);
        let read = |path: &str| files.read(path);
        let checked = spec::check(&self.text, set, &Sources { uploads: &uploads, read: &read, secrets: None });
        Ok(checked.map(|plan| Prepared { plan, files }))
    }

    /// Says what is wrong, and gives the failure to end with.
    pub fn complain(&self, output: &Output, problems: &[SpecProblem]) -> Failure {
        output.say(&problem::render(&self.shown, &self.text, problems, output.colour_talk));
        Failure::new(Exit::Invalid, "")
    }
}

/// The files by path and size. Their hashes are not known before they are read, and a check needs none.
pub fn unread(files: &Files) -> Uploads {
    let upload = |size| Upload { size, sha256: "0".repeat(64) };
    files.found.iter().map(|(path, local)| (path.clone(), upload(local.size))).collect()
}

/// `--set name=value`, the last one of a name counts.
pub fn settings(set: &[String]) -> Result<BTreeMap<String, String>, Failure> {
    let pair = |text: &String| {
        let (name, value) = text.split_once('=').filter(|(name, _)| !name.is_empty())?;
        Some((name.to_owned(), value.to_owned()))
    };
    set.iter()
        .map(|text| {
            pair(text)
                .ok_or_else(|| Failure::usage(format!("--set takes NAME=VALUE, as in --set seed=7, not {text:?}")))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_are_pairs() {
        let given = ["a=1", "b=x=y", "c=", "a=2"].map(str::to_owned);
        let expected = [("a", "2"), ("b", "x=y"), ("c", "")].map(|(name, value)| (name.to_owned(), value.to_owned()));
        assert_eq!(settings(&given), Ok(BTreeMap::from(expected)));
        for wrong in ["a", "=1", ""] {
            assert_eq!(settings(&[wrong.to_owned()]).expect_err(wrong).exit, Exit::Usage);
        }
    }
}
