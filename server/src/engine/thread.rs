//! The loop: take one message, take what else is there, apply each, commit once, then answer all.
use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use dsg_core::QueueFilter;
use dsg_core::event::{Answer, Effects, Event, Join, Refusal};
use dsg_core::row::{Row, latest_ms};
use dsg_schemas::ids::{AttemptId, JobId};
use dsg_schemas::limits;
use dsg_schemas::wire::log::LogHave;
use tokio::sync::watch;

use super::batch::Batch;
use super::handle::Engine;
use super::message::{Committed, EnrolRequest, Message, Refused};
use super::outbox::{LogDue, Outbox};
use super::room::Room;
use super::state::{State, follow_job};
use super::summary::{Banners, Summary};
use crate::auth::Doors;
use crate::clock::Clock;
use crate::store::{Changes, Store, StoreError};

/// Messages that wait at most: beyond that callers are told to come back, instead of waiting for ever.
const QUEUE: usize = 8192;
/// Messages that share one commit: bounds how long the first of them waits.
const BATCH: usize = 1024;
const SHORTEST_WAIT_MS: u64 = 5;
const LONGEST_WAIT: Duration = Duration::from_secs(1);
/// A pause between two turns of the loop that is none of its own making.
const STANDSTILL_MS: u64 = 4_000;
/// Between two summaries: people see no difference, and a busy grid is not slowed down by being looked at.
const SUMMARY_EVERY: Duration = Duration::from_millis(200);
/// A summary that takes no longer is also made for everything that a person does.
const PROMPT_SUMMARY: Duration = Duration::from_millis(10);
/// Between two tries to open a store that failed.
const REOPEN_EVERY: Duration = Duration::from_secs(1);

/// The banner of a disk without space, beside the one of a disk with little of it.
const DISK_FULL: &str = "disk full";

#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("the rows of the store do not fit together: {0}; get them back with `dsg-server restore`")]
    Rows(String),
    #[error("the tokens in the store cannot be read: {0}")]
    Tokens(#[from] serde_json::Error),
    #[error("cannot start the engine thread: {0}")]
    Thread(#[from] std::io::Error),
}

/// What the grid is told each time its rows are loaded.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Of what owners used.
    pub half_life_ms: u64,
    pub lease_ms: u64,
    /// Names the key with which secrets are sealed.
    pub secret_key: String,
}

/// Loads the rows, starts the clock where they end at the earliest, and starts the thread.
pub fn start(
    store: Arc<Store>,
    clock: impl FnOnce(u64) -> Clock,
    doors: Arc<Doors>,
    banners: Arc<Banners>,
    outbox: Outbox,
    settings: Settings,
) -> Result<(Engine, Clock, thread::JoinHandle<()>), StartError> {
    let (sender, messages) = sync_channel(QUEUE);
    let (summary, summaries) = watch::channel(Arc::default());
    let (work, works) = watch::channel(0);
    let stored = State::read(&store)?;
    let clock = clock(latest_ms(stored.0.iter().map(|(_, row)| row)));
    let state = State::new(stored, clock.now_ms(), &settings)?;
    let mut thread = Thread {
        store,
        clock,
        doors,
        banners,
        outbox,
        messages,
        summary,
        work,
        state: Some(state),
        stale: true,
        publish_at: Instant::now(),
        summary_took: Duration::ZERO,
        reopen_at: Instant::now(),
        room: Room::default(),
        settings,
        turned_ms: clock.now_ms(),
        no_starts: None,
    };
    thread.publish_book();
    thread.publish();
    let handle = thread::Builder::new().name("engine".into()).spawn(move || {
        let _guard = AbortOnPanic;
        thread.run();
    })?;
    Ok((Engine { sender, summary: summaries, work: works }, clock, handle))
}

/// An ended attempt with how much it wrote, where its end is known.
fn ended(row: &Option<Row>) -> Option<(AttemptId, LogHave)> {
    let Some(Row::Attempt(row)) = row else { return None };
    let ended = row.ended.as_ref()?;
    Some((row.id, LogHave { stdout: ended.stdout_bytes, stderr: ended.stderr_bytes }))
}

