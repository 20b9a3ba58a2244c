//! Many seeds on all cores, and what is told of one that fails.
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use crate::fault::{Fault, catch};
use crate::script;
use crate::seen::Seen;
use crate::shell::Step;
use crate::shrink::shrink;
use crate::world::World;

pub struct Failure {
    pub seed: u64,
    pub fault: Fault,
    /// All that happened in the scheduler until then.
    pub steps: Vec<Step>,
}

/// Runs seeds until they are through or one fails; `before` changes each world, `after` is told of each that went well.
pub fn run(
    seeds: RangeInclusive<u64>,
    before: &(impl Fn(&mut World) + Sync),
    after: &(impl Fn(&Seen) + Sync),
) -> Result<Seen, Failure> {
    let (next, stop) = (AtomicU64::new(*seeds.start()), AtomicBool::new(false));
    let (sum, failure) = (Mutex::new(Seen::default()), Mutex::new(None));
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                while !stop.load(Ordering::Relaxed) {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if !seeds.contains(&seed) {
                        return;
                    }
                    match one(seed, before) {
                        Ok(seen) => {
                            sum.lock().expect("a sum").add(&seen);
                            after(&seen);
                        }
                        Err(failed) => {
                            stop.store(true, Ordering::Relaxed);
                            // Lower seeds are through or under way, so that the lowest one that fails is told, whoever is faster.
                            let mut lowest = failure.lock().expect("a failure");
                            if lowest.as_ref().is_none_or(|lowest: &Failure| failed.seed < lowest.seed) {
                                *lowest = Some(failed);
                            }
                        }
                    }
                }
            });
        }
    });
    match failure.into_inner().expect("a failure") {
        Some(failure) => Err(failure),
        None => Ok(sum.into_inner().expect("a sum")),
    }
}

fn one(seed: u64, before: impl Fn(&mut World)) -> Result<Seen, Failure> {
    let mut world = World::new(seed, false);
    before(&mut world);
    match catch(|| world.run()) {
        Ok(()) => Ok(world.seen),
        Err(fault) => Err(Failure { seed, fault, steps: world.shell.steps }),
    }
}

/// Prints the events of one seed, and its scenario if it fails.
pub fn replay(seed: u64) {
    let mut world = World::new(seed, true);
    match catch(|| world.run()) {
        Ok(()) => println!("seed {seed}: {:?}", world.seen),
        Err(fault) => panic!("{}", Failure { seed, fault, steps: world.shell.steps }.tell()),
    }
}

impl Failure {
    /// What went wrong, and where the scenario lies that shows it.
    pub fn tell(&self) -> String {
        let Failure { seed, fault: Fault { place, message }, .. } = self;
        let scenario = match self.write() {
            Ok((path, short)) => format!("{short} as a scenario: {}", path.display()),
            Err(error) => format!("its scenario could not be written: {error}"),
        };
        format!("seed {seed} failed at {place}: {message}\n{scenario}\n`make sim SEED={seed}` replays all of it")
    }

    /// The scenario, as short as it could be made.
    fn write(&self) -> std::io::Result<(PathBuf, String)> {
        let steps = shrink(&self.steps, &self.fault);
        let text = script::scenario(self, &steps);
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("seed-{}.txt", self.seed));
        std::fs::write(&path, text)?;
        Ok((path, format!("{} of its {} steps", steps.len(), self.steps.len())))
    }
}
