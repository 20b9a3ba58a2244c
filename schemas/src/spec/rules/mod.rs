//! What a schema cannot say: one file per thing that is looked at.
mod chunks;
mod env;
mod gather;
mod image;
mod inputs;
mod mounts;
mod names;
mod outputs;
mod paths;
mod references;
mod retry;
mod secrets;
mod timeouts;

pub use inputs::{upload, uploads_of};
pub use names::is_name;
pub use paths::has_wildcard;
pub use references::{alone, references};
pub use secrets::known as known_secrets;

use super::job::{Job, Resources, Retry, RetryRule};
use super::problem::{Found, Report, Rule};
use crate::api::Uploads;

/// Without uploads: before the files beside the job file are known.
pub fn check(job: &Job, uploads: Option<&Uploads>, report: &mut Report) {
    command(job, report);
    names::check(job, report);
    image::check("/image", &job.image, report);
    env::check("/env", &job.env, report);
    if let Some(path) = &job.workdir {
        paths::absolute("/workdir", path, report);
    }
    timeouts::check(job, report);
    retry::check("/retry", &job.retry, report);
    memory("/resources", &job.resources, &job.retry, report);
    inputs::check(job, uploads, report);
    outputs::check("/outputs", &job.outputs, job, report);
    chunks::check(&job.chunks, uploads, report);
    gather::check(job, report);
}

fn command(job: &Job, report: &mut Report) {
    both("", job.command.is_some(), job.script.is_some(), report);
    if job.entrypoint.is_some() && job.script.is_some() {
        let message = "`entrypoint` has no use beside `script`, which is started by its own first line";
        report.add(Found::new(Rule::CommandAndScript, "/entrypoint", message).at_key());
    }
    if job
        .script
        .as_deref()
        .is_some_and(|script| script.contains("{{params.") || script.contains("{{item") || script.contains("{{chunk."))
    {
        let warning = "nothing is put into `script`: read $PARAM_NAME, $ITEM_COLUMN and $DSG_CHUNK_INDEX there";
        report.warnings.push(warning.to_owned());
    }
    let user = job.user.as_deref().unwrap_or("0");
    let part = |part: &str| {
        !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte))
    };
    if user.split(':').count() > 2 || !user.split(':').all(part) {
        report.add(Found::new(Rule::User, "/user", "must be a user, or user:group").allowed([
            "1000",
            "1000:1000",
            "nobody",
        ]));
    }
}

fn both(pointer: &str, command: bool, script: bool, report: &mut Report) {
    if command && script {
        let message = "take `command` or `script`, not both";
        report.add(Found::new(Rule::CommandAndScript, format!("{pointer}/script"), message).at_key());
    }
}

/// What the engines need for a container to start at all.
const LEAST_MEMORY: u64 = 6 << 20;

fn memory(pointer: &str, resources: &Resources, retry: &Retry, report: &mut Report) {
    if resources.memory.0 < LEAST_MEMORY {
        let message = "must be at least 6MiB: a container does not start with less";
        report.add(Found::new(Rule::OutOfRange, format!("{pointer}/memory"), message));
    }
    let Some(max) = resources.max else { return };
    if max.memory < resources.memory {
        let message = format!("is less than the {} that `memory` asks for from the start", resources.memory);
        report.add(Found::new(Rule::OutOfRange, format!("{pointer}/max/memory"), message));
    }
    let grows = |rule: &RetryRule| rule.scale.is_some_and(|scale| scale.memory.is_some());
    if !retry.rules.iter().any(grows) {
        let rule = "{when: {reason: oom}, action: retry, scale: {memory: 2}}";
        report.warnings.push(format!("`resources.max` has no effect without a retry rule that scales, as in `{rule}`"));
    }
}
