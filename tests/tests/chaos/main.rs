//! The grid as real processes on a bad day: what the simulator proves of the core, proved of the programs. After each experiment a
//! checker reads the whole history through the API. Run by `make check`, longer by `make chaos`; see CONTRIBUTING.md.
mod black_hole;
mod clone;
mod crash;
mod cut;
mod herd;
mod history;
mod outage;
mod paper;
mod parted;
mod skew;
mod stop;
mod weather;
mod work;

/// A number that lengthens an experiment, from the environment.
fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}
