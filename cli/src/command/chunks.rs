//! Lists chunks of a job.
use clap::Args;
use dsg_schemas::api::ChunkView;
use serde_json::Value;

use super::show::reason_of;
use super::{Context, Shown};
use crate::client::understand;
use crate::exit::{Exit, Failure};
use crate::output::Output;
use crate::select::Selection;
use crate::table::{Field, chunk_state, number, print, text};
use crate::{chosen, when};

#[derive(Debug, Args)]
pub struct Arguments {
    /// A job (42) or some of its chunks (42/3,7-12)
    what: Selection,
    /// Only chunks in this state
    #[arg(long, value_parser = ["active", "ended", "waiting", "held", "leased", "running", "storing", "succeeded", "failed", "cancelled", "skipped"])]
    state: Option<String>,
    /// Only failed chunks
    #[arg(long, conflicts_with = "state")]
    failed: bool,
    /// At most so many
    #[arg(short = 'n', long, default_value_t = 200, value_name = "COUNT")]
    limit: usize,
    /// However many there are
    #[arg(long, conflicts_with = "limit")]
    all: bool,
    #[command(flatten)]
    pub(super) shown: Shown,
}

pub async fn run(arguments: Arguments, context: &Context) -> Result<Exit, Failure> {
    let Arguments { what, state, failed, limit, all, shown: _ } = arguments;
    let state = if failed { Some("failed".to_owned()) } else { state };
    let limit = if all { usize::MAX } else { limit };
    let (rows, more) = chosen::rows(&context.client().await?, &what, state.as_deref(), limit).await?;
    context.output.rows(&rows, |output| table(output, &rows, when::now_ms()))?;
    if more {
        context.output.say(&format!("the first {} are shown; --all shows the rest", rows.len()));
    }
    Ok(Exit::Done)
}

fn table(output: &Output, rows: &[Value], now_ms: u64) -> Result<(), Failure> {
    let chunks: Result<Vec<ChunkView>, Failure> =
        rows.iter().map(|row| understand("list the chunks", row.clone())).collect();
    let heading = ["chunk", "label", "state", "attempts", "end", "runner", "took", "message"];
    print(output, &heading, chunks?.iter().map(|chunk| row(chunk, now_ms)).collect())
}

fn row(chunk: &ChunkView, now_ms: u64) -> Vec<Field> {
    vec![
        text(chunk.id),
        text(&chunk.label),
        chunk_state(chunk.state),
        number(chunk.attempts),
        text(chunk.reason.map_or_else(|| "-".to_owned(), |reason| reason_of(reason, chunk.exit_code, None))),
        text(chunk.runner.as_deref().unwrap_or("-")),
        text(when::span(now_ms, chunk.started_ms, chunk.ended_ms)),
        text(&chunk.message),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::Format;
    use crate::output::tests::kept;

    #[test]
    fn the_list_says_how_chunks_ended() {
        let row = serde_json::json!({
            "id": {"job": 42, "stage": 0, "index": 7}, "label": "lr=0.1", "state": "failed", "attempts": 3, "reason": "exit",
            "exit_code": 2, "message": "no such file", "runner": "ada", "started_ms": 1000, "ended_ms": 3500, "not_before_ms": null
        });
        let (output, stdout, _) = kept(Format::Table);
        table(&output, &[row], 0).expect("printed");
        let expected = "\
chunk  label   state   attempts  end     runner  took  message
42/7   lr=0.1  failed         3  exit 2  ada     2.5s  no such file
";
        assert_eq!(stdout.text(), expected);
    }
}
