//! Limits how much of a job, or of an owner, runs at once.
use clap::{ArgGroup, Args, Subcommand};
use dsg_schemas::api::Act;
use dsg_schemas::ids::JobId;

use super::{Context, Shown};
use crate::act;
use crate::exit::{Exit, Failure};
use crate::select::job_id;

#[derive(Debug, Args)]
pub struct Arguments {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// How many chunks of a job run at once; what runs goes on
    Job(OfJob),
    /// What all chunks of one owner reserve at once; `*` for everyone without a limit of their own
    Owner(OfOwner),
}

#[derive(Debug, Args)]
#[command(group = ArgGroup::new("limit").required(true))]
struct OfJob {
    /// Number of the job
    #[arg(value_parser = job_id)]
    job: JobId,
    /// Chunks at once
    #[arg(group = "limit", value_parser = clap::value_parser!(u32).range(1..))]
    chunks: Option<u32>,
    /// No limit
    #[arg(long, group = "limit")]
    none: bool,
    #[command(flatten)]
    shown: Shown,
}

#[derive(Debug, Args)]
#[command(group = ArgGroup::new("limit").required(true).multiple(true))]
struct OfOwner {
    /// Whose jobs
    owner: String,
    /// Processors at once, as in 8 or 2.5
    #[arg(long, group = "limit", value_parser = cpus)]
    cpus: Option<u64>,
    /// GPUs at once
    #[arg(long, group = "limit")]
    gpus: Option<u32>,
    /// No limit
    #[arg(long, group = "limit", conflicts_with_all = ["cpus", "gpus"])]
    none: bool,
    #[command(flatten)]
    shown: Shown,
}

/// In thousandths, as the server counts them.
fn cpus(text: &str) -> Result<u64, String> {
    let cpus: f64 = text.parse().map_err(|_| format!("{text:?} is no number of processors"))?;
    let milli = (cpus * 1000.0).round();
    if milli.is_finite() && (1.0..=1e12).contains(&milli) { Ok(milli as u64) } else { Err("at least 0.001".to_owned()) }
}

impl Arguments {
    pub(super) fn shown(&self) -> &Shown {
        match &self.what {
            What::Job(job) => &job.shown,
            What::Owner(owner) => &owner.shown,
        }
    }
}

pub async fn run(arguments: Arguments, context: &Context) -> Result<Exit, Failure> {
    let client = context.client().await?;
    let (attempted, act) = match arguments.what {
        What::Job(OfJob { job, chunks, none: _, shown: _ }) => {
            (format!("limit job {job}"), Act::LimitJob { job, parallelism: chunks })
        }
        What::Owner(OfOwner { owner, cpus, gpus, none: _, shown: _ }) => {
            (format!("limit {owner}"), Act::LimitOwner { owner, cpus_milli: cpus, gpus })
        }
    };
    act::one(context, &client, &attempted, &act).await.map(|()| Exit::Done)
}

#[cfg(test)]
mod tests {
    use super::cpus;

    #[test]
    fn processors_are_counted_in_thousandths() {
        assert_eq!((cpus("8"), cpus("2.5"), cpus("0.001")), (Ok(8000), Ok(2500), Ok(1)));
        for wrong in ["0", "-1", "nan", "inf", "many", ""] {
            assert!(cpus(wrong).is_err(), "{wrong}");
        }
    }
}