struct Thread {
    store: Arc<Store>,
    clock: Clock,
    doors: Arc<Doors>,
    banners: Arc<Banners>,
    outbox: Outbox,
    messages: Receiver<Message>,
    summary: watch::Sender<Arc<Summary>>,
    work: watch::Sender<u64>,
    /// `None` while the store cannot be opened.
    state: Option<State>,
    /// The summary does not show what is.
    stale: bool,
    publish_at: Instant,
    summary_took: Duration,
    reopen_at: Instant,
    room: Room,
    settings: Settings,
    /// When the loop last turned.
    turned_ms: u64,
    /// Why nothing starts, if nothing may.
    no_starts: Option<String>,
}

/// A grid that panicked half-way is not to be trusted, and must not be written: the rows on disk are whole.
struct AbortOnPanic;

impl Drop for AbortOnPanic {
    fn drop(&mut self) {
        if thread::panicking() {
            tracing::error!("the engine thread panicked; the server stops and loads the rows anew at its next start");
            std::process::abort();
        }
    }
}

impl Thread {
    fn run(&mut self) {
        loop {
            let mut next = match self.messages.recv_timeout(self.patience()) {
                Ok(message) => Some(message),
                Err(RecvTimeoutError::Timeout) => None,
                Err(RecvTimeoutError::Disconnected) => return,
            };
            if self.state.is_none() {
                self.reopen();
            }
            self.mind_standstill();
            self.look_for_room();
            let mut batch = Batch::default();
            let mut stop = false;
            let mut count = 0;
            while let Some(message) = next.take() {
                if matches!(message, Message::Stop) {
                    stop = true;
                    break;
                }
                self.take(message, &mut batch);
                count += 1;
                if count < BATCH {
                    next = self.messages.try_recv().ok();
                }
            }
            self.tick(&mut batch);
            self.commit(batch);
            if stop {
                return;
            }
            if self.stale && Instant::now() >= self.publish_at {
                self.publish();
            }
        }
    }

    /// Runners are not silent while the server does not listen: their leases must not run out before they are heard.
    fn mind_standstill(&mut self) {
        let now = self.clock.now_ms();
        let turned = std::mem::replace(&mut self.turned_ms, now);
        let Some(state) = &mut self.state else { return };
        if self.room.is_full() {
            // Nobody is heard meanwhile, and nobody is given up.
            state.grid.forgive(turned, now);
        } else if let Some(since) = standstill(turned, now) {
            tracing::warn!(for_ms = now - since, "the server stood still; leases did not age meanwhile");
            state.grid.forgive(since, now);
        }
    }

    /// Where the disk was full, writes are refused until there is room for a small one.
    fn look_for_room(&mut self) {
        let now = Instant::now();
        if self.room.look_at().is_none_or(|at| now < at) {
            return;
        }
        self.room.looked(now, self.store.has_room());
        if !self.room.is_full() {
            tracing::info!("the disk has space again; changes are taken");
            self.banners.hide(DISK_FULL);
            self.work.send_modify(|count| *count += 1);
        }
    }

    fn patience(&self) -> Duration {
        let mut patience = LONGEST_WAIT;
        if let Some(look_at) = self.room.look_at() {
            patience = patience.min(look_at.saturating_duration_since(Instant::now()));
        } else if let Some(deadline) = self.state.as_ref().and_then(|state| state.grid.next_deadline()) {
            // Deadlines are seconds and more: looking at them a little late costs nothing, and bounds how often we look.
            let wait_ms = deadline.saturating_sub(self.clock.now_ms()).max(SHORTEST_WAIT_MS);
            patience = patience.min(Duration::from_millis(wait_ms));
        }
        if self.stale {
            patience = patience.min(self.publish_at.saturating_duration_since(Instant::now()));
        }
        patience
    }

    fn take(&mut self, message: Message, batch: &mut Batch) {
        match message {
            Message::Apply(event, reply) => {
                batch.is_looked_for |= matches!(event, Event::Act(_) | Event::Submit(_));
                let result = self.apply(event, batch);
                batch.answer(reply, result);
            }
            Message::Enrol(request, reply) => {
                let result = self.enrol(request, batch);
                batch.answer(reply, result);
            }
            Message::Book(change) => {
                let now = self.clock.now_ms();
                match &mut self.state {
                    Some(state) if self.room.is_full() => change(&mut state.book.clone(), now)(Err(Refused::DiskFull)),
                    Some(state) => batch.answers.push(change(&mut state.book, now)),
                    None => {}
                }
            }
            Message::Ask(question) => {
                if let Some(state) = &self.state {
                    batch.answers.push(question(&state.grid, self.clock.now_ms()));
                }
            }
            Message::StopStarts(why, reply) => {
                if self.no_starts.is_some() && why.is_none() {
                    self.work.send_modify(|count| *count += 1);
                }
                self.no_starts = why;
                if let Some(state) = &mut self.state {
                    state.grid.stop_starts(self.no_starts.clone());
                }
                self.stale = true;
                // A caller that went away needs no answer.
                let _ = reply.send(());
            }
            // The loop has seen to it.
            Message::Stop => {}
        }
    }

