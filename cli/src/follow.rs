//! Watches a job to its end: its log lines as they come, its failures always, its progress at the bottom.
//!
//! Of a job with thousands of chunks only a few logs can be followed at once; the rest is one `dsg logs` away. Of a small job every
//! log is shown, even if the chunk was quicker than we.
use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use dsg_schemas::api::{AttemptView, ChunkDetail, ChunkState, ChunkView, JobDetail, JobState};
use dsg_schemas::ids::{AttemptId, ChunkId, GATHER, JobId};
use dsg_schemas::reason::EndReason;
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use serde_json::Value;
use tokio::time::{Instant, sleep, sleep_until};

use crate::clean;
use crate::client::{self, Client};
use crate::command::show::reason_of;
use crate::exit::{Exit, Failure};
use crate::log::{self, Printer, Style};
use crate::output::Output;
use crate::progress::{self, Bar};
use crate::select::chunk_path;
use crate::table::job_word;
use crate::when;

/// Logs followed at once: what a person can still read, and no burden for the server.
const AT_ONCE: usize = 8;
/// Up to so many chunks, every log is shown.
const SMALL: u64 = 200;
/// Failures told one by one; after that they are counted.
const TOLD: usize = 50;
/// Lines of a failed chunk's log that are shown if it was not followed.
const LAST_LINES: u64 = 20;
/// Once the job has ended, how long to wait for log lines that are still on their way.
const AFTERWARDS: Duration = Duration::from_secs(10);
const POLL: (Duration, Duration) = (Duration::from_millis(250), Duration::from_secs(2));

/// Asks again for as long as the server cannot be reached: what we watch goes on without us.
pub async fn steadily<T, F: Future<Output = Result<T, Failure>>>(
    output: &Output,
    ask: impl Fn() -> F,
) -> Result<T, Failure> {
    let mut pause = Duration::from_secs(1);
    loop {
        match ask().await {
            Err(failure) if failure.exit == Exit::Unreachable => {
                if pause == Duration::from_secs(2) {
                    output.say(&format!("{failure}; trying again until it answers"));
                }
                sleep(pause).await;
                pause = (pause * 2).min(Duration::from_secs(15));
            }
            done => return done,
        }
    }
}

pub async fn detail(client: &Client, job: JobId) -> Result<JobDetail, Failure> {
    client.get_as(&format!("show job {job}"), &format!("/api/v1/jobs/{job}")).await
}

/// Watches without logs. Ends with the job.
pub async fn wait(client: &Client, output: &Output, job: JobId) -> Result<JobDetail, Failure> {
    let mut bar = None;
    let mut pause = POLL.0;
    let mut last = None;
    loop {
        let detail = steadily(output, || detail(client, job)).await?;
        if stands(&detail) {
            return Ok(detail);
        }
        let bar = bar.get_or_insert_with(|| Bar::of_chunks(output, detail.job.chunks.total()));
        bar.show(&detail.job.chunks, detail.eta_ms, when::now_ms());
        let now = (detail.job.state, detail.job.chunks);
        pause = if last.replace(now) == Some(now) { (pause * 2).min(POLL.1) } else { POLL.0 };
        sleep(pause).await;
    }
}

/// Whether there is nothing more to wait for: the job has ended, or its canary failed and only a person lets it go on.
fn stands(detail: &JobDetail) -> bool {
    detail.job.state.is_final() || detail.held_why.is_some() && detail.job.chunks.active() == 0
}

/// The exit status that a job's end stands for.
pub fn exit_of(state: JobState) -> Exit {
    match state {
        JobState::Succeeded => Exit::Done,
        JobState::Partial | JobState::Failed | JobState::Cancelled => Exit::JobFailed,
        JobState::Waiting | JobState::Held | JobState::Running | JobState::Gathering => Exit::Failed,
    }
}

