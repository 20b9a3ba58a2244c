//! Undrains, pauses, evicts and resumes a runner: typed alike, one act each. Draining waits, and stands by itself.
use clap::Args;
use dsg_schemas::api::Act;

use super::{Context, Shown};
use crate::exit::{Exit, Failure};
use crate::{act, clean};

#[derive(Debug, Args)]
pub struct Arguments {
    /// Name or number of a runner
    runner: String,
    #[command(flatten)]
    pub(super) shown: Shown,
}

/// What is done to the runner.
#[derive(Clone, Copy, Debug)]
pub enum Verb {
    Undrain,
    Pause,
    Evict,
    Resume,
}

pub async fn run(verb: Verb, arguments: Arguments, context: &Context) -> Result<Exit, Failure> {
    let client = context.client().await?;
    let found = act::runner(&client, &arguments.runner).await?;
    let runner = found.id;
    let (word, act) = match verb {
        Verb::Undrain => ("undrain", Act::Undrain { runner }),
        Verb::Pause => ("pause", Act::Pause { runner }),
        Verb::Evict => ("evict", Act::Evict { runner }),
        Verb::Resume => ("resume", Act::Resume { runner }),
    };
    act::one(context, &client, &format!("{word} runner {}", clean::name(&found.name)), &act).await?;
    Ok(Exit::Done)
}
