//! Stops what a runner runs; its chunks wait again at no cost, and it takes nothing new.
use clap::Args;
use dsg_schemas::api::Act;

use super::{Context, Shown};
use crate::act;
use crate::exit::{Exit, Failure};

#[derive(Debug, Args)]
pub struct Arguments {
    /// Name or number of a runner
    runner: String,
    #[command(flatten)]
    pub(super) shown: Shown,
}

pub async fn run(arguments: Arguments, context: &Context) -> Result<Exit, Failure> {
    let client = context.client().await?;
    let runner = act::runner(&client, &arguments.runner).await?;
    let attempted = format!("evict runner {}", runner.name);
    act::one(context, &client, &attempted, &Act::Evict { runner: runner.id }).await?;
    Ok(Exit::Done)
}