    fn apply(&mut self, event: Event, batch: &mut Batch) -> Result<Answer, Refused> {
        if self.room.is_full() {
            return Err(Refused::DiskFull);
        }
        let now = self.clock.now_ms();
        let state = self.state.as_mut().ok_or(Refused::Store)?;
        self.stale = true;
        // Only what people do (and what follows from it) can concern a job that left memory.
        let again = matches!(event, Event::Act(_)).then(|| event.clone());
        let mut result = state.grid.apply(now, event, &mut batch.effects);
        // First the job may be missing, then rows of its chunks.
        for _ in 0..2 {
            let (Err(Refusal::NotLoaded(_) | Refusal::ChunksNotLoaded(_)), Some(event)) = (&result, &again) else {
                break;
            };
            // The last rows of what is missing may be in this very batch.
            self.commit(std::mem::take(batch));
            self.load(now, result)?;
            let state = self.state.as_mut().ok_or(Refused::Store)?;
            result = state.grid.apply(now, event.clone(), &mut batch.effects);
        }
        Ok(result?)
    }

    /// Brings back into memory what an event was refused for.
    fn load(&mut self, now: u64, refused: Result<Answer, Refusal>) -> Result<(), Refused> {
        let state = self.state.as_mut().ok_or(Refused::Store)?;
        match refused {
            Err(Refusal::NotLoaded(job)) => {
                let rows = self.store.read(|rows| rows.job_rows(job)).map_err(|_| Refused::Store)?;
                if rows.is_empty() {
                    return Err(Refusal::UnknownJob(job).into());
                }
                state.grid.load_job(now, rows);
            }
            Err(Refusal::ChunksNotLoaded(chunks)) => {
                let rows = self.store.read(|rows| rows.chunk_rows(&chunks)).map_err(|_| Refused::Store)?;
                state.grid.load_chunks(&chunks, rows);
            }
            Ok(_) | Err(_) => {}
        }
        Ok(())
    }

    /// Rows without which the next chunks of a job cannot start; what was committed is on disk by now.
    fn load_wanted(&mut self, wanted: BTreeSet<(JobId, u32)>) {
        for (job, block) in wanted {
            let Some(state) = &mut self.state else { return };
            match self.store.read(|rows| rows.block_rows(job, block)) {
                Ok(rows) => state.grid.load_block(job, block, rows),
                // The job waits meanwhile; whoever asks for work next has it tried again.
                Err(error) => tracing::error!(%job, block, %error, "cannot load the rows of chunks that are to start"),
            }
        }
    }

    fn enrol(&mut self, request: EnrolRequest, batch: &mut Batch) -> Result<Answer, Refused> {
        let EnrolRequest { token_sha256, name, credential_sha256 } = request;
        let state = self.state.as_mut().ok_or(Refused::Store)?;
        state.book.join(&token_sha256, self.clock.now_ms())?;
        self.apply(Event::Join(Join::Enrol { name, credential_sha256 }), batch)
    }

    fn tick(&mut self, batch: &mut Batch) {
        let now = self.clock.now_ms();
        if self.room.is_full() {
            return;
        }
        let due = self.state.as_ref().and_then(|state| state.grid.next_deadline()).is_some_and(|at| at <= now);
        if due && let Err(error) = self.apply(Event::Tick, batch) {
            tracing::error!(%error, "a tick was refused");
        }
    }

    fn commit(&mut self, batch: Batch) {
        let Batch { mut effects, answers, is_looked_for } = batch;
        let committed = self.write(&mut effects);
        // Whoever has just done something finds it wherever they look; unless the summary is so dear that it must not be made often.
        if committed.is_ok() && is_looked_for && self.summary_took <= PROMPT_SUMMARY {
            self.publish();
        }
        for answer in answers {
            answer(committed.clone());
        }
        if committed.is_err() {
            return;
        }
        let loads = !effects.wanted.is_empty();
        self.load_wanted(effects.wanted);
        if effects.work_available || loads {
            self.work.send_modify(|count| *count += 1);
        }
        for due in effects.gather_due {
            // Without a gatherer the server is stopping; the job is found again at the next start.
            let _ = self.outbox.gather.send(due);
        }
    }

