//! The life of one attempt: image, inputs, create, attach, start, watch, sweep, outputs, end. What shows its end is there until that is
//! durable, here or at the server; whatever is cut off by the end of the process is taken up by the next one.
use std::sync::Arc;

use dsg_schemas::reason::EndReason;
use dsg_schemas::wire::{Ended, Phase, StartOrder};
use tokio::sync::{mpsc, watch as channel};
use tokio::time::Instant;

use super::meter::Meter;
use super::outputs::Stored;
use super::ship::Shipment;
use super::sweep::Sweep;
use super::tap::Log;
use super::verdict::{Uprooted, verdict};
use super::watch::{Over, Watch};
use super::{
    Alive, Halt, Shared, Wish, allowed, disk, failed, halted, inputs, masked, outputs, prepare, pulled, pushed, secrets,
};
use crate::container::{Piece, State};
use crate::now_ms;
use crate::policy::refused;
use crate::room::Hold;
use crate::spool::{Folder, Past, Pauses, Started};

/// An engine that did not answer when it was asked for a container may make it late: it is looked for after so many looks, and again.
const LATE_LOOKS: [u32; 3] = [8, 16, 32];

pub struct Life {
    pub shared: Arc<Shared>,
    pub order: StartOrder,
    pub folder: Folder,
    pub halt: channel::Receiver<Halt>,
    /// The engine was asked for a container and did not answer: it may still make one.
    pub may_come_late: bool,
    /// On its image, so that it is not removed meanwhile.
    pub hold: Option<Hold>,
    /// On its folder.
    pub alive: Alive,
}

/// Where a life begins.
#[derive(Clone, Debug)]
pub enum Origin {
    /// A new order.
    Fresh,
    /// An earlier life of the runner took the order and did not start it. By now another runner may have its chunk, or this runner's state
    /// may be a copy on another machine: the server is asked first.
    Unstarted,
    /// An earlier life of the runner started it.
    Started(Started, Past),
    /// It ended and that is durable; its container may still be there.
    Ended(Box<Ended>, Option<String>),
}

impl Life {
    pub async fn live(mut self, origin: Origin) {
        // An earlier life may have made one, or have asked for it just before its end.
        let name = || prepare::container_name(&self.shared.grid, self.order.attempt);
        let (ended, container, is_kept) = match origin {
            Origin::Ended(ended, container) => {
                self.may_come_late = container.is_none();
                (*ended, Some(container.unwrap_or_else(name)), true)
            }
            Origin::Fresh | Origin::Unstarted => {
                self.may_come_late = matches!(origin, Origin::Unstarted);
                let mut container = self.may_come_late.then(name);
                let ended = self.fresh(&mut container).await.unwrap_or_else(|ended| ended);
                (ended, container, false)
            }
            Origin::Started(started, past) => {
                self.hold = Some(self.shared.stock.hold(started.image_id.clone()).await);
                let ended = self.run_on(&started, past, None, 0).await.unwrap_or_else(|ended| ended);
                (ended, Some(started.container), false)
            }
        };
        // What inspect says of its container again, to the next life of the runner. Why else one ended is known now and not then; and
        // without its secrets, which go now, its output cannot be masked again.
        let shows = matches!(ended.reason, EndReason::Succeeded | EndReason::Exit) && self.order.secrets.is_empty();
        let told_first = shows && !is_kept;
        if !told_first && !is_kept {
            self.keep(&ended).await;
        }
        if !self.order.secrets.is_empty() {
            self.shared.secrets.clear(self.order.attempt);
        }
        // As long as there is a container, its engine lets nobody remove its image.
        self.hold = None;
        // Before the server hears of it, and gives it to others.
        self.shared.offer.give_back(self.order.attempt);
        self.say(Phase::Ended(Box::new(ended.clone())));
        // The container shows it until one of the two has it on disk.
        if told_first && !self.settled().await {
            self.keep(&ended).await;
        }
        if let Some(container) = container {
            self.remove(&container).await;
            for looks in LATE_LOOKS.into_iter().filter(|_| self.may_come_late) {
                tokio::time::sleep(self.shared.patience.look * looks).await;
                self.remove(&container).await;
            }
        }
        // An error says that the process ends: the folder is for the next one.
        if self.halt.wait_for(|halt| *halt == Halt::Forget).await.is_ok() {
            let folder = self.folder.clone();
            drop(tokio::task::spawn_blocking(move || folder.remove()).await);
        }
    }

