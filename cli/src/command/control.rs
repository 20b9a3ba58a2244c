//! Cancels, holds and releases jobs: typed alike, one act each.
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

/// What is done to each of the jobs.
#[derive(Clone, Copy, Debug)]
pub enum Verb {
    Cancel,
    Hold,
    Release,
}

pub async fn run(verb: Verb, arguments: Arguments, context: &Context) -> Result<Exit, Failure> {
    let word = match verb {
        Verb::Cancel => "cancel",
        Verb::Hold => "hold",
        Verb::Release => "release",
    };
    let act = |job| match verb {
        Verb::Cancel => Act::Cancel { job },
        Verb::Hold => Act::Hold { job },
        Verb::Release => Act::Release { job },
    };
    act::on_jobs(context, word, &arguments.jobs, act).await
}
