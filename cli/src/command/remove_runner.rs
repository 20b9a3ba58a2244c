//! Forgets a runner that runs nothing, or by force any; to come back it has to join again.
use clap::Args;
use dsg_schemas::api::Act;

use super::{Context, Shown};
use crate::exit::{Exit, Failure};
use crate::{act, ask};

#[derive(Debug, Args)]
pub struct Arguments {
    /// Name or number of a runner
    runner: String,
    /// Also if it holds attempts: their chunks wait again at no cost, and what it still says counts no more
    #[arg(long)]
    force: bool,
    /// Do not ask
    #[arg(short, long)]
    yes: bool,
    #[command(flatten)]
    pub(super) shown: Shown,
}

pub async fn run(arguments: Arguments, context: &Context) -> Result<Exit, Failure> {
    let client = context.client().await?;
    let runner = act::runner(&client, &arguments.runner).await?;
    let name = crate::clean::name(&runner.name);
    let question = match arguments.force {
        true => format!("take everything from runner {name} and remove it"),
        false => format!("remove runner {name}, which then has to join again"),
    };
    ask::confirm(&context.output, &question, arguments.yes)?;
    let attempted = format!("remove runner {}", runner.name);
    act::one(context, &client, &attempted, &Act::RemoveRunner { runner: runner.id, force: arguments.force }).await?;
    Ok(Exit::Done)
}
