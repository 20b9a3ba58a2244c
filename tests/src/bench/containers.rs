//! What a chunk costs over its container: the same containers through the grid, and straight through the engine's API.
use std::collections::{BTreeSet, HashMap};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, ensure};
use bollard::models::ContainerCreateBody;
use bollard::query_parameters::{
    AttachContainerOptionsBuilder, CreateContainerOptions, InspectContainerOptions, ListContainersOptionsBuilder,
    LogsOptionsBuilder, RemoveContainerOptionsBuilder, StartContainerOptions, WaitContainerOptions,
};
use bollard::{API_DEFAULT_VERSION, Docker};
use dsg_runner::container::docker::{ConnectOptions, DockerEngine, connect};
use dsg_runner::container::{Bind, ContainerPlan, Engine as _};
use dsg_schemas::api::JobState;
use futures_util::StreamExt;

use super::print_spread;
use super::process::cpu_seconds;
use crate::client::Client;
use crate::lab::Lab;

const IMAGE: &str = "dsg-shell:1";
/// For each at a time: a round takes about as long at any of them.
const CONTAINERS: usize = 10;
const AT_ONCE: [usize; 3] = [1, 2, 4];
/// A shared machine is a tenth faster or slower from one half minute to the next: many short pairs are told apart from that, few long ones
/// are not.
const ROUNDS: usize = 40;
/// Between two questions whether a job has ended: whoever asks all the time takes from what is measured.
const ASK: Duration = Duration::from_millis(500);
/// For a round, which takes seconds.
const PATIENCE: Duration = Duration::from_secs(300);

/// Prints `container_overhead_ratio_c1` and so on, for so many at once: alternating rounds, the grid's time over the engine's own. Beside
/// it `container_cpu_ms_c1`, what server and runner take of a processor for one container. Words like `c4` choose among them.
pub async fn overhead(socket: &str, only: &[String]) -> Result<()> {
    let name = |at_once: usize| format!("c{at_once}");
    let chosen = AT_ONCE.into_iter().filter(|at_once| only.contains(&name(*at_once))).collect::<Vec<_>>();
    for at_once in if chosen.is_empty() { AT_ONCE.to_vec() } else { chosen } {
        overhead_at(socket, at_once).await?;
    }
    Ok(())
}

async fn overhead_at(socket: &str, at_once: usize) -> Result<()> {
    let containers = CONTAINERS * at_once.min(2);
    let docker = Docker::connect_with_unix(socket, 120, API_DEFAULT_VERSION)?;
    // Of other grids, or left by a bench that was killed.
    let before_us = of_grids(&docker).await?;
    let mut lab = Lab::start().await?;
    let cpus = at_once.to_string();
    lab.add_runner("ada", &["--engine", &format!("unix://{socket}"), "--cpus", &cpus, "--memory", "4GiB"]).await?;
    let engine = connect(&ConnectOptions {
        engine: Some(format!("unix://{socket}")),
        state: lab.path("bench"),
        ..ConnectOptions::default()
    })
    .await?;
    let dsg = lab.path("dsg");
    std::fs::create_dir(&dsg)?;
    let body = body(&docker, &engine, &dsg).await?;
    // One unmeasured run of each, so that neither pays for the first use of the image.
    straight(&docker, &body, at_once, at_once).await?;
    through_the_grid(&lab.client, at_once).await?;
    let (server, runner) = lab.pids();
    let cpu = || Ok::<_, anyhow::Error>(cpu_seconds(server)? + cpu_seconds(runner)?);
    let (mut ratios, mut taken) = (Vec::new(), Vec::new());
    for round in 0..ROUNDS {
        // Whatever else the first of a pair leaves behind for the second, both leave it as often.
        let first = if round % 2 == 1 { Some(straight(&docker, &body, containers, at_once).await?) } else { None };
        let before = cpu()?;
        let grid = through_the_grid(&lab.client, containers).await?;
        taken.push((cpu()? - before) * 1e3 / containers as f64);
        all_removed(&docker, &before_us).await?;
        let alone = match first {
            Some(alone) => alone,
            None => straight(&docker, &body, containers, at_once).await?,
        };
        eprintln!("containers, {at_once} at once: {grid:.2} s through the grid, {alone:.2} s straight");
        ratios.push(grid / alone);
    }
    print_spread(&format!("container_overhead_ratio_c{at_once}"), &ratios, "ratio");
    print_spread(&format!("container_cpu_ms_c{at_once}"), &taken, "ms");
    Ok(())
}

