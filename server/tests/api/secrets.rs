//! Secrets: who may set them, who is given them, and where they are not.
use std::fs;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use dsg_schemas::api::{Acted, Explanation, Overview, Problem, SecretView, Submit, TokenKind};
use dsg_schemas::wire::SecretValues;
use reqwest::{Method, Response};

use super::grid::{Grid, is, problem, read, running};

const SPEC: &str =
    "name: fit\nimage: busybox\ncommand: [cat, /run/secrets/token]\nsecrets: [{name: token}]\nchunks: {count: 1}\n";
const VALUE: &str = "correct horse battery staple";

impl Grid {
    async fn set(&self, name: &str, value: impl Into<Vec<u8>>, token: &str) -> Response {
        let url = format!("{}/api/v1/secrets/{name}", self.server.url);
        let call = self.http.put(url).bearer_auth(token).header("content-type", "application/octet-stream");
        call.body(value.into()).send().await.expect("an answer")
    }
    async fn secrets(&self, attempt: u64, credential: &str) -> Response {
        let path = format!("/api/v1/attempts/{attempt}/secrets");
        self.call::<()>(Method::POST, &path, credential, None).await
    }
}

/// In no file below, in no spelling that we know of.
fn is_nowhere(folder: &Path, value: &str) {
    let spellings = [value.to_owned(), STANDARD.encode(value), value.replace(' ', "%20"), value.replace(' ', "+")];
    for entry in fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("an entry").path()) {
        if entry.is_dir() {
            is_nowhere(&entry, value);
            continue;
        }
        let bytes = fs::read(&entry).expect("a file");
        for spelling in &spellings {
            let found = bytes.windows(spelling.len()).any(|window| window == spelling.as_bytes());
            assert!(!found, "{spelling:?} is in {}", entry.display());
        }
    }
}

#[tokio::test]
async fn admins_set_list_and_remove_and_nobody_reads() {
    let grid = Grid::start().await;
    let operator = grid.token(TokenKind::Operator, "o").await;
    is(&grid.set("token", VALUE, &operator).await, 403);
    for (name, value, code) in [
        ("token", "1234567".to_owned(), "secret_length"),
        ("token", "x".repeat((64 << 10) + 1), "secret_length"),
        ("token", "x".repeat(1 << 20), "body_too_large"),
        ("Token", VALUE.to_owned(), "secret_name"),
        ("a%2Fb", VALUE.to_owned(), "secret_name"),
    ] {
        assert_eq!(problem(grid.set(name, value, &grid.token).await).await.code, code, "{name}");
    }
    let text = grid.http.put(format!("{}/api/v1/secrets/token", grid.server.url)).bearer_auth(&grid.token);
    is(&text.body(VALUE).send().await.expect("an answer"), 415);
    assert_eq!(grid.get::<Vec<SecretView>>("/api/v1/secrets").await, []);

    read::<Acted>(grid.set("token", VALUE, &grid.token).await).await;
    read::<Acted>(grid.set("edge", "x".repeat(64 << 10), &grid.token).await).await;
    let listed = grid.call::<()>(Method::GET, "/api/v1/secrets", &grid.token, None).await;
    let text = listed.text().await.expect("text");
    assert!(text.contains("\"token\"") && text.contains("\"admin\"") && !text.contains("horse"), "{text}");
    is(&grid.call::<()>(Method::GET, "/api/v1/secrets/token", &grid.token, None).await, 405);
    is(&grid.call::<()>(Method::GET, "/api/v1/secrets", &operator, None).await, 403);
    let removed: Acted = read(grid.call::<()>(Method::DELETE, "/api/v1/secrets/edge", &grid.token, None).await).await;
    assert_eq!(removed.message, "secret `edge` is removed");
    let again = grid.refused::<()>(Method::DELETE, "/api/v1/secrets/edge", &grid.token, None).await;
    assert_eq!((again.status, again.code.as_str()), (404, "not_found"));
    let names: Vec<String> =
        grid.get::<Vec<SecretView>>("/api/v1/secrets").await.into_iter().map(|secret| secret.name).collect();
    assert_eq!(names, ["token"]);
}

#[tokio::test]
async fn a_name_that_nobody_set_is_a_problem_with_its_place() {
    let grid = Grid::start().await;
    grid.set("tokens", VALUE, &grid.token).await;
    let submit = Submit { spec: SPEC.to_owned(), ..Submit::default() };
    let refused: Problem = grid.refused(Method::POST, "/api/v1/jobs", &grid.token, Some(&submit)).await;
    let [unknown] = &refused.problems[..] else { panic!("{refused:?}") };
    assert_eq!((unknown.rule.as_str(), unknown.line, unknown.column), ("secret_unknown", 4, 18));
    assert_eq!(unknown.hint.as_deref(), Some("did you mean `tokens`?"));
    grid.set("token", VALUE, &grid.token).await;
    grid.submit(SPEC).await;
}

