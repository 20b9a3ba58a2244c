//! Waits until a job has ended; its result is the exit status.
use std::time::Duration;

use clap::Args;
use dsg_schemas::ids::JobId;
use dsg_schemas::units::Millis;

use super::{Context, Shown};
use crate::exit::{Exit, Failure};
use crate::follow;
use crate::output::Format;
use crate::select::job_id;

#[derive(Debug, Args)]
pub struct Arguments {
    #[arg(value_parser = job_id)]
    job: JobId,
    /// Give up after this time (as in 90s, 2h30m); the job goes on
    #[arg(long, value_name = "TIME")]
    timeout: Option<Millis>,
    #[command(flatten)]
    pub(super) shown: Shown,
}

pub async fn run(arguments: Arguments, context: &Context) -> Result<Exit, Failure> {
    let (output, job) = (&context.output, arguments.job);
    let client = context.client().await?;
    output.on_interrupt(Some(follow::farewell(job)));
    let wait = follow::wait(&client, output, job);
    let detail = match arguments.timeout {
        Some(Millis(limit_ms)) => match tokio::time::timeout(Duration::from_millis(limit_ms), wait).await {
            Ok(detail) => detail?,
            Err(_) => {
                return Err(Failure::new(
                    Exit::WaitTimeout,
                    format!("job {job} has not ended within {}", Millis(limit_ms)),
                ));
            }
        },
        None => wait.await?,
    };
    if output.format != Format::Table {
        let value = client.get(&format!("show job {job}"), &format!("/api/v1/jobs/{job}")).await?;
        output.value(&value, |_| Ok(()))?;
    }
    Ok(follow::conclude(output, &detail))
}
