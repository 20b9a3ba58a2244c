//! The journey of a person through the dashboard, in a real Chromium, on a real engine: `tests/browser/journey.mjs` drives, this starts
//! what it needs. Run by `make browser` and `make test`.
use std::path::Path;
use std::process::Command;

use anyhow::{Result, ensure};
use dsg_schemas::api::LoginLink;
use dsg_tests::lab::Lab;

const BROWSER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/browser");

#[tokio::test(flavor = "multi_thread")]
async fn a_person_submits_follows_retries_and_fetches() -> Result<()> {
    if std::env::var_os("DSG_BROWSER_TESTS").is_none() {
        eprintln!("SKIPPED: the browser journey runs through `make browser`");
        return Ok(());
    }
    let engine = std::env::var("DSG_TEST_DOCKER").or_else(|_| std::env::var("DSG_TEST_PODMAN"));
    let Ok(socket) = engine else {
        eprintln!("SKIPPED: the browser journey needs a container engine");
        return Ok(());
    };
    let mut lab = Lab::start().await?;
    lab.add_runner("ada", &["--engine", &format!("unix://{socket}"), "--cpus", "4", "--memory", "2GiB"]).await?;
    let answer = lab.client.request(reqwest::Method::POST, "/api/v1/login-links").send().await?.error_for_status()?;
    let link: LoginLink = answer.json().await?;
    let pictures =
        std::env::var("DSG_PICTURES").unwrap_or_else(|_| lab.path("pictures").to_string_lossy().into_owned());
    std::fs::create_dir_all(&pictures)?;
    let status = Command::new("node")
        .arg(Path::new(BROWSER).join("journey.mjs"))
        .arg(&pictures)
        .env("DSG_URL", &lab.client.url)
        .env("DSG_LOGIN_URL", &link.url)
        .status()?;
    ensure!(status.success(), "the journey ended with {status}; the server says:\n{}", lab.log("server.log"));
    Ok(())
}
