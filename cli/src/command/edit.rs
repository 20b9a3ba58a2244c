//! Replaces the job file of a held job; what has not succeeded will run by the new one.
use clap::Args;
use dsg_schemas::api::{EditJob, Edited};
use dsg_schemas::ids::JobId;
use reqwest::Method;

use super::submit::{refused, sent};
use super::{Context, Shown};
use crate::clean;
use crate::client::{Patience, understand};
use crate::exit::{Exit, Failure};
use crate::job_file::{self, JobFile};
use crate::select::job_id;

#[derive(Debug, Args)]
pub struct Arguments {
    /// Number of the job; it has to be held, and nothing of it may run
    #[arg(value_parser = job_id)]
    job: JobId,
    /// The changed job file, or - for stdin; the files that it names are sent with it
    file: String,
    /// Set a parameter of the job file
    #[arg(long, value_name = "NAME=VALUE")]
    set: Vec<String>,
    /// Let the job go on at once
    #[arg(long)]
    release: bool,
    /// Run chunks that succeeded again, too; needed if chunks now do something else than those did
    #[arg(long)]
    again: bool,
    #[command(flatten)]
    pub(super) shown: Shown,
}

pub async fn run(arguments: Arguments, context: &Context) -> Result<Exit, Failure> {
    let Arguments { job, file, set, release, again, shown: _ } = arguments;
    let output = &context.output;
    let set = job_file::settings(&set)?;
    let file = JobFile::read(&file)?;
    let client = context.client().await?;
    let (_, uploads) = sent(context, &client, &file, &set).await?;
    let edit = EditJob { spec: file.text.clone(), set, uploads, release, again };
    let attempted = format!("edit job {job}");
    let value = match client
        .write(&attempted, Method::PUT, &format!("/api/v1/jobs/{job}/spec"), &edit, Patience::Brief)
        .await
    {
        Ok(value) => value,
        Err(failure) => return Err(refused(context, &file, failure)),
    };
    let edited: Edited = understand(&attempted, value.clone())?;
    for warning in &edited.warnings {
        output.say(&format!("warning: {}", clean::name(warning)));
    }
    output.value(&value, |output| {
        output.say(&clean::name(&edited.message));
        Ok(())
    })?;
    Ok(Exit::Done)
}