    fn write(&mut self, effects: &mut Effects) -> Committed {
        let state = self.state.as_mut().ok_or(Refused::Store)?;
        let mut changes = Changes { auth: state.book.take_changes(), ..Changes::default() };
        changes.absorb(effects);
        if changes.is_empty() {
            return Ok(());
        }
        match self.store.commit(&changes) {
            Ok(removed) => {
                self.stale = true;
                // Without a housekeeper the server is stopping.
                let ended: Vec<_> = changes.rows.values().filter_map(ended).collect();
                if !ended.is_empty() {
                    let _ = self.outbox.logs.send(LogDue::Ended(ended));
                }
                if !removed.is_empty() {
                    let _ = self.outbox.logs.send(LogDue::Removed(removed));
                }
                let runners = state.book.follow(changes.rows.iter().map(|(key, row)| (key, row.as_ref())));
                for (key, row) in &changes.rows {
                    follow_job(&mut state.open_jobs, *key, row.as_ref());
                }
                for job in &changes.removed_jobs {
                    state.open_jobs.remove(job);
                }
                if runners || !changes.auth.is_empty() {
                    self.publish_book();
                }
                self.banners.hide(DISK_FULL);
                Ok(())
            }
            Err(error) => {
                tracing::error!(%error, "a commit failed; memory is thrown away and the rows are loaded anew");
                self.state = None;
                self.reopen();
                if !error.is_disk_full() {
                    return Err(Refused::Store);
                }
                self.room.refused(Instant::now());
                self.banners.show(
                    DISK_FULL,
                    "The disk of the server is full: nothing new is taken until there is space again. What runs goes on.",
                );
                Err(Refused::DiskFull)
            }
        }
    }

    /// Memory is ahead of the disk, or the disk is gone: begin anew from the rows.
    fn reopen(&mut self) {
        if Instant::now() < self.reopen_at {
            return;
        }
        let stored = self.store.reopen().and_then(|()| State::read(&self.store)).map_err(StartError::from);
        match stored.and_then(|stored| State::new(stored, self.clock.now_ms(), &self.settings)) {
            Ok(mut state) => {
                state.grid.stop_starts(self.no_starts.clone());
                self.state = Some(state);
                self.banners.hide("store");
                self.publish_book();
                self.work.send_modify(|count| *count += 1);
            }
            Err(error) => {
                tracing::error!(%error, "the store cannot be opened; trying again");
                self.reopen_at = Instant::now() + REOPEN_EVERY;
                self.banners.show(
                    "store",
                    format!("The server cannot use its store: {error}. Nothing new is taken until it can."),
                );
            }
        }
        self.stale = true;
    }

    fn publish_book(&self) {
        if let Some(state) = &self.state {
            self.doors.publish(Arc::new(state.book.clone()));
        }
    }

    fn publish(&mut self) {
        let began = Instant::now();
        let now_ms = self.clock.now_ms();
        self.summary.send_modify(|summary| {
            let mut next = Summary { revision: summary.revision + 1, now_ms, ..Summary::default() };
            next.store_is_gone = self.state.is_none();
            match &self.state {
                Some(state) => {
                    next.runners = state.grid.runner_views(now_ms);
                    let first = QueueFilter { limit: limits::PAGE_ROWS, ..QueueFilter::default() };
                    (next.queue, next.queue_goes_on) = state.grid.queue(now_ms, &first);
                    next.open_jobs = state.open_jobs.clone();
                    next.owners = state.grid.owner_views();
                }
                None => {
                    next.runners = summary.runners.clone();
                    next.open_jobs = summary.open_jobs.clone();
                    next.owners = summary.owners.clone();
                }
            }
            *summary = Arc::new(next);
        });
        self.stale = false;
        self.summary_took = began.elapsed();
        // A summary that takes long is made less often: it may cost a tenth of the thread's time.
        self.publish_at = began + SUMMARY_EVERY.max(self.summary_took * 10);
    }
}

/// Since when the loop did not turn, though it turns each second at least: the process was suspended, or the disk was slow.
pub(super) fn standstill(turned_ms: u64, now_ms: u64) -> Option<u64> {
    let since = turned_ms + LONGEST_WAIT.as_millis() as u64;
    (now_ms > since + STANDSTILL_MS).then_some(since)
}
