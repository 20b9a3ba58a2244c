//! From start to a proven end. The `select!` names what happened; an exit is believed only when inspect says so, and a stream
//! that ends is not a container that ended.
use std::pin::{Pin, pin};
use std::sync::Arc;

use dsg_schemas::ids::AttemptId;
use dsg_schemas::reason::EndReason;
use dsg_schemas::wire::{Ended, Phase, RunTimeouts};
use tokio::sync::{mpsc, watch as channel};
use tokio::time::{Duration, Instant, sleep_until, timeout};

use super::disk::beyond;
use super::freezer::{Freezer, Turn};
use super::place::Search;
use super::tap::{Log, Tap, search};
use super::{Halt, Shared, failed, halted};
use crate::at;
use crate::container::{Answer, Exit, Failure, Piece, Reading, State};
use crate::spool::{Folder, Past};

/// Looks for the place in the engine's log before what is between is given up.
const SEARCHES: u32 = 5;

/// A container that was asked to start, with its output.
pub struct Watch<'a> {
    pub shared: &'a Shared,
    pub attempt: AttemptId,
    pub container: &'a str,
    pub timeouts: &'a RunTimeouts,
    /// What it may write into its own layer.
    pub disk_bytes: Option<u64>,
    /// What it holds.
    pub gpus: &'a [String],
    pub log: Arc<Log>,
    /// `None`: read the engine's own log, as after a restart.
    pub pieces: Option<mpsc::Receiver<Piece>>,
    pub since_ms: u64,
    /// By the engine, when the watch begins.
    pub frozen: bool,
    pub folder: &'a Folder,
    /// Of an earlier life.
    pub past: Past,
}

/// Proven by inspect.
pub struct Over {
    pub exit: Exit,
    /// Our own doing, if it was.
    pub killed: Option<EndReason>,
    /// All output came live, from the first byte to the end.
    pub in_one_stream: bool,
}

enum Happened {
    Piece(Piece),
    StreamEnded,
    WaitEnded,
    Kill(EndReason),
    Stopped(Result<(), Failure>),
    Turned(Turn),
    Look,
}

/// What is remembered between two happenings.
struct Memory {
    killed: Option<EndReason>,
    last_output: Instant,
    next_look: Instant,
    /// Since when the engine does not answer, and how often that was seen.
    gone: Option<(Instant, u32)>,
    not_started_since: Option<Instant>,
    tap: Tap,
    in_one_stream: bool,
    /// How often the place in the engine's log was looked for in vain.
    searches: u32,
}

