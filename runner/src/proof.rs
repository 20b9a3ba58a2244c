//! The self-test of a runner that runs: at its start, and while something failed again from time to time, so that a repair needs no restart.
use std::path::PathBuf;
use std::time::Duration;

use dsg_schemas::wire::{Check, Facts, Work};
use tokio::time::Instant;

use crate::attempt::Shared;
use crate::selftest;

/// For a question to the server beside the self-test, which does not wait for one that is away.
const KNOCK: Duration = Duration::from_secs(5);

pub struct Proof {
    /// What is offered if all of it proves itself.
    claimed: Facts,
    nonce: String,
    lock: PathBuf,
    times: u32,
    /// Of the last time.
    made: Instant,
    failed: bool,
}

impl Proof {
    pub fn new(claimed: Facts, nonce: String, lock: PathBuf) -> Proof {
        Proof { claimed, nonce, lock, times: 0, made: Instant::now(), failed: false }
    }

    /// Something failed that may be repaired by now.
    pub fn is_due(&self, shared: &Shared) -> bool {
        self.failed && self.made.elapsed() >= shared.patience.prove
    }

    /// What is offered now; and why this runner must not take work at all, if so.
    pub async fn make(&mut self, shared: &Shared) -> (Facts, Option<String>) {
        self.times += 1;
        let mut facts = self.claimed.clone();
        shared.gpus.mark(&mut facts.gpus);
        let nonce = format!("{}-{}", self.nonce, self.times);
        let lock = Some(self.lock.clone());
        let secrets = (shared.policy.rules.secrets != Some(false)).then(|| shared.secrets.clone());
        let subject = selftest::Subject { grid: shared.grid.clone(), runner: shared.runner, nonce, lock, secrets };
        facts.checks = vec![selftest::engine(&facts.engine)];
        let (checks, server) = tokio::join!(
            selftest::preflight(&*shared.engine, &subject, &mut facts),
            selftest::server(&shared.link, KNOCK)
        );
        facts.checks.extend(checks);
        facts.checks.extend(selftest::mounts(&shared.policy, false));
        // Whether the server is there shows by itself; how its clock goes does not.
        facts.checks.extend(server.into_iter().filter(|check| check.name == "clock"));
        facts.checks.iter().for_each(|check| self.tell(check));
        (self.made, self.failed) = (Instant::now(), facts.checks.iter().any(may_pass_later));
        // The rest is judged by the server, chunk by chunk.
        let failed = facts.checks.iter().find(|check| !check.passed && check.blocks == Some(Work::Everything));
        let unfit = failed.map(|failed| {
            format!(
                "its self-test failed at {}: {}; once that is repaired it passes by itself",
                failed.name, failed.note
            )
        });
        (facts, unfit)
    }

    fn tell(&self, check: &Check) {
        match check.passed {
            true => tracing::info!(check = check.name, note = check.note, "self-test passed"),
            false => tracing::warn!(check = check.name, note = check.note, repair = check.repair, "self-test failed"),
        }
    }
}

/// Mounts are looked for at the start alone.
fn may_pass_later(check: &Check) -> bool {
    !check.passed && !matches!(check.blocks, None | Some(Work::Mount(_)))
}
