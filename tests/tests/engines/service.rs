//! A runner on a host that has only the program `podman`: it starts the API service itself.
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use dsg_schemas::api::JobState;
use dsg_tests::lab::Lab;

use super::{example, says_its_number};

pub async fn a_runner_starts_podmans_service() -> Result<()> {
    let usual = ["/run/docker.sock", "/var/run/docker.sock", "/run/podman/podman.sock"];
    if let Some(socket) = usual.iter().find(|socket| UnixStream::connect(socket).is_ok()) {
        eprintln!("SKIPPED: an engine listens at {socket}, so that no runner would start one itself");
        return Ok(());
    }
    let command = std::env::var("DSG_TEST_PODMAN_COMMAND").context("DSG_TEST_PODMAN_COMMAND is not set")?;
    let mut lab = Lab::start().await?;
    // The real program, with the storage of the tests in place of the machine's own.
    let folder = lab.path("bin");
    let (program, before) = (folder.join("podman"), std::env::var("PATH")?);
    std::fs::create_dir(&folder)?;
    let real = which("podman", &before).context("there is no podman")?;
    let command = command.replacen("podman", &real, 1);
    std::fs::write(&program, format!("#!/bin/sh\nexec {command} \"$@\"\n"))?;
    std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755))?;
    for (name, value) in [("PATH", format!("{}:{before}", folder.display())), ("DOCKER_HOST", String::new())] {
        lab.environment.push((name.to_owned(), value));
    }
    lab.environment.push(("XDG_RUNTIME_DIR".to_owned(), String::new()));

    lab.add_runner("ada", &["--cpus", "4", "--memory", "4GiB"]).await?;
    let socket = lab.path("ada/podman.sock");
    ensure!(UnixStream::connect(&socket).is_ok(), "the service is not the runner's own");
    let runners = lab.client.runners().await?;
    ensure!(runners[0].facts.engine.kind == "podman", "{runners:?}");
    let job = lab.client.submit(&example("hello.yaml")?).await?;
    says_its_number(&lab.client, job).await?;
    ensure!(lab.client.job(job).await?.job.state == JobState::Succeeded);
    lab.stop_runner("ada")?;
    let gone = lab.client.eventually("the service ends with its runner", |_| {
        let socket = socket.clone();
        async move { Ok(UnixStream::connect(&socket).is_err().then_some(())) }
    });
    gone.await
}

fn which(name: &str, path: &str) -> Option<String> {
    let found = path.split(':').map(|folder| Path::new(folder).join(name)).find(|file| file.is_file())?;
    Some(found.display().to_string())
}
