//! Pulls as an engine sees them: who is told which credentials, and what is said when they do not help.
use std::collections::BTreeSet;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard};

use axum::extract::{Path as Part, Query, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE};
use dsg_runner::container::docker::{ConnectOptions, DockerEngine, Registries, connect};
use dsg_runner::container::{Bringing, Engine, Present};
use dsg_schemas::reason::EndReason;
use dsg_schemas::spec::PullPolicy;
use serde_json::{Value, json};

const PASSWORD: &str = "s3cret~?>~?>";

/// An engine with nothing but images.
#[derive(Clone, Default)]
struct Images {
    inner: Arc<Mutex<Inner>>,
}

#[derive(Default)]
struct Inner {
    there: BTreeSet<String>,
    /// Each pull: of what, and the credentials that came with it.
    pulls: Vec<(String, Option<Value>)>,
    /// Who is not logged in gets nothing.
    closed: bool,
}

impl Images {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().expect("no panic inside")
    }

    fn router(&self) -> Router {
        let version = json!({"Version": "20.10.24", "ApiVersion": "1.41", "MinAPIVersion": "1.12", "Os": "linux", "Arch": "amd64", "Components": [{"Name": "Engine", "Version": "20.10.24"}]});
        Router::new()
            .route("/version", get(move || async move { Json(version) }))
            .route("/info", get(|| async { Json(json!({})) }))
            .route("/images/json", get(list))
            .route("/images/create", post(create))
            .route("/images/{*name}", get(inspect))
            .with_state(self.clone())
    }

    async fn serve(&self, folder: &Path, hosts: &[&str]) -> DockerEngine {
        let socket = folder.join("engine.sock");
        let listener = tokio::net::UnixListener::bind(&socket).expect("a socket");
        let router = self.router();
        tokio::spawn(async move { axum::serve(listener, router).await });
        let file = folder.join("auth.json");
        let text = json!({"auths": {"lab.example:5000": {"auth": STANDARD.encode(format!("ada:{PASSWORD}"))}}});
        let mut open = std::fs::OpenOptions::new();
        let mut written = open.write(true).create_new(true).mode(0o600).open(&file).expect("a file");
        std::io::Write::write_all(&mut written, text.to_string().as_bytes()).expect("written");
        let files = hosts.iter().map(|host| ((*host).to_owned(), file.clone())).collect();
        let engine = Some(format!("unix://{}", socket.display()));
        connect(&ConnectOptions { engine, registries: Registries { files }, ..ConnectOptions::default() })
            .await
            .expect("an engine")
    }
}

async fn list(State(images): State<Images>) -> Json<Value> {
    Json(images.lock().there.iter().map(|name| json!({"Id": format!("sha256:{name}"), "RepoTags": [name]})).collect())
}

async fn inspect(State(images): State<Images>, Part(name): Part<String>) -> Response {
    let name = name.trim_end_matches("/json");
    match images.lock().there.contains(name) {
        true => {
            let seen = json!({"Id": format!("sha256:{name}"), "Size": 7, "Os": "linux", "Architecture": if name.contains("arm") { "arm64" } else { "amd64" }});
            Json(seen).into_response()
        }
        false => (StatusCode::NOT_FOUND, Json(json!({"message": "no such image"}))).into_response(),
    }
}

async fn create(
    State(images): State<Images>,
    Query(asked): Query<std::collections::BTreeMap<String, String>>,
    headers: HeaderMap,
) -> String {
    let name = format!("{}:{}", asked["fromImage"], asked["tag"]);
    let read = |header: &axum::http::HeaderValue| {
        // An engine knows this alphabet alone.
        serde_json::from_slice(&URL_SAFE.decode(header.as_bytes()).expect("the alphabet of engines")).expect("json")
    };
    let login: Option<Value> = headers.get("x-registry-auth").map(read);
    let mut inner = images.lock();
    let refused = inner.closed && login.as_ref().is_none_or(|login| login["password"] != PASSWORD);
    inner.pulls.push((name.clone(), login));
    let mut lines = vec![
        json!({"status": "Pulling from x", "id": asked["tag"]}),
        json!({"status": "Downloading", "id": "aa", "progressDetail": {"current": 1 << 20, "total": 3 << 20}}),
    ];
    match refused {
        true => lines = vec![json!({"errorDetail": {"message": "unauthorized: authentication required"}})],
        false => _ = inner.there.insert(name),
    }
    lines.iter().map(|line| format!("{line}\r\n")).collect()
}

