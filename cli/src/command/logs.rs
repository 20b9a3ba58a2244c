//! Prints or follows the log of a chunk, or follows a whole job.
use std::time::Duration;

use clap::Args;
use dsg_schemas::api::AttemptView;
use dsg_schemas::ids::ChunkId;
use dsg_schemas::wire::log::Stream;
use reqwest::Method;
use tokio::time::{sleep, timeout};

use super::{Context, Shown};
use crate::chosen;
use crate::client::{self, Client, Patience, SILENCE};
use crate::exit::{Exit, Failure};
use crate::follow::{self, steadily};
use crate::log::{self, Printer, Style};
use crate::output::Format;
use crate::select::{Chunks, Selection};

/// Broken connections in a row that brought nothing.
const IDLE_TRIES: u32 = 8;

#[derive(Debug, Args)]
pub struct Arguments {
    /// A chunk (42/7, 42/gather/0), some chunks (42/3,7-12), or with -f a job (42)
    what: Selection,
    /// Print lines as they come, until the end
    #[arg(short, long)]
    follow: bool,
    /// Only the last lines, at most 5000
    #[arg(long, value_name = "LINES", value_parser = clap::value_parser!(u64).range(..=5000))]
    tail: Option<u64>,
    /// Only what was written to stdout
    #[arg(long, conflicts_with = "stderr")]
    stdout: bool,
    /// Only what was written to stderr
    #[arg(long)]
    stderr: bool,
    /// When each line came, in UTC
    #[arg(long)]
    timestamps: bool,
    /// An earlier attempt, by number; without it the last one
    #[arg(long, value_name = "NUMBER")]
    attempt: Option<u32>,
    /// Exactly what the container wrote, escape codes and all
    #[arg(long)]
    raw: bool,
    #[command(flatten)]
    pub(super) shown: Shown,
}

impl Arguments {
    fn style(&self, prefix: String) -> Style {
        let only = match (self.stdout, self.stderr) {
            (true, _) => Some(Stream::Stdout),
            (_, true) => Some(Stream::Stderr),
            (false, false) => None,
        };
        Style { only, timestamps: self.timestamps, raw: self.raw, prefix }
    }
}

pub async fn run(arguments: Arguments, context: &Context) -> Result<Exit, Failure> {
    let what = &arguments.what;
    let several = what.chunks.as_ref().is_none_or(|chunks| chunks.count() != 1);
    if several && context.output.format != Format::Table {
        return Err(Failure::usage("-o json and ndjson print the log of one chunk"));
    }
    match &what.chunks {
        None if arguments.follow && arguments.attempt.is_none() && arguments.tail.is_none() => {
            let client = context.client().await?;
            let detail = follow::job(&client, &context.output, what.job, &arguments.style(String::new())).await?;
            Ok(follow::conclude(&context.output, &detail))
        }
        None if arguments.follow => Err(Failure::usage("--attempt and --tail are for one chunk, as in 42/7")),
        None => Err(Failure::usage(format!("which chunk of job {}?", what.job))
            .hint(format!("`dsg logs {0}/0` prints one, `dsg logs {0} -f` follows all", what.job))),
        Some(_) if several && arguments.follow => {
            Err(Failure::usage("-f follows one chunk or a whole job").hint(format!("dsg logs {} -f", what.job)))
        }
        Some(chunks) => of_chunks(&arguments, context, chunks, several).await,
    }
}

async fn of_chunks(arguments: &Arguments, context: &Context, chunks: &Chunks, several: bool) -> Result<Exit, Failure> {
    let client = context.client().await?;
    for chunk in chunks.ids(arguments.what.job) {
        let Some(attempt) = attempt(arguments, context, &client, &chunk).await? else { continue };
        let prefix = if several {
            format!("[{}@{}] ", chunk.index, crate::clean::name(&attempt.runner_name))
        } else {
            String::new()
        };
        of_attempt(arguments, context, &client, &chunk, &attempt, prefix).await?;
    }
    Ok(Exit::Done)
}

