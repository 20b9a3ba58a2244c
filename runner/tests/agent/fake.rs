//! The other side: a server that offers, remembers and forgets as the real one does, and fails on demand.
use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::{Path as Part, Query, State as Shared};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, patch, post};
use axum::{Json, Router};
use dsg_runner::attempt::Patience;
use dsg_runner::container::Engine;
use dsg_runner::{Config, Invitation, RunError, join, run};
use dsg_schemas::api::{BlobHave, Problem};
use dsg_schemas::ids::{AttemptId, ChunkId, JobId, RunnerId, SessionId};
use dsg_schemas::reason::EndReason;
use dsg_schemas::spec::PullPolicy;
use dsg_schemas::wire::log::{LogAnswer, LogHave, Stream, pieces};
use dsg_schemas::wire::*;
use futures_util::{StreamExt, stream};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

#[derive(Default)]
pub struct State {
    pub session: u64,
    /// Requests that carried a join token.
    pub joins: u32,
    pub offers: BTreeMap<u64, StartOrder>,
    pub stops: BTreeMap<u64, EndReason>,
    /// The syncs that were answered with an order to stop something.
    pub stop_answers: BTreeSet<u64>,
    /// What was last said of each attempt, and how often its end was.
    pub reports: BTreeMap<u64, Phase>,
    pub ended_reports: BTreeMap<u64, u32>,
    /// An end is forgotten after so many reports of it.
    pub forget_after: u32,
    /// What the host has, as it was last said.
    pub facts: Facts,
    pub syncs: Vec<SyncRequest>,
    pub logs: BTreeMap<u64, [Vec<u8>; 2]>,
    /// Bytes declared lost.
    pub holes: u64,
    /// The same, by attempt and stream: from and to.
    pub gaps: BTreeMap<u64, [Vec<(usize, usize)>; 2]>,
    pub blobs: BTreeMap<String, Vec<u8>>,
    /// Downloads are answered once so many were asked for.
    pub blob_crowd: u64,
    pub blob_asks: u64,
    /// Uploads are not taken yet.
    pub blobs_held: bool,
    /// Of each blob that is asked for only the first half comes, as long as this is so.
    pub halves_held: bool,
    pub parts: BTreeMap<String, Vec<u8>>,
    /// Of each attempt; an attempt without any is refused with this code.
    pub secrets: BTreeMap<u64, SecretValues>,
    pub secrets_code: &'static str,
    pub secret_asks: u32,
    /// Everything is answered with 503.
    pub down: bool,
    pub asked_while_down: u32,
    /// The next so many syncs are applied and their answers lost.
    pub lose_answers: u32,
    /// Log batches of which only half is taken.
    pub halve_logs: u32,
    /// Log batches that are taken and whose answers are lost.
    pub lose_log_answers: u32,
    /// A person paused the runner.
    pub pause: bool,
    /// The runner's credential is not known any more.
    pub revoked: bool,
}

#[derive(Clone)]
pub struct Fake {
    state: Arc<Mutex<State>>,
    changed: watch::Sender<u64>,
    pub url: String,
    grid: String,
    pub token: String,
    /// Of its authority, where it has one.
    pub ca_pem: String,
}

pub struct Runner {
    stop: CancellationToken,
    task: JoinHandle<Result<(), RunError>>,
}

impl Fake {
    pub async fn start() -> Fake {
        Fake::start_as("g").await
    }

    /// Real engines are shared: each test there needs a grid of its own.
    pub async fn start_as(grid: &str) -> Fake {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        let fake = Fake::new(url, grid, "dsg_j_secret".to_owned());
        let router = fake.router();
        tokio::spawn(async move { axum::serve(listener, router).await });
        fake
    }

