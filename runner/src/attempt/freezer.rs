//! Freezing and thawing of one container, as the runner wishes. What that means for its time limits is kept in its folder, so that a
//! later life of the runner counts the same.
use dsg_schemas::ids::AttemptId;
use tokio::sync::watch as channel;
use tokio::time::{Duration, Instant};

use super::{Shared, Wish};
use crate::container::{Answer, Failure};
use crate::spool::{Folder, Pauses};
use crate::{at, now_ms};

pub struct Freezer<'a> {
    shared: &'a Shared,
    attempt: AttemptId,
    container: &'a str,
    folder: &'a Folder,
    wish: channel::Receiver<Wish>,
    pauses: Pauses,
    since: Option<Instant>,
    /// Under way: to be frozen, or to go on.
    call: Option<(bool, Answer<'a, ()>)>,
    not_before: Option<Instant>,
}

/// What has become of the container.
pub enum Turn {
    Frozen,
    /// After so long.
    Thawed(Duration),
}

impl<'a> Freezer<'a> {
    /// `before`: of an earlier life; `frozen`: as the engine has it now.
    pub fn new(
        shared: &'a Shared,
        attempt: AttemptId,
        container: &'a str,
        folder: &'a Folder,
        before: Pauses,
        (started_ms, frozen): (u64, bool),
    ) -> Freezer<'a> {
        let now = now_ms();
        let pauses = match frozen {
            true => Pauses { started_ms, since_ms: before.since_ms.or(Some(now)), ..before },
            false => Pauses { started_ms, past_ms: before.total_ms(now), since_ms: None },
        };
        let wish = shared.wish.clone();
        let since = frozen.then(Instant::now);
        Freezer { shared, attempt, container, folder, wish, pauses, since, call: None, not_before: None }
    }

    pub fn is_frozen(&self) -> bool {
        self.since.is_some()
    }

    /// How long the container really had so far.
    pub fn had(&self) -> Duration {
        let now = now_ms();
        let since_start = now.saturating_sub(self.pauses.started_ms);
        Duration::from_millis(since_start.saturating_sub(self.pauses.total_ms(now)))
    }

    /// Returns when the container was frozen or goes on. Nothing is lost where it is dropped and asked again.
    pub async fn turn(&mut self) -> Turn {
        loop {
            if let Some((freeze, call)) = &mut self.call {
                let (freeze, answer) = (*freeze, call.await);
                self.call = None;
                match answer {
                    Ok(()) => return self.turned(freeze),
                    Err(failure) => {
                        let attempt = self.attempt;
                        tracing::warn!(%attempt, freeze, %failure, "cannot freeze or thaw a container; it is tried again");
                        self.not_before = Some(Instant::now() + self.shared.patience.retry);
                    }
                }
            }
            let wish = *self.wish.borrow_and_update();
            let wanted = match wish {
                Wish::AsItIs => self.is_frozen(),
                Wish::Run => false,
                Wish::Freeze => true,
            };
            let due = wanted != self.is_frozen();
            if due && self.not_before.is_none_or(|at| at <= Instant::now()) {
                let engine = &self.shared.engine;
                let call = if wanted { engine.pause(self.container) } else { engine.unpause(self.container) };
                self.call = Some((wanted, call));
                continue;
            }
            tokio::select! {
                changed = self.wish.changed() => if changed.is_err() { std::future::pending::<()>().await },
                () = at(self.not_before), if due => {}
            }
        }
    }

    fn turned(&mut self, frozen: bool) -> Turn {
        let now = now_ms();
        self.not_before = None;
        self.pauses = match frozen {
            true => Pauses { since_ms: Some(now), ..self.pauses },
            false => Pauses { past_ms: self.pauses.total_ms(now), since_ms: None, ..self.pauses },
        };
        if let Err(error) = self.folder.paused(self.pauses) {
            tracing::error!(attempt = %self.attempt, %error, "cannot keep how long a container was frozen");
        }
        match (frozen, self.since.take()) {
            (true, _) => {
                self.since = Some(Instant::now());
                Turn::Frozen
            }
            (false, since) => Turn::Thawed(since.map_or(Duration::ZERO, |since| since.elapsed())),
        }
    }

    /// The container is to end: what is under way has to be over before.
    pub fn end(&mut self) -> impl Future<Output = Result<(), Failure>> + Send + use<'a> {
        let call = self.call.take();
        async {
            match call {
                Some((_, call)) => call.await,
                None => Ok(()),
            }
        }
    }
}
