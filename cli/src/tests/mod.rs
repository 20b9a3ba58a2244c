//! Whole commands, as typed, against a server that behaves as badly as a test wants.
mod exits;
mod fetch;
mod follow;
mod login;
mod submit;

use std::future::Future;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::{Body, Bytes, to_bytes};
use axum::extract::Request;
use axum::http::Uri;
use axum::response::Response;
use clap::Parser;
use futures_util::{StreamExt, stream};
use serde_json::Value;

use crate::command::{Arguments, Context, execute};
use crate::config::{Config, Environment, write};
use crate::output::tests::{Kept, kept};
use crate::trust::Secret;

/// What a request was.
#[derive(Clone, Debug)]
pub struct Asked {
    pub method: String,
    pub uri: Uri,
    pub range: Option<String>,
    pub bearer: Option<String>,
    pub body: Bytes,
}

impl Asked {
    pub fn line(&self) -> String {
        format!("{} {}", self.method, self.uri)
    }
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).expect("JSON")
    }
    pub fn query(&self, key: &str) -> Option<u64> {
        let pairs = self.uri.query().unwrap_or_default().split('&');
        pairs.filter_map(|pair| pair.split_once('=')).find(|(name, _)| *name == key)?.1.parse().ok()
    }
}

pub async fn asked(request: Request) -> Asked {
    let (parts, body) = request.into_parts();
    let (range, bearer) = {
        let header = |name: &str| parts.headers.get(name).map(|value| value.to_str().expect("text").to_owned());
        (header("range"), header("authorization"))
    };
    let body = to_bytes(body, usize::MAX).await.expect("a body");
    Asked { method: parts.method.to_string(), uri: parts.uri, range, bearer, body }
}

pub fn json(status: u16, value: &Value) -> Response {
    Response::builder()
        .status(status)
        .header("content-type", "application/json")
        .body(Body::from(value.to_string()))
        .expect("a response")
}

pub fn problem(status: u16, title: &str) -> Response {
    json(
        status,
        &serde_json::json!({"code": "some_code", "title": title, "status": status, "detail": format!("{title}, in detail")}),
    )
}

/// Sends these bytes and then breaks the connection.
pub fn cut(status: u16, headers: &[(&str, String)], bytes: &[u8]) -> Response {
    // The pause lets the bytes go out before the break.
    let broken = async {
        tokio::task::yield_now().await;
        Err(std::io::Error::other("cut"))
    };
    let pieces = stream::iter([Ok(Bytes::copy_from_slice(bytes))]).chain(stream::once(broken));
    let mut response = Response::builder().status(status);
    for (name, value) in headers {
        response = response.header(*name, value);
    }
    response.body(Body::from_stream(pieces)).expect("a response")
}

/// A server on a free port, which remembers what it was asked.
pub struct Fake {
    pub url: String,
    asked: Arc<Mutex<Vec<Asked>>>,
}

impl Fake {
    pub async fn serve<F, A>(answer: F) -> Fake
    where
        F: Fn(Asked) -> A + Clone + Send + Sync + 'static,
        A: Future<Output = Response> + Send + 'static,
    {
        let seen = Arc::new(Mutex::new(Vec::new()));
        let kept = seen.clone();
        let app = Router::new().fallback(move |request: Request| {
            let (answer, kept) = (answer.clone(), kept.clone());
            async move {
                let asked = asked(request).await;
                kept.lock().expect("not poisoned").push(asked.clone());
                answer(asked).await
            }
        });
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        tokio::spawn(async move { axum::serve(listener, app).await });
        Fake { url, asked: seen }
    }

    /// What was asked so far, as `METHOD /path?query`.
    pub fn lines(&self) -> Vec<String> {
        self.asked().iter().map(Asked::line).collect()
    }
    pub fn asked(&self) -> Vec<Asked> {
        self.asked.lock().expect("not poisoned").clone()
    }
}

/// A person's machine: a home, and what `dsg` says there.
pub struct Desk {
    pub home: tempfile::TempDir,
}

pub struct Said {
    pub code: u8,
    pub out: String,
    pub err: String,
}

impl Desk {
    pub fn new() -> Desk {
        Desk { home: tempfile::tempdir().expect("a folder") }
    }
    /// Logged in to this server.
    pub fn at(url: &str) -> Desk {
        let desk = Desk::new();
        let login = Config { url: url.to_owned(), token: Secret::parse("dsg_u_test").expect("a token"), ca_pem: None };
        write(&desk.environment().config_path().expect("a path"), &login).expect("written");
        desk
    }
    pub fn environment(&self) -> Environment {
        Environment { config_home: Some(self.home.path().to_owned()), ..Environment::default() }
    }
    pub fn path(&self, name: &str) -> String {
        self.home.path().join(name).to_str().expect("UTF-8").to_owned()
    }
    pub fn put(&self, name: &str, bytes: impl AsRef<[u8]>) -> String {
        let path = self.home.path().join(name);
        std::fs::create_dir_all(path.parent().expect("a folder")).expect("created");
        std::fs::write(&path, bytes).expect("written");
        self.path(name)
    }
    pub fn read(&self, name: &str) -> Vec<u8> {
        std::fs::read(self.home.path().join(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
    }
    /// Runs what is typed.
    pub async fn dsg(&self, words: &[&str]) -> Said {
        let arguments =
            Arguments::try_parse_from(["dsg"].iter().chain(words)).unwrap_or_else(|error| panic!("{error}"));
        let (output, stdout, stderr): (_, Kept, Kept) = kept(arguments.command.format());
        let context = Context { output, environment: self.environment() };
        let ended =
            tokio::time::timeout(std::time::Duration::from_secs(120), execute(arguments.command, &context)).await;
        let code = ended.unwrap_or_else(|_| panic!("{words:?} hangs, and said {}", stderr.text())).code();
        Said { code, out: stdout.text(), err: stderr.text() }
    }
}

/// A job as the server shows it.
pub fn job(state: &str, succeeded: u64, failed: u64, waiting: u64) -> Value {
    serde_json::json!({
        "id": 42, "name": "radium", "owner": "marie", "state": state, "priority": 50, "labels": {}, "image": "debian:12",
        "chunks": {"waiting": waiting, "held": 0, "leased": 0, "running": 0, "storing": 0, "succeeded": succeeded, "failed": failed,
                   "cancelled": 0, "skipped": 0},
        "submitted_ms": 1000, "started_ms": 2000, "ended_ms": 62_000, "description": "", "gather": null, "gathered": [],
        "gather_problem": null, "why": null, "failures": {}, "eta_ms": null, "spec_text": "", "spec": {}
    })
}