    /// With a certificate of an authority of its own.
    pub async fn start_with_tls() -> Fake {
        drop(rustls::crypto::ring::default_provider().install_default());
        let mut params = rcgen::CertificateParams::default();
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let key = rcgen::KeyPair::generate().expect("a key");
        let authority = params.self_signed(&key).expect("a certificate");
        let (ca_pem, fingerprint) = (authority.pem(), crate::sha256(authority.der()));
        let issuer = rcgen::Issuer::new(params, key);
        let leaf_key = rcgen::KeyPair::generate().expect("a key");
        let leaf = rcgen::CertificateParams::new(["localhost".to_owned()]).expect("a name");
        let leaf = leaf.signed_by(&leaf_key, &issuer).expect("a certificate").pem();
        let tls = axum_server::tls_rustls::RustlsConfig::from_pem(leaf.into(), leaf_key.serialize_pem().into());
        let tls = tls.await.expect("a usable certificate");
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        listener.set_nonblocking(true).expect("a setting");
        let url = format!("https://localhost:{}", listener.local_addr().expect("an address").port());
        let mut fake = Fake::new(url, "g", format!("dsg_j_secret.{fingerprint}"));
        fake.ca_pem.clone_from(&ca_pem);
        let router = fake.router().route("/api/v1/ca", get(move || async { ca_pem }));
        let server = axum_server::from_tcp_rustls(listener, tls).expect("a listener");
        tokio::spawn(server.serve(router.into_make_service()));
        fake
    }

    fn new(url: String, grid: &str, token: String) -> Fake {
        let state = State { forget_after: 1, ..State::default() };
        let state = Arc::new(Mutex::new(state));
        Fake { state, changed: watch::Sender::new(0), url, grid: grid.to_owned(), token, ca_pem: String::new() }
    }

    fn router(&self) -> Router {
        Router::new()
            .route("/api/v1/runners/join", post(joined))
            .route("/api/v1/runners/me/hello", post(hello))
            .route("/api/v1/runners/me/sync", post(sync))
            .route("/api/v1/attempts/{id}/log", patch(log))
            .route("/api/v1/attempts/{id}/secrets", post(secrets))
            .route("/api/v1/blobs/sha256/{hash}", get(blob).put(put_blob))
            .with_state(self.clone())
    }

