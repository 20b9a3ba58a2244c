//! What can be asked of the engine thread, and how it may refuse.
use dsg_core::Grid;
use dsg_core::event::{Answer, Event, Refusal};
use tokio::sync::oneshot;

use crate::auth::Book;
use crate::auth::book::NoJoin;

/// Called after the commit with what came of it. Nobody hears of what is not on disk.
pub type Deliver = Box<dyn FnOnce(Committed) + Send>;
pub type Committed = Result<(), Refused>;

/// Given the time as well, in Unix milliseconds.
pub type Change = Box<dyn FnOnce(&mut Book, u64) -> Deliver + Send>;
pub type Question = Box<dyn FnOnce(&Grid, u64) -> Deliver + Send>;

pub enum Message {
    Apply(Event, oneshot::Sender<Result<Answer, Refused>>),
    /// Takes a use of the join token and makes the runner, both or neither.
    Enrol(EnrolRequest, oneshot::Sender<Result<Answer, Refused>>),
    /// Changes tokens, sessions or links.
    Book(Change),
    /// Looks at the grid.
    Ask(Question),
    /// With a reason: no attempt starts from now on. Without one: they may again.
    StopStarts(Option<String>, oneshot::Sender<()>),
    /// Ends the thread once everything before it is done.
    Stop,
}

#[derive(Clone, Debug)]
pub struct EnrolRequest {
    pub token_sha256: String,
    pub name: String,
    pub credential_sha256: String,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    #[error(transparent)]
    Refusal(#[from] Refusal),
    #[error(transparent)]
    Join(#[from] NoJoin),
    #[error("the store could not be written; nothing was done")]
    Store,
    #[error("the server's disk is full, so nothing was done; delete old jobs or give it more space, then try again")]
    DiskFull,
    #[error("the server has more to do than it can take; try again soon")]
    Busy,
    #[error("the server is stopping")]
    Stopping,
}
