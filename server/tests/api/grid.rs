//! A server with what a test needs to talk to it.
use std::time::Duration;

use dsg_schemas::api::{CreateToken, CreatedToken, JobDetail, Problem, Submit, Submitted, TokenKind};
use dsg_schemas::ids::{AttemptId, JobId, SessionId};
use dsg_schemas::reason::EndReason;
use dsg_schemas::spec::Arch;
use dsg_schemas::wire::{
    AttemptReport, Ended, Facts, HelloAnswer, HelloRequest, JoinAnswer, JoinRequest, Load, PROTOCOL, Phase, SyncAnswer,
    SyncRequest,
};
use dsg_server::{Config, Server};
use reqwest::{Method, Response, StatusCode};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tempfile::TempDir;

pub const HELLO: &str = "name: hello\nimage: busybox\ncommand: [echo, hi]\nchunks: {count: 2}\n";
/// Far above what anything takes: a test that waits longer is stuck.
pub const PATIENCE: Duration = Duration::from_secs(60);

pub struct Grid {
    pub server: Server,
    pub data: TempDir,
    pub http: reqwest::Client,
    pub token: String,
}

impl Grid {
    pub async fn start() -> Grid {
        Grid::on(tempfile::tempdir().expect("a directory")).await
    }
    pub async fn on(data: TempDir) -> Grid {
        Grid::with(data, |_| {}).await
    }
    /// Set up in another way than usual.
    pub async fn with(data: TempDir, change: impl FnOnce(&mut Config)) -> Grid {
        let mut config = Config::local(data.path());
        change(&mut config);
        let server = dsg_server::start(config).await.expect("a server");
        let token = server.admin_token.clone();
        let http = client();
        Grid { server, data, http, token }
    }
    pub async fn restart(self) -> Grid {
        let Grid { server, data, .. } = self;
        server.stop().await;
        Grid::on(data).await
    }

    pub async fn call<B: Serialize>(&self, method: Method, path: &str, token: &str, body: Option<&B>) -> Response {
        let mut request = self.http.request(method, format!("{}{path}", self.server.url));
        if !token.is_empty() {
            request = request.bearer_auth(token);
        }
        if let Some(body) = body {
            request = request.json(body);
        }
        request.send().await.expect("an answer")
    }
    pub async fn get<T: DeserializeOwned>(&self, path: &str) -> T {
        read(self.call::<()>(Method::GET, path, &self.token, None).await).await
    }
    pub async fn post<B: Serialize, T: DeserializeOwned>(&self, path: &str, body: &B) -> T {
        read(self.call(Method::POST, path, &self.token, Some(body)).await).await
    }
    pub async fn refused<B: Serialize>(&self, method: Method, path: &str, token: &str, body: Option<&B>) -> Problem {
        problem(self.call(method, path, token, body).await).await
    }

    pub async fn submit(&self, spec: &str) -> JobId {
        let submit = Submit { spec: spec.to_owned(), ..Submit::default() };
        self.post::<_, Submitted>("/api/v1/jobs", &submit).await.job
    }
    pub async fn job(&self, job: JobId) -> JobDetail {
        self.get(&format!("/api/v1/jobs/{job}")).await
    }
    pub async fn token(&self, kind: TokenKind, name: &str) -> String {
        self.create(kind, name, None).await.secret
    }
    pub async fn create(&self, kind: TokenKind, name: &str, uses: Option<u32>) -> CreatedToken {
        self.post("/api/v1/tokens", &CreateToken { kind, name: name.to_owned(), hours: Some(1), uses }).await
    }

    pub async fn join(&self, name: &str) -> Runner {
        let token = self.token(TokenKind::Join, "test").await;
        let request = JoinRequest { name: name.to_owned() };
        let answer = self.call(Method::POST, "/api/v1/runners/join", &token, Some(&request)).await;
        let joined: JoinAnswer = read(answer).await;
        Runner { credential: joined.credential, session: SessionId(0), seq: 0 }
    }
    /// A runner that has joined and said hello.
    pub async fn runner(&self, name: &str) -> Runner {
        let mut runner = self.join(name).await;
        runner.hello(self, "boot-1").await;
        runner
    }
}

