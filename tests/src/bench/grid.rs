//! How fast the grid itself is: pretend runners that end each attempt at once, over real HTTP, against a real server with a real store.
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use anyhow::{Result, ensure};
use dsg_schemas::api::{CreateToken, CreatedToken, JobState, TokenKind};
use dsg_schemas::ids::{AttemptId, JobId};
use dsg_schemas::reason::EndReason;
use dsg_schemas::spec::Arch;
use dsg_schemas::wire::{
    AttemptReport, Ended, Facts, HelloAnswer, HelloRequest, JoinAnswer, JoinRequest, PROTOCOL, Phase, SyncAnswer,
    SyncRequest,
};
use reqwest::Method;

use crate::client::Client;

/// Chunks per second from the submit to the end of the job, every result durable before it is acknowledged.
pub async fn chunks_per_second(
    client: &Client,
    ca: Option<&[u8]>,
    chunks: u64,
    runners: usize,
    places: u64,
) -> Result<f64> {
    let mut ready = Vec::new();
    for number in 0..runners {
        ready.push(PretendRunner::join(client, ca, &format!("pretend-{number}"), places).await?);
    }
    let spec = format!(
        "name: empty\nimage: pretend/empty\nresources: {{cpus: 1, memory: 6MiB}}\nchunks: {{count: {chunks}}}\n"
    );
    let begun = Instant::now();
    let job = client.submit(&spec).await?;
    let ended = Arc::new(AtomicU64::new(0));
    let mut all = tokio::task::JoinSet::new();
    for runner in ready {
        all.spawn(runner.run(ended.clone(), chunks));
    }
    while let Some(done) = all.join_next().await {
        done??;
    }
    let seconds = begun.elapsed().as_secs_f64();
    succeeded(client, job, chunks).await?;
    Ok(chunks as f64 / seconds)
}

async fn succeeded(client: &Client, job: JobId, chunks: u64) -> Result<()> {
    let detail = client.ended(job).await?;
    ensure!(detail.job.state == JobState::Succeeded && detail.job.chunks.succeeded == chunks, "{:?}", detail.job);
    Ok(())
}

struct PretendRunner {
    client: Client,
    session: dsg_schemas::ids::SessionId,
    seq: u64,
}

impl PretendRunner {
    async fn join(admin: &Client, ca: Option<&[u8]>, name: &str, places: u64) -> Result<PretendRunner> {
        let create = CreateToken { kind: TokenKind::Join, name: name.to_owned(), hours: None, uses: None };
        let token: CreatedToken = admin.post("/api/v1/tokens", &create).await?;
        let secret = token.secret.split('.').next().unwrap_or_default();
        let joining = Client::new(&admin.url, secret, ca)?;
        let joined: JoinAnswer = joining.post("/api/v1/runners/join", &JoinRequest { name: name.to_owned() }).await?;
        let client = Client::new(&admin.url, &joined.credential, ca)?;
        let facts = Facts {
            arch: Some(Arch::Amd64),
            cpus_milli: places * 1000,
            memory_bytes: places << 30,
            disk_bytes: 1 << 40,
            ..Facts::default()
        };
        let nonce = format!("{name}-1");
        let hello = HelloRequest { protocol: PROTOCOL, version: "bench".into(), host: nonce.clone(), nonce, facts };
        let answer: HelloAnswer = client.post("/api/v1/runners/me/hello", &hello).await?;
        Ok(PretendRunner { client, session: answer.session, seq: 0 })
    }

    /// Ends whatever it is given at once, until the job is through.
    async fn run(mut self, ended: Arc<AtomicU64>, chunks: u64) -> Result<()> {
        let mut holding: Vec<AttemptId> = Vec::new();
        while ended.load(Ordering::Relaxed) < chunks {
            self.seq += 1;
            let attempts =
                holding.iter().map(|attempt| AttemptReport { attempt: *attempt, phase: succeeded_at_once() }).collect();
            let sync = SyncRequest {
                session: self.session,
                seq: self.seq,
                attempts,
                no_more: None,
                load: Default::default(),
                facts: None,
                wait_ms: 200,
            };
            let answer: SyncAnswer = self.client.post("/api/v1/runners/me/sync", &sync).await?;
            holding.retain(|attempt| !answer.orders.forget.contains(attempt));
            ended.fetch_add(answer.orders.forget.len() as u64, Ordering::Relaxed);
            holding.extend(answer.orders.start.iter().map(|start| start.attempt));
        }
        Ok(())
    }
}

fn succeeded_at_once() -> Phase {
    Phase::Ended(Box::new(Ended { exit_code: Some(0), run_ms: 1, ..Ended::before_start(EndReason::Succeeded, "") }))
}

impl Client {
    pub async fn post<B: serde::Serialize, T: serde::de::DeserializeOwned>(&self, path: &str, body: &B) -> Result<T> {
        let answer = self.request(Method::POST, path).json(body).send().await?;
        let status = answer.status();
        let text = answer.text().await?;
        ensure!(status.is_success(), "{path} answered {status}: {text}");
        Ok(serde_json::from_str(&text)?)
    }
}