    async fn fresh(&mut self, container: &mut Option<String>) -> Result<Ended, Ended> {
        allowed(&mut self.halt).await.map_err(stopped_early)?;
        let (folder, order) = (self.folder.clone(), self.order.clone());
        let begun = written("keep an order", move || {
            folder.begin(&order)?;
            prepare::lay_out(&folder, &order)
        });
        let image = async {
            self.shared.policy.judge(&self.order).map_err(|ended| *ended)?;
            self.shared.offer.take(self.order.attempt, &self.order.limits).map_err(|why| *refused(&why))?;
            self.image().await
        };
        // The order is written before anything of this attempt's own is made.
        let (begun, image) = tokio::join!(begun, image);
        begun?;
        let image_id = image?;
        if !(self.order.inputs.is_empty() && self.order.secrets.is_empty()) {
            self.note("fetching inputs");
        }
        let fetched = async {
            let inputs = inputs::fetch(&self.shared, &self.folder, &self.order.inputs).await?;
            Ok::<_, Ended>([inputs, secrets::fetch(&self.shared, &self.order).await?].concat())
        };
        let binds = tokio::select! {
            binds = fetched => binds?,
            reason = halted(&mut self.halt) => return Err(stopped_early(reason)),
        };
        let shared = self.shared.clone();
        let Shared { engine, grid, runner, boot, policy, .. } = &*shared;
        let plan = prepare::container_plan(&self.order, &self.folder, &image_id, binds, grid, *runner, policy);
        let plan = plan.map_err(|ended| *ended)?;
        self.note("creating the container");
        // By name until the id is known: a create without an answer may have made it all the same.
        *container = Some(plan.name.clone());
        let created = engine.create(&plan).await;
        self.may_come_late |= created.as_ref().is_err_and(|failure| failure.engine_gone);
        let id = created.map_err(failed)?;
        *container = Some(id.clone());
        if self.halt.has_changed().is_ok() && *self.halt.borrow() != Halt::Go {
            return Err(stopped_early(halted(&mut self.halt).await));
        }
        self.may_run().await?;
        // After a pause that may have lasted: a container that waits to be started outlives its engine.
        let engine_life = engine.life().await.map_err(failed)?;
        let started = Started { container: id, image_id, boot: boot.clone(), engine_life };
        let (folder, kept) = (self.folder.clone(), started.clone());
        let kept = written("keep a start", move || folder.started(&kept));
        let (kept, pieces) = tokio::join!(kept, engine.attach(&started.container));
        kept?;
        let pieces = pieces.map_err(failed)?;
        tracing::debug!(attempt = %self.order.attempt, container = started.container, "starting");
        let since_ms = match engine.start(&started.container).await {
            // A busy engine takes seconds for it; those are not the job's.
            Ok(()) => now_ms(),
            Err(failure) if !failure.engine_gone => {
                return Err(Ended { image_id: Some(started.image_id), ..failed(failure) });
            }
            Err(_) => 0,
        };
        self.run_on(&started, Past::default(), Some(pieces), since_ms).await
    }

    /// What was taken before the runner was paused is started after that.
    async fn may_run(&mut self) -> Result<(), Ended> {
        let mut wish = self.shared.wish.clone();
        if *wish.borrow() != Wish::Freeze {
            return Ok(());
        }
        self.note("ready to start, once its runner is not paused any more");
        tokio::select! {
            told = async { wish.wait_for(|wish| *wish != Wish::Freeze).await.is_ok() } => match told {
                true => Ok(()),
                // The process ends, and its next life takes over.
                false => std::future::pending().await,
            },
            reason = halted(&mut self.halt) => Err(stopped_early(reason)),
        }
    }

    async fn image(&mut self) -> Result<String, Ended> {
        let attempt = self.order.attempt;
        let progress = self.shared.progress.clone();
        let note = move |note: String| drop(progress.send((attempt, Phase::Preparing { note })));
        let (shared, order) = (self.shared.clone(), &self.order);
        let image = async {
            match &order.pushed {
                Some(pushed) => {
                    let folder = self.folder.part("image").map_err(|error| disk("keep an image", &error))?;
                    pushed::present(&shared, &folder, (&order.image, pushed), &note).await
                }
                None => pulled::present(shared, order, note).await,
            }
        };
        let (image, hold) = tokio::select! {
            image = image => image?,
            reason = halted(&mut self.halt) => return Err(stopped_early(reason)),
        };
        self.hold = Some(hold);
        Ok(image.id)
    }