/// Says how a job ended and what to do next, and gives the status to end with.
pub fn conclude(output: &Output, detail: &JobDetail) -> Exit {
    let JobDetail { job, why, gather_problem, failures, .. } = detail;
    let took = when::span(when::now_ms(), Some(job.submitted_ms), job.ended_ms);
    let tally = &job.chunks;
    output.say(&format!(
        "job {} {}: {} of {} chunks succeeded, in {took}",
        job.id,
        job_word(job.state),
        tally.succeeded,
        tally.total()
    ));
    for sentence in [why, gather_problem].into_iter().flatten() {
        output.say(&format!("  {}", clean::name(sentence)));
    }
    if !failures.is_empty() {
        let reasons: Vec<String> = failures.iter().map(|(reason, count)| format!("{count} {reason}")).collect();
        output.say(&format!("  attempts that failed: {}", reasons.join(", ")));
    }
    if detail.held_why.is_some() {
        output.say(&format!("  see `dsg chunks {0} --failed`, then `dsg cancel {0}` or `dsg release {0}`", job.id));
        return Exit::JobFailed;
    }
    let exit = exit_of(job.state);
    if exit == Exit::JobFailed && tally.failed > 0 {
        output.say(&format!("  see `dsg chunks {0} --failed`, then `dsg retry {0} --failed`", job.id));
    }
    if tally.succeeded > 0 {
        output.say(&format!("  results: dsg fetch {0} -o results/", job.id));
    }
    exit
}

/// What to say when a person stops watching.
pub fn farewell(job: JobId) -> String {
    format!("job {job} goes on without you: `dsg logs {job} -f` shows it again, `dsg cancel {job}` stops it")
}

/// Watches a job with its logs, to its end.
pub async fn job(client: &Client, output: &Output, job: JobId, style: &Style) -> Result<JobDetail, Failure> {
    output.on_interrupt(Some(farewell(job)));
    let first = steadily(output, || detail(client, job)).await?;
    let alive = Cell::new(Instant::now());
    let watch = Watch {
        client,
        output,
        job,
        style,
        small: first.job.chunks.total() <= SMALL,
        alive: &alive,
        bar: Bar::of_chunks(output, first.job.chunks.total()),
        followed: BTreeMap::new(),
        waiting: VecDeque::new(),
        told: BTreeSet::new(),
        state: None,
        crowd_told: false,
    };
    let ended = watch.run().await;
    output.on_interrupt(None);
    ended
}

type Following<'a> = FuturesUnordered<Pin<Box<dyn Future<Output = Result<(), Failure>> + 'a>>>;

struct Watch<'a> {
    client: &'a Client,
    output: &'a Output,
    job: JobId,
    style: &'a Style,
    small: bool,
    /// When a log line last came.
    alive: &'a Cell<Instant>,
    bar: Bar<'a>,
    /// The last attempt of each chunk that is or was followed, by number.
    followed: BTreeMap<ChunkId, u32>,
    waiting: VecDeque<(AttemptId, String)>,
    /// Failures that were told: which attempt of which chunk.
    told: BTreeSet<(ChunkId, u32)>,
    state: Option<(JobState, u64)>,
    crowd_told: bool,
}

impl<'a> Watch<'a> {
    async fn run(mut self) -> Result<JobDetail, Failure> {
        let mut following: Following<'a> = FuturesUnordered::new();
        let mut pause = POLL.0;
        loop {
            let detail = steadily(self.output, || detail(self.client, self.job)).await?;
            pause = if self.note(&detail) { POLL.0 } else { (pause * 2).min(POLL.1) };
            self.look(&detail, following.len()).await?;
            self.start(&mut following);
            if stands(&detail) {
                self.drain(&mut following).await?;
                return Ok(detail);
            }
            let next = Instant::now() + pause;
            loop {
                tokio::select! {
                    () = sleep_until(next) => break,
                    Some(ended) = following.next(), if !following.is_empty() => ended?,
                }
                self.start(&mut following);
            }
        }
    }

    /// Shows where the job stands. True if that is news.
    fn note(&mut self, detail: &JobDetail) -> bool {
        let tally = &detail.job.chunks;
        self.bar.show(tally, detail.eta_ms, when::now_ms());
        let state = detail.job.state;
        let before = self.state.replace((state, tally.ended()));
        if !self.output.lively && before.is_none_or(|before| before.0 != state) && !state.is_final() {
            let words = progress::words(tally, detail.eta_ms, when::now_ms());
            self.output.say(&format!("job {} {}: {words}", self.job, job_word(state)));
        }
        before != self.state
    }

