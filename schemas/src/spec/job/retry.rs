//! What happens after a failure.
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::yes;
use crate::reason::EndReason;
use crate::spec::forms;
use crate::units::Millis;

/// What happens after a failure. A failure of the grid's own (a lost runner, a failed pull) is requeued up to 5 times at no
/// cost; everything else follows the first rule that matches, else `limit`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Retry {
    /// Extra attempts after the first, for failures that count.
    #[serde(default)]
    #[schemars(range(max = 100))]
    pub limit: u32,
    #[serde(default)]
    pub backoff: Backoff,
    /// Prefer another runner than those where this chunk failed.
    #[serde(default)]
    pub avoid_failed_runners: bool,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 20))]
    pub rules: Vec<RetryRule>,
}

impl Retry {
    /// The rule that decides over such an end, and its position.
    pub fn first_match(&self, reason: EndReason, exit_code: Option<i32>) -> Option<(usize, &RetryRule)> {
        self.rules.iter().enumerate().find(|(_, rule)| rule.when.matches(reason, exit_code))
    }
}

impl When {
    fn matches(&self, reason: EndReason, exit_code: Option<i32>) -> bool {
        let When { exit_codes, reason: reasons } = self;
        let code = exit_code.filter(|_| reason == EndReason::Exit);
        let in_range = |code| exit_codes.iter().any(|range| (range.first.into()..=range.last.into()).contains(&code));
        (exit_codes.is_empty() || code.is_some_and(in_range)) && (reasons.is_empty() || reasons.contains(&reason))
    }
}

/// Waiting before an attempt is tried again. It holds no place on any runner.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Backoff {
    #[serde(default = "five_seconds")]
    pub delay: Millis,
    /// Multiplies the delay after each failure.
    #[serde(default = "two")]
    #[schemars(range(min = 1, max = 100))]
    pub factor: f64,
    #[serde(default = "ten_minutes")]
    pub max_delay: Millis,
    /// Spread the delay at random between half and all of it.
    #[serde(default = "yes")]
    pub jitter: bool,
}

fn five_seconds() -> Millis {
    Millis(5_000)
}
fn ten_minutes() -> Millis {
    Millis(600_000)
}
fn two() -> f64 {
    2.0
}

impl Default for Backoff {
    fn default() -> Backoff {
        Backoff { delay: five_seconds(), factor: two(), max_delay: ten_minutes(), jitter: true }
    }
}

/// The first rule whose `when` matches decides.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RetryRule {
    pub when: When,
    pub action: RetryAction,
    /// How often this rule may be used for one chunk; after that the chunk fails.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(max = 100))]
    pub limit: Option<u32>,
    /// In place of the backoff.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delay: Option<Millis>,
    /// What the next attempt gets more of, each time this rule is used.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scale: Option<Scale>,
}

/// Factors by which the next attempt gets more; what a chunk has once got it keeps on every later attempt.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Scale {
    /// After `oom`: times the memory, up to `resources.max.memory` and to what the largest runner has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 100))]
    pub memory: Option<f64>,
    /// After `run_timeout`: times `timeouts.run`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 100))]
    pub run: Option<f64>,
}

/// Both must match where both are given.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct When {
    /// Codes as numbers, or ranges with both ends in them, as in `"64..78"`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(min = 1))]
    pub exit_codes: Vec<ExitCodes>,
    /// One reason or a list.
    #[serde(default, skip_serializing_if = "Vec::is_empty", deserialize_with = "forms::reasons")]
    #[schemars(schema_with = "forms::reasons_schema")]
    pub reason: Vec<EndReason>,
}

/// A range of exit codes with both ends in it; written `75` or `"64..78"`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ExitCodes {
    pub first: u8,
    pub last: u8,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum RetryAction {
    /// Try again; counts towards `retry.limit`, or towards this rule's own `limit` if it has one.
    Retry,
    /// Try again; counts towards this rule's `limit` only (5 if it has none).
    Requeue,
    /// The chunk fails now.
    Fail,
    /// The chunk fails, and the job with it: nothing more is started.
    FailJob,
    /// Count it as succeeded.
    Accept,
}
