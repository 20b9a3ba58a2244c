//! The checks in their order. No check stops another but those that need a container where none runs.
use std::path::PathBuf;

use dsg_schemas::ids::RunnerId;
use dsg_schemas::wire::{Check, Facts, Work};

use super::bench::{Bench, Wants};
use super::files::files;
use super::gpus::{gpus, withdraw};
use super::image::image;
use super::inside::{COMMAND, Unbounded, bridged, judge, no_bridge};
use super::secrets::secrets;
use super::verdict::{failed, passed};
use crate::container::Engine;
use crate::secrets::Place;

/// Whose containers these are: the sweep at the next start finds what a crash leaves behind.
#[derive(Clone, Debug, Default)]
pub struct Subject {
    pub grid: String,
    pub runner: RunnerId,
    /// Ends the names of the containers: two self-tests on one engine do not meet.
    pub nonce: String,
    /// A file of the state folder, to see whether the engine means the same one; `None`: there is no folder yet.
    pub lock: Option<PathBuf>,
    /// Where secrets are to lie; `None`: its owner wants none here.
    pub secrets: Option<Place>,
}

const ENGINE_REPAIR: &str =
    "see the engine's own log; docker run or podman run must work for this user; the runner tries again by itself";

/// Runs the checks that need containers. GPUs that did not prove themselves are taken out of the facts.
pub async fn preflight(engine: &dyn Engine, subject: &Subject, facts: &mut Facts) -> Vec<Check> {
    let loaded = match image() {
        Ok(image) => engine.load_image(image.archive).await.map_err(|failure| failure.message),
        Err(error) => Err(format!("failed to pack the self-test image: {error}")),
    };
    let image = match loaded {
        Ok(id) => id,
        Err(why) => {
            withdraw(facts, "the self-test image could not be loaded");
            return vec![failed("run", Work::Everything, why, ENGINE_REPAIR)];
        }
    };
    let bench = Bench { engine, subject, image };
    let first = Wants { command: &COMMAND, ..Wants::default() };
    let (run, unbounded) = match bench.run(first).await {
        Ok(run) => (run, Unbounded::default()),
        Err(why) => match bound_by_less(&bench, first, &why).await {
            Some(found) => found,
            None => {
                withdraw(facts, "no container runs");
                return vec![failed("run", Work::Everything, why, ENGINE_REPAIR)];
            }
        },
    };
    let mut checks = vec![passed("run", "a container ran")];
    checks.extend(judge(&run, &unbounded));
    let least = Wants { memory: unbounded.memory.is_none(), cpus: unbounded.cpus.is_none(), ..Wants::default() };
    let bridge = Wants { name: "network", command: &["network"], network: "bridge", ..least };
    checks.push(match bench.run(bridge).await {
        Ok(run) => bridged(&run),
        Err(why) => no_bridge(why),
    });
    if let Some(lock) = &subject.lock {
        checks.push(files(&bench, least, lock).await);
    }
    if let Some(place) = &subject.secrets {
        checks.push(secrets(&bench, least, place).await);
    }
    checks.extend(gpus(&bench, least, facts).await);
    checks
}

/// Removes what was left of a self-test that was stopped in the middle.
pub async fn sweep(engine: &dyn Engine, nonce: &str) {
    for name in ["run", "network", "files", "secrets", "gpu"] {
        if let Err(failure) = engine.remove(&format!("dsg-selftest-{name}-{nonce}")).await {
            tracing::warn!(%failure, "a container of the self-test is left behind");
        }
    }
}

/// Some engines make no container at all with a bound that they cannot keep: which one it is shows in what runs without it.
async fn bound_by_less(bench: &Bench<'_>, first: Wants<'_>, why: &str) -> Option<(super::bench::Run, Unbounded)> {
    for (memory, cpus) in [(true, false), (false, true), (false, false)] {
        if let Ok(run) = bench.run(Wants { memory, cpus, ..first }).await {
            let guilty = |has: bool| (!has).then(|| why.to_owned());
            return Some((run, Unbounded { memory: guilty(memory), cpus: guilty(cpus) }));
        }
    }
    None
}