impl Watch<'_> {
    pub async fn until_over(mut self, halt: &mut channel::Receiver<Halt>) -> Result<Over, Ended> {
        let (shared, container) = (self.shared, self.container);
        let state = (self.since_ms, self.frozen);
        let mut freezer = Freezer::new(shared, self.attempt, container, self.folder, self.past.pauses, state);
        let began = Instant::now().checked_sub(freezer.had()).unwrap_or_else(Instant::now);
        let mut run_at = self.timeouts.run_ms.and_then(|ms| began.checked_add(Duration::from_millis(ms)));
        let mut memory = Memory::new(self.pieces.is_some(), self.shared.patience.look);
        memory.killed = self.past.killing;
        let mut waiting: Option<Answer<'_, ()>> = Some(self.shared.engine.wait(self.container));
        let mut stopping: Option<Answer<'_, ()>> = None;
        let mut broken_gpu = pin!(self.shared.gpus.broken(self.gpus));
        let mut beyond_disk = pin!(beyond(self.shared, self.attempt, self.container, self.disk_bytes));
        loop {
            let may_kill = memory.killed.is_none();
            let time_runs = may_kill && !freezer.is_frozen();
            let stall_at =
                self.timeouts.stall_ms.and_then(|ms| memory.last_output.checked_add(Duration::from_millis(ms)));
            // In this order: a flood of output must not hold up what has its time, and output that waits is no silence.
            let happened = tokio::select! {
                biased;
                reason = halted(halt), if may_kill => Happened::Kill(reason),
                () = at(run_at), if time_runs => Happened::Kill(EndReason::RunTimeout),
                turn = freezer.turn(), if may_kill => Happened::Turned(turn),
                result = join(&mut stopping) => Happened::Stopped(result),
                () = &mut beyond_disk, if may_kill => Happened::Kill(EndReason::PolicyDenied),
                () = &mut broken_gpu, if may_kill => Happened::Kill(EndReason::GpuError),
                () = sleep_until(memory.next_look) => Happened::Look,
                piece = next(&mut self.pieces) => piece.map_or(Happened::StreamEnded, Happened::Piece),
                _ = join(&mut waiting) => Happened::WaitEnded,
                () = at(stall_at), if time_runs => Happened::Kill(EndReason::Stalled),
            };
            let by_timer = matches!(happened, Happened::Look);
            match happened {
                Happened::Piece(piece) => {
                    memory.last_output = Instant::now();
                    memory.tap.take(&self.log, &piece);
                    continue;
                }
                Happened::Kill(reason) => {
                    memory.killed = Some(reason);
                    if let Err(error) = self.folder.killing(reason) {
                        tracing::warn!(attempt = %self.attempt, %error, "cannot keep why a container is stopped");
                    }
                    let (settled, grace_ms) = (freezer.end(), self.timeouts.grace_ms);
                    stopping = Some(Box::pin(async move {
                        drop(settled.await);
                        shared.engine.stop(container, grace_ms).await
                    }));
                    continue;
                }
                Happened::Turned(turn) => {
                    if let Turn::Thawed(after) = turn {
                        memory.last_output += after;
                        run_at = run_at.and_then(|at| at.checked_add(after));
                    }
                    let phase = Phase::Running { since_ms: self.since_ms, paused: freezer.is_frozen() };
                    // Nobody listens any more only while the process ends.
                    drop(self.shared.progress.send((self.attempt, phase)));
                    continue;
                }
                Happened::StreamEnded => {
                    self.pieces = None;
                    if waiting.is_some() {
                        // The end of a container follows that of its output by a moment, and a look meanwhile has to wait for it, too.
                        memory.next_look = memory.next_look.min(Instant::now() + self.shared.patience.retry);
                        continue;
                    }
                }
                Happened::WaitEnded => waiting = None,
                Happened::Stopped(result) => {
                    stopping = None;
                    if let Err(failure) = result {
                        tracing::warn!(attempt = %self.attempt, %failure, "cannot stop a container; it is tried again");
                    }
                }
                Happened::Look => {}
            }
            if let Some(exit) = self.look(&mut memory, by_timer).await? {
                self.drain(&mut memory).await;
                return Ok(Over { exit, killed: memory.killed, in_one_stream: memory.in_one_stream });
            }
            memory.in_one_stream &= self.pieces.is_some();
            if by_timer {
                if waiting.is_none() {
                    waiting = Some(self.shared.engine.wait(self.container));
                }
                if stopping.is_none() && memory.killed.is_some() {
                    stopping = Some(self.shared.engine.stop(self.container, self.timeouts.grace_ms));
                }
            } else {
                // What ended without an end is looked at again soon, and never in a tight loop.
                memory.next_look = memory.next_look.min(Instant::now() + self.shared.patience.retry);
            }
        }
    }

    /// Asks inspect. `None`: not over yet.
    async fn look(&mut self, memory: &mut Memory, by_timer: bool) -> Result<Option<Exit>, Ended> {
        let patience = &self.shared.patience;
        let state = self.shared.engine.inspect(self.container).await;
        let now = Instant::now();
        match state {
            Ok(State::Exited(exit)) => return Ok(Some(exit)),
            Ok(State::Gone) => {
                let reason = memory.killed.unwrap_or(EndReason::EngineError);
                let message = "the container disappeared: somebody outside DSG removed it, or the engine lost it";
                return Err(Ended::before_start(reason, message));
            }
            Ok(State::Running { .. } | State::Paused) => {
                memory.gone = None;
                memory.next_look = now + patience.look;
                if self.pieces.is_none() && by_timer {
                    self.reopen(memory, now).await;
                }
            }
            Ok(State::Created) => {
                let since = *memory.not_started_since.get_or_insert(now);
                if now - since > patience.look * 2 {
                    return Err(Ended::before_start(EndReason::EngineError, "the engine never started the container"));
                }
                memory.next_look = now + patience.retry;
            }
            Err(failure) => {
                let (since, times) = memory.gone.map_or((now, 0), |(since, times)| (since, times + 1));
                memory.gone = Some((since, times));
                memory.next_look = now + patience.after(times).min(patience.look);
                if now - since > patience.engine_gone {
                    return Err(failed(failure));
                }
            }
        }
        Ok(None)
    }

    /// The stream broke off, or this is a later life of the runner: go on from the engine's log.
    async fn reopen(&mut self, memory: &mut Memory, now: Instant) {
        let later = now + self.shared.patience.retry;
        let is_late = |search: &Search| search.place().is_none() && search.is_behind();
        match self.follow().await {
            Ok(Followed { stdout, stderr, moved, .. })
                if memory.searches < SEARCHES && (moved || is_late(&stdout) || is_late(&stderr)) =>
            {
                memory.searches += 1;
                memory.next_look = later;
            }
            Ok(Followed { stdout, stderr, first, pieces, moved: _ }) => {
                memory.tap = Tap::at(stdout.place().unwrap_or(Search::LOST), stderr.place().unwrap_or(Search::LOST));
                if let Some(first) = first {
                    memory.tap.take(&self.log, &first);
                }
                self.pieces = Some(until_broken(pieces));
            }
            Err(failure) => {
                tracing::debug!(attempt = %self.attempt, %failure, "cannot follow the engine's log yet");
                memory.next_look = later;
            }
        }
    }

    /// Looks for the place before and after the log is opened: it may be rotated between, and then what was counted is not what comes.
    async fn follow(&self) -> Result<Followed, Failure> {
        let engine = &*self.shared.engine;
        let before = search(engine, self.container, &self.log).await?;
        let mut pieces = self.log.of_engine(engine, self.container, true).await?;
        let is_empty = before.0.seen() + before.1.seen() == 0;
        let first =
            if is_empty { None } else { timeout(self.shared.patience.look, pieces.recv()).await.ok().flatten() };
        let first = first.transpose()?;
        let (stdout, stderr) = search(engine, self.container, &self.log).await?;
        let same = |before: &Search, after: &Search| before.place() == after.place() && before.seen() <= after.seen();
        let moved = !is_empty && (first.is_none() || !same(&before.0, &stdout) || !same(&before.1, &stderr));
        let (stdout, stderr) = if is_empty { before } else { (stdout, stderr) };
        Ok(Followed { stdout, stderr, first, pieces, moved })
    }

    /// What was written just before the end may still be on its way.
    async fn drain(&mut self, memory: &mut Memory) {
        let Some(pieces) = &mut self.pieces else { return };
        let rest = async {
            while let Some(piece) = pieces.recv().await {
                memory.tap.take(&self.log, &piece);
            }
        };
        if timeout(self.shared.patience.drain, rest).await.is_err() {
            memory.in_one_stream = false;
            tracing::warn!(attempt = %self.attempt, "the output stream did not end with its container; the engine's log fills in");
        }
    }
}

