//! Logs as lines. Raw bytes are at `/api/v1/attempts/{id}/log/raw`.
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::wire::log::Stream;

/// `GET /api/v1/attempts/{id}/log?from=N&limit=M` or `?tail=M`; `…/log/follow?from=N` sends the same as events (`id:` is the
/// line to go on from).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct LogPage {
    pub lines: Vec<LogLine>,
    /// Ask from here next.
    pub next: u64,
    /// Lines that the server has; grows while the attempt runs.
    pub total: u64,
    pub stdout_bytes: u64,
    pub stderr_bytes: u64,
    /// What each stream wrote after its last newline so far.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub open: Vec<LogLine>,
    /// No more will come.
    pub ended: bool,
    /// Bytes missing in the middle, because of the cap or because the runner lost them. 0: complete.
    pub missing_bytes: u64,
    /// It ended, and its runner was not heard about it: what it had not sent may be missing at the end. Should it come back, that is added.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub unheard: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct LogLine {
    /// From 0, in order of arrival over both streams.
    pub n: u64,
    pub time_ms: u64,
    pub stream: Stream,
    /// Invalid UTF-8 replaced; escape codes left in; without the newline; cut at 64 KiB.
    pub text: String,
    /// Too long for one line: the stream's next line goes on with it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub cut: bool,
}
