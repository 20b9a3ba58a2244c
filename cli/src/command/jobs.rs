//! Lists jobs, the newest first.
use clap::Args;
use dsg_schemas::api::{JobView, Whoami};
use dsg_schemas::limits::PAGE_ROWS;
use serde_json::Value;

use super::{Context, Shown};
use crate::client::{encode, understand};
use crate::exit::{Exit, Failure};
use crate::output::Output;
use crate::table::{Field, job_state, number, print, text};
use crate::when;

#[derive(Debug, Args)]
pub struct Arguments {
    /// Only jobs in this state; open are those that have not ended
    #[arg(long, value_parser = ["open", "ended", "waiting", "held", "running", "gathering", "succeeded", "partial", "failed", "cancelled"])]
    state: Option<String>,
    /// Only jobs of this person
    #[arg(long, conflicts_with = "mine")]
    owner: Option<String>,
    /// Only our own jobs
    #[arg(long)]
    mine: bool,
    /// Only jobs with this in their name or labels
    #[arg(long, value_name = "WORDS")]
    text: Option<String>,
    /// At most so many
    #[arg(short = 'n', long, default_value_t = 50, value_name = "COUNT")]
    limit: usize,
    #[command(flatten)]
    pub(super) shown: Shown,
}

pub async fn run(arguments: Arguments, context: &Context) -> Result<Exit, Failure> {
    let client = context.client().await?;
    let owner = match arguments.mine {
        true => Some(client.get_as::<Whoami>("ask who we are", "/api/v1/whoami").await?.name),
        false => arguments.owner,
    };
    let filters = [("state", arguments.state), ("owner", owner), ("text", arguments.text)];
    let page = [("limit", Some(arguments.limit.min(PAGE_ROWS).to_string()))];
    let query: Vec<String> = filters
        .into_iter()
        .chain(page)
        .filter_map(|(name, value)| Some(format!("{name}={}", encode(&value?))))
        .collect();
    let path = format!("/api/v1/jobs?{}", query.join("&"));
    let (rows, more) = client.rows("list the jobs", &path, arguments.limit).await?;
    context.output.rows(&rows, |output| table(output, &rows, when::now_ms()))?;
    if more {
        context.output.say(&format!("the newest {} are shown; -n shows more", rows.len()));
    }
    Ok(Exit::Done)
}

fn table(output: &Output, rows: &[Value], now_ms: u64) -> Result<(), Failure> {
    let jobs: Result<Vec<JobView>, Failure> = rows.iter().map(|row| understand("list the jobs", row.clone())).collect();
    let heading = ["job", "name", "state", "done", "running", "failed", "owner", "submitted", "took"];
    print(output, &heading, jobs?.iter().map(|job| row(job, now_ms)).collect())
}

fn row(job: &JobView, now_ms: u64) -> Vec<Field> {
    let tally = &job.chunks;
    vec![
        number(job.id),
        text(&job.name),
        job_state(job.state),
        number(format!("{}/{}", tally.succeeded, tally.total())),
        number(tally.active()),
        number(tally.failed),
        text(&job.owner),
        text(when::ago(now_ms, Some(job.submitted_ms))),
        text(when::span(now_ms, job.started_ms, job.ended_ms)),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::Format;
    use crate::output::tests::kept;

    #[test]
    fn the_list_reads_well() {
        let row = |id: u64, state: &str, name: &str, ended: Option<u64>| {
            serde_json::json!({
                "id": id, "name": name, "owner": "marie", "state": state, "priority": 50, "labels": {}, "image": "debian:12",
                "chunks": {"waiting": 3, "held": 0, "leased": 1, "running": 1, "storing": 0, "succeeded": 94, "failed": 1,
                           "cancelled": 0, "skipped": 0},
                "submitted_ms": 1000, "started_ms": 2000, "ended_ms": ended
            })
        };
        let rows = [row(42, "running", "radium \u{1b}[2J", None), row(7, "partial", "polonium", Some(62_000))];
        let (output, stdout, _) = kept(Format::Table);
        table(&output, &rows, 302_000).expect("printed");
        let expected = "\
job  name              state      done  running  failed  owner  submitted   took
 42  radium \\u{1b}[2J  running  94/100        2       1  marie  5m 01s ago  5m 00s
  7  polonium          partial  94/100        2       1  marie  5m 01s ago  1m 00s
";
        assert_eq!(stdout.text(), expected);
    }
}