/// The runner's own request for such a chunk, once the engine has shown with a first container what it can do.
async fn body(docker: &Docker, engine: &DockerEngine, dsg: &Path) -> Result<ContainerCreateBody> {
    let image = docker.inspect_image(IMAGE).await.context("images/build shell makes the image")?;
    let plan = ContainerPlan {
        name: "dsg-bench-probe".to_owned(),
        image: image.id.context("an image without an id")?,
        command: vec!["true".to_owned()],
        network: "none".to_owned(),
        cpus_milli: 1000,
        memory_bytes: 32 << 20,
        binds: vec![Bind::read_only(dsg, "/dsg")],
        scratch: vec!["/out".to_owned()],
        ..ContainerPlan::default()
    };
    let probe = engine.create(&plan).await?;
    engine.remove(&probe).await?;
    Ok(engine.request_for(&plan))
}

/// From the submit to the end, by the server's clock, which is this machine's.
async fn through_the_grid(client: &Client, chunks: usize) -> Result<f64> {
    let spec = format!(
        "name: no-op\nimage: {IMAGE}\nresources: {{cpus: 1, memory: 32MiB}}\ncommand: ['true']\nchunks: {{count: {chunks}}}\n"
    );
    let begun = SystemTime::now().duration_since(UNIX_EPOCH)?;
    let id = client.submit(&spec).await?;
    let ended = async {
        loop {
            tokio::time::sleep(ASK).await;
            let detail = client.job(id).await?;
            if detail.job.state.is_final() {
                return anyhow::Ok(detail.job);
            }
        }
    };
    let job = tokio::time::timeout(PATIENCE, ended).await.context("the job does not end")??;
    ensure!(job.state == JobState::Succeeded, "{job:?}");
    let ended = Duration::from_millis(job.ended_ms.context("an ended job tells when")?);
    let took = ended.checked_sub(begun).context("the machine's clock was set back")?;
    Ok(took.as_secs_f64())
}

/// What the runner still does for a job that has ended must not fall into the time of whoever comes next.
async fn all_removed(docker: &Docker, before_us: &BTreeSet<String>) -> Result<()> {
    let gone = async {
        while !of_grids(docker).await?.is_subset(before_us) {
            tokio::time::sleep(ASK).await;
        }
        anyhow::Ok(())
    };
    tokio::time::timeout(PATIENCE, gone).await.context("the runner does not remove its containers")?
}

/// The containers of whatever grid.
async fn of_grids(docker: &Docker) -> Result<BTreeSet<String>> {
    let labelled = HashMap::from([("label", vec!["dsg.grid"])]);
    let options = ListContainersOptionsBuilder::default().all(true).filters(&labelled).build();
    Ok(docker.list_containers(Some(options)).await?.into_iter().filter_map(|container| container.id).collect())
}

/// Until the last has ended: the grid's last containers, too, are removed after that.
async fn straight(docker: &Docker, body: &ContainerCreateBody, count: usize, at_once: usize) -> Result<f64> {
    let left = Arc::new(AtomicUsize::new(count));
    let begun = Instant::now();
    let mut all = tokio::task::JoinSet::new();
    for _ in 0..at_once {
        let (docker, body, left) = (docker.clone(), body.clone(), left.clone());
        all.spawn(async move {
            let mut ended = begun;
            while left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1)).is_ok() {
                ended = one(&docker, &body).await?;
            }
            anyhow::Ok(ended)
        });
    }
    let mut last = begun;
    while let Some(ended) = all.join_next().await {
        last = last.max(ended??);
    }
    Ok((last - begun).as_secs_f64())
}

/// The calls that the runner makes, and nothing between them: is the image there, create, attach, start, wait, inspect, read the log,
/// remove. Gives the moment before the removal.
async fn one(docker: &Docker, body: &ContainerCreateBody) -> Result<Instant> {
    docker.inspect_image(IMAGE).await?;
    let id = docker.create_container(None::<CreateContainerOptions>, body.clone()).await?.id;
    let ran = run(docker, &id).await.map(|()| Instant::now());
    let remove = RemoveContainerOptionsBuilder::default().force(true).v(true).build();
    docker.remove_container(&id, Some(remove)).await?;
    ran
}

async fn run(docker: &Docker, id: &str) -> Result<()> {
    let streams = AttachContainerOptionsBuilder::default().stdout(true).stderr(true).stream(true).build();
    let mut attached = docker.attach_container(id, Some(streams)).await?;
    docker.start_container(id, None::<StartContainerOptions>).await?;
    // One answer; the stream of this call asks again for ever.
    docker.wait_container(id, None::<WaitContainerOptions>).next().await.context("no answer to wait")??;
    while attached.output.next().await.is_some() {}
    let inspected = docker.inspect_container(id, None::<InspectContainerOptions>).await?;
    let code = inspected.state.and_then(|state| state.exit_code);
    ensure!(code == Some(0), "it ended with {code:?}");
    let mut log = docker.logs(id, Some(LogsOptionsBuilder::default().stdout(true).stderr(true).build()));
    while let Some(piece) = log.next().await {
        piece?;
    }
    Ok(())
}
