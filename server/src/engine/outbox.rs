//! What the engine thread leaves to other parts of the server, once it is on disk.
use dsg_core::event::GatherTurn;
use dsg_schemas::ids::{AttemptId, JobId};
use dsg_schemas::wire::log::LogHave;
use tokio::sync::mpsc;

/// What other parts of the server do after a commit.
pub struct Outbox {
    /// Jobs whose gather steps are due.
    pub gather: mpsc::UnboundedSender<(JobId, GatherTurn)>,
    /// What is to be done with logs.
    pub logs: mpsc::UnboundedSender<LogDue>,
}

/// What became of attempts, as far as their logs are concerned.
#[derive(Debug)]
pub enum LogDue {
    /// They ended; a runner that was lost will never say so itself.
    Ended(Vec<(AttemptId, LogHave)>),
    /// Their jobs were removed.
    Removed(Vec<AttemptId>),
}
