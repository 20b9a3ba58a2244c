//! Messages that share one commit, and the answers that wait for it.
use dsg_core::event::{Answer, Effects};
use tokio::sync::oneshot;

use super::message::{Deliver, Refused};

#[derive(Default)]
pub struct Batch {
    pub effects: Effects,
    pub answers: Vec<Deliver>,
    /// A person did something in it, and looks for it next.
    pub is_looked_for: bool,
}

impl Batch {
    pub fn answer(&mut self, reply: oneshot::Sender<Result<Answer, Refused>>, result: Result<Answer, Refused>) {
        self.answers.push(Box::new(move |committed| {
            // A caller that went away needs no answer.
            drop(reply.send(committed.and(result)));
        }));
    }
}