    /// Changes something, and wakes who waits for it.
    pub fn change<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        let result = change(&mut self.lock());
        self.changed.send_modify(|n| *n += 1);
        result
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no test panics inside")
    }

    /// Waits for what must come; the bound is for broken builds only.
    pub async fn until(&self, what: &str, condition: impl Fn(&State) -> bool) {
        let mut changed = self.changed.subscribe();
        let wait = async {
            while !condition(&self.lock()) {
                changed.changed().await.expect("the server lives");
            }
        };
        if tokio::time::timeout(Duration::from_secs(30), wait).await.is_err() {
            panic!("never: {what}; reports: {:?}", self.lock().reports);
        }
    }

    pub async fn ended(&self, attempt: u64) -> Ended {
        self.until(&format!("attempt {attempt} ends"), |state| {
            matches!(state.reports.get(&attempt), Some(Phase::Ended(_)))
        })
        .await;
        match self.lock().reports.get(&attempt) {
            Some(Phase::Ended(ended)) => (**ended).clone(),
            other => panic!("{other:?}"),
        }
    }

    pub fn offer(&self, order: StartOrder) {
        self.change(|state| drop(state.offers.insert(order.attempt.0, order)));
    }

    /// Offers, and waits for the end.
    pub async fn runs(&self, order: StartOrder) -> Ended {
        let attempt = order.attempt.0;
        self.offer(order);
        self.ended(attempt).await
    }

    pub fn stdout(&self, attempt: u64) -> String {
        let state = self.lock();
        state.logs.get(&attempt).map_or(String::new(), |log| String::from_utf8_lossy(&log[0]).into_owned())
    }

    pub async fn joined(&self, state: &Path) {
        join(state, &self.invitation()).await.expect("joined");
    }

    pub fn invitation(&self) -> Invitation<'_> {
        Invitation { server: &self.url, token: &self.token, name: "ada", ca_pem: None, insecure_http: false }
    }

    pub fn run(&self, state: &Path, engine: &(impl Engine + Clone + 'static)) -> Runner {
        self.run_with(state, engine, Patience::default())
    }

    pub fn run_with(&self, state: &Path, engine: &(impl Engine + Clone + 'static), patience: Patience) -> Runner {
        let facts = Facts { cpus_milli: 800_000, memory_bytes: 8 << 40, ..Facts::default() };
        // Failures are waited out quickly; what a wait is for is proven elsewhere.
        let patience = Patience { retry: Duration::from_millis(20), ..patience };
        let config = Config { patience, ..Config::new(state.to_owned(), facts) };
        self.run_engine(config, Arc::new(engine.clone()))
    }

    pub fn run_engine(&self, config: Config, engine: Arc<dyn Engine>) -> Runner {
        let stop = CancellationToken::new();
        let task = tokio::spawn(run(config, engine, stop.clone()));
        Runner { stop, task }
    }
}

impl Runner {
    /// As by SIGTERM.
    pub async fn stop(self) {
        self.stop.cancel();
        self.task.await.expect("no panic").expect("a clean end");
    }

    /// As by SIGKILL: nothing more is done by this life.
    pub async fn kill(self) {
        self.task.abort();
        drop(self.task.await);
    }

    pub async fn result(self) -> Result<(), RunError> {
        self.task.await.expect("no panic")
    }
}

/// An order that pretends.
pub fn order(attempt: u64, command: &[&str]) -> StartOrder {
    StartOrder {
        attempt: AttemptId(attempt),
        chunk: ChunkId { job: JobId(1), stage: 0, index: attempt as u32 },
        number: 1,
        job_name: "test".to_owned(),
        image: "pretend/image".to_owned(),
        pushed: None,
        pull_policy: PullPolicy::Missing,
        entrypoint: None,
        command: command.iter().map(|word| (*word).to_owned()).collect(),
        script: None,
        workdir: None,
        user: None,
        env: BTreeMap::new(),
        network: "none".to_owned(),
        limits: Limits { cpus_milli: 1000, memory_bytes: 64 << 20, ..Limits::default() },
        timeouts: RunTimeouts { run_ms: None, stall_ms: None, grace_ms: 100 },
        inputs: Vec::new(),
        mounts: Vec::new(),
        devices: Vec::new(),
        secrets: Vec::new(),
        outputs: Vec::new(),
        accept: Accept::default(),
        items: "{}\n".to_owned(),
    }
}

pub fn problem(status: StatusCode, code: &str) -> Response {
    let problem = Problem {
        code: code.to_owned(),
        title: code.to_owned(),
        status: status.as_u16(),
        detail: String::new(),
        problems: Vec::new(),
    };
    (status, Json(problem)).into_response()
}

fn refused(fake: &Fake, headers: &HeaderMap) -> Option<Response> {
    if fake.lock().down {
        fake.change(|state| state.asked_while_down += 1);
        return Some(StatusCode::SERVICE_UNAVAILABLE.into_response());
    }
    let bearer = headers.get("authorization").and_then(|value| value.to_str().ok());
    let revoked = fake.lock().revoked || bearer != Some("Bearer dsg_r_1");
    revoked.then(|| problem(StatusCode::UNAUTHORIZED, "unauthorized"))
}

async fn joined(Shared(fake): Shared<Fake>, headers: HeaderMap, Json(request): Json<JoinRequest>) -> Response {
    fake.change(|state| state.joins += 1);
    if headers.get("authorization").is_none_or(|value| value != &format!("Bearer {}", fake.token)) {
        return problem(StatusCode::UNAUTHORIZED, "unauthorized");
    }
    let credential = "dsg_r_1".to_owned();
    Json(JoinAnswer { runner: RunnerId(1), name: request.name, credential, grid: fake.grid }).into_response()
}

async fn hello(Shared(fake): Shared<Fake>, headers: HeaderMap, Json(request): Json<HelloRequest>) -> Response {
    if let Some(refusal) = refused(&fake, &headers) {
        return refusal;
    }
    assert!(!request.facts.engine.kind.is_empty(), "the engine is known before hello");
    let session = fake.change(|state| {
        state.session += 1;
        state.facts = request.facts.clone();
        state.syncs.clear();
        state.session
    });
    Json(HelloAnswer {
        runner: RunnerId(1),
        name: "ada".to_owned(),
        grid: fake.grid,
        session: SessionId(session),
        lease_ms: 60_000,
        renew_ms: 15_000,
    })
    .into_response()
}

async fn sync(Shared(fake): Shared<Fake>, headers: HeaderMap, Json(request): Json<SyncRequest>) -> Response {
    if let Some(refusal) = refused(&fake, &headers) {
        return refusal;
    }
    let (seq, wait) = (request.seq, Duration::from_millis(request.wait_ms));
    let taken = fake.change(|state| take(state, request));
    if let Err(code) = taken {
        return problem(StatusCode::CONFLICT, code);
    }
    let mut changed = fake.changed.subscribe();
    let told = fake.lock().pause;
    let held = async {
        while fake.lock().pause == told
            && orders(&fake.lock(), seq).is_empty()
            && fake.lock().syncs.last().is_some_and(|last| last.seq == seq)
        {
            changed.changed().await.expect("the server lives");
        }
    };
    drop(tokio::time::timeout(wait, held).await);
    let lost = fake.change(|state| {
        let lost = state.lose_answers > 0;
        state.lose_answers = state.lose_answers.saturating_sub(1);
        lost
    });
    if lost {
        return StatusCode::BAD_GATEWAY.into_response();
    }
    let orders = orders(&fake.lock(), seq);
    if !orders.stop.is_empty() {
        fake.change(|state| state.stop_answers.insert(seq));
    }
    let pause = fake.lock().pause;
    Json(SyncAnswer { seq, orders, drain: false, pause }).into_response()
}

fn take(state: &mut State, request: SyncRequest) -> Result<(), &'static str> {
    if request.session.0 != state.session {
        return Err("hello_first");
    }
    if state.syncs.last().is_some_and(|last| last.seq >= request.seq) {
        return Err("stale_seq");
    }
    for report in &request.attempts {
        if matches!(report.phase, Phase::Ended(_)) {
            *state.ended_reports.entry(report.attempt.0).or_default() += 1;
        }
        state.reports.insert(report.attempt.0, report.phase.clone());
    }
    if let Some(facts) = &request.facts {
        state.facts = (**facts).clone();
    }
    state.syncs.push(request);
    Ok(())
}