pub fn client() -> reqwest::Client {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let none = reqwest::redirect::Policy::none();
    reqwest::Client::builder().redirect(none).no_proxy().timeout(PATIENCE).build().expect("a client")
}

pub async fn read<T: DeserializeOwned>(answer: Response) -> T {
    let (status, url) = (answer.status(), answer.url().clone());
    let text = answer.text().await.expect("a body");
    assert!(status.is_success(), "{url} answered {status}: {text}");
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{url} answered {text}: {error}"))
}

/// A refusal must be a problem that is worth reading.
pub async fn problem(answer: Response) -> Problem {
    let (status, url) = (answer.status(), answer.url().clone());
    let kind = answer.headers().get("content-type").and_then(|kind| kind.to_str().ok()).map(str::to_owned);
    let text = answer.text().await.expect("a body");
    assert!(!status.is_success(), "{url} answered {status}: {text}");
    assert_eq!(kind.as_deref(), Some("application/problem+json"), "{url} {status} {text}");
    let problem: Problem = serde_json::from_str(&text).expect("a problem");
    assert_eq!(problem.status, status.as_u16());
    assert!(problem.detail.len() > 10, "{problem:?}");
    problem
}

#[derive(Clone)]
pub struct Runner {
    pub credential: String,
    pub session: SessionId,
    pub seq: u64,
}

impl Runner {
    pub fn hello_request(host: &str) -> HelloRequest {
        let facts = Facts {
            arch: Some(Arch::Amd64),
            cpus_milli: 4000,
            memory_bytes: 8 << 30,
            disk_bytes: 100 << 30,
            ..Facts::default()
        };
        let (version, nonce, host) = ("test".to_owned(), "nonce".to_owned(), host.to_owned());
        HelloRequest { protocol: PROTOCOL, version, nonce, host, facts }
    }
    pub async fn hello(&mut self, grid: &Grid, host: &str) {
        let request = Runner::hello_request(host);
        let answer = grid.call(Method::POST, "/api/v1/runners/me/hello", &self.credential, Some(&request)).await;
        self.session = read::<HelloAnswer>(answer).await.session;
        self.seq = 0;
    }
    pub fn request(&mut self, attempts: Vec<AttemptReport>, wait_ms: u64) -> SyncRequest {
        self.seq += 1;
        let (session, seq) = (self.session, self.seq);
        SyncRequest {
            session,
            seq,
            attempts,
            no_more: None,
            goodbye: false,
            load: Load::default(),
            facts: None,
            wait_ms,
        }
    }
    pub async fn sync(&mut self, grid: &Grid, attempts: Vec<AttemptReport>) -> SyncAnswer {
        let request = self.request(attempts, 0);
        read(self.send(grid, &request).await).await
    }
    pub async fn send(&self, grid: &Grid, request: &SyncRequest) -> Response {
        grid.call(Method::POST, "/api/v1/runners/me/sync", &self.credential, Some(request)).await
    }
}

pub fn preparing(attempt: AttemptId) -> AttemptReport {
    AttemptReport { attempt, phase: Phase::Preparing { note: "pulling image".to_owned() } }
}
pub fn running(attempt: AttemptId) -> AttemptReport {
    AttemptReport { attempt, phase: Phase::Running { since_ms: 1, paused: false } }
}
pub fn ended(attempt: AttemptId, reason: EndReason, exit_code: i32) -> AttemptReport {
    let ended = Ended { exit_code: Some(exit_code), run_ms: 5, ..Ended::before_start(reason, "") };
    AttemptReport { attempt, phase: Phase::Ended(Box::new(ended)) }
}
pub fn succeeded(attempt: AttemptId) -> AttemptReport {
    ended(attempt, EndReason::Succeeded, 0)
}

pub fn is(answer: &Response, status: u16) {
    assert_eq!(answer.status(), StatusCode::from_u16(status).expect("a status"), "{}", answer.url());
}
