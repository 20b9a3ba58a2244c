//! Mounts: where the container finds them, and that nothing else is there. Whether a runner has them, only the runners know.
use crate::spec::job::Job;
use crate::spec::problem::{Found, Report, Rule};

use super::paths;

/// `taken`: who has which path already.
pub fn check(job: &Job, mut taken: Vec<(String, String)>, report: &mut Report) {
    for (at, mount) in job.mounts.iter().enumerate() {
        let place = format!("/mounts/{at}/path");
        if !paths::absolute(&place, &mount.path, report) {
            continue;
        }
        if paths::has_wildcard(&mount.path) {
            report.add(Found::new(Rule::ContainerPath, &place, "a mount's path has no wildcards"));
        }
        let within = |path: &str| paths::is_within(&mount.path, path) || paths::is_within(path, &mount.path);
        if let Some((who, path)) = taken.iter().find(|(_, path)| within(path)) {
            let message = format!("lies in the way of {who} at `{path}`");
            report.add(Found::new(Rule::PathTwice, &place, message));
            continue;
        }
        // Outputs are copied out of what the container itself wrote; what lies in a folder of the host stays there.
        if let Some(output) = job.outputs.iter().find(|output| within(&output.path)) {
            let message = format!("lies in the way of output `{}` at `{}`", output.name, output.path);
            report.add(Found::new(Rule::PathTwice, &place, message).hint("write outputs under /out"));
            continue;
        }
        taken.push((format!("mount `{}`", mount.name), mount.path.clone()));
    }
}