fn orders(state: &State, seq: u64) -> Orders {
    let mut orders = Orders::default();
    let Some(last) = state.syncs.iter().rfind(|sync| sync.seq == seq) else { return orders };
    if last.no_more.is_none() {
        orders.start =
            state.offers.values().filter(|order| !state.reports.contains_key(&order.attempt.0)).cloned().collect();
    }
    for report in &last.attempts {
        let attempt = report.attempt;
        let ended = matches!(report.phase, Phase::Ended(_));
        if ended && state.ended_reports.get(&attempt.0).is_some_and(|times| *times >= state.forget_after) {
            orders.forget.push(attempt);
        } else if let (false, Some(reason)) = (ended, state.stops.get(&attempt.0)) {
            orders.stop.push(StopOrder { attempt, reason: *reason });
        }
    }
    orders
}

async fn log(Shared(fake): Shared<Fake>, Part(attempt): Part<u64>, headers: HeaderMap, body: Bytes) -> Response {
    if let Some(refusal) = refused(&fake, &headers) {
        return refusal;
    }
    let (have, lost) = fake.change(|state| {
        let frames = pieces(&body).expect("whole frames");
        let keep = if state.halve_logs > 0 { frames.len() / 2 } else { frames.len() };
        state.halve_logs = state.halve_logs.saturating_sub(1);
        for piece in &frames[..keep] {
            let stream = usize::from(piece.stream == Stream::Stderr);
            let log = &mut state.logs.entry(attempt).or_default()[stream];
            let at = piece.offset as usize;
            if at > log.len() {
                assert!(piece.bytes.is_empty(), "a gap that nobody declared: {at} after {}", log.len());
                state.holes += (at - log.len()) as u64;
                state.gaps.entry(attempt).or_default()[stream].push((log.len(), at));
                log.resize(at, b'?');
            }
            let known = (log.len() - at).min(piece.bytes.len());
            log.extend_from_slice(&piece.bytes[known..]);
        }
        let lost = state.lose_log_answers > 0;
        state.lose_log_answers = state.lose_log_answers.saturating_sub(1);
        let log = state.logs.entry(attempt).or_default();
        (LogHave { stdout: log[0].len() as u64, stderr: log[1].len() as u64 }, lost)
    });
    let answer = LogAnswer { have, durable: have };
    if lost { StatusCode::BAD_GATEWAY.into_response() } else { Json(answer).into_response() }
}

