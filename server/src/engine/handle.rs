//! How the rest of the server talks to the engine thread.
use std::sync::Arc;
use std::sync::mpsc::{SyncSender, TrySendError};

use dsg_core::Grid;
use dsg_core::event::{Answer, Event};
use tokio::sync::{oneshot, watch};

use super::message::{EnrolRequest, Message, Refused};
use super::summary::Summary;
use crate::auth::Book;

#[derive(Clone)]
pub struct Engine {
    pub(super) sender: SyncSender<Message>,
    pub(super) summary: watch::Receiver<Arc<Summary>>,
    pub(super) work: watch::Receiver<u64>,
}

impl Engine {
    /// Answered once what it changed is on disk.
    pub async fn apply(&self, event: Event) -> Result<Answer, Refused> {
        self.call(|reply| Message::Apply(event, reply)).await?
    }
    pub async fn enrol(&self, request: EnrolRequest) -> Result<Answer, Refused> {
        self.call(|reply| Message::Enrol(request, reply)).await?
    }
    /// Looks at the grid as it is on disk: `ask(|grid, now| grid.explain(now, chunk))`.
    pub async fn ask<T: Send + 'static>(
        &self,
        question: impl FnOnce(&Grid, u64) -> T + Send + 'static,
    ) -> Result<T, Refused> {
        let answer = self.call(|reply: oneshot::Sender<Result<T, Refused>>| {
            Message::Ask(Box::new(move |grid, now| {
                let found = question(grid, now);
                Box::new(move |committed| drop(reply.send(committed.map(|()| found))))
            }))
        });
        answer.await?
    }
    /// Changes tokens, sessions and links; the answer is given once that is on disk.
    pub async fn book<T: Send + 'static>(
        &self,
        change: impl FnOnce(&mut Book, u64) -> T + Send + 'static,
    ) -> Result<T, Refused> {
        let answer = self.call(|reply: oneshot::Sender<Result<T, Refused>>| {
            Message::Book(Box::new(move |book, now| {
                let done = change(book, now);
                Box::new(move |committed| drop(reply.send(committed.map(|()| done))))
            }))
        });
        answer.await?
    }
    /// With a reason nothing new starts, without one it may again; what runs goes on.
    pub async fn stop_starts(&self, why: Option<String>) -> Result<(), Refused> {
        self.call(|reply| Message::StopStarts(why, reply)).await
    }
    /// What everybody may see without asking the thread; renewed at most every 200 ms.
    pub fn summary(&self) -> Arc<Summary> {
        self.summary.borrow().clone()
    }
    /// Changes whenever the summary does.
    pub fn revisions(&self) -> watch::Receiver<Arc<Summary>> {
        self.summary.clone()
    }
    /// Changes whenever held syncs should look again.
    pub fn work(&self) -> watch::Receiver<u64> {
        self.work.clone()
    }

    /// Ends the thread once everything before is done.
    pub fn stop(&self) {
        // It may be gone already.
        let _ = self.sender.send(Message::Stop);
    }

    async fn call<T>(&self, message: impl FnOnce(oneshot::Sender<T>) -> Message) -> Result<T, Refused> {
        let (reply, answer) = oneshot::channel();
        self.sender.try_send(message(reply)).map_err(|error| match error {
            TrySendError::Full(_) => Refused::Busy,
            TrySendError::Disconnected(_) => Refused::Stopping,
        })?;
        // Without a grid (its store is broken) questions are dropped unanswered.
        answer.await.map_err(|_| Refused::Store)
    }
}