    /// Finds attempts to follow and failures to tell.
    async fn look(&mut self, detail: &JobDetail, following: usize) -> Result<(), Failure> {
        let base = format!("/api/v1/jobs/{}/chunks", self.job);
        let mut chunks: Vec<ChunkView> = detail.gather.iter().cloned().collect();
        let final_now = detail.job.state.is_final();
        if self.small {
            chunks.extend(self.chunks(&format!("{base}?limit={SMALL}"), SMALL as usize).await?);
        } else {
            let free = AT_ONCE.saturating_sub(following + self.waiting.len());
            if free > 0 && !final_now {
                let running = self.chunks(&format!("{base}?state=running&limit={}", AT_ONCE * 4), AT_ONCE * 4).await?;
                if running.len() > AT_ONCE && !std::mem::replace(&mut self.crowd_told, true) {
                    let job = self.job;
                    self.output.say(&format!(
                        "showing the logs of {AT_ONCE} chunks at a time; `dsg logs {job}/N -f` shows any other"
                    ));
                }
                chunks.extend(running.into_iter().filter(|chunk| !self.followed.contains_key(&chunk.id)).take(free));
            }
            if detail.job.chunks.failed as usize > self.told.len() && self.told.len() < TOLD {
                chunks.extend(self.chunks(&format!("{base}?state=failed&limit={TOLD}"), TOLD).await?);
            }
        }
        for chunk in &chunks {
            self.tell(chunk).await?;
            self.queue(chunk, final_now).await?;
        }
        Ok(())
    }

    async fn chunks(&self, path: &str, limit: usize) -> Result<Vec<ChunkView>, Failure> {
        let attempted = format!("list the chunks of job {}", self.job);
        let (rows, _) = steadily(self.output, || self.client.rows(&attempted, path, limit)).await?;
        rows.into_iter().map(|row: Value| client::understand(&attempted, row)).collect()
    }

    /// Puts the attempts of a chunk in line that have something to show and were not shown yet.
    async fn queue(&mut self, chunk: &ChunkView, ended: bool) -> Result<(), Failure> {
        let after = self.followed.get(&chunk.id).copied().unwrap_or(0);
        let shown_by_end_only = !self.small && chunk.id.stage != GATHER && chunk.state.is_final();
        if chunk.attempts <= after || shown_by_end_only || self.waiting.len() >= AT_ONCE * 4 && !ended {
            return Ok(());
        }
        for attempt in self.attempts(&chunk.id).await? {
            // A leased one prepares and has no log yet: it is found again once it runs.
            if attempt.number > after && attempt.phase != "leased" {
                self.followed.insert(chunk.id, attempt.number);
                self.waiting.push_back((attempt.id, prefix(&chunk.id, &attempt.runner_name)));
            }
        }
        Ok(())
    }

    async fn attempts(&self, chunk: &ChunkId) -> Result<Vec<AttemptView>, Failure> {
        let attempted = format!("show chunk {chunk}");
        let path = chunk_path(chunk);
        let found: ChunkDetail = steadily(self.output, || self.client.get_as(&attempted, &path)).await?;
        Ok(found.history)
    }

    /// Says once that an attempt failed, or a chunk without one; shows the end of its log if that was not followed.
    async fn tell(&mut self, chunk: &ChunkView) -> Result<(), Failure> {
        let Some(words) = failure(chunk) else { return Ok(()) };
        if self.told.len() >= TOLD || !self.told.insert((chunk.id, chunk.attempts)) {
            return Ok(());
        }
        self.output.say(&words);
        if self.told.len() == TOLD {
            self.output.say(&format!(
                "more failures are only counted from here on; `dsg chunks {} --failed` lists them",
                self.job
            ));
        }
        if !self.small && chunk.state == ChunkState::Failed && !self.followed.contains_key(&chunk.id) {
            self.last_lines(chunk).await?;
        }
        Ok(())
    }

    async fn last_lines(&mut self, chunk: &ChunkView) -> Result<(), Failure> {
        let Some(attempt) = self.attempts(&chunk.id).await?.pop() else { return Ok(()) };
        self.followed.insert(chunk.id, attempt.number);
        let style = Style { prefix: prefix(&chunk.id, &attempt.runner_name), ..self.style.clone() };
        let mut printer = Printer::new(self.output, style);
        match log::print(self.client, attempt.id, Some(LAST_LINES), &mut printer).await {
            Ok(page) => printer.finish(&page),
            Err(failure) if failure.exit == Exit::NotFound => Ok(()),
            Err(failure) => Err(failure),
        }
    }

    fn start(&mut self, following: &mut Following<'a>) {
        while following.len() < AT_ONCE {
            let Some((attempt, prefix)) = self.waiting.pop_front() else { return };
            let (client, output, alive) = (self.client, self.output, self.alive);
            let style = Style { prefix, ..self.style.clone() };
            following.push(Box::pin(async move {
                let mut printer = Printer::new(output, style);
                match log::follow(client, attempt, &mut printer, || alive.set(Instant::now())).await {
                    // It never had a log.
                    Err(failure) if failure.exit == Exit::NotFound => Ok(()),
                    done => done,
                }
            }));
        }
    }

