//! Gets the results of a job: `DIR/main/<index>/<name>`, the gathered files beside them, and the manifest.
use std::cell::{Cell, RefCell};
use std::fs;
use std::path::{Path, PathBuf};

use clap::Args;
use dsg_schemas::api::{ChunkState, JobDetail};
use dsg_schemas::ids::JobId;
use futures_util::{StreamExt, stream};

use super::Context;
use crate::client::Client;
use crate::exit::{Exit, Failure};
use crate::fetch::{self, Outcome, Wanted};
use crate::layout::Layout;
use crate::output::Format;
use crate::progress::Bar;
use crate::select::{job_id, ranges};
use crate::{follow, manifest, when};

/// Files on their way at once.
const AT_ONCE: usize = 8;
/// Failures that are told one by one.
const TOLD: usize = 20;
/// Says which job a folder belongs to.
const MARK: &str = ".dsg-job";

#[derive(Debug, Args)]
pub struct Arguments {
    #[arg(value_parser = job_id)]
    job: JobId,
    /// Where to; job-N if left out. What is there already and right is not sent again
    #[arg(short = 'o', long = "output", value_name = "FOLDER")]
    folder: Option<PathBuf>,
    /// Only the gathered files, or only some chunks (3,7-12)
    #[arg(long, value_name = "gathered|CHUNKS")]
    only: Option<Only>,
    /// Replace files that are in the way, and the results of another job
    #[arg(long)]
    force: bool,
    /// How to print the count of what was fetched
    #[arg(long, value_enum, default_value_t, value_name = "FORMAT")]
    pub(super) format: Format,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Only {
    Gathered,
    Chunks(Vec<(u32, u32)>),
}

impl std::str::FromStr for Only {
    type Err = crate::select::NotASelection;
    fn from_str(text: &str) -> Result<Only, Self::Err> {
        match text {
            "gathered" => Ok(Only::Gathered),
            list => ranges(list).map(Only::Chunks),
        }
    }
}

impl Only {
    fn takes(only: Option<&Only>, index: u32) -> bool {
        match only {
            None => true,
            Some(Only::Gathered) => false,
            Some(Only::Chunks(ranges)) => ranges.iter().any(|(first, last)| (*first..=*last).contains(&index)),
        }
    }
}

/// What came of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
struct Count {
    fetched: u64,
    there: u64,
    failed: u64,
    bytes: u64,
    chunks_without_results: u64,
}

pub async fn run(arguments: Arguments, context: &Context) -> Result<Exit, Failure> {
    let (job, output) = (arguments.job, &context.output);
    let client = context.client().await?;
    let detail = follow::detail(&client, job).await?;
    if !detail.job.state.is_final() {
        output.say(&format!("job {job} goes on: what it has so far is fetched, the same command gets the rest later"));
    }
    if let Some(removed) = &detail.outputs_removed {
        let when = when::stamp(removed.at_ms);
        let why = crate::clean::name(&removed.why).into_owned();
        return Err(Failure::new(Exit::NotFound, format!("the outputs of job {job} were removed {when}: {why}"))
            .hint(format!("`dsg retry {job} --all` runs it again")));
    }
    let folder = arguments.folder.clone().unwrap_or_else(|| PathBuf::from(format!("job-{job}")));
    let ours = claim(&folder, job, arguments.force)?;
    output.on_interrupt(Some("what was fetched stays; the same command goes on with the rest".to_owned()));
    manifest::download(&client, job, &folder.join("manifest.jsonl")).await?;
    let plan = plan(&folder, &detail, arguments.only.as_ref())?;
    let count = get(context, &client, &folder, &arguments, &detail, plan, ours).await?;
    let Count { fetched, there, failed, bytes, chunks_without_results } = count;
    output.set_bar(None);
    if output.format != Format::Table {
        output.value(&serde_json::to_value(count).unwrap_or_default(), |_| Ok(()))?;
    }
    let already = if there > 0 { format!(", {there} were there already") } else { String::new() };
    output.say(&format!("{fetched} files ({}) fetched into {}{already}", when::size(bytes), folder.display()));
    if chunks_without_results > 0 {
        output.say(&format!("{chunks_without_results} chunks have no results; manifest.jsonl says why"));
    }
    match failed {
        0 => Ok(Exit::Done),
        failed => Err(Failure::other(format!("{failed} files could not be fetched"))
            .hint("the same command tries only those again")),
    }
}

/// Makes the folder ours. True if it was so before, so that what is in it may be replaced.
fn claim(folder: &Path, job: JobId, force: bool) -> Result<bool, Failure> {
    fs::create_dir_all(folder).map_err(|error| Failure::file("create", folder, &error))?;
    let mark = folder.join(MARK);
    let ours = job.to_string();
    match fs::read_to_string(&mark) {
        Ok(text) if text.trim() == ours => return Ok(true),
        Ok(text) if !force => {
            let other = crate::clean::name(text.trim()).into_owned();
            return Err(Failure::new(Exit::Conflict, format!("{} holds the results of job {other}", folder.display()))
                .hint("choose another folder with -o, or mix them with --force"));
        }
        Ok(_) | Err(_) => {}
    }
    let manifest = folder.join("manifest.jsonl");
    if manifest.exists() && !force {
        return Err(Failure::new(Exit::Conflict, format!("{} is in the way", manifest.display()))
            .hint("choose another folder with -o, or replace it with --force"));
    }
    fs::write(&mark, format!("{ours}\n")).map_err(|error| Failure::file("write", &mark, &error))?;
    Ok(false)
}

/// How much there is to do, found in one pass over the manifest.
struct Todo {
    bytes: u64,
    chunks_without_results: u64,
}

fn plan(folder: &Path, detail: &JobDetail, only: Option<&Only>) -> Result<Todo, Failure> {
    let mut todo = Todo { bytes: 0, chunks_without_results: 0 };
    for line in manifest::lines(&folder.join("manifest.jsonl"))? {
        let line = line?;
        if Only::takes(only, line.index) {
            todo.bytes += line.outputs.iter().map(|file| file.size).sum::<u64>();
            todo.chunks_without_results += u64::from(line.status != ChunkState::Succeeded);
        }
    }
    if !matches!(only, Some(Only::Chunks(_))) {
        todo.bytes += detail.gathered.iter().map(|file| file.size).sum::<u64>();
    }
    Ok(todo)
}

async fn get(
    context: &Context,
    client: &Client,
    folder: &Path,
    arguments: &Arguments,
    detail: &JobDetail,
    todo: Todo,
    ours: bool,
) -> Result<Count, Failure> {
    let Arguments { only, force, .. } = arguments;
    let bar = Bar::of_bytes(&context.output, "fetching", todo.bytes);
    let layout = Layout::of(&detail.spec);
    let gathered = match only {
        Some(Only::Chunks(_)) => Vec::new(),
        Some(Only::Gathered) | None => layout.of_gathered(&detail.gathered),
    };
    let lines = manifest::lines(&folder.join("manifest.jsonl"))?;
    let of_lines = lines.flat_map(|line| match line {
        Ok(line) if Only::takes(only.as_ref(), line.index) => layout.of_chunk(&line).into_iter().map(Ok).collect(),
        Ok(_) => Vec::new(),
        Err(failure) => vec![Err(failure)],
    });
    let count = RefCell::new(Count { chunks_without_results: todo.chunks_without_results, ..Count::default() });
    let told = Cell::new(0);
    let (seen, replace) = (|bytes| bar.advance(bytes), ours || *force);
    let one = |wanted: Result<Wanted, Failure>| {
        let (count, told, seen) = (&count, &told, &seen);
        async move {
            let wanted = wanted?;
            match fetch::file(client, folder, &wanted, replace, seen).await {
                Ok(Outcome::Fetched) => {
                    count.borrow_mut().fetched += 1;
                    count.borrow_mut().bytes += wanted.size;
                }
                Ok(Outcome::There) => count.borrow_mut().there += 1,
                // Without server, login or disk the rest fails just so.
                Err(failure) if matches!(failure.exit, Exit::Unreachable | Exit::Auth) => return Err(failure),
                Err(failure) => {
                    count.borrow_mut().failed += 1;
                    told.set(told.get() + 1);
                    if told.get() <= TOLD {
                        context.output.failure(&failure);
                    }
                }
            }
            Ok(())
        }
    };
    let mut running = stream::iter(gathered.into_iter().map(Ok).chain(of_lines)).map(one).buffer_unordered(AT_ONCE);
    while let Some(done) = running.next().await {
        done?;
    }
    drop(running);
    Ok(count.into_inner())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_holds_the_results_of_one_job() {
        let place = tempfile::tempdir().expect("a folder");
        let folder = place.path().join("results");
        assert_eq!(claim(&folder, JobId(42), false), Ok(false));
        assert_eq!(claim(&folder, JobId(42), false), Ok(true));
        assert_eq!(claim(&folder, JobId(43), false).expect_err("another job").exit, Exit::Conflict);
        assert_eq!(claim(&folder, JobId(43), true), Ok(false));
        let other = place.path().join("other");
        fs::create_dir(&other).expect("created");
        fs::write(other.join("manifest.jsonl"), "mine").expect("written");
        assert_eq!(claim(&other, JobId(42), false).expect_err("in the way").exit, Exit::Conflict);
    }

    #[test]
    fn only_is_gathered_or_chunks() {
        assert_eq!("gathered".parse(), Ok(Only::Gathered));
        assert_eq!("3,7-9".parse(), Ok(Only::Chunks(vec![(3, 3), (7, 9)])));
        assert!("all".parse::<Only>().is_err());
        let only: Only = "3,7-9".parse().expect("chunks");
        assert!(Only::takes(Some(&only), 8) && !Only::takes(Some(&only), 4) && Only::takes(None, 4));
    }
}
