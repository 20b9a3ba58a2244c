//! Forgets a runner that runs nothing; to come back it has to join again.
use clap::Args;
use dsg_schemas::api::Act;

use super::{Context, Shown};
use crate::exit::{Exit, Failure};
use crate::{act, ask};

#[derive(Debug, Args)]
pub struct Arguments {
    /// Name or number of a runner
    runner: String,
    /// Do not ask
    #[arg(short, long)]
    yes: bool,
    #[command(flatten)]
    pub(super) shown: Shown,
}

pub async fn run(arguments: Arguments, context: &Context) -> Result<Exit, Failure> {
    let client = context.client().await?;
    let runner = act::runner(&client, &arguments.runner).await?;
    let question = format!("remove runner {}, which then has to join again", crate::clean::name(&runner.name));
    ask::confirm(&context.output, &question, arguments.yes)?;
    let attempted = format!("remove runner {}", runner.name);
    act::one(context, &client, &attempted, &Act::RemoveRunner { runner: runner.id }).await?;
    Ok(Exit::Done)
}
