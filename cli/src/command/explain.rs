//! Says why a job or a chunk does not run.
use clap::Args;
use dsg_schemas::api::{Explanation, QueueEntry};
use dsg_schemas::ids::stage_name;

use super::{Context, Shown};
use crate::client::{Client, understand};
use crate::exit::{Exit, Failure};
use crate::output::Output;
use crate::select::Selection;
use crate::table::{job_word, print, text};
use crate::{clean, follow};

#[derive(Debug, Args)]
pub struct Arguments {
    /// A job (42) or one of its chunks (42/7)
    what: Selection,
    #[command(flatten)]
    pub(super) shown: Shown,
}

pub async fn run(arguments: Arguments, context: &Context) -> Result<Exit, Failure> {
    let (what, client) = (arguments.what, context.client().await?);
    let attempted = format!("explain {what}");
    let Some(chunks) = &what.chunks else {
        explain_job(&client, context, &attempted, &what).await?;
        return Ok(Exit::Done);
    };
    if chunks.count() != 1 {
        return Err(Failure::usage("name a job or one chunk"));
    }
    for chunk in chunks.ids(what.job) {
        let path = format!("/api/v1/jobs/{}/explain/{}/{}", chunk.job, stage_name(chunk.stage), chunk.index);
        let value = client.get(&attempted, &path).await?;
        let explanation: Explanation = understand(&attempted, value.clone())?;
        context.output.value(&value, |output| explain(output, &explanation))?;
    }
    Ok(Exit::Done)
}

async fn explain_job(client: &Client, context: &Context, attempted: &str, what: &Selection) -> Result<(), Failure> {
    let detail = follow::detail(client, what.job).await?;
    let (rows, _) = client.rows(attempted, "/api/v1/queue", usize::MAX).await?;
    let mut ours = Vec::new();
    for row in rows {
        let entry: QueueEntry = understand(attempted, row.clone())?;
        if entry.job == what.job {
            ours.push((row, entry));
        }
    }
    let values: Vec<_> = ours.iter().map(|(row, _)| row.clone()).collect();
    context.output.rows(&values, |output| {
        let what = format!("job {} is {}", what.job, job_word(detail.job.state));
        // Of a held job the sentence says so itself.
        let line = match detail.why.as_deref().map(clean::name) {
            Some(why) if why.starts_with(&what) => why.into_owned(),
            Some(why) => format!("{what}: {why}"),
            None => what,
        };
        output.line(&line)?;
        for (_, entry) in &ours {
            let QueueEntry { waiting, needs, first, explanation, .. } = entry;
            output.line(&format!("\n{waiting} waiting, the first is {first}; each needs {}", clean::name(needs)))?;
            explain(output, explanation)?;
        }
        Ok(())
    })
}

fn explain(output: &Output, explanation: &Explanation) -> Result<(), Failure> {
    let Explanation { summary, runners, never } = explanation;
    output.line(&clean::name(summary))?;
    if *never {
        output.line("No runner of this grid could run it, even when idle.")?;
    }
    if runners.is_empty() {
        return Ok(());
    }
    output.line("")?;
    print(
        output,
        &["runner", "why not"],
        runners.iter().map(|runner| vec![text(&runner.runner), text(&runner.reason)]).collect(),
    )
}

#[cfg(test)]
mod tests {
    use dsg_schemas::api::RunnerReason;

    use super::*;
    use crate::output::Format;
    use crate::output::tests::kept;

    #[test]
    fn an_explanation_names_each_runner() {
        let (output, stdout, _) = kept(Format::Table);
        let reason = |runner: &str, reason: &str| RunnerReason { runner: runner.to_owned(), reason: reason.to_owned() };
        let explanation = Explanation {
            summary: "no live runner has a GPU".to_owned(),
            runners: vec![reason("ada", "has no GPU"), reason("byron", "drains")],
            never: true,
        };
        explain(&output, &explanation).expect("printed");
        let expected = "\
no live runner has a GPU
No runner of this grid could run it, even when idle.

runner  why not
ada     has no GPU
byron   drains
";
        assert_eq!(stdout.text(), expected);
    }
}