    /// From the start, or from where an earlier life of the runner left it (`pieces` is `None`). `since_ms` 0: the engine knows.
    async fn run_on(
        &mut self,
        started: &Started,
        past: Past,
        pieces: Option<mpsc::Receiver<Piece>>,
        since_ms: u64,
    ) -> Result<Ended, Ended> {
        let shared = self.shared.clone();
        let mask = secrets::mask(&shared, &self.order).map_err(|ended| *ended)?;
        let pieces = pieces.map(|pieces| masked::pieces(mask.as_ref(), pieces));
        let log = Arc::new(Log::new(self.folder.log().map_err(|error| disk("keep output", &error))?, mask));
        let shipment = Shipment::begin(shared.clone(), self.order.attempt, log.clone());
        let (since_ms, paused) = match since_ms {
            0 => since(&shared, &started.container, &past.pauses).await,
            _ => (since_ms, false),
        };
        self.say(Phase::Running { since_ms, paused });
        let watch = Watch {
            shared: &shared,
            attempt: self.order.attempt,
            container: &started.container,
            timeouts: &self.order.timeouts,
            disk_bytes: Some(self.order.limits.disk_bytes).filter(|bytes| *bytes > 0),
            gpus: &self.order.limits.gpus,
            log: log.clone(),
            pieces,
            since_ms,
            frozen: paused,
            folder: &self.folder,
            past,
        };
        let meter = Meter::begin(&shared, &self.order.limits.gpus);
        let over = watch.until_over(&mut self.halt).await;
        let gpu_use = meter.read();
        drop(meter);
        shared.usage.forget(self.order.attempt);
        let mut uprooted = None;
        if let Ok(over) = &over {
            let sweep =
                Sweep { shared: &shared, attempt: self.order.attempt, container: &started.container, log: &log };
            ((), uprooted) = tokio::join!(sweep.sweep(over.in_one_stream), self.uprooted(started));
        }
        let written = log.spool().written();
        let ended = match over {
            Ok(over) => self.judge(started, &over, uprooted).await,
            Err(ended) => ended,
        };
        shipment.finish().await;
        // What an engine says of a container may repeat what the container said.
        let message = log.mask().map_or_else(|| ended.message.clone(), |mask| mask.text(&ended.message));
        Ok(Ended {
            message,
            stdout_bytes: written.stdout,
            stderr_bytes: written.stderr,
            gpu_use,
            image_id: Some(started.image_id.clone()),
            ..ended
        })
    }

    async fn judge(&mut self, started: &Started, over: &Over, uprooted: Option<Uprooted>) -> Ended {
        let gpus = &self.order.limits.gpus;
        if over.exit.code != 0 && !gpus.is_empty() {
            // What broke it is often seen only afterwards.
            self.shared.gpus.look_closely().await;
        }
        let gpu_fault = self.shared.gpus.fault_of(gpus);
        let ended = verdict(over.killed, &over.exit, &self.order, uprooted, gpu_fault.as_deref());
        let (order, accept) = (&self.order, &self.order.accept);
        let counts = ended.reason == EndReason::Succeeded || accept.takes(ended.reason, ended.exit_code);
        if !counts || order.outputs.is_empty() {
            return ended;
        }
        self.say(Phase::Storing);
        let stored = tokio::select! {
            stored = outputs::store(&self.shared, &self.folder, &started.container, order) => stored,
            // What has ended well is not thrown away for an eviction: only its files are under way.
            reason = wasted(&mut self.halt) => Err(stopped_early(reason)),
        };
        match stored {
            Ok(Stored { outputs, missing: None }) => Ended { outputs, ..ended },
            Ok(Stored { outputs, missing: Some(message) }) => {
                Ended { reason: EndReason::OutputMissing, message, outputs, ..ended }
            }
            Err(Ended { reason, message, .. }) => Ended { reason, message, ..ended },
        }
    }

    /// What else may have ended the container since it was started.
    async fn uprooted(&self, started: &Started) -> Option<Uprooted> {
        if started.boot != self.shared.boot {
            return Some(Uprooted::Machine);
        }
        let before = started.engine_life.as_ref()?;
        let (patience, begun, mut failures) = (&self.shared.patience, Instant::now(), 0);
        loop {
            match self.shared.engine.life().await {
                Ok(now) => return now.is_some_and(|now| now != *before).then_some(Uprooted::Engine),
                Err(_) if begun.elapsed() < patience.engine_gone => {
                    tokio::time::sleep(patience.after(failures)).await;
                    failures += 1;
                }
                Err(_) => return Some(Uprooted::Engine),
            }
        }
    }

