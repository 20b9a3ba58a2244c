//! `files`: one item per matching upload, sorted and fixed at submit.
use std::cmp::Ordering;
use std::collections::BTreeSet;

use globset::{GlobBuilder, GlobMatcher};
use serde_json::json;

use super::FILES;
use super::table::{Builder, Table};
use crate::api::Uploads;
use crate::spec::job::{FileOrder, Files};
use crate::spec::problem::{Found, Report, Rule};

/// `*` and `?` stay within a folder, `**` does not.
pub fn matcher(pattern: &str) -> Result<GlobMatcher, String> {
    let glob = GlobBuilder::new(pattern).literal_separator(true).backslash_escape(false).build();
    glob.map(|glob| glob.compile_matcher()).map_err(|error| error.kind().to_string())
}

pub fn open(files: &Files, uploads: &Uploads, used: &mut BTreeSet<String>, report: &mut Report) -> Option<Table> {
    let pattern = files.glob.strip_prefix("upload:")?;
    let matcher = matcher(pattern).ok()?;
    let mut found: Vec<&String> = uploads.keys().filter(|path| matcher.is_match(path)).collect();
    match files.order {
        FileOrder::Name => found.sort(),
        FileOrder::Natural => found.sort_by(|a, b| natural(a, b)),
    }
    if found.is_empty() {
        let message = "no file beside the job file matches";
        report.add(Found::new(Rule::EmptySource, "/chunks/files/glob", message));
        return None;
    }
    let mut builder = Builder::default();
    for path in found {
        let upload = &uploads[path];
        let name = path.rsplit('/').next().unwrap_or(path);
        let stem = name.rsplit_once('.').map_or(name, |(stem, _)| if stem.is_empty() { name } else { stem });
        builder.add(&json!({
            "path": format!("{FILES}/{path}"), "name": name, "stem": stem, "from": path,
            "size": upload.size, "sha256": upload.sha256,
        }));
        used.insert(path.clone());
    }
    Some(builder.finish())
}

/// By name, with numbers as numbers; equal ones (`1`, `01`) byte by byte.
pub fn natural(a: &str, b: &str) -> Ordering {
    let (mut x, mut y) = (a, b);
    loop {
        let (Some(first), Some(second)) = (x.chars().next(), y.chars().next()) else {
            return x.len().cmp(&y.len()).then_with(|| a.cmp(b));
        };
        let order = if first.is_ascii_digit() && second.is_ascii_digit() {
            let (m, n) = (number(&mut x), number(&mut y));
            m.len().cmp(&n.len()).then_with(|| m.cmp(n))
        } else {
            (x, y) = (&x[first.len_utf8()..], &y[second.len_utf8()..]);
            first.cmp(&second)
        };
        if order != Ordering::Equal {
            return order;
        }
    }
}

/// Takes the digits off the front, without leading zeros.
fn number<'t>(text: &mut &'t str) -> &'t str {
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (digits, rest) = text.split_at(end);
    *text = rest;
    digits.trim_start_matches('0')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn natural_order_counts() {
        let mut names =
            vec!["a10", "a2", "b1", "a02", "a", "a2b", "ä", "a2/10", "a2/9", "99999999999999999999999", "1"];
        names.sort_by(|a, b| natural(a, b));
        assert_eq!(names, ["1", "99999999999999999999999", "a", "a02", "a2", "a2/9", "a2/10", "a2b", "a10", "b1", "ä"]);
    }

    #[test]
    fn stars_stay_in_their_folder() {
        let cases = [
            ("data/*.csv", "data/a.csv", true),
            ("data/*.csv", "data/x/a.csv", false),
            ("data/**/*.csv", "data/x/a.csv", true),
            ("data/**/*.csv", "data/a.csv", true),
            ("?.csv", "/.csv", false),
            ("{a,b}.csv", "b.csv", true),
        ];
        for (pattern, path, expected) in cases {
            assert_eq!(matcher(pattern).map(|matcher| matcher.is_match(path)), Ok(expected), "{pattern} {path}");
        }
        assert!(matcher("[").is_err());
    }
}
