//! One act on several jobs or one runner, said in the server's own words.
use dsg_schemas::api::{Act, RunnerView};
use dsg_schemas::ids::{JobId, RunnerId};
use serde_json::Value;

use crate::client::{self, Client};
use crate::command::Context;
use crate::exit::{Exit, Failure};

/// Does the same to each job. All are tried; the first failure is the one to end with.
pub async fn on_jobs(
    context: &Context,
    verb: &str,
    jobs: &[JobId],
    act: impl Fn(JobId) -> Act,
) -> Result<Exit, Failure> {
    let client = context.client().await?;
    let mut failed: Option<Failure> = None;
    for job in jobs {
        match one(context, &client, &format!("{verb} job {job}"), &act(*job)).await {
            Ok(()) => {}
            Err(failure) if failed.is_none() => failed = Some(failure),
            Err(failure) => context.output.failure(&failure),
        }
    }
    failed.map_or(Ok(Exit::Done), Err)
}

pub async fn one(context: &Context, client: &Client, attempted: &str, act: &Act) -> Result<(), Failure> {
    let (acted, value) = client.act(attempted, act).await?;
    context.output.value(&value, |output| {
        output.say(&crate::clean::name(&acted.message));
        Ok(())
    })
}

/// A runner by its name or its number. A name goes first: a runner may be called `7`.
pub async fn runner(client: &Client, text: &str) -> Result<RunnerView, Failure> {
    let runners = runners(client).await?;
    let by_id = text.parse().ok().map(RunnerId);
    let found = runners
        .iter()
        .find(|runner| runner.name == text)
        .or_else(|| runners.iter().find(|runner| Some(runner.id) == by_id));
    found.cloned().ok_or_else(|| {
        let names: Vec<&str> = runners.iter().map(|runner| runner.name.as_str()).collect();
        let known = if names.is_empty() {
            "no runner has joined yet".to_owned()
        } else {
            format!("there are {}", names.join(", "))
        };
        Failure::new(Exit::NotFound, format!("there is no runner {text:?}")).hint(known)
    })
}

pub async fn runners(client: &Client) -> Result<Vec<RunnerView>, Failure> {
    let rows = runner_rows(client).await?;
    rows.into_iter().map(|row| client::understand("list the runners", row)).collect()
}

pub async fn runner_rows(client: &Client) -> Result<Vec<Value>, Failure> {
    client.rows("list the runners", "/api/v1/runners", usize::MAX).await.map(|(rows, _)| rows)
}