    /// Whether the server has the end already. It most often has, before our own disk would.
    async fn settled(&mut self) -> bool {
        let settled = self.halt.wait_for(|halt| *halt == Halt::Forget);
        tokio::time::timeout(self.shared.patience.settled, settled).await.is_ok_and(|told| told.is_ok())
    }

    /// A disk that is full must not hold the attempt for ever: then its container is removed all the same.
    async fn keep(&self, ended: &Ended) {
        for failures in 0..3 {
            let (folder, copy) = (self.folder.clone(), ended.clone());
            match tokio::task::spawn_blocking(move || folder.ended(&copy)).await {
                Ok(Ok(())) => break,
                Ok(Err(error)) => tracing::error!(attempt = %self.order.attempt, %error, "cannot keep an end"),
                Err(error) => tracing::error!(attempt = %self.order.attempt, %error, "cannot keep an end"),
            }
            tokio::time::sleep(self.shared.patience.after(failures)).await;
        }
    }

    async fn remove(&self, container: &str) {
        let mut failures = 0;
        while let Err(failure) = self.shared.engine.remove(container).await {
            tracing::warn!(attempt = %self.order.attempt, %failure, "cannot remove a container; it is tried again");
            tokio::time::sleep(self.shared.patience.after(failures)).await;
            failures += 1;
        }
    }

    fn note(&self, note: &str) {
        self.say(Phase::Preparing { note: note.to_owned() });
    }

    fn say(&self, phase: Phase) {
        // Nobody listens any more only while the process ends.
        drop(self.shared.progress.send((self.order.attempt, phase)));
    }
}

/// Waits for the disk without a thread that others need.
async fn written(
    doing: &'static str,
    write: impl FnOnce() -> std::io::Result<()> + Send + 'static,
) -> Result<(), Ended> {
    let written = tokio::task::spawn_blocking(write).await;
    written.map_err(std::io::Error::other).flatten().map_err(|error| disk(doing, &error))
}

async fn wasted(halt: &mut channel::Receiver<Halt>) -> EndReason {
    match halted(halt).await {
        EndReason::Evicted => std::future::pending().await,
        reason => reason,
    }
}

fn stopped_early(reason: EndReason) -> Ended {
    Ended::before_start(reason, "")
}

/// When the engine says it was started (now, if nobody knows), and whether it is frozen.
async fn since(shared: &Shared, container: &str, pauses: &Pauses) -> (u64, bool) {
    let kept = || Some(pauses.started_ms).filter(|ms| *ms > 0).unwrap_or_else(now_ms);
    match shared.engine.inspect(container).await {
        Ok(State::Running { since_ms }) => (since_ms, false),
        Ok(State::Exited(exit)) => (exit.started_ms, false),
        Ok(State::Paused) => (kept(), true),
        Ok(State::Created | State::Gone) | Err(_) => (kept(), false),
    }
}

#[cfg(test)]
pub mod tests {
    use dsg_schemas::ids::{AttemptId, ChunkId, JobId};
    use dsg_schemas::spec::PullPolicy;
    use dsg_schemas::wire::{Accept, Limits, RunTimeouts};

    use super::*;

    /// The plainest order there is.
    pub fn order(attempt: u64) -> StartOrder {
        StartOrder {
            attempt: AttemptId(attempt),
            chunk: ChunkId { job: JobId(1), stage: 0, index: attempt as u32 },
            number: 1,
            job_name: "test".to_owned(),
            image: "pretend/image".to_owned(),
            pushed: None,
            pull_policy: PullPolicy::Missing,
            entrypoint: None,
            command: Vec::new(),
            script: None,
            workdir: None,
            user: None,
            env: Default::default(),
            network: "none".to_owned(),
            limits: Limits { cpus_milli: 1000, memory_bytes: 64 << 20, ..Limits::default() },
            timeouts: RunTimeouts { run_ms: None, stall_ms: None, grace_ms: 1000 },
            inputs: Vec::new(),
            mounts: Vec::new(),
            devices: Vec::new(),
            secrets: Vec::new(),
            outputs: Vec::new(),
            accept: Accept::default(),
            items: "{}\n".to_owned(),
        }
    }
}
