//! Drains a runner: it finishes what it runs, takes nothing new, and we wait until it is empty.
use std::time::Duration;

use clap::Args;
use dsg_schemas::api::{Act, RunnerState};
use tokio::time::sleep;

use super::{Context, Shown};
use crate::act;
use crate::exit::{Exit, Failure};
use crate::follow::steadily;

/// Looks after which the list of runners should know of the drain, even on a busy server.
const BEHIND: u32 = 40;

#[derive(Debug, Args)]
pub struct Arguments {
    /// Name or number of a runner
    runner: String,
    /// Do not wait until it is empty
    #[arg(long)]
    no_wait: bool,
    #[command(flatten)]
    pub(super) shown: Shown,
}

pub async fn run(arguments: Arguments, context: &Context) -> Result<Exit, Failure> {
    let (output, client) = (&context.output, context.client().await?);
    let runner = act::runner(&client, &arguments.runner).await?;
    let (id, name) = (runner.id, crate::clean::name(&runner.name));
    act::one(context, &client, &format!("drain runner {name}"), &Act::Drain { runner: id }).await?;
    if arguments.no_wait {
        return Ok(Exit::Done);
    }
    output.on_interrupt(Some(format!("runner {name} goes on draining; `dsg undrain {name}` lets it take work again")));
    let (mut held, mut drains, mut behind) = (None, false, 0);
    loop {
        let runners = steadily(output, || act::runners(&client)).await?;
        let Some(runner) = runners.iter().find(|runner| runner.id == id) else {
            return Err(Failure::new(Exit::NotFound, format!("runner {name} was removed meanwhile")));
        };
        // The list is made a few times a second. One that shows the runner as ready is older than the drain, and so are its chunks.
        if runner.state == RunnerState::Ready {
            behind += 1;
            if drains || behind > BEHIND {
                let message = format!("runner {name} takes work again: somebody undrained it");
                return Err(Failure::new(Exit::Conflict, message).hint(format!("`dsg drain {name}` drains it again")));
            }
            sleep(Duration::from_millis(250)).await;
            continue;
        }
        drains = true;
        let holds = runner.holds.len();
        if holds == 0 {
            output.say(&format!("runner {name} is empty"));
            return Ok(Exit::Done);
        }
        if held.replace(holds) != Some(holds) {
            let chunks: Vec<String> = runner.holds.iter().take(8).map(|holding| holding.chunk.to_string()).collect();
            let more = if holds > chunks.len() { ", …" } else { "" };
            output.say(&format!("runner {name} still runs {holds}: {}{more}", chunks.join(", ")));
        }
        sleep(Duration::from_secs(1)).await;
    }
}
