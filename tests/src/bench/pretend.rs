//! A runner without a host, in this very process: real HTTP, and every attempt ends the moment it is given.
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::{Result, ensure};
use dsg_schemas::api::{CreateToken, CreatedToken, TokenKind};
use dsg_schemas::ids::{AttemptId, SessionId};
use dsg_schemas::reason::EndReason;
use dsg_schemas::spec::Arch;
use dsg_schemas::wire::{
    AttemptReport, Ended, Facts, HelloAnswer, HelloRequest, JoinAnswer, JoinRequest, PROTOCOL, Phase, SyncAnswer,
    SyncRequest,
};
use reqwest::Method;

use crate::client::Client;

pub struct PretendRunner {
    client: Client,
    name: String,
    facts: Facts,
    session: SessionId,
    seq: u64,
    holding: Vec<AttemptId>,
}

impl PretendRunner {
    pub async fn join(admin: &Client, ca: Option<&[u8]>, name: &str, places: u64) -> Result<PretendRunner> {
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
        let name = name.to_owned();
        let mut runner = PretendRunner { client, name, facts, session: SessionId(0), seq: 0, holding: Vec::new() };
        runner.hello().await?;
        Ok(runner)
    }

    /// As after each start of the server.
    pub async fn hello(&mut self) -> Result<()> {
        let nonce = format!("{}-1", self.name);
        let (host, facts) = (nonce.clone(), self.facts.clone());
        let hello = HelloRequest { protocol: PROTOCOL, version: "bench".into(), host, nonce, facts };
        let answer: HelloAnswer = self.client.post("/api/v1/runners/me/hello", &hello).await?;
        (self.session, self.seq) = (answer.session, 0);
        Ok(())
    }

    /// Tells how all that it holds ended, and takes what it is given; says how many ends were settled.
    pub async fn sync(&mut self, wait_ms: u64) -> Result<u64> {
        self.seq += 1;
        let report = |attempt: &AttemptId| AttemptReport { attempt: *attempt, phase: succeeded_at_once() };
        let sync = SyncRequest {
            session: self.session,
            seq: self.seq,
            attempts: self.holding.iter().map(report).collect(),
            no_more: None,
            goodbye: false,
            load: Default::default(),
            facts: None,
            wait_ms,
        };
        let answer: SyncAnswer = self.client.post("/api/v1/runners/me/sync", &sync).await?;
        self.holding.retain(|attempt| !answer.orders.forget.contains(attempt));
        self.holding.extend(answer.orders.start.iter().map(|start| start.attempt));
        Ok(answer.orders.forget.len() as u64)
    }

    /// Goes on until all runners together have ended so many chunks; gives itself back with what it still holds.
    pub async fn run(mut self, ended: Arc<AtomicU64>, until: u64) -> Result<PretendRunner> {
        while ended.load(Ordering::Relaxed) < until {
            let more = self.sync(200).await?;
            ended.fetch_add(more, Ordering::Relaxed);
        }
        Ok(self)
    }
}

/// So many runners of so many places each.
pub async fn fleet(admin: &Client, ca: Option<&[u8]>, runners: usize, places: u64) -> Result<Vec<PretendRunner>> {
    let mut fleet = Vec::new();
    for number in 0..runners {
        fleet.push(PretendRunner::join(admin, ca, &format!("pretend-{number}"), places).await?);
    }
    Ok(fleet)
}

/// All of them at once, until they have ended so many more chunks together; says how many it really were.
pub async fn run_all(fleet: &mut Vec<PretendRunner>, chunks: u64) -> Result<u64> {
    let ended = Arc::new(AtomicU64::new(0));
    let mut all = tokio::task::JoinSet::new();
    for runner in fleet.drain(..) {
        all.spawn(runner.run(ended.clone(), chunks));
    }
    while let Some(done) = all.join_next().await {
        fleet.push(done??);
    }
    Ok(ended.load(Ordering::Relaxed))
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
