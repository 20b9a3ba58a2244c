//! `dsg-runner doctor`: the checks of a start and those of the surroundings, for whoever sets a host up. It changes nothing: it may be
//! run before join, and beside a runner that runs.
mod show;

use std::path::Path;
use std::time::Duration;

use dsg_schemas::ids::RunnerId;
use dsg_schemas::wire::{Check, Facts, Work};
use serde::Serialize;

use crate::config::Config;
use crate::container::Engine;
use crate::container::docker::Registries;
use crate::link::Link;
use crate::room::{Marks, Space, rounded};
use crate::secrets::Place;
use crate::selftest::{self, Subject, failed, passed, warned};
use crate::spool::{Identity, Spool, SpoolError};
use crate::{health, hex};

pub use show::{json, table};

const WITHIN: Duration = Duration::from_secs(15);

#[derive(Clone, Debug, Default, Serialize)]
pub struct Report {
    pub checks: Vec<Check>,
    pub left_out: Vec<LeftOut>,
}

/// A check that could not be made, which is no failure.
#[derive(Clone, Debug, Serialize)]
pub struct LeftOut {
    pub name: String,
    pub why: String,
}

impl Report {
    pub fn failures(&self) -> usize {
        self.checks.iter().filter(|check| !check.passed).count()
    }

    fn leave_out(&mut self, name: &str, why: impl Into<String>) {
        self.left_out.push(LeftOut { name: name.to_owned(), why: why.into() });
    }
}

/// `engine`: or why there is none. `nonce` ends the names of the containers.
pub async fn examine(config: &Config, engine: Result<&dyn Engine, String>, nonce: &str) -> Report {
    let mut report = Report::default();
    let identity = Spool::peek(&config.state);
    let (mut disk, mut place) = (None, None);
    match engine {
        Ok(engine) => {
            let mut facts = config.facts.clone();
            let subject = subject(&identity, nonce, config);
            containers(engine, &subject, &mut facts, &mut report).await;
            disk = engine.disk().await.ok().flatten();
            place = Some(engine.place());
            if let Some(place) = &subject.secrets {
                place.leave();
            }
        }
        Err(why) => {
            let repair = "install and start Docker or Podman, or name its socket with --engine unix:///path";
            report.checks.push(failed("engine", Work::Everything, why, repair));
            report.leave_out("containers", "there is no engine to run one");
        }
    }
    report.checks.extend(selftest::mounts(&config.policy, true));
    let state = nearest(&config.state).and_then(Space::around).unwrap_or_default();
    let low = health::low_disk(disk, state, config.disk_reserve_bytes, &config.marks, false);
    report.checks.push(selftest::disk(low.as_deref()));
    report.checks.push(images(config, place.as_deref()));
    report.checks.extend(registries(&config.registries));
    server(&identity, &mut report).await;
    report
}

fn subject(identity: &Result<Option<Identity>, SpoolError>, nonce: &str, config: &Config) -> Subject {
    // As the runner itself names its folder.
    let lock = config.state.canonicalize().ok().map(|state| state.join("lock")).filter(|lock| lock.exists());
    let known = identity.as_ref().ok().and_then(Option::as_ref);
    let wanted = config.policy.rules.secrets != Some(false);
    Subject {
        grid: known.map_or_else(|| "doctor".to_owned(), |known| known.grid.clone()),
        runner: known.map(|known| known.runner).unwrap_or_default(),
        nonce: nonce.to_owned(),
        lock,
        // Beside a runner that runs, and not in its folder.
        secrets: wanted.then(|| Place::new(&config.secrets, &format!("doctor-{nonce}"), RunnerId::default())),
    }
}

async fn containers(engine: &dyn Engine, subject: &Subject, facts: &mut Facts, report: &mut Report) {
    match engine.facts().await {
        Ok(found) => report.checks.push(selftest::engine(&found)),
        Err(failure) => {
            let repair = "see whether the engine runs, and its own log";
            report.checks.push(failed("engine", Work::Everything, failure.message, repair));
        }
    }
    let claimed = facts.gpus.len();
    report.checks.extend(selftest::preflight(engine, subject, facts).await);
    if report.checks.iter().any(|check| check.name == "run" && !check.passed) {
        report.leave_out("what a container sees", "none runs");
    }
    if subject.lock.is_none() {
        report.leave_out("files", "there is no state folder yet");
    }
    if claimed == 0 {
        report.leave_out("gpu", facts.gpu_note.clone().unwrap_or_else(|| "there is none".to_owned()));
    }
}

async fn server(identity: &Result<Option<Identity>, SpoolError>, report: &mut Report) {
    let identity = match identity {
        Ok(Some(identity)) => identity,
        Ok(None) => return report.leave_out("server", "this runner has not joined a grid yet"),
        Err(error) => {
            let repair = "run doctor as the user of the runner, or name its folder with --state";
            return report.checks.push(failed("server", Work::Everything, error.to_string(), repair));
        }
    };
    match Link::new(identity) {
        Ok(link) => report.checks.extend(selftest::server(&link, WITHIN).await),
        Err(error) => {
            let repair = "remove the runner on the server and join again";
            report.checks.push(failed("server", Work::Everything, error.to_string(), repair));
        }
    }
}

/// What this runner brought, and when it goes. A runner that runs has the list in hand: this is as it was last written.
fn images(config: &Config, engine: Option<&str>) -> Check {
    let Marks { clean, until, stop } = config.marks;
    let brought = engine.map(|engine| Spool::peek_brought(&config.state, engine)).unwrap_or_default();
    let bytes = rounded(brought.values().map(|image| image.bytes).sum());
    let count = brought.len();
    let images = format!("{count} image{} of its own, {bytes}", if count == 1 { "" } else { "s" });
    passed(
        "images",
        format!(
            "{images}; with less than {clean} free the oldest go until {until} are, and below {stop} nothing new is taken"
        ),
    )
}

/// The files alone: whether a registry takes what is in them shows at a pull.
fn registries(registries: &Registries) -> Vec<Check> {
    let repair =
        "log in anew with podman login --authfile FILE, or take the registry out of runner.toml; no restart is needed";
    let check = |(host, why): (String, Option<String>)| {
        let name = format!("registry {host}");
        match why {
            None => passed(&name, "its file has credentials"),
            Some(why) => warned(&name, why, repair),
        }
    };
    registries.faults().into_iter().map(check).collect()
}

/// The folder, or the one in which it would be made.
fn nearest(folder: &Path) -> Option<&Path> {
    folder.ancestors().find(|folder| folder.exists())
}

/// For the names of the containers.
pub fn nonce() -> Result<String, getrandom::Error> {
    let mut bytes = [0; 4];
    getrandom::fill(&mut bytes)?;
    Ok(hex(&bytes))
}
