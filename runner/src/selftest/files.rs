//! Whether the engine mounts the files that the runner means: it is given paths, and a runner in a container may see others under them.
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use dsg_schemas::wire::{Check, Work};

use super::bench::{Bench, Wants};
use super::inside::value;
use super::verdict::{failed, passed};

/// In the container.
pub const PATH: &str = "/dsg-lock";
const REPAIR: &str = "the engine must be on this host and see the runner's state folder at the same path: for a runner in a container, mount \
                      the folder at the path that it has outside; then start the runner again";

/// `lock`: a file that is always in the state folder, and in which nothing is.
pub async fn files(bench: &Bench<'_>, least: Wants<'_>, lock: &Path) -> Check {
    let ours = match lock.metadata() {
        Ok(meta) => format!("{:x}:{}", meta.dev(), meta.ino()),
        Err(error) => {
            let note = format!("{} cannot be looked at: {error}", lock.display());
            return failed("files", Work::Everything, note, "run this as the user of the runner");
        }
    };
    let wants = Wants { name: "files", command: &["place", PATH], file: Some(lock), ..least };
    match bench.run(wants).await {
        Ok(run) if value(&run, "place") == ours => {
            passed("files", "a file of the runner is the same inside a container")
        }
        Ok(run) => {
            let note =
                format!("{} is another file for the engine than for the runner{}", lock.display(), said(&run.stderr));
            failed("files", Work::Everything, note, REPAIR)
        }
        Err(why) => failed("files", Work::Everything, why, REPAIR),
    }
}

fn said(stderr: &str) -> String {
    if stderr.trim().is_empty() { String::new() } else { format!(" ({})", stderr.trim()) }
}
