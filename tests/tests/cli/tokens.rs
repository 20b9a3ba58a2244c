//! Tokens: made, used as often and as long as they were made for, listed, and revoked.
use std::process::Stdio;

use anyhow::{Context, Result, ensure};
use dsg_tests::client::PATIENCE;
use dsg_tests::lab::program;
use serde_json::Value;
use tokio::process::Command;
use tokio::time::timeout;

use super::desk::Desk;

const HOUR_MS: u64 = 3_600_000;

#[tokio::test(flavor = "multi_thread")]
async fn a_join_token_is_good_for_its_uses_and_hours() -> Result<()> {
    let desk = Desk::logged_in(&[]).await?;
    let said = desk.dsg(&["token", "join", "--uses", "2", "--hours", "3", "--name", "lab", "-o", "json"]).await?;
    let made = said.ends_with(0)?.json()?;
    let (token, secret) = (&made["token"], made["secret"].as_str().context("no secret")?);
    ensure!(token["kind"] == "join" && token["name"] == "lab" && token["uses_left"] == 2, "{made}");
    ensure!(lasts(token)? == 3 * HOUR_MS, "{made}");
    for (runner, joins) in [("ada", true), ("byron", true), ("cray", false)] {
        ensure!(join(&desk, secret, runner).await? == joins, "the token was used as often as it says: {runner}");
    }
    let listed = desk.shows(&["runners", "-o", "ndjson"], |said| said.out.contains("byron")).await?;
    ensure!(listed.rows()?.len() == 2, "{listed:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revoked_token_is_worthless() -> Result<()> {
    let desk = Desk::logged_in(&[]).await?;
    let said = desk.dsg(&["token", "join"]).await?.ends_with(0)?;
    let secret = said.out.trim();
    ensure!(secret.starts_with("dsg_j_") && said.err.contains(&format!("--token {secret}")), "{said:?}");
    let rows = desk.dsg(&["token", "list", "-o", "ndjson"]).await?.ends_with(0)?.rows()?;
    let row = rows.iter().find(|row| row["name"] == "join").context("it is not listed")?;
    ensure!(row["uses_left"] == 1 && lasts(row)? == HOUR_MS, "{row}");
    let id = row["id"].as_str().context("no id")?;
    let said = desk.dsg(&["token", "list"]).await?.ends_with(0)?;
    ensure!(said.out.starts_with("id ") && said.out.contains(id) && !said.out.contains(secret), "{said:?}");
    desk.dsg(&["token", "revoke", id]).await?.ends_with(0)?;
    ensure!(!join(&desk, secret, "ada").await?, "a revoked token let a runner in");
    desk.dsg(&["token", "revoke", id]).await?.ends_with(5)?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_person_may_what_their_token_says() -> Result<()> {
    let desk = Desk::logged_in(&[]).await?;
    let job = desk.submit("waits", "exit=0", "chunks: {count: 1}").await?;
    let said = desk.dsg(&["token", "create", "marie", "--role", "viewer", "--hours", "5", "-o", "json"]).await?;
    let made = said.ends_with(0)?.json()?;
    ensure!(made["token"]["kind"] == "viewer" && lasts(&made["token"])? == 5 * HOUR_MS, "{made}");
    let secret = made["secret"].as_str().context("no secret")?;
    desk.dsg_as("marie", &["login", &desk.lab.client.url, "--token", secret]).await?.ends_with(0)?;
    let who = desk.dsg_as("marie", &["whoami", "-o", "json"]).await?.ends_with(0)?.json()?;
    ensure!(who["name"] == "marie" && who["role"] == "viewer", "{who}");
    desk.dsg_as("marie", &["show", &job]).await?.ends_with(0)?;
    desk.dsg_as("marie", &["cancel", &job]).await?.ends_with(4)?;
    desk.dsg_as("marie", &["submit", "job.yaml"]).await?.ends_with(4)?;
    desk.dsg_as("marie", &["token", "list"]).await?.ends_with(4)?;
    let id = made["token"]["id"].as_str().context("no id")?;
    desk.dsg(&["token", "revoke", id]).await?.ends_with(0)?;
    let said = desk.dsg_as("marie", &["jobs"]).await?.ends_with(4)?;
    ensure!(said.err.contains("dsg login"), "{said:?}");
    Ok(())
}

fn lasts(token: &Value) -> Result<u64> {
    let at = |key: &str| token[key].as_u64().with_context(|| format!("no {key} in {token}"));
    Ok(at("expires_ms")? - at("created_ms")?)
}

/// Whether a runner gets in.
async fn join(desk: &Desk, secret: &str, name: &str) -> Result<bool> {
    let join = Command::new(program("dsg-runner"))
        .args(["join", &desk.lab.client.url, "--token", secret, "--name", name, "--only"])
        .env("DSG_RUNNER_STATE", desk.lab.path(name))
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output();
    let ended = timeout(PATIENCE, join).await.context("join hangs")??;
    let said = String::from_utf8_lossy(&ended.stderr).into_owned();
    ensure!(ended.status.success() || said.contains("token"), "it failed for another reason: {said}");
    Ok(ended.status.success())
}
