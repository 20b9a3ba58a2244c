//! What a container is given, and held to, on a real engine.
use std::path::Path;

use anyhow::{Context, Result, ensure};
use dsg_schemas::api::{JobState, Submit};
use dsg_schemas::ids::JobId;
use dsg_schemas::reason::EndReason;
use dsg_tests::client::Client;

use super::{shell, stdout};

const BRIDGE: &str = "network: bridge\nchunks: {count: 1}\ncommand: [ls, /sys/class/net]";
/// The folder is not in the image: the engine makes it.
const PLACE: &str = "workdir: /data/deep\nchunks: {count: 1}
entrypoint: [/bin/sh, -c, 'pwd; for word in \"$@\"; do echo \"<$word>\"; done', sh]\ncommand: ['two words', '$HOME']";
const FILES: &str = "inputs: [{name: atlas, from: 'upload:atlas/', path: /in/atlas/}]
chunks: {files: {glob: 'upload:raw/*.txt'}}
script: |
  cd /in && find files atlas -type f | sort
  cat \"$ITEM_PATH\" atlas/deep/y.txt
  touch atlas/new 2>/dev/null || echo read-only";
/// Of lines that are long, since Podman takes its time over each when its log is read again, and as bytes are what floods.
const FLOOD: &str = "chunks: {count: 1}
script: yes $(seq 500)
timeouts: {run: 2s, grace: 1s}";
const DISK: &str = "name: disk\nimage: dsg-shell:1\nchunks: {items: [4, 64]}
resources: {cpus: 0.25, memory: 128MiB, disk: 16MiB}
script: |
  dd if=/dev/zero of=$DSG_OUTPUT_DIR/big bs=1M count=$ITEM_VALUE 2>/dev/null
  [ $ITEM_VALUE = 4 ] || sleep 600";

pub struct Jobs {
    bridge: JobId,
    place: JobId,
    files: JobId,
    flood: JobId,
    disk: JobId,
}

pub async fn submit(client: &Client, folder: &Path) -> Result<Jobs> {
    for (name, text) in
        [("raw/a.txt", "alpha\n"), ("raw/b.txt", "beta\n"), ("atlas/x.txt", "x\n"), ("atlas/deep/y.txt", "y\n")]
    {
        let path = folder.join(name);
        std::fs::create_dir_all(path.parent().context("a folder")?)?;
        std::fs::write(path, text)?;
    }
    let uploads = client.upload(folder, &["raw/a.txt", "raw/b.txt", "atlas/x.txt", "atlas/deep/y.txt"]).await?;
    Ok(Jobs {
        bridge: client.submit(&shell("bridge", BRIDGE)).await?,
        place: client.submit(&shell("place", PLACE)).await?,
        files: client.submit_with(Submit { spec: shell("files", FILES), uploads, ..Submit::default() }).await?,
        flood: client.submit(&shell("flood", FLOOD)).await?,
        disk: client.submit(DISK).await?,
    })
}

pub async fn check(client: &Client, jobs: Jobs) -> Result<()> {
    let log = first_log(client, jobs.bridge).await.context("bridge")?;
    ensure!(log.contains("eth0"), "network: bridge gives no network: {log:?}");
    let log = first_log(client, jobs.place).await.context("place")?;
    ensure!(log == "/data/deep\n<two words>\n<$HOME>\n", "{log:?}");
    let log = first_log(client, jobs.files).await.context("files")?;
    ensure!(log == "atlas/deep/y.txt\natlas/x.txt\nfiles/raw/a.txt\nalpha\ny\nread-only\n", "{log:?}");
    client.ended(jobs.flood).await?;
    let chunk = client.chunk_at(jobs.flood, 0).await?;
    ensure!(chunk.chunk.reason == Some(EndReason::RunTimeout), "a flood of output: {chunk:?}");
    client.ended(jobs.disk).await?;
    let (within, beyond) = (client.chunk_at(jobs.disk, 0).await?, client.chunk_at(jobs.disk, 1).await?);
    ensure!(within.chunk.reason == Some(EndReason::Succeeded), "{within:?}");
    ensure!(beyond.chunk.reason == Some(EndReason::PolicyDenied), "{beyond:?}");
    ensure!(beyond.chunk.message.contains("resources.disk = 16MiB"), "{beyond:?}");
    Ok(())
}

async fn first_log(client: &Client, job: JobId) -> Result<String> {
    let detail = client.ended(job).await?;
    let chunk = client.chunk_at(job, 0).await?;
    ensure!(detail.job.state == JobState::Succeeded, "{detail:?} {chunk:?}");
    Ok(String::from_utf8(stdout(client, &chunk).await?)?)
}
