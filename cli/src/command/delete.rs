//! Removes finished jobs with their logs and results, once somebody said that they mean it.
use clap::Args;
use dsg_schemas::api::Act;
use dsg_schemas::ids::JobId;

use super::{Context, Shown};
use crate::exit::{Exit, Failure};
use crate::select::job_id;
use crate::{act, ask};

#[derive(Debug, Args)]
pub struct Arguments {
    /// Numbers of finished jobs
    #[arg(required = true, value_parser = job_id)]
    jobs: Vec<JobId>,
    /// Do not ask
    #[arg(short, long)]
    yes: bool,
    #[command(flatten)]
    pub(super) shown: Shown,
}

pub async fn run(arguments: Arguments, context: &Context) -> Result<Exit, Failure> {
    let names: Vec<String> = arguments.jobs.iter().map(JobId::to_string).collect();
    let question = format!("delete job {} with all logs and results", names.join(", "));
    ask::confirm(&context.output, &question, arguments.yes)?;
    act::on_jobs(context, "delete", &arguments.jobs, |job| Act::Delete { job }).await
}