async fn secrets(Shared(fake): Shared<Fake>, Part(attempt): Part<u64>, headers: HeaderMap) -> Response {
    if let Some(refusal) = refused(&fake, &headers) {
        return refusal;
    }
    let (given, code) = fake.change(|state| {
        state.secret_asks += 1;
        (state.secrets.get(&attempt).cloned(), state.secrets_code)
    });
    given.map_or_else(|| problem(StatusCode::CONFLICT, code), |given| Json(given).into_response())
}

async fn blob(Shared(fake): Shared<Fake>, Part(hash): Part<String>, headers: HeaderMap) -> Response {
    if let Some(refusal) = refused(&fake, &headers) {
        return refusal;
    }
    fake.change(|state| state.blob_asks += 1);
    fake.until("enough downloads at a time", |state| state.blob_asks >= state.blob_crowd).await;
    let Some(bytes) = fake.lock().blobs.get(&hash).cloned() else {
        return problem(StatusCode::NOT_FOUND, "not_found");
    };
    let from = headers
        .get("range")
        .and_then(|range| range.to_str().ok()?.strip_prefix("bytes=")?.strip_suffix('-')?.parse::<usize>().ok());
    let (status, from) = from.map_or((StatusCode::OK, 0), |from| (StatusCode::PARTIAL_CONTENT, from));
    let (first, second) = bytes[from..].split_at((bytes.len() - from) / 2);
    let (first, second) = (Bytes::copy_from_slice(first), Bytes::copy_from_slice(second));
    let rest = async move {
        fake.until("all of a download", |state| !state.halves_held).await;
        second
    };
    let halves = stream::once(async { first }).chain(stream::once(rest)).map(Ok::<_, Infallible>);
    (status, Body::from_stream(halves)).into_response()
}

async fn put_blob(
    Shared(fake): Shared<Fake>,
    Part(hash): Part<String>,
    Query(query): Query<BTreeMap<String, u64>>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    if let Some(refusal) = refused(&fake, &headers) {
        return refusal;
    }
    fake.until("uploads are taken", |state| !state.blobs_held).await;
    let (status, have) = fake.change(|state| {
        let part = state.parts.entry(hash.clone()).or_default();
        if query["offset"] != part.len() as u64 {
            return (StatusCode::CONFLICT, BlobHave { have: part.len() as u64, complete: false });
        }
        part.extend_from_slice(&body);
        let complete = part.len() as u64 == query["size"];
        let have = BlobHave { have: part.len() as u64, complete };
        if complete {
            let bytes = part.clone();
            state.blobs.insert(hash, bytes);
        }
        (StatusCode::OK, have)
    });
    (status, Json(have)).into_response()
}