#[tokio::test]
async fn only_the_runner_that_holds_the_attempt_is_given_its_secrets() {
    let grid = Grid::start().await;
    grid.set("token", VALUE, &grid.token).await;
    grid.set("other", "another value", &grid.token).await;
    let job = grid.submit(SPEC).await;
    let (mut ada, mut byron) = (grid.runner("ada").await, grid.runner("byron").await);
    let order = ada.sync(&grid, Vec::new()).await.orders.start.remove(0);
    assert_eq!((order.secrets[0].name.as_str(), order.secrets[0].path.as_str()), ("token", "/run/secrets/token"));
    assert!(!format!("{order:?}").contains("horse"));
    let attempt = order.attempt.0;
    byron.sync(&grid, Vec::new()).await;

    let state = |grid: &Grid| {
        let store = grid.server.app.store.clone();
        store.read(|rows| Ok(format!("{:?}", rows.live_rows()?))).expect("rows")
    };
    let rows = state(&grid);
    let mara = grid.token(TokenKind::Admin, "mara").await;
    assert_eq!(problem(grid.secrets(attempt, &byron.credential).await).await.status, 404);
    assert_eq!(problem(grid.secrets(attempt + 1, &ada.credential).await).await.status, 404);
    assert_eq!(problem(grid.secrets(attempt, &mara).await).await.status, 403, "not even an admin");
    assert_eq!(problem(grid.secrets(attempt, "").await).await.status, 401);
    assert_eq!(state(&grid), rows, "what was refused changed nothing");

    let answer = grid.secrets(attempt, &ada.credential).await;
    assert_eq!(answer.headers()["cache-control"], "no-store");
    let given: SecretValues = read(answer).await;
    assert_eq!(given.values, [("token".to_owned(), STANDARD.encode(VALUE))].into(), "what it names, and no more");
    ada.sync(&grid, vec![running(order.attempt)]).await;
    let cancel = dsg_schemas::api::Act::Cancel { job };
    grid.post::<_, Acted>("/api/v1/acts", &cancel).await;
    assert_eq!(problem(grid.secrets(attempt, &ada.credential).await).await.status, 404, "it is to stop");
}

#[tokio::test]
async fn a_removed_secret_lets_chunks_wait_and_explain_says_so() {
    let grid = Grid::start().await;
    grid.set("token", VALUE, &grid.token).await;
    let job = grid.submit(SPEC).await;
    grid.call::<()>(Method::DELETE, "/api/v1/secrets/token", &grid.token, None).await;
    let mut ada = grid.runner("ada").await;
    assert_eq!(ada.sync(&grid, Vec::new()).await.orders.start, []);
    let explained: Explanation = grid.get(&format!("/api/v1/jobs/{job}/explain/main/0")).await;
    assert_eq!(explained.summary, "waits for secret `token`, which nobody has set (`dsg secret set token`)");
    grid.set("token", VALUE, &grid.token).await;
    assert_eq!(ada.sync(&grid, Vec::new()).await.orders.start.len(), 1);
}

#[tokio::test]
async fn a_store_without_its_key_says_so_and_jobs_wait_until_it_is_back() {
    let grid = Grid::start().await;
    grid.set("token", VALUE, &grid.token).await;
    let job = grid.submit(SPEC).await;
    is_nowhere(grid.data.path(), VALUE);
    let key = grid.data.path().join("secrets.key");
    let kept = grid.data.path().join("kept");
    fs::rename(&key, &kept).expect("moved");
    let grid = grid.restart().await;
    let overview: Overview = grid.get("/api/v1/overview").await;
    assert!(overview.banners.iter().any(|banner| banner.contains("sealed with another key")), "{:?}", overview.banners);
    let secrets: Vec<SecretView> = grid.get("/api/v1/secrets").await;
    assert!(secrets[0].locked.as_ref().is_some_and(|why| why.contains("bring that key file back")), "{secrets:?}");
    let mut ada = grid.runner("ada").await;
    assert_eq!(ada.sync(&grid, Vec::new()).await.orders.start, []);
    let explained: Explanation = grid.get(&format!("/api/v1/jobs/{job}/explain/main/0")).await;
    assert!(explained.summary.contains("sealed with key"), "{}", explained.summary);

    fs::rename(&kept, &key).expect("moved back");
    let grid = grid.restart().await;
    assert_eq!(grid.get::<Overview>("/api/v1/overview").await.banners, [""; 0]);
    ada.hello(&grid, "boot-1").await;
    let order = ada.sync(&grid, Vec::new()).await.orders.start.remove(0);
    let given: SecretValues = read(grid.secrets(order.attempt.0, &ada.credential).await).await;
    assert_eq!(given.values["token"], STANDARD.encode(VALUE));

    let dumped = grid.data;
    grid.server.stop().await;
    is_nowhere(dumped.path(), VALUE);
    let mut text = Vec::new();
    dsg_server::store::dump(dumped.path(), &mut text).expect("a dump");
    let text = String::from_utf8(text).expect("text");
    let row = text.lines().find(|line| line.contains("\tsecrets\t")).expect("its row");
    assert!(row.contains("\"token\"") && row.contains("\"sealed\":\"…\""), "{row}");
}
