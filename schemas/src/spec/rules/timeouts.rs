//! Time limits that mean something.
use crate::spec::job::{Job, Timeouts};
use crate::spec::problem::{Found, Report, Rule};
use crate::units::Millis;

pub fn check(job: &Job, report: &mut Report) {
    if job.timeout.is_some() && job.timeouts.run.is_some() {
        let message = "`timeout` is short for `timeouts.run`; take one of them";
        report.add(Found::new(Rule::TimeoutTwice, "/timeout", message).at_key());
    }
    zero("/timeout", job.timeout, report);
    each("/timeouts", &job.timeouts, report);
}

/// `grace: 0s` is sound: KILL at once.
pub fn each(pointer: &str, timeouts: &Timeouts, report: &mut Report) {
    let Timeouts { run, stall, queue, job, grace: _ } = timeouts;
    for (key, value) in [("run", run), ("stall", stall), ("queue", queue), ("job", job)] {
        zero(&format!("{pointer}/{key}"), *value, report);
    }
}

fn zero(pointer: &str, value: Option<Millis>, report: &mut Report) {
    if value == Some(Millis(0)) {
        report.add(
            Found::new(Rule::TimeoutZero, pointer, "a time limit of 0 would end everything at once")
                .hint("leave the key out for no limit"),
        );
    }
}
