//! Checks a job file here, with the files beside it, and then asks the server what it thinks of it.
use std::collections::BTreeMap;

use clap::Args;
use dsg_schemas::api::{Checked, ChunkPlan, Submit, Upload};
use dsg_schemas::spec::Plan;

use super::{Context, Shown};
use crate::client::{Client, Patience, understand};
use crate::exit::{Exit, Failure};
use crate::job_file::{self, JobFile, Prepared};
use crate::output::{Format, Output};
use crate::{clean, upload};

/// Chunks that are shown of a plan.
const SHOWN: u32 = 3;

#[derive(Debug, Args)]
pub struct Arguments {
    /// The job file, or - for stdin
    file: String,
    /// Set a parameter of the job file
    #[arg(long, value_name = "NAME=VALUE")]
    set: Vec<String>,
    /// Show the first chunks: label, command and environment
    #[arg(long)]
    plan: bool,
    /// Do not ask the server
    #[arg(long)]
    offline: bool,
    #[command(flatten)]
    pub(super) shown: Shown,
}

pub async fn run(arguments: Arguments, context: &Context) -> Result<Exit, Failure> {
    let set = job_file::settings(&arguments.set)?;
    let file = JobFile::read(&arguments.file)?;
    let client = match context.environment.login()? {
        Some(login) if !arguments.offline => Some(Client::new(&login).await?),
        Some(_) | None => None,
    };
    let checked = check(context, &file, &set, client.as_ref()).await?;
    report(&context.output, &file, &checked, arguments.plan)
}

/// What is wrong with a job file, or what it would do: by our own judgement, then by the server's.
pub async fn check(
    context: &Context,
    file: &JobFile,
    set: &BTreeMap<String, String>,
    client: Option<&Client>,
) -> Result<Checked, Failure> {
    let prepared = match file.check(set)? {
        Ok(prepared) => prepared,
        Err(problems) => {
            return Ok(Checked { ok: false, problems, warnings: Vec::new(), chunks: 0, first: Vec::new() });
        }
    };
    let own = of_plan(&prepared.plan);
    let Some(client) = client else { return Ok(own) };
    match ask_server(context, client, file, set, prepared).await {
        Ok(checked) => Ok(checked),
        // Our own judgement stands without the server, and without the right to ask it.
        Err(failure) if matches!(failure.exit, Exit::Unreachable | Exit::Auth) => {
            context.output.say(&format!("{failure}; checked here only"));
            Ok(own)
        }
        Err(failure) => Err(failure),
    }
}

async fn ask_server(
    context: &Context,
    client: &Client,
    file: &JobFile,
    set: &BTreeMap<String, String>,
    prepared: Prepared,
) -> Result<Checked, Failure> {
    let Prepared { plan, mut files } = prepared;
    let mut uploads = job_file::unread(&files);
    // Only the table that the chunks come from is needed by a check; everything else stays here.
    let table = plan
        .job
        .chunks
        .rows
        .as_ref()
        .map(|rows| rows.from.trim_start_matches("upload:").trim_start_matches("./").to_owned());
    files.found.retain(|path, _| Some(path) == table.as_ref());
    let read = upload::hashes(&context.output, &files).await?;
    upload::send(client, &context.output, &files, &read).await?;
    uploads.extend(read.into_iter().map(|(path, upload)| (path, Upload { ..upload })));
    let submit = Submit { spec: file.text.clone(), set: set.clone(), uploads, request: None };
    let attempted = format!("check {}", file.shown);
    understand(&attempted, client.post(&attempted, "/api/v1/check", &submit, Patience::Brief).await?)
}

fn of_plan(plan: &Plan) -> Checked {
    let first: Vec<ChunkPlan> = (0..plan.chunks.min(SHOWN)).map(|index| plan.chunk(index)).collect();
    Checked { ok: true, problems: Vec::new(), warnings: plan.warnings.clone(), chunks: u64::from(plan.chunks), first }
}

/// Says what came out of a check.
pub fn report(output: &Output, file: &JobFile, checked: &Checked, plan: bool) -> Result<Exit, Failure> {
    if output.format != Format::Table {
        let value = serde_json::to_value(checked).map_err(|error| Failure::other(error.to_string()))?;
        output.value(&value, |_| Ok(()))?;
    }
    if !checked.ok {
        return Err(file.complain(output, &checked.problems));
    }
    for warning in &checked.warnings {
        output.say(&format!("warning: {}", clean::name(warning)));
    }
    if plan && output.format == Format::Table {
        checked.first.iter().try_for_each(|chunk| print_plan(output, chunk))?;
    }
    output.say(&format!(
        "{} is right: {} chunk{}",
        clean::name(&file.shown),
        checked.chunks,
        if checked.chunks == 1 { "" } else { "s" }
    ));
    Ok(Exit::Done)
}

fn print_plan(output: &Output, chunk: &ChunkPlan) -> Result<(), Failure> {
    let ChunkPlan { index, label, command, env } = chunk;
    output.line(&format!("chunk {index}  {}", clean::name(label)))?;
    if !command.is_empty() {
        let words: Vec<String> = command.iter().map(|word| quoted(word)).collect();
        output.line(&format!("  command  {}", words.join(" ")))?;
    }
    env.iter().try_for_each(|(name, value)| output.line(&format!("  {}={}", clean::name(name), clean::name(value))))
}

/// As a shell would need it.
fn quoted(word: &str) -> String {
    let plain = !word.is_empty() && word.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_./=:,+@%".contains(&b));
    if plain { word.to_owned() } else { format!("'{}'", clean::name(&word.replace('\'', "'\\''"))) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_quoted_as_a_shell_needs_them() {
        for (word, shown) in [("a.csv", "a.csv"), ("", "''"), ("a b", "'a b'"), ("it's", "'it'\\''s'"), ("$x", "'$x'")]
        {
            assert_eq!(quoted(word), shown);
        }
    }
}
