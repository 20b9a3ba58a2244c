//! What follows from an attempt's end: a pure function of the policy, the chunk's budgets and the reason.
use dsg_schemas::limits::GRID_REQUEUES;
use dsg_schemas::reason::{Blame, EndReason};
use dsg_schemas::spec::{Backoff, Retry, RetryAction, RetryRule};

use crate::event::Millis;
use crate::planted::{Bug, planted};
use crate::row::ChunkRow;

/// Uses of a requeue rule that has no limit of its own.
const RULE_REQUEUES: u32 = 5;
/// Different runners that a chunk may take down before it is taken for the cause.
pub(crate) const POISON_RUNNERS: usize = 3;

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Decision {
    Succeed,
    Again { charge: Charge, delay_ms: Millis },
    Fail { charge: Charge, note: String },
    FailJob,
}

/// Which budget pays.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Charge {
    Nothing,
    Failure,
    Requeue,
    /// The use of a rule, by its position.
    Rule(usize),
}

pub(crate) fn decide(retry: &Retry, chunk: &ChunkRow, reason: EndReason, exit_code: Option<i32>) -> Decision {
    if reason == EndReason::Succeeded {
        return Decision::Succeed;
    }
    if let Some((position, rule)) = retry.first_match(reason, exit_code) {
        return by_rule(retry, chunk, position, rule);
    }
    let (charge, used, limit) = match reason.blame() {
        // Taken back or stopped by people: starts again at once, at no cost.
        Blame::People if reason == EndReason::Evicted && planted(Bug::EvictCosts) => {
            (Charge::Failure, chunk.failures, retry.limit)
        }
        Blame::People | Blame::Nobody => return Decision::Again { charge: Charge::Nothing, delay_ms: 0 },
        Blame::Grid => (Charge::Requeue, chunk.requeues, GRID_REQUEUES),
        Blame::User => (Charge::Failure, chunk.failures, retry.limit),
    };
    if used >= limit {
        let note = match (charge, limit) {
            (Charge::Requeue, _) => format!("; the grid tried {limit} times more in vain"),
            (_, 0) => String::new(),
            (_, _) => format!("; all {limit} retries are used up"),
        };
        return Decision::Fail { charge, note };
    }
    // A lost runner says nothing against trying elsewhere at once; everything else may need time to get well.
    let delay_ms = if reason == EndReason::RunnerLost { 0 } else { delay(&retry.backoff, chunk) };
    Decision::Again { charge, delay_ms }
}

fn by_rule(retry: &Retry, chunk: &ChunkRow, position: usize, rule: &RetryRule) -> Decision {
    let uses = chunk.rule_uses.get(position).copied().unwrap_or(0);
    let (charge, used, limit) = match (rule.action, rule.limit) {
        (RetryAction::Fail, _) => return Decision::Fail { charge: Charge::Failure, note: "; a rule says fail".into() },
        (RetryAction::FailJob, _) => return Decision::FailJob,
        (RetryAction::Accept, _) => return Decision::Succeed,
        (RetryAction::Retry, None) => (Charge::Failure, chunk.failures, retry.limit),
        (RetryAction::Retry | RetryAction::Requeue, Some(limit)) => (Charge::Rule(position), uses, limit),
        (RetryAction::Requeue, None) => (Charge::Rule(position), uses, RULE_REQUEUES),
    };
    if used >= limit {
        let note = format!("; rule {} has been used {limit} times", position + 1);
        return Decision::Fail { charge, note };
    }
    let delay_ms = rule.delay.map_or_else(|| delay(&retry.backoff, chunk), |delay| delay.0);
    Decision::Again { charge, delay_ms }
}

/// Whether a rule takes this end for a success.
pub(crate) fn accepts(retry: &Retry, reason: EndReason, exit_code: Option<i32>) -> bool {
    retry.first_match(reason, exit_code).is_some_and(|(_, rule)| rule.action == RetryAction::Accept)
}

/// Which budget paid for this reason: what has to be given back if the end turns out not to have been one.
pub(crate) fn charged(retry: &Retry, reason: EndReason) -> Charge {
    match retry.first_match(reason, None) {
        Some((_, RetryRule { action: RetryAction::Retry, limit: None, .. })) => Charge::Failure,
        Some((position, _)) => Charge::Rule(position),
        None if reason.blame() == Blame::Grid => Charge::Requeue,
        None if reason.blame() == Blame::User => Charge::Failure,
        None => Charge::Nothing,
    }
}

impl ChunkRow {
    pub(crate) fn pay(&mut self, charge: Charge) {
        match charge {
            Charge::Nothing => {}
            Charge::Failure if planted(Bug::RetryIsFree) => {}
            Charge::Requeue if planted(Bug::UserPaysForGrid) => self.pay(Charge::Failure),
            Charge::Failure => self.failures = self.failures.saturating_add(1),
            Charge::Requeue => self.requeues = self.requeues.saturating_add(1),
            Charge::Rule(position) => {
                if self.rule_uses.len() <= position {
                    self.rule_uses.resize(position + 1, 0);
                }
                self.rule_uses[position] = self.rule_uses[position].saturating_add(1);
            }
        }
    }

    pub(crate) fn give_back(&mut self, charge: Charge) {
        match charge {
            Charge::Nothing => {}
            Charge::Failure => self.failures = self.failures.saturating_sub(1),
            Charge::Requeue => self.requeues = self.requeues.saturating_sub(1),
            Charge::Rule(position) => {
                if let Some(uses) = self.rule_uses.get_mut(position) {
                    *uses = uses.saturating_sub(1);
                }
            }
        }
    }

    /// Tries since the last person's retry.
    pub(crate) fn tries(&self) -> u32 {
        let rules = self.rule_uses.iter().fold(0u32, |sum, uses| sum.saturating_add(*uses));
        self.failures.saturating_add(self.requeues).saturating_add(rules)
    }
}

/// Grows with each try up to its maximum; spread between half and all of it, so that those who failed together do not
/// return together.
fn delay(backoff: &Backoff, chunk: &ChunkRow) -> Millis {
    let Backoff { delay, factor, max_delay, jitter } = backoff;
    let tries = chunk.tries();
    let grown = delay.0 as f64 * factor.powi(i32::try_from(tries).unwrap_or(i32::MAX));
    let full = if grown.is_finite() && grown >= 0.0 { (grown as u64).min(max_delay.0) } else { max_delay.0 };
    if !jitter || full < 2 {
        return full;
    }
    let dice = mix(chunk.id.job.0 ^ (u64::from(chunk.id.index) << 24) ^ (u64::from(chunk.id.stage) << 60), tries);
    full / 2 + dice % (full - full / 2 + 1)
}

/// A hash good enough to spread delays (splitmix64).
fn mix(id: u64, tries: u32) -> u64 {
    let mut z = id.wrapping_mul(0x9E37_79B9_7F4A_7C15).wrapping_add(u64::from(tries) + 1);
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}
