//! Secrets: where the container finds them. Whether there is one of that name, only the server knows.
use std::collections::BTreeSet;

use crate::spec::job::Job;
use crate::spec::problem::{Found, Report, Rule};

use super::paths;

/// `taken`: who has which path already.
pub fn check(job: &Job, taken: &mut Vec<(String, String)>, report: &mut Report) {
    for (at, secret) in job.secrets.iter().enumerate() {
        let place = format!("/secrets/{at}/{}", if secret.file.is_some() { "file" } else { "name" });
        let path = secret.path();
        if secret.file.is_some() {
            if !paths::absolute(&place, &path, report) {
                continue;
            }
            if path.ends_with('/') || paths::has_wildcard(&path) {
                let message = "must be the path of one file, without wildcards";
                report.add(Found::new(Rule::ContainerPath, &place, message));
                continue;
            }
        }
        let within = |other: &str| paths::is_within(&path, other) || paths::is_within(other, &path);
        let outputs = job.outputs.iter().map(|output| (format!("output `{}`", output.name), output.path.clone()));
        let mut all = taken.iter().cloned().chain(outputs);
        match all.find(|(_, other)| within(other)) {
            Some((who, other)) => {
                let message = format!("`{path}` lies in the way of {who} at `{other}`");
                report.add(Found::new(Rule::PathTwice, &place, message));
            }
            None => taken.push((format!("secret `{}`", secret.name), path)),
        }
    }
}

/// On the server, which knows them. A job that waits for a name that was mistyped would wait for ever.
pub fn known(job: &Job, known: &BTreeSet<String>, report: &mut Report) {
    for (at, secret) in job.secrets.iter().enumerate().filter(|(_, secret)| !known.contains(&secret.name)) {
        let message = format!("the server has no secret `{}`", secret.name);
        let found = Found::new(Rule::SecretUnknown, format!("/secrets/{at}/name"), message);
        let found = found.near(&secret.name, known.iter().map(String::as_str));
        let set = format!("an admin sets it with `dsg secret set {}`", secret.name);
        report.add(if found.has_hint() { found } else { found.hint(set) });
    }
}
