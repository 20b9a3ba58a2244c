//! Sends a job file with the files beside it. What was sent stays sent: after a break it goes on, and a job is made once.
use std::collections::BTreeMap;

use clap::Args;
use dsg_schemas::api::{Submit, Submitted, Uploads};

use super::{Context, Shown, check};
use crate::client::{Client, Patience, understand};
use crate::exit::{Exit, Failure};
use crate::job_file::{self, JobFile, Prepared};
use crate::log::Style;
use crate::output::Format;
use crate::{clean, follow, hash, upload};

#[derive(Debug, Args)]
pub struct Arguments {
    /// The job file, or - for stdin; the files that it names are sent with it
    file: String,
    /// Set a parameter of the job file
    #[arg(long, value_name = "NAME=VALUE")]
    set: Vec<String>,
    /// Show logs and progress until the job has ended; its result is the exit status
    #[arg(short, long)]
    follow: bool,
    /// Wait until the job has ended; its result is the exit status
    #[arg(short, long, conflicts_with = "follow")]
    wait: bool,
    /// Only show what would be done
    #[arg(long, conflicts_with_all = ["follow", "wait"])]
    dry_run: bool,
    #[command(flatten)]
    pub(super) shown: Shown,
}

pub async fn run(arguments: Arguments, context: &Context) -> Result<Exit, Failure> {
    let output = &context.output;
    let set = job_file::settings(&arguments.set)?;
    let file = JobFile::read(&arguments.file)?;
    if arguments.dry_run {
        let client = match context.environment.login()? {
            Some(login) => Some(Client::new(&login).await?),
            None => None,
        };
        let checked = check::check(context, &file, &set, client.as_ref()).await?;
        return check::report(output, &file, &checked, true);
    }
    let client = context.client().await?;
    let (prepared, uploads) = sent(context, &client, &file, &set).await?;
    let submit = Submit { spec: file.text.clone(), set, uploads, request: Some(random()?) };
    let attempted = format!("submit {}", file.shown);
    let value = match client.post(&attempted, "/api/v1/jobs", &submit, Patience::Long).await {
        Ok(value) => value,
        Err(failure) => return Err(refused(context, &file, failure)),
    };
    let submitted: Submitted = understand(&attempted, value.clone())?;
    for warning in &submitted.warnings {
        output.say(&format!("warning: {}", clean::name(warning)));
    }
    let job = submitted.job;
    let chunks = format!("{} chunk{}", submitted.chunks, if submitted.chunks == 1 { "" } else { "s" });
    let name = clean::name(&prepared.plan.job.name).into_owned();
    let watching = arguments.follow || arguments.wait;
    match (output.format, watching) {
        // With --follow the log is the data.
        (Format::Table, true) => output.say(&format!("job {job} submitted: {name}, {chunks}")),
        (Format::Table, false) => {
            output.say(&format!("job {job} submitted: {name}, {chunks}; `dsg logs {job} -f` follows it"));
            output.line(&job.to_string())?;
        }
        (Format::Json | Format::Ndjson, _) => output.value(&value, |_| Ok(()))?,
    }
    if !watching {
        return Ok(Exit::Done);
    }
    output.on_interrupt(Some(follow::farewell(job)));
    let detail = match arguments.follow {
        true => follow::job(&client, output, job, &Style::default()).await?,
        false => follow::wait(&client, output, job).await?,
    };
    Ok(follow::conclude(output, &detail))
}

/// Checks a job file here, and sends the files that it names.
pub(super) async fn sent(
    context: &Context,
    client: &Client,
    file: &JobFile,
    set: &BTreeMap<String, String>,
) -> Result<(Prepared, Uploads), Failure> {
    let output = &context.output;
    let prepared = match file.check(set)? {
        Ok(prepared) => prepared,
        Err(problems) => return Err(file.complain(output, &problems)),
    };
    let uploads = upload::hashes(output, &prepared.files).await?;
    upload::send(client, output, &prepared.files, &uploads).await?;
    Ok((prepared, uploads))
}

/// The server's problems with a job file look like our own.
pub(super) fn refused(context: &Context, file: &JobFile, failure: Failure) -> Failure {
    match &failure.problem {
        Some(problem) if !problem.problems.is_empty() => {
            let complaint = file.complain(&context.output, &problem.problems);
            Failure { problem: failure.problem, ..complaint }
        }
        Some(_) | None => failure,
    }
}

/// Made once per intent: sent again after a lost answer, it gives the same job.
fn random() -> Result<String, Failure> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes)
        .map_err(|error| Failure::other(format!("the system gives no random bytes: {error}")))?;
    Ok(hash::hex(&bytes))
}
