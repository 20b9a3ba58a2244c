//! An image without a registry on a real engine: out of it, onto the server, back into it under a name of its own.
use std::process::Command;

use anyhow::{Context, Result, ensure};
use dsg_schemas::api::{CreateToken, CreatedToken, JobState, TokenKind};
use dsg_tests::lab::program;

use super::{lab, shell, stdout};

/// `engine`: the words of its command line.
pub async fn an_image_goes_without_a_registry(engine: &str, socket: &str) -> Result<()> {
    let lab = lab(socket).await?;
    let create = CreateToken { kind: TokenKind::Submitter, name: "mara".to_owned(), hours: None, uses: None };
    let answer = lab.client.request(reqwest::Method::POST, "/api/v1/tokens").json(&create).send().await?;
    let token: CreatedToken = answer.error_for_status()?.json().await?;
    let file = lab.path("token");
    std::fs::write(&file, &token.secret)?;
    // It bears a name in the engine, which must not travel with it.
    let pushed = Command::new(program("dsg"))
        .args(["image", "push", "lab/shell:9", "--from", "dsg-shell:1", "--engine", engine])
        .envs([("DSG_URL", lab.client.url.as_str()), ("HOME", "/nonexistent")])
        .env("DSG_TOKEN_FILE", &file)
        .env("XDG_CONFIG_HOME", lab.path("config"))
        .output()?;
    ensure!(pushed.status.success(), "{}", String::from_utf8_lossy(&pushed.stderr));
    let text = shell("pushed", "chunks: {count: 3}\ncommand: [echo, hello]").replace("dsg-shell:1", "dsg/lab/shell:9");
    let job = lab.client.submit(&text).await?;
    let detail = lab.client.ended(job).await?;
    let chunk = lab.client.chunk_at(job, 0).await?;
    ensure!(detail.job.state == JobState::Succeeded, "{detail:?} {chunk:?}");
    ensure!(stdout(&lab.client, &chunk).await? == b"hello\n");
    // One name for its content, and none of the name that it was pushed under.
    let mut words = engine.split(' ');
    let mut list = Command::new(words.next().context("no engine is named")?);
    let listed = list.args(words).args(["image", "ls", "--format", "{{.Repository}}:{{.Tag}}"]).output()?;
    let names = String::from_utf8_lossy(&listed.stdout).into_owned();
    ensure!(names.contains("localhost/dsg-pushed:") && !names.contains("shell:9"), "{names}");
    Ok(())
}
