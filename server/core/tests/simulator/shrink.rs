//! Makes the story of a failure short: whatever can be left out while the same assertion still fails, is.
use dsg_core::Millis;

use crate::fault::{Fault, catch};
use crate::shell::{Shell, Step};

/// Replays at most: each costs as much as the run itself, and less and less.
const REPLAYS: usize = 600;

/// The steps in question if they alone do not fail (a job that never ends does not show in any of them).
pub fn shrink(steps: &[Step], fault: &Fault) -> Vec<Step> {
    let mut steps = steps.to_vec();
    if !fails(&steps, fault) {
        return steps;
    }
    let mut replays = 0;
    let mut width = steps.len() / 2;
    while width > 0 && replays < REPLAYS {
        let mut at = 0;
        let mut dropped = false;
        while at < steps.len() && replays < REPLAYS {
            let mut fewer = steps.clone();
            fewer.drain(at..(at + width).min(steps.len()));
            replays += 1;
            if fails(&fewer, fault) {
                steps = fewer;
                dropped = true;
            } else {
                at += width;
            }
        }
        width = if width == 1 && dropped { 1 } else { width / 2 };
    }
    steps
}

/// Whether the same assertion fails when only these steps happen.
pub fn fails(steps: &[Step], fault: &Fault) -> bool {
    let run = catch(|| {
        let mut shell = Shell::new(begin(steps));
        for step in steps {
            shell.again(step);
        }
    });
    run.is_err_and(|other| other.place == fault.place)
}

/// When the first of them happens.
pub fn begin(steps: &[Step]) -> Millis {
    match steps.first() {
        Some(Step::Event(at, _) | Step::Restart(at, _) | Step::Away(at, _)) => *at,
        None => 0,
    }
}