impl Memory {
    fn new(attached: bool, look: Duration) -> Memory {
        let now = Instant::now();
        Memory {
            killed: None,
            last_output: now,
            next_look: if attached { now + look } else { now },
            gone: None,
            not_started_since: None,
            tap: Tap::default(),
            in_one_stream: attached,
            searches: 0,
        }
    }
}

/// An engine's log that is being followed, and where the spool ends in it.
struct Followed {
    stdout: Search,
    stderr: Search,
    first: Option<Piece>,
    pieces: Reading,
    /// Not where it was a moment ago: the log was rotated meanwhile.
    moved: bool,
}

/// A log that breaks off while its container lives is opened again, as one that ends is.
fn until_broken(mut reading: Reading) -> mpsc::Receiver<Piece> {
    let (sender, receiver) = mpsc::channel(1);
    tokio::spawn(async move {
        while let Some(Ok(piece)) = reading.recv().await {
            if sender.send(piece).await.is_err() {
                return;
            }
        }
    });
    receiver
}

async fn next(pieces: &mut Option<mpsc::Receiver<Piece>>) -> Option<Piece> {
    match pieces {
        Some(pieces) => pieces.recv().await,
        None => std::future::pending().await,
    }
}

async fn join<T>(answer: &mut Option<Pin<Box<dyn Future<Output = T> + Send + '_>>>) -> T {
    match answer {
        Some(answer) => answer.await,
        None => std::future::pending().await,
    }
}
