//! The statuses that scripts rely on and that no other test here ends with.
use anyhow::{Result, ensure};

use super::desk::Desk;

#[tokio::test(flavor = "multi_thread")]
async fn every_kind_of_trouble_has_its_status() -> Result<()> {
    let mut desk = Desk::new(&[]).await?;
    let said = desk.dsg(&["jobs"]).await?.ends_with(4)?;
    ensure!(said.err.contains("not logged in"), "{said:?}");
    let url = desk.lab.client.url.clone();
    desk.dsg(&["login", &url, "--token", "dsg_u_wrong"]).await?.ends_with(4)?;
    let token = std::fs::read_to_string(desk.lab.path("server/admin.token"))?;
    desk.dsg(&["login", &url, "--token", token.trim()]).await?.ends_with(0)?;
    desk.dsg(&["submit", "nowhere.yaml"]).await?.ends_with(1)?;
    desk.dsg(&["frobnicate"]).await?.ends_with(2)?;
    desk.dsg(&["show", "42"]).await?.ends_with(5)?;
    desk.lab.kill_server()?;
    let said = desk.dsg(&["jobs"]).await?.ends_with(6)?;
    ensure!(said.err.contains("cannot reach"), "{said:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn watching_ends_without_the_job() -> Result<()> {
    let desk = Desk::logged_in(&["ada"]).await?;
    let job = desk.submit("long", "run_ms=forever, lines=1", "chunks: {count: 1}").await?;
    let said = desk.dsg(&["wait", &job, "--timeout", "100ms"]).await?.ends_with(124)?;
    ensure!(said.err.contains("has not ended within 100ms"), "{said:?}");
    let mut follow = desk.begin(&["submit", "job.yaml", "--follow"])?;
    follow.says("running").await?;
    follow.interrupt().await?;
    let (code, said) = follow.ended().await?;
    ensure!(code == 130 && said.contains("job 2 goes on without you"), "{code}: {said}");
    desk.until("2", "running", 1).await
}
