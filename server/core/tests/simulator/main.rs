//! The simulator: the scheduler against runners, people, a network and a server that do their worst, for many seeds.
//!
//! First anything may be lost, late, repeated, suspended or restarted, on both sides; then all faults stop, and every job must come to
//! its end. Invariants are asserted after every event, on the memory, on the rows and on what is answered. A seed that fails is made
//! short and written as a scenario. `make sim SEED=7` replays one and prints its events; `make soak` runs new ones for an hour.
mod dice;
#[path = "../common/disk.rs"]
mod disk;
mod edits;
mod fault;
mod host;
mod misfortune;
mod people;
#[cfg(feature = "planted-bugs")]
mod planted;
#[path = "../scenarios/play.rs"]
mod play;
#[path = "../common/proof/mod.rs"]
mod proof;
mod said;
mod script;
mod seeds;
mod seen;
#[path = "../common/shell.rs"]
mod shell;
#[path = "../scenarios/show.rs"]
mod show;
mod shrink;
mod soak;
#[path = "../scenarios/words.rs"]
mod words;
mod world;

const SEEDS: u64 = 1_000;

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().unwrap_or_else(|_| panic!("{name}={text} is no number")))
}

#[test]
fn no_seed_breaks_an_invariant_and_every_job_ends() {
    if let Some(seed) = number("SIM_SEED") {
        return seeds::replay(seed);
    }
    let mut sum = match seeds::run(1..=number("SIM_SEEDS").unwrap_or(SEEDS), &|_| (), &|_| ()) {
        Ok(sum) => sum,
        Err(failure) => panic!("{}", failure.tell()),
    };
    println!("{sum:?}");
    let missing = sum.missing(100);
    assert!(missing.is_empty(), "a simulation without {missing:?} proves nothing: {sum:?}");
}
