//! The simulator: the scheduler against runners, people and a network that do their worst, for many seeds.
//!
//! First anything may be lost, late, repeated or restarted, on both sides; then all faults stop, and every job must come to its end.
//! Invariants are asserted after every event. `SIM_SEED=7 cargo test -p dsg-core --test simulator -- --nocapture` replays one seed and
//! prints its events; `SIM_SEEDS=100000` runs more.
mod dice;
#[path = "../common/disk.rs"]
mod disk;
mod host;
mod people;
mod proof;
mod world;

use std::panic::{AssertUnwindSafe, catch_unwind};

const SEEDS: u64 = 400;

#[test]
fn no_seed_breaks_an_invariant_and_every_job_ends() {
    let number = |name| std::env::var(name).ok().map(|text| text.parse::<u64>().expect("a number"));
    if let Some(seed) = number("SIM_SEED") {
        let seen = world::World::new(seed, true).run();
        println!("seed {seed}: {seen:?}");
        return;
    }
    let mut sum = world::Seen::default();
    for seed in 1..=number("SIM_SEEDS").unwrap_or(SEEDS) {
        match catch_unwind(AssertUnwindSafe(|| world::World::new(seed, false).run())) {
            Ok(seen) => sum.add(&seen),
            Err(_) => panic!("seed {seed} failed; SIM_SEED={seed} replays it with its events"),
        }
    }
    println!("{sum:?}");
    // A simulation in which these do not happen proves nothing.
    let world::Seen { events, starts, successes, lost, server_restarts, failed_commits, host_failures, jobs, .. } = sum;
    let seen = [events, starts, successes, lost, server_restarts, failed_commits, host_failures, jobs];
    assert!(seen.iter().all(|count| *count > 100), "too quiet: {sum:?}");
}
