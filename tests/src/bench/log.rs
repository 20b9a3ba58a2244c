//! From a line written in a container to the line at the far end of the event stream that the log viewer reads.
use std::time::Duration;

use anyhow::{Context, Result, bail};
use dsg_schemas::api::{ChunkState, LogPage};
use futures_util::StreamExt;
use reqwest::Method;

use crate::client::Client;

/// A container that writes the machine's uptime (steps of 10 ms), so that each line carries the moment of its birth.
const SPEC: &str = "name: clock
image: dsg-shell:1
resources: {cpus: 0.25, memory: 32MiB}
chunks: {count: 1}
script: |
  i=0
  while [ $i -lt 60 ]; do i=$((i + 1)); read up rest < /proc/uptime; echo $up; sleep 0.1; done
";

/// Milliseconds of each line that arrived.
pub async fn latencies_ms(client: &Client) -> Result<Vec<f64>> {
    let job = client.submit(SPEC).await?;
    let attempt = client
        .eventually("the clock runs", |client| async move {
            let chunk = client.chunk_at(job, 0).await?;
            let running = chunk.chunk.state == ChunkState::Running;
            Ok(chunk.history.last().filter(|_| running).map(|attempt| attempt.id))
        })
        .await?;
    let path = format!("/api/v1/attempts/{attempt}/log/follow?from=0");
    let answer =
        client.request(Method::GET, &path).timeout(Duration::from_secs(120)).send().await?.error_for_status()?;
    let mut body = answer.bytes_stream();
    let mut text = String::new();
    let mut found = Vec::new();
    let mut first = true;
    while let Some(piece) = body.next().await {
        text.push_str(&String::from_utf8_lossy(&piece?));
        while let Some(end) = text.find("\n\n") {
            let event: String = text.drain(..end + 2).collect();
            let Some(data) = event.lines().find_map(|line| line.strip_prefix("data:")) else { continue };
            let page: LogPage = serde_json::from_str(data.trim()).with_context(|| data.to_owned())?;
            let now = uptime_seconds()?;
            // The first page holds what was written before anybody looked.
            if !std::mem::take(&mut first) {
                found.extend(
                    page.lines
                        .iter()
                        .filter_map(|line| line.text.parse::<f64>().ok())
                        .map(|born| (now - born) * 1000.0),
                );
            }
            if page.ended {
                if found.len() < 20 {
                    bail!("only {} lines arrived while they were followed", found.len());
                }
                return Ok(found);
            }
        }
    }
    bail!("the event stream ended before the log did")
}

fn uptime_seconds() -> Result<f64> {
    let text = std::fs::read_to_string("/proc/uptime")?;
    Ok(text.split(' ').next().context("no uptime")?.parse()?)
}
