//! A runner on paper: it speaks the protocol and runs nothing, so that a test can say what no program of ours would.
use anyhow::{Result, ensure};
use dsg_schemas::api::{CreateToken, CreatedToken, TokenKind};
use dsg_schemas::ids::AttemptId;
use dsg_schemas::reason::EndReason;
use dsg_schemas::spec::Arch;
use dsg_schemas::wire::{
    AttemptReport, Ended, Facts, HelloAnswer, HelloRequest, JoinAnswer, JoinRequest, PROTOCOL, Phase, SyncAnswer,
    SyncRequest,
};
use dsg_tests::client::Client;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

pub const HELLO: &str = "/api/v1/runners/me/hello";
pub const SYNC: &str = "/api/v1/runners/me/sync";

#[derive(Clone)]
pub struct PaperRunner {
    pub name: String,
    pub client: Client,
    cpus: u64,
}

impl PaperRunner {
    pub async fn join(admin: &Client, name: &str, cpus: u64) -> Result<PaperRunner> {
        let create = CreateToken { kind: TokenKind::Join, name: name.to_owned(), hours: None, uses: None };
        let token: CreatedToken = admin.post("/api/v1/tokens", &create).await?;
        let joining = Client::new(&admin.url, &token.secret, None)?;
        let joined: JoinAnswer = joining.post("/api/v1/runners/join", &JoinRequest { name: name.to_owned() }).await?;
        let client = Client::new(&admin.url, &joined.credential, None)?;
        Ok(PaperRunner { name: name.to_owned(), client, cpus })
    }

    pub fn hello(&self) -> HelloRequest {
        let facts = Facts {
            arch: Some(Arch::Amd64),
            cpus_milli: self.cpus * 1000,
            memory_bytes: self.cpus << 30,
            disk_bytes: 1 << 40,
            ..Facts::default()
        };
        let (host, nonce) = (self.name.clone(), format!("{}-1", self.name));
        HelloRequest { protocol: PROTOCOL, version: "paper".into(), host, nonce, facts }
    }

    pub async fn greet(&self) -> Result<HelloAnswer> {
        self.client.post(HELLO, &self.hello()).await
    }

    pub async fn sync(&self, request: &SyncRequest) -> Result<SyncAnswer> {
        self.client.post(SYNC, request).await
    }

    /// The answer to any text, understood or not.
    pub async fn say(&self, path: &str, message: &Value) -> Result<(StatusCode, Value)> {
        let answer = self.client.request(Method::POST, path).json(message).send().await?;
        let status = answer.status();
        let text = answer.text().await?;
        ensure!(status != StatusCode::INTERNAL_SERVER_ERROR, "{text}");
        Ok((status, serde_json::from_str(&text).unwrap_or(json!(text))))
    }
}

pub fn request(greeted: &HelloAnswer, seq: u64, attempts: Vec<AttemptReport>, wait_ms: u64) -> SyncRequest {
    let session = greeted.session;
    SyncRequest {
        session,
        seq,
        attempts,
        no_more: None,
        goodbye: false,
        load: Default::default(),
        facts: None,
        wait_ms,
    }
}

pub fn ended(attempt: AttemptId, reason: EndReason, message: &str) -> AttemptReport {
    AttemptReport { attempt, phase: Phase::Ended(Box::new(Ended::before_start(reason, message))) }
}
