//! Names that become environment variables and paths.
use std::collections::BTreeMap;

use crate::spec::job::Job;
use crate::spec::node::step;
use crate::spec::problem::{Found, Report, Rule};

pub fn check(job: &Job, report: &mut Report) {
    if job.name.trim().is_empty() || job.name.contains(['\n', '\t']) {
        report.add(Found::new(Rule::Name, "/name", "must be one line, and not only spaces"));
    }
    if job.name.chars().count() > 120 {
        report.add(Found::new(Rule::WrongLength, "/name", "is longer than 120"));
    }
    let params: Vec<(String, &str)> =
        job.params.keys().map(|name| (format!("/params/{}", step(name)), name.as_str())).collect();
    unique("param", &params, report);
    let inputs: Vec<(String, &str)> =
        job.inputs.iter().enumerate().map(|(at, input)| (format!("/inputs/{at}/name"), input.name.as_str())).collect();
    unique("input", &inputs, report);
    let mounts: Vec<(String, &str)> =
        job.mounts.iter().enumerate().map(|(at, mount)| (format!("/mounts/{at}/name"), mount.name.as_str())).collect();
    unique("mount", &mounts, report);
    let devices: Vec<(String, &str)> =
        job.devices.iter().enumerate().map(|(at, name)| (format!("/devices/{at}"), name.as_str())).collect();
    unique("device", &devices, report);
    let secrets: Vec<(String, &str)> = job
        .secrets
        .iter()
        .enumerate()
        .map(|(at, secret)| (format!("/secrets/{at}/name"), secret.name.as_str()))
        .collect();
    unique("secret", &secrets, report);
}

/// A name that has the right form, and differs from the others even as an environment variable.
pub fn unique(what: &str, names: &[(String, &str)], report: &mut Report) {
    let mut seen: BTreeMap<String, &str> = BTreeMap::new();
    for (pointer, name) in names {
        if !is_name(name) {
            let message =
                format!("an {what} name begins with a letter and has only a-z, 0-9, _ and -, at most 63 of them");
            let message =
                if what.starts_with('i') || what.starts_with('o') { message } else { message.replacen("an ", "a ", 1) };
            report.add(Found::new(Rule::Name, pointer.as_str(), message).value(*name).at_key());
            continue;
        }
        match seen.get(&variable(name)) {
            Some(other) if other == name => {
                report.add(
                    Found::new(Rule::NameTwice, pointer.as_str(), format!("there is another {what} `{name}`")).at_key(),
                );
            }
            Some(other) => {
                let message = format!("`{name}` and `{other}` would be one environment variable");
                report.add(Found::new(Rule::NameTwice, pointer.as_str(), message).at_key());
            }
            None => {
                seen.insert(variable(name), name);
            }
        }
    }
}

pub fn is_name(name: &str) -> bool {
    name.len() <= 63
        && name.starts_with(|c: char| c.is_ascii_lowercase())
        && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"_-".contains(&byte))
}

fn variable(name: &str) -> String {
    name.replace('-', "_")
}
