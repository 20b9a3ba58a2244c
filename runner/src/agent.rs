//! The loop: `select!` only names what happened, the plan decides, and this carries it out. One tokio task per attempt.
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use dsg_schemas::ids::AttemptId;
use dsg_schemas::wire::{Facts, HelloAnswer, HelloRequest, Load, PROTOCOL, Phase, StartOrder, SyncAnswer};
use tokio::sync::{mpsc, watch};
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::attempt::{Halt, Life, Origin, Shared, Wish};
use crate::health::Health;
use crate::link::LinkError;
use crate::owner::Word;
use crate::plan::{Event, Failure, Plan, Step};
use crate::spool::Spool;
use crate::{RunError, at, hex};

/// From SIGTERM to the end, whatever the server does.
const FAREWELL: Duration = Duration::from_secs(5);

pub struct Agent {
    pub shared: Arc<Shared>,
    pub spool: Spool,
    pub facts: Facts,
    pub nonce: [u8; 16],
    pub plan: Plan,
    pub progress: mpsc::UnboundedReceiver<(AttemptId, Phase)>,
    pub lives: Lives,
    pub health: watch::Receiver<Health>,
    pub wish: watch::Sender<Wish>,
    pub owner: watch::Receiver<Word>,
}

/// The tasks of the attempts, and how to halt them. Dropping it ends the tasks and leaves the containers.
#[derive(Default)]
pub struct Lives {
    tasks: JoinSet<()>,
    halts: HashMap<AttemptId, watch::Sender<Halt>>,
}

impl Lives {
    pub fn begin(&mut self, shared: &Arc<Shared>, spool: &Spool, mut order: StartOrder, origin: Origin) {
        let attempt = order.attempt;
        shared.policy.narrow(&mut order);
        let first = match origin {
            Origin::Unstarted => Halt::Wait,
            Origin::Fresh | Origin::Started(..) | Origin::Ended(..) => Halt::Go,
        };
        let (halt, told) = watch::channel(first);
        let life = Life {
            shared: shared.clone(),
            folder: spool.folder(attempt),
            order,
            halt: told,
            may_come_late: false,
            hold: None,
            alive: shared.living.begin(attempt),
        };
        self.tasks.spawn(life.live(origin));
        self.halts.insert(attempt, halt);
    }

    /// Those that the server has settled have only to tidy up; the others are for the next life of the runner.
    async fn tidied_up(&mut self) {
        while self.tasks.len() > self.halts.len() && self.tasks.join_next().await.is_some() {}
    }

    fn halt(&mut self, attempt: AttemptId, halt: Halt) {
        if let Some(sender) = self.halts.get(&attempt) {
            sender.send_replace(halt);
        }
        if halt == Halt::Forget {
            self.halts.remove(&attempt);
        }
    }
}

/// The outcome of one request.
enum Reply {
    Hello(Result<HelloAnswer, LinkError>),
    Sync(u64, Result<SyncAnswer, LinkError>),
}

struct Requests {
    tasks: JoinSet<Reply>,
    /// The newest two: an older one still in flight was superseded twice, and the server does not let go of it.
    newest: [Option<AbortHandle>; 2],
}

impl Agent {
    pub async fn run(mut self, stop: CancellationToken) -> Result<(), RunError> {
        let clock = Instant::now();
        let now = || clock.elapsed().as_millis() as u64;
        let mut requests = Requests { tasks: JoinSet::new(), newest: [None, None] };
        let mut farewell = None;
        let word = Event::Owner(self.owner.borrow_and_update().clone());
        // Nothing is held open yet, and a stop needs no server.
        for step in self.plan.handle(now(), word) {
            self.carry_out(step, &mut requests);
        }
        let mut event = self.looked();
        loop {
            let first = self.broken_gpus(&event).map(|first| self.plan.handle(now(), first)).unwrap_or_default();
            let steps = self.plan.handle(now(), event);
            for step in first.into_iter().chain(steps) {
                if self.carry_out(step, &mut requests) {
                    let until = farewell.unwrap_or_else(|| Instant::now() + FAREWELL);
                    drop(tokio::time::timeout_at(until, self.lives.tidied_up()).await);
                    return Ok(());
                }
            }
            let wake = self.plan.wake_at().map(|at| clock + Duration::from_millis(at));
            event = tokio::select! {
                () = stop.cancelled(), if farewell.is_none() => {
                    tracing::info!(held = self.plan.holds(), "stopping; containers go on, and the next start takes them up");
                    farewell = Some(Instant::now() + FAREWELL);
                    Event::Stopping
                }
                Some((attempt, phase)) = self.progress.recv() => Event::Progress(attempt, phase),
                Some(reply) = requests.tasks.join_next() => match reply {
                    Ok(reply) => self.understand(reply)?,
                    // Only ever aborted because it was superseded.
                    Err(_) => Event::Wake,
                },
                Some(_) = self.lives.tasks.join_next() => Event::Wake,
                Ok(()) = self.health.changed() => self.looked(),
                Ok(()) = self.owner.changed() => Event::Owner(self.owner.borrow_and_update().clone()),
                () = at(wake) => Event::Wake,
                () = at(farewell) => return Ok(()),
            };
        }
    }

