//! Whether secrets have a place in memory here, and whether the engine mounts from there what the runner means.
use std::os::unix::fs::MetadataExt;

use dsg_schemas::ids::AttemptId;
use dsg_schemas::wire::{Check, Work};

use super::bench::{Bench, Wants};
use super::files::PATH;
use super::inside::value;
use super::verdict::{failed, passed};
use crate::secrets::Place;

/// No attempt ever has this number.
const ATTEMPT: AttemptId = AttemptId(0);
const REPAIR: &str = "name a folder on a tmpfs with --secrets-dir (root: below /run, else below $XDG_RUNTIME_DIR); for a runner in a \
                      container, mount it at the path that it has outside; then start the runner again";

pub async fn secrets(bench: &Bench<'_>, least: Wants<'_>, place: &Place) -> Check {
    let check = looked(bench, least, place).await;
    place.clear(ATTEMPT);
    check
}

async fn looked(bench: &Bench<'_>, least: Wants<'_>, place: &Place) -> Check {
    let probe = match place.put(ATTEMPT, "probe", b"nothing that is secret") {
        Ok(probe) => probe,
        Err(error) => return failed("secrets", Work::Secrets, error.to_string(), REPAIR),
    };
    let ours = probe.metadata().map(|meta| format!("{:x}:{}", meta.dev(), meta.ino())).unwrap_or_default();
    let wants = Wants { name: "secrets", command: &["place", PATH], file: Some(&probe), ..least };
    match bench.run(wants).await {
        Ok(run) if value(&run, "place") == ours => passed("secrets", "a file in memory is the same inside a container"),
        Ok(_) => {
            let note = "a file in memory is another one for the engine than for the runner";
            failed("secrets", Work::Secrets, note, REPAIR)
        }
        Err(why) => failed("secrets", Work::Secrets, why, REPAIR),
    }
}
