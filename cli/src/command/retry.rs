//! Runs chunks of a job again, with fresh budgets.
use clap::Args;
use dsg_schemas::api::{Act, Retries};

use super::{Context, Shown};
use crate::act;
use crate::exit::{Exit, Failure};
use crate::select::Selection;

/// Chunks named one by one travel in one message.
const NAMED: u64 = 10_000;

#[derive(Debug, Args)]
pub struct Arguments {
    /// A job (42) or some of its chunks (42/7, 42/3,7-12)
    what: Selection,
    /// The chunks that failed or were cancelled; so it is for a job without more words
    #[arg(long)]
    failed: bool,
    /// All chunks of an ended job, the succeeded ones too
    #[arg(long, conflicts_with = "failed")]
    all: bool,
    #[command(flatten)]
    pub(super) shown: Shown,
}

pub async fn run(arguments: Arguments, context: &Context) -> Result<Exit, Failure> {
    let which = which(&arguments)?;
    let act = Act::Retry { job: arguments.what.job, which };
    act::one(context, &context.client().await?, &format!("retry {}", arguments.what), &act).await?;
    Ok(Exit::Done)
}

fn which(arguments: &Arguments) -> Result<Retries, Failure> {
    let Arguments { what, failed, all, shown: _ } = arguments;
    match &what.chunks {
        Some(_) if *failed || *all => Err(Failure::usage("either name chunks or say --failed or --all")
            .hint(format!("dsg retry {} --failed", what.job))),
        Some(chunks) if chunks.count() > NAMED => {
            Err(Failure::usage(format!("at most {NAMED} chunks can be named at once"))
                .hint(format!("dsg retry {} --failed", what.job)))
        }
        Some(chunks) => Ok(Retries::Chunks(chunks.ids(what.job).collect())),
        None if *all => Ok(Retries::All),
        None => Ok(Retries::Failed),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_typed_is_what_is_retried() {
        let arguments = |what: &str, failed, all| Arguments {
            what: what.parse().expect("a selection"),
            failed,
            all,
            shown: Shown::default(),
        };
        let chunks = ["42/3", "42/7", "42/8"].map(|chunk| chunk.parse().expect("a chunk")).to_vec();
        assert_eq!(which(&arguments("42", false, false)), Ok(Retries::Failed));
        assert_eq!(which(&arguments("42", true, false)), Ok(Retries::Failed));
        assert_eq!(which(&arguments("42", false, true)), Ok(Retries::All));
        assert_eq!(which(&arguments("42/3,7-8", false, false)), Ok(Retries::Chunks(chunks)));
        assert_eq!(which(&arguments("42/3", true, false)).expect_err("both").exit, Exit::Usage);
        assert_eq!(which(&arguments("42/0-99999", false, false)).expect_err("many").exit, Exit::Usage);
    }
}
