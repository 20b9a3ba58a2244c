//! For each runner the first rule that keeps a chunk away, and one sentence over all of them.
use dsg_schemas::api::{RunnerReason, RunnerState};
use dsg_schemas::ids::ChunkId;
use dsg_schemas::policy::NOT_THIS_IMAGE;
use dsg_schemas::reason::EndReason;

use crate::event::Millis;
use crate::grid::Grid;
use crate::job::Job;
use crate::leave::{Left, Why};
use crate::needs::{Used, misfit};
use crate::runner::Runner;

/// How a runner stands to a chunk, from hopeless to about to take it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Hope {
    Never,
    Away,
    Leaves,
    Busy,
    Next,
}

pub(super) struct Verdict {
    pub hope: Hope,
    pub reason: RunnerReason,
}

impl Grid {
    pub(super) fn verdicts(&self, now: Millis, job: &Job, chunk: ChunkId) -> Vec<Verdict> {
        let verdict = |runner: &Runner| {
            let (hope, reason) = self.verdict(now, job, chunk, runner);
            Verdict { hope, reason: RunnerReason { runner: runner.row.name.clone(), reason } }
        };
        self.runners.values().map(verdict).collect()
    }

    fn verdict(&self, now: Millis, job: &Job, chunk: ChunkId, runner: &Runner) -> (Hope, String) {
        let (Some(stage), Some(policy)) = (job.stage(chunk.stage), job.row.policy(chunk.stage)) else {
            return (Hope::Never, "no such stage".to_owned());
        };
        let (name, facts) = (&runner.row.name, &runner.row.facts);
        let (state, why) = runner.state(now);
        if state == RunnerState::New {
            return (Hope::Away, why);
        }
        let needs = stage.needs_of(chunk.index);
        if let Some(never) = misfit(now, name, facts, &Used::default(), needs, &policy.constraints) {
            return (Hope::Never, never.to_string());
        }
        if job.is_refused(chunk, runner) {
            let row = job.chunk(chunk).filter(|row| row.reason == Some(EndReason::Refused));
            let mine = row.filter(|row| {
                row.refused
                    .as_ref()
                    .and_then(|refused| refused.by.last())
                    .is_some_and(|(last, _)| *last == runner.row.id)
            });
            let said = mine.map(|row| format!(" ({})", row.message)).unwrap_or_default();
            return (Hope::Never, format!("refused it{said}; it is asked again after its next start"));
        }
        if state != RunnerState::Ready {
            return (Hope::Away, why);
        }
        let here = stage.on_runner.get(&runner.row.id).copied().unwrap_or(0);
        if policy.per_runner.is_some_and(|limit| here >= limit) {
            return (Hope::Busy, format!("per_runner {here} of the job is reached there"));
        }
        if let Some(other) = self.untried_runner(now, job, chunk, runner.row.id) {
            let other = self.runner_name(other);
            return (Hope::Leaves, format!("it failed there before, and {other} could run it (avoid_failed_runners)"));
        }
        if let Some(Left { to, why, until: _ }) = self.left_to(now, job, chunk, runner) {
            let to = self.runner_name(to);
            let words = match why {
                Why::Preferred => format!("leaves it to {to}, which the job prefers"),
                Why::AtHand => format!("leaves it for some seconds to {to}, which already holds its image"),
                Why::ItsPart => format!("leaves it for a moment to {to}: a few long chunks are shared out by room"),
            };
            return (Hope::Leaves, words);
        }
        if runner.holds.len() >= runner.most_holds() {
            return (Hope::Busy, on_trial_or_full(runner));
        }
        if let Some(full) = misfit(now, name, facts, &runner.used, needs, &policy.constraints) {
            return (Hope::Busy, full.to_string());
        }
        if let Some(other) = self.reserved_for(runner, job) {
            return (Hope::Busy, format!("is kept free for job {other}, which has waited long for so much room"));
        }
        (Hope::Next, "has room; others are before it, or it is given at the runner's next sync".to_owned())
    }

    /// The job of another owner's or size for which the runner is reserved.
    fn reserved_for(&self, runner: &Runner, not: &Job) -> Option<dsg_schemas::ids::JobId> {
        let others = self.jobs.values().filter(|job| job.row.id != not.row.id);
        let mut reserved = others.filter(|job| job.stages().any(|(_, stage)| stage.reserved == Some(runner.row.id)));
        reserved.next().map(|job| job.row.id)
    }
}

fn on_trial_or_full(runner: &Runner) -> String {
    let holds = crate::job::counted(runner.holds.len() as u64, "attempt");
    match runner.row.sick.is_on_trial() {
        true => "is tried with one attempt at a time, because those before it failed through its own fault".to_owned(),
        false => format!("holds {holds}, and more are not given to one runner"),
    }
}

/// One sentence for a stage that no runner could run even when idle; the reasons are of all runners that said hello.
pub(crate) fn nobody_can(reasons: &[(String, String)]) -> String {
    match reasons {
        [] => "no runner has joined yet: start one with dsg-runner join".to_owned(),
        [(_, first), rest @ ..]
            if first.starts_with("has no GPU") && rest.iter().all(|(_, other)| other.starts_with("has no GPU")) =>
        {
            "no runner has a GPU".to_owned()
        }
        [(_, first), rest @ ..]
            if first.starts_with(NOT_THIS_IMAGE) && rest.iter().all(|(_, other)| other.starts_with(NOT_THIS_IMAGE)) =>
        {
            let allows =
                |(name, reason): &(String, String)| format!("{name} allows {}", &reason[NOT_THIS_IMAGE.len()..]);
            format!("no runner in the grid allows this image: {}", shown(reasons, allows))
        }
        [(name, only)] => format!("the only runner, {name}, {only}"),
        [..] => {
            let all = shown(reasons, |(name, reason)| format!("{name} {reason}"));
            format!("no runner could run it even when idle: {all}")
        }
    }
}

fn shown(reasons: &[(String, String)], words: impl Fn(&(String, String)) -> String) -> String {
    let shown: Vec<String> = reasons.iter().take(3).map(words).collect();
    let more = if reasons.len() > 3 { format!("; and {} more", reasons.len() - 3) } else { String::new() };
    format!("{}{more}", shown.join("; "))
}