    fn looked(&mut self) -> Event {
        let Health { no_more, disk_free_bytes: _, low: _, mut facts } = self.health.borrow_and_update().clone();
        // Something may have been seen since.
        self.shared.gpus.mark(&mut facts.gpus);
        let changed = (self.facts != facts).then(|| Box::new(facts.clone()));
        self.facts = facts;
        Event::Health(no_more, changed)
    }

    /// Before the end of an attempt is told, the server must know of a GPU that broke: its next attempt would be sent there again.
    fn broken_gpus(&mut self, event: &Event) -> Option<Event> {
        let mut gpus = self.facts.gpus.clone();
        self.shared.gpus.mark(&mut gpus);
        let news = matches!(event, Event::Progress(_, Phase::Ended(_))) && gpus != self.facts.gpus;
        news.then(|| self.looked())
    }

    /// Whether that was the last step.
    fn carry_out(&mut self, step: Step, requests: &mut Requests) -> bool {
        let within = Duration::from_millis(self.plan.call_ms());
        match step {
            Step::Hello => {
                let (link, hello) = (self.shared.link.clone(), self.hello());
                requests.send(async move { Reply::Hello(link.hello(&hello, within).await) });
            }
            Step::Sync(mut sync) => {
                let (link, sampled) = (self.shared.link.clone(), self.shared.sampled.clone());
                let disk_free_bytes = self.health.borrow().disk_free_bytes;
                requests.send(async move {
                    sync.load = Load { disk_free_bytes, ..sampled.newest().await.load };
                    Reply::Sync(sync.seq, link.sync(&sync, within).await)
                });
            }
            Step::Start(order) => {
                tracing::debug!(attempt = %order.attempt, chunk = %order.chunk, "taken");
                self.lives.begin(&self.shared, &self.spool, *order, Origin::Fresh);
            }
            Step::GoOn(attempt) => self.lives.halt(attempt, Halt::Go),
            Step::Freeze(freeze) => {
                let wish = if freeze { Wish::Freeze } else { Wish::Run };
                let before = self.wish.send_replace(wish);
                if freeze || before == Wish::Freeze {
                    tracing::info!(
                        held = self.plan.holds(),
                        "containers {}",
                        if freeze { "are frozen" } else { "go on" }
                    );
                }
            }
            Step::Stop(order) => {
                tracing::info!(attempt = %order.attempt, reason = %order.reason, "stopping an attempt");
                self.lives.halt(order.attempt, Halt::Stop(order.reason));
            }
            Step::Forget(attempt) => self.lives.halt(attempt, Halt::Forget),
            Step::Quit => return true,
        }
        false
    }

    fn hello(&self) -> HelloRequest {
        HelloRequest {
            protocol: PROTOCOL,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            nonce: hex(&self.nonce),
            host: format!("{} folder {}", self.shared.boot, self.spool.place()),
            facts: self.facts.clone(),
        }
    }

    fn understand(&self, reply: Reply) -> Result<Event, RunError> {
        let (seq, error) = match reply {
            Reply::Hello(Ok(answer)) => {
                tracing::info!(name = answer.name, grid = answer.grid, session = %answer.session, "in touch with the server");
                return Ok(Event::Greeted(answer));
            }
            Reply::Sync(_, Ok(answer)) => return Ok(Event::Answered(answer)),
            Reply::Hello(Err(error)) => (0, error),
            Reply::Sync(seq, Err(error)) => (seq, error),
        };
        let failure = match error.code() {
            "hello_first" => Failure::HelloFirst,
            "stale_seq" => Failure::StaleSeq,
            // A restarted machine looks like a clone until its old session is forgotten: later it may be let in.
            "cloned" => {
                tracing::warn!(%error, "the server takes this runner for a clone; trying again");
                Failure::Unreachable
            }
            _ => match &error {
                // Without a code it is not our server that speaks, but something on the way to it.
                LinkError::Refused { status: 401 | 403 | 404, code, .. } if !code.is_empty() => {
                    return Err(RunError::Refused(error));
                }
                LinkError::Unreachable(_)
                | LinkError::Refused { .. }
                | LinkError::Broken(_)
                | LinkError::Certificate(_) => {
                    tracing::warn!(%error, "trying again; containers go on meanwhile");
                    Failure::Unreachable
                }
            },
        };
        Ok(Event::Failed { seq, failure })
    }
}

impl Requests {
    fn send(&mut self, request: impl Future<Output = Reply> + Send + 'static) {
        let handle = self.tasks.spawn(request);
        let [newest, older] = &mut self.newest;
        if let Some(superseded) = older.take() {
            superseded.abort();
        }
        *older = newest.replace(handle);
    }
}
