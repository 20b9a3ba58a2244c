//! Lists what owners of jobs use, have used and may use.
use clap::Args;
use dsg_schemas::api::OwnerView;
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
    let rows: Vec<Value> = context.client().await?.get_as("list the owners", "/api/v1/owners").await?;
    context.output.rows(&rows, |output| table(output, &rows))?;
    if rows.is_empty() {
        context.output.say("nobody uses anything, and nobody has a limit");
    }
    Ok(Exit::Done)
}

fn table(output: &Output, rows: &[Value]) -> Result<(), Failure> {
    let owners: Result<Vec<OwnerView>, Failure> =
        rows.iter().map(|row| understand("list the owners", row.clone())).collect();
    let cpus = |milli: u64| format!("{:.1}", milli as f64 / 1000.0);
    let row = |owner: &OwnerView| {
        vec![
            text(if owner.owner == "*" { "* (everyone else)" } else { &owner.owner }),
            number(cpus(owner.used_cpus_milli)),
            number(owner.used_gpus),
            number(cpus(owner.average_cpus_milli)),
            number(owner.limit_cpus_milli.map_or_else(|| "–".to_owned(), cpus)),
            number(owner.limit_gpus.map_or_else(|| "–".to_owned(), |gpus| gpus.to_string())),
        ]
    };
    let heading = ["owner", "cpus", "GPUs", "average cpus", "limit of cpus", "limit of GPUs"];
    print(output, &heading, owners?.iter().map(row).collect())
}
