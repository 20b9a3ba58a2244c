//! Shows what waits, in the order in which it would start, and why.
use clap::Args;
use dsg_schemas::api::QueueEntry;
use serde_json::Value;

use super::{Context, Shown};
use crate::client::understand;
use crate::exit::{Exit, Failure};
use crate::output::Output;
use crate::table::{number, print, text};

#[derive(Debug, Args)]
pub struct Arguments {
    #[command(flatten)]
    pub(super) shown: Shown,
}

pub async fn run(_: Arguments, context: &Context) -> Result<Exit, Failure> {
    let (rows, _) = context.client().await?.rows("show the queue", "/api/v1/queue", usize::MAX).await?;
    context.output.rows(&rows, |output| table(output, &rows))?;
    if rows.is_empty() {
        context.output.say("nothing waits");
    }
    Ok(Exit::Done)
}

fn table(output: &Output, rows: &[Value]) -> Result<(), Failure> {
    let entries: Result<Vec<QueueEntry>, Failure> =
        rows.iter().map(|row| understand("show the queue", row.clone())).collect();
    let row = |entry: &QueueEntry| {
        vec![
            number(entry.job),
            text(&entry.job_name),
            number(entry.waiting),
            number(entry.priority),
            text(&entry.owner),
            text(&entry.needs),
            text(&entry.explanation.summary),
        ]
    };
    let heading = ["job", "name", "waiting", "priority", "owner", "each needs", "why"];
    print(output, &heading, entries?.iter().map(row).collect())
}
