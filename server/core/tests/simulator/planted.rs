//! Faults planted in the scheduler and in its shell: each must be found, or the simulator has a hole.
use dsg_core::{Bug, plant};

use crate::fault::Fault;
use crate::script;
use crate::seeds::{self, Failure};
use crate::shell::ShellFaults;
use crate::shrink::shrink;
use crate::world::World;

/// Within so many seeds.
const SEEDS: u64 = 1_000;

type Planter = fn(&mut ShellFaults);
const OF_THE_SHELL: [(&str, Planter); 7] = [
    ("AnswersFirst", |faults| faults.answers_first = true),
    ("KeepsMemory", |faults| faults.keeps_memory = true),
    ("LosesBlocks", |faults| faults.loses_blocks = true),
    ("LosesEnds", |faults| faults.loses_ends = true),
    ("LosesRemovals", |faults| faults.loses_removals = true),
    ("CountsSleep", |faults| faults.counts_sleep = true),
    ("ClockGoesBack", |faults| faults.clock_goes_back = true),
];

fn find(what: &str, before: &(impl Fn(&mut World) + Sync)) -> Option<Failure> {
    match seeds::run(1..=SEEDS, before, &|_| ()) {
        Ok(_) => {
            println!("{what}: not found in {SEEDS} seeds");
            None
        }
        Err(failure) => {
            let Failure { seed, fault: Fault { place, message }, steps } = &failure;
            println!(
                "{what}: seed {seed}, step {}, {place}: {}",
                steps.len(),
                message.lines().next().unwrap_or_default()
            );
            Some(failure)
        }
    }
}

#[test]
fn every_planted_bug_is_found() {
    let only = std::env::var("SIM_BUG").unwrap_or_default();
    let mut missed = Vec::new();
    for (name, bug) in Bug::ALL.map(|bug| (format!("{bug:?}"), bug)) {
        if name.contains(&only) && find(&name, &|_| plant(Some(bug))).is_none() {
            missed.push(name);
        }
    }
    for (name, planter) in OF_THE_SHELL {
        if name.contains(&only) && find(name, &|world| planter(&mut world.shell.faults)).is_none() {
            missed.push(name.to_owned());
        }
    }
    assert!(missed.is_empty(), "the simulator does not see {missed:?}");
}

/// Its scenario fails where the seed did with the bug, and does not fail without.
#[test]
fn the_scenario_of_a_failure_shows_it() {
    let with_all_words = [Bug::EditMixesWork, Bug::CountsWhatIsRemoved];
    for bug in [Bug::RetryIsFree, Bug::FenceDropped, Bug::StoppedChunksStart].into_iter().chain(with_all_words) {
        let failure = find(&format!("{bug:?}"), &|_| plant(Some(bug))).expect("it is found");
        plant(Some(bug));
        let steps = shrink(&failure.steps, &failure.fault);
        let text = script::scenario(&failure, &steps);
        let with = script::play_alone(&text);
        plant(None);
        let without = script::play_alone(&text);
        println!("{text}");
        assert!(steps.len() < failure.steps.len() / 2, "{} of {} steps are left", steps.len(), failure.steps.len());
        assert_eq!(with.map_err(|fault| fault.place), Err(failure.fault.place), "{bug:?} in its own scenario\n{text}");
        assert_eq!(without, Ok(()), "{bug:?} is not there, and its scenario fails\n{text}");
    }
}
