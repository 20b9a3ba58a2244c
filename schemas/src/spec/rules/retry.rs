//! Retry rules that can match, and whose parts mean something together.
use crate::reason::EndReason;
use crate::spec::job::{Retry, RetryAction, RetryRule, Scale, When};
use crate::spec::problem::{Found, Report, Rule};

/// They end a chunk or a job, and not one of its attempts.
const UNRULED: [EndReason; 3] = [EndReason::Cancelled, EndReason::QueueTimeout, EndReason::JobTimeout];

pub fn check(pointer: &str, retry: &Retry, report: &mut Report) {
    for (at, rule) in retry.rules.iter().enumerate() {
        let place = format!("{pointer}/rules/{at}");
        for (key, message) in wrong(rule) {
            report.add(Found::new(Rule::RetryRule, format!("{place}/{key}"), message).at_key());
        }
    }
}

fn wrong(rule: &RetryRule) -> Vec<(&'static str, &'static str)> {
    let RetryRule { when, action, limit, delay, scale } = rule;
    let mut wrong = Vec::new();
    if when.exit_codes.is_empty() && when.reason.is_empty() {
        wrong.push(("when", "says neither `exit_codes` nor `reason`"));
    }
    if when.exit_codes.iter().any(|codes| codes.first == 0) {
        wrong.push(("when/exit_codes", "0 is success, and no failure to have a rule for"));
    }
    if when.reason.contains(&EndReason::Succeeded) {
        wrong.push(("when/reason", "`succeeded` is no failure to have a rule for"));
    }
    if when.reason.iter().any(|reason| UNRULED.contains(reason)) {
        wrong.push(("when/reason", "`cancelled`, `queue_timeout` and `job_timeout` end a chunk or the job, not one attempt: a rule never meets them"));
    }
    if !when.exit_codes.is_empty() && !when.reason.is_empty() && !when.reason.contains(&EndReason::Exit) {
        wrong.push(("when", "can never match: only the reason `exit` has an exit code"));
    }
    let again = match action {
        RetryAction::Retry | RetryAction::Requeue => true,
        RetryAction::Fail | RetryAction::FailJob | RetryAction::Accept => false,
    };
    if !again && limit.is_some() {
        wrong.push(("limit", "has no meaning beside an action that does not try again"));
    }
    if !again && delay.is_some() {
        wrong.push(("delay", "has no meaning beside an action that does not try again"));
    }
    if let Some(scale) = scale {
        if !again {
            wrong.push(("scale", "has no meaning beside an action that does not try again"));
        }
        wrong_scale(when, *scale, &mut wrong);
    }
    wrong
}

/// More of something helps only against the lack of it.
fn wrong_scale(when: &When, Scale { memory, run }: Scale, wrong: &mut Vec<(&'static str, &'static str)>) {
    if memory.is_none() && run.is_none() {
        wrong.push(("scale", "says neither `memory` nor `run`"));
    }
    if memory.is_some() && when.reason != [EndReason::Oom] {
        wrong.push(("scale/memory", "helps only after `oom`: write `when: {reason: oom}`"));
    }
    if run.is_some() && when.reason != [EndReason::RunTimeout] {
        wrong.push(("scale/run", "helps only after `run_timeout`: write `when: {reason: run_timeout}`"));
    }
    for (key, factor) in [("scale/memory", memory), ("scale/run", run)] {
        if factor.is_some_and(|factor| factor <= 1.0) {
            wrong.push((key, "must be more than 1, or the next attempt would get no more than the last"));
        }
    }
}
