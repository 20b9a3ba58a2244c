//! Holds jobs: nothing more starts, what runs goes on.
use clap::Args;
use dsg_schemas::api::Act;
use dsg_schemas::ids::JobId;

use super::{Context, Shown};
use crate::act;
use crate::exit::{Exit, Failure};
use crate::select::job_id;

#[derive(Debug, Args)]
pub struct Arguments {
    /// Numbers of jobs
    #[arg(required = true, value_parser = job_id)]
    jobs: Vec<JobId>,
    #[command(flatten)]
    pub(super) shown: Shown,
}

pub async fn run(arguments: Arguments, context: &Context) -> Result<Exit, Failure> {
    act::on_jobs(context, "hold", &arguments.jobs, |job| Act::Hold { job }).await
}