/// The attempt that is meant. With -f one that is still to come, too.
async fn attempt(
    arguments: &Arguments,
    context: &Context,
    client: &Client,
    chunk: &ChunkId,
) -> Result<Option<AttemptView>, Failure> {
    let mut told = false;
    loop {
        let (detail, _) = steadily(&context.output, || chosen::detail(client, chunk)).await?;
        let found = match arguments.attempt {
            Some(number) => detail.history.into_iter().find(|attempt| attempt.number == number),
            None => detail.history.into_iter().next_back(),
        };
        match (found, arguments.attempt) {
            (Some(attempt), _) => return Ok(Some(attempt)),
            (None, Some(number)) => {
                return Err(Failure::new(Exit::NotFound, format!("chunk {chunk} has no attempt {number}")));
            }
            (None, None) if arguments.follow && !detail.chunk.state.is_final() => {
                if !std::mem::replace(&mut told, true) {
                    let why =
                        detail.explanation.map_or(String::new(), |explanation| format!(": {}", explanation.summary));
                    context.output.say(&format!("chunk {chunk} has not started yet{}", crate::clean::name(&why)));
                }
                sleep(Duration::from_secs(1)).await;
            }
            (None, None) => {
                context.output.say(&format!(
                    "chunk {chunk} is {} and was never started: it has no log",
                    detail.chunk.state.word()
                ));
                return Ok(None);
            }
        }
    }
}

async fn of_attempt(
    arguments: &Arguments,
    context: &Context,
    client: &Client,
    chunk: &ChunkId,
    attempt: &AttemptView,
    prefix: String,
) -> Result<(), Failure> {
    let output = &context.output;
    let as_written = arguments.raw && !arguments.follow && !arguments.timestamps && arguments.tail.is_none();
    if as_written && output.format == Format::Table && prefix.is_empty() {
        return raw(arguments, context, client, attempt).await;
    }
    let mut printer = Printer::new(output, arguments.style(prefix));
    if arguments.tail.is_some() || !arguments.follow {
        let page = log::print(client, attempt.id, arguments.tail, &mut printer).await?;
        if !arguments.follow || page.ended {
            return printer.finish(&page);
        }
    }
    output.on_interrupt(Some(format!("chunk {chunk} goes on without you: `dsg logs {chunk} -f` shows it again")));
    log::follow(client, attempt.id, &mut printer, || ()).await
}

/// The bytes themselves, gone on with where they broke off.
async fn raw(arguments: &Arguments, context: &Context, client: &Client, attempt: &AttemptView) -> Result<(), Failure> {
    let attempted = format!("read the log of attempt {}", attempt.id);
    let query = match (arguments.stdout, arguments.stderr) {
        (true, _) => "?stream=stdout",
        (_, true) => "?stream=stderr",
        (false, false) => "",
    };
    let path = format!("/api/v1/attempts/{}/log/raw{query}", attempt.id);
    let (mut have, mut idle) = (0_u64, 0);
    loop {
        let from = have;
        let build = || match from {
            0 => client.request(Method::GET, &path),
            from => client.request(Method::GET, &path).header("range", format!("bytes={from}-")),
        };
        let mut response = client.answer(&attempted, Patience::Long, build).await?;
        match response.status().as_u16() {
            200 if from == 0 => {}
            206 => {}
            // Nothing behind what we have.
            416 => return Ok(()),
            _ => return Err(client::refusal(&attempted, response).await),
        }
        let why = loop {
            match timeout(SILENCE, response.chunk()).await {
                Ok(Ok(Some(piece))) => {
                    context.output.bytes(&piece)?;
                    have += piece.len() as u64;
                }
                Ok(Ok(None)) => return Ok(()),
                Ok(Err(error)) => break client::root_cause(&error),
                Err(_) => break "the server fell silent".to_owned(),
            }
        };
        idle = if have > from { 0 } else { idle + 1 };
        if idle >= IDLE_TRIES {
            return Err(Failure::new(Exit::Unreachable, format!("cannot {attempted}: it broke off: {why}")));
        }
        sleep(Duration::from_millis(100 << idle)).await;
    }
}
