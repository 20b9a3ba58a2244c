//! What is wrong is said as a problem, whoever finds it.
use dsg_schemas::api::{Checked, Submit, Upload};
use reqwest::Method;
use serde_json::{Value, json};

use super::grid::{Grid, HELLO, problem};

#[tokio::test]
async fn every_refusal_has_a_code_and_a_sentence() {
    let grid = Grid::start().await;
    let cases = [
        (Method::GET, "/api/v1/nothing", None, 404, "not_found"),
        (Method::GET, "/api/v1/jobs/99", None, 404, "not_found"),
        (Method::GET, "/api/v1/jobs/ninety", None, 404, "not_found"),
        (Method::GET, "/api/v1/jobs/..%2f..%2fetc", None, 404, "not_found"),
        (Method::GET, "/api/v1/jobs/1/chunks/main/0", None, 404, "not_found"),
        (Method::GET, "/api/v1/jobs/1/explain/fit/0", None, 404, "not_found"),
        (Method::GET, "/api/v1/jobs?stat=failed", None, 400, "bad_request"),
        (Method::GET, "/api/v1/jobs?state=broken", None, 400, "bad_request"),
        (Method::GET, "/api/v1/jobs?cursor=x", None, 400, "bad_request"),
        (Method::PUT, "/api/v1/jobs", None, 405, "method_not_allowed"),
        (Method::POST, "/api/v1/acts", Some(json!({"act": "explode"})), 400, "bad_request"),
        (Method::POST, "/api/v1/acts", Some(json!({"act": "cancel", "job": 99})), 404, "not_found"),
        (Method::POST, "/api/v1/tokens", Some(json!({"kind": "viewer", "name": ""})), 400, "bad_request"),
        (Method::POST, "/api/v1/tokens", Some(json!({"kind": "join", "name": "j", "uses": 0})), 400, "bad_request"),
        (Method::POST, "/api/v1/tokens", Some(json!({"kind": "join", "name": "j", "hours": 0})), 400, "bad_request"),
        (Method::GET, "/api/v1/runners?state=happy", None, 400, "bad_request"),
        (Method::GET, "/api/v1/queue?cursor=x", None, 400, "bad_request"),
        (Method::POST, "/api/v1/jobs", Some(json!({"spec": "x".repeat(3 << 20)})), 413, "body_too_large"),
        (Method::DELETE, "/api/v1/tokens/none", None, 404, "not_found"),
    ];
    for (method, path, body, status, code) in cases {
        let found = grid.refused::<Value>(method, path, &grid.token, body.as_ref()).await;
        assert_eq!((found.status, found.code.as_str()), (status, code), "{path}: {found:?}");
    }
    let form = grid.http.post(format!("{}/api/v1/acts", grid.server.url)).bearer_auth(&grid.token);
    let form = form.header("content-type", "text/plain").body(r#"{"act":"cancel","job":1}"#).send().await;
    assert_eq!(problem(form.expect("an answer")).await.code, "wrong_content_type");
    let login =
        grid.http.post(format!("{}/login", grid.server.url)).header("content-type", "text/plain").body("token=x");
    assert_eq!(problem(login.send().await.expect("an answer")).await.code, "bad_request");
}

#[tokio::test]
async fn a_wrong_job_file_is_answered_with_everything_that_is_wrong() {
    let grid = Grid::start().await;
    let wrong = HELLO.replace("command", "comand").replace("count: 2", "count: -2");
    let submit = Submit { spec: wrong, ..Submit::default() };
    let refused = grid.refused(Method::POST, "/api/v1/jobs", &grid.token, Some(&submit)).await;
    assert_eq!((refused.status, refused.code.as_str()), (422, "spec_invalid"));
    let place = refused.problems.iter().find(|problem| problem.path.contains("comand")).expect("the misspelt key");
    assert_eq!(place.line, 3, "{place:?}");
    let checked: Checked = grid.post("/api/v1/check", &submit).await;
    assert_eq!((checked.ok, checked.problems), (false, refused.problems));

    let right: Checked = grid.post("/api/v1/check", &Submit { spec: HELLO.to_owned(), ..Submit::default() }).await;
    assert_eq!((right.ok, right.chunks, right.first.len()), (true, 2, 2));
    assert_eq!(grid.get::<dsg_schemas::api::Page<dsg_schemas::api::JobView>>("/api/v1/jobs").await.rows, []);
}

#[tokio::test]
async fn a_job_whose_files_are_not_there_is_refused() {
    let grid = Grid::start().await;
    let spec =
        "name: rows\nimage: busybox\ncommand: [echo, '{{item.name}}']\nchunks: {rows: {from: 'upload:people.csv'}}\n";
    let bytes = b"name\nada\nbyron\n";
    let (hash, size) = grid.server.app.blobs.write(bytes).expect("stored");
    let mut submit = Submit { spec: spec.to_owned(), ..Submit::default() };
    submit.uploads.insert("people.csv".to_owned(), Upload { size: size + 1, sha256: hash.to_string() });
    let refused = grid.refused(Method::POST, "/api/v1/jobs", &grid.token, Some(&submit)).await;
    assert_eq!(refused.code, "upload_missing");
    submit.uploads.insert("people.csv".to_owned(), Upload { size, sha256: hash.to_string() });
    let done: dsg_schemas::api::Submitted = grid.post("/api/v1/jobs", &submit).await;
    assert_eq!(done.chunks, 2);
    let grid = grid.restart().await;
    let mut ada = grid.runner("ada").await;
    let orders = ada.sync(&grid, Vec::new()).await.orders.start;
    assert_eq!(orders[1].command, ["echo", "byron"], "the rows are read back after a restart");
}