#[tokio::test]
async fn credentials_go_with_pulls_from_their_registry_and_no_other() {
    let (images, folder) = (Images::default(), tempfile::tempdir().expect("dir"));
    let engine = images.serve(folder.path(), &["lab.example:5000"]).await;
    images.lock().closed = true;
    let image = "lab.example:5000/fit:1";
    let present = engine.image(image, PullPolicy::Missing, &|_| {}).await.expect("it is let in");
    let brought = Some(Bringing { name: image.to_owned(), bytes: 7 });
    assert_eq!((present.id.as_str(), present.brought), ("sha256:lab.example:5000/fit:1", brought));
    let again = engine.image(image, PullPolicy::Always, &|_| {}).await;
    assert!(matches!(again, Ok(Present { brought: None, .. })), "it was there before: {again:?}");
    for other in ["other.example/fit:1", "fit:1"] {
        let failure = engine.image(other, PullPolicy::Missing, &|_| {}).await.expect_err("nobody logs in there");
        assert_eq!(failure.reason, EndReason::ImageNotFound);
        assert!(failure.message.contains("has no credentials for it"), "{}", failure.message);
    }
    let login = json!({"username": "ada", "password": PASSWORD, "serveraddress": "lab.example:5000"});
    let pulls = images.lock().pulls.clone();
    assert_eq!(
        pulls,
        [
            (image.to_owned(), Some(login.clone())),
            (image.to_owned(), Some(login)),
            ("other.example/fit:1".to_owned(), None),
            ("docker.io/library/fit:1".to_owned(), None),
        ]
    );
}

#[tokio::test]
async fn credentials_that_do_not_help_are_told_by_their_file() {
    let (images, folder) = (Images::default(), tempfile::tempdir().expect("dir"));
    let engine = images.serve(folder.path(), &["lab.example:5000", "other.example"]).await;
    images.lock().closed = true;
    let wrong = json!({"auths": {"lab.example:5000": {"username": "ada", "password": "s3cret-and-wrong"}}});
    let file = folder.path().join("auth.json");
    std::fs::write(&file, wrong.to_string()).expect("written");
    let path = file.display().to_string();
    let failure = engine.image("lab.example:5000/fit:1", PullPolicy::Missing, &|_| {}).await.expect_err("refused");
    assert_eq!(failure.reason, EndReason::ImageNotFound);
    assert!(failure.message.contains(&path) && !failure.message.contains("s3cret"), "{}", failure.message);
    // Nothing is asked of a registry in nobody's name where the owner meant somebody.
    let failure = engine.image("other.example/fit:1", PullPolicy::Missing, &|_| {}).await.expect_err("refused");
    assert_eq!(failure.reason, EndReason::PullFailed, "the owner can mend it");
    assert!(failure.message.contains(&path) && !failure.message.contains("s3cret"), "{}", failure.message);
    assert_eq!(images.lock().pulls.len(), 1);
}

/// Told beside what came of it, so that it is known for ours and can be removed again.
#[tokio::test]
async fn an_image_of_another_platform_is_fetched_and_not_fit() {
    let (images, folder) = (Images::default(), tempfile::tempdir().expect("dir"));
    let engine = images.serve(folder.path(), &[]).await;
    let fit = engine.image("lab.example/fit:1", PullPolicy::Missing, &|_| {}).await.expect("pulled");
    assert_eq!(fit.misfit, None);
    for brought in [true, false] {
        let arm = engine.image("lab.example/arm:1", PullPolicy::Missing, &|_| {}).await.expect("pulled");
        assert_eq!(arm.brought.is_some(), brought);
        let why = arm.misfit.expect("an objection");
        assert!(why.contains("is for linux/arm64") && why.contains("is linux/amd64"), "{why}");
    }
}