    /// Shows what is still on its way, as long as something comes.
    async fn drain(&mut self, following: &mut Following<'a>) -> Result<(), Failure> {
        self.alive.set(Instant::now());
        while !following.is_empty() {
            tokio::select! {
                ended = following.next() => match ended {
                    Some(ended) => {
                        ended?;
                        self.alive.set(Instant::now());
                    }
                    None => break,
                },
                () = sleep_until(self.alive.get() + AFTERWARDS) => {
                    if self.alive.get().elapsed() >= AFTERWARDS {
                        self.output.say("the last lines of some logs have not arrived yet; `dsg logs` shows them later");
                        break;
                    }
                }
            }
            self.start(following);
        }
        Ok(())
    }
}

/// How a chunk, or its last attempt, failed. A failed chunk always has something to tell: no attempt may have been made, and then it is
/// the row of the chunk that knows why, or nobody.
fn failure(chunk: &ChunkView) -> Option<String> {
    let failed = chunk.state == ChunkState::Failed;
    let reason = chunk.reason.filter(|reason| *reason != EndReason::Succeeded);
    let again = reason.is_some() && !chunk.state.is_active() && !chunk.state.is_final();
    if !failed && !again {
        return None;
    }
    let what = if failed { "failed" } else { "will be tried again" };
    let mut words = match chunk.attempts {
        0 => format!("chunk {} {what} without an attempt", chunk.id),
        attempts => format!("chunk {} {what} after attempt {attempts}", chunk.id),
    };
    if let Some(reason) = reason {
        words.push_str(&format!(": {}", reason_of(reason, chunk.exit_code, None)));
    }
    if !chunk.message.is_empty() {
        words.push_str(&format!(": {}", clean::name(&chunk.message)));
    }
    Some(words)
}

/// `[7@ada] `, or `[gather@ada] `.
fn prefix(chunk: &ChunkId, runner: &str) -> String {
    let runner = clean::name(runner);
    match chunk.stage {
        GATHER => format!("[gather@{runner}] "),
        _ => format!("[{}@{runner}] ", chunk.index),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prefixes_name_chunk_and_runner() {
        assert_eq!(prefix(&"42/7".parse().expect("a chunk"), "ada"), "[7@ada] ");
        assert_eq!(prefix(&"42/gather/0".parse().expect("a chunk"), "a\u{1b}da"), "[gather@a\\u{1b}da] ");
    }

    #[test]
    fn every_failed_chunk_has_something_to_tell() {
        let chunk = |state, attempts, reason, message: &str| ChunkView {
            id: "42/7".parse().expect("a chunk"),
            label: String::new(),
            state,
            attempts,
            reason,
            exit_code: (reason == Some(EndReason::Exit)).then_some(3),
            message: message.to_owned(),
            runner: None,
            started_ms: None,
            ended_ms: None,
            not_before_ms: None,
        };
        let told = |state, attempts, reason, message| failure(&chunk(state, attempts, reason, message));
        let (failed, late, exit) = (ChunkState::Failed, Some(EndReason::QueueTimeout), Some(EndReason::Exit));
        let cases = [
            (told(failed, 2, exit, "no file"), "chunk 42/7 failed after attempt 2: exit 3: no file"),
            (told(failed, 0, late, "waited"), "chunk 42/7 failed without an attempt: queue_timeout: waited"),
            (told(failed, 0, None, ""), "chunk 42/7 failed without an attempt"),
            (told(ChunkState::Waiting, 1, exit, ""), "chunk 42/7 will be tried again after attempt 1: exit 3"),
        ];
        for (words, expected) in cases {
            assert_eq!(words.as_deref(), Some(expected));
        }
        for state in [ChunkState::Waiting, ChunkState::Running, ChunkState::Succeeded, ChunkState::Cancelled] {
            assert_eq!(told(state, 1, None, ""), None, "{state:?}");
        }
        assert_eq!(told(ChunkState::Running, 2, exit, ""), None, "it is being tried again already");
        assert_eq!(told(ChunkState::Cancelled, 1, exit, ""), None, "a person wanted it so");
    }

    #[test]
    fn only_success_is_success() {
        assert_eq!(exit_of(JobState::Succeeded).code(), 0);
        for state in [JobState::Partial, JobState::Failed, JobState::Cancelled] {
            assert_eq!(exit_of(state).code(), 3);
        }
    }
}
