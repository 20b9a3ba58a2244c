//! The exit status of whole commands, and what is said with it.
use super::*;

#[tokio::test]
async fn the_servers_refusals_become_statuses() {
    let cases = [(401, 4), (403, 4), (404, 5), (409, 8), (500, 1), (422, 7)];
    for (status, code) in cases {
        let fake = Fake::serve(move |_| async move { problem(status, "no") }).await;
        let said = Desk::at(&fake.url).dsg(&["show", "42"]).await;
        assert_eq!(said.code, code, "{status}");
        assert_eq!(said.out, "");
        assert!(said.err.starts_with("error: cannot show job 42: no, in detail\n"), "{}", said.err);
        assert_eq!(fake.lines(), ["GET /api/v1/jobs/42"], "a refusal is not asked for twice");
        assert_eq!(fake.asked()[0].bearer.as_deref(), Some("Bearer dsg_u_test"));
    }
}

#[tokio::test]
async fn programs_get_the_problem_as_it_came() {
    let fake = Fake::serve(|_| async { problem(404, "there is no job 42") }).await;
    let said = Desk::at(&fake.url).dsg(&["show", "42", "-o", "ndjson"]).await;
    let value: Value = serde_json::from_str(&said.out).expect("JSON");
    assert_eq!((said.code, &value["code"], &value["status"]), (5, &"some_code".into(), &404.into()));
}

#[tokio::test]
async fn a_server_that_is_not_there_is_unreachable() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let url = format!("http://{}", listener.local_addr().expect("an address"));
    drop(listener);
    let said = Desk::at(&url).dsg(&["jobs"]).await;
    assert_eq!(said.code, 6);
    assert!(said.err.contains(&format!("cannot reach {url}/: ")), "{}", said.err);
}

#[tokio::test]
async fn a_busy_server_is_asked_again() {
    let count = Arc::new(Mutex::new(0));
    let fake = Fake::serve(move |_| {
        let count = count.clone();
        async move {
            let mut count = count.lock().expect("not poisoned");
            *count += 1;
            if *count < 3 { problem(503, "busy") } else { json(200, &serde_json::json!({"rows": []})) }
        }
    })
    .await;
    let said = Desk::at(&fake.url).dsg(&["jobs"]).await;
    assert_eq!((said.code, fake.lines().len()), (0, 3));
}

#[tokio::test]
async fn without_a_login_there_is_a_hint() {
    let said = Desk::new().dsg(&["jobs"]).await;
    assert_eq!(said.code, 4);
    assert_eq!(said.err, "error: not logged in to any server\nhint: `dsg login URL`, with a token from its admin\n");
}

#[tokio::test]
async fn waiting_ends_with_the_jobs_result() {
    for (state, code) in [("succeeded", 0), ("partial", 3), ("failed", 3), ("cancelled", 3)] {
        let fake = Fake::serve(move |_| async move { json(200, &job(state, 3, 1, 0)) }).await;
        let said = Desk::at(&fake.url).dsg(&["wait", "42"]).await;
        assert_eq!(said.code, code, "{state}");
        assert!(said.err.starts_with(&format!("job 42 {state}: 3 of 4 chunks succeeded, in 1m 01s\n")), "{}", said.err);
    }
    let fake = Fake::serve(|_| async { json(200, &job("running", 0, 0, 4)) }).await;
    let said = Desk::at(&fake.url).dsg(&["wait", "42", "--timeout", "20ms"]).await;
    assert_eq!((said.code, said.err.as_str()), (124, "error: job 42 has not ended within 20ms\n"));
}

#[tokio::test]
async fn deleting_needs_a_yes_where_nobody_can_be_asked() {
    let acted = serde_json::json!({"count": 1, "message": "job 42 is deleted"});
    let fake = Fake::serve(move |_| {
        let acted = acted.clone();
        async move { json(200, &acted) }
    })
    .await;
    let desk = Desk::at(&fake.url);
    assert_eq!(desk.dsg(&["delete", "42"]).await.code, 2);
    assert_eq!(fake.lines().len(), 0);
    let said = desk.dsg(&["delete", "42", "--yes"]).await;
    assert_eq!((said.code, said.err.as_str()), (0, "job 42 is deleted\n"));
    assert_eq!(fake.asked()[0].json(), serde_json::json!({"act": "delete", "job": 42}));
}

#[tokio::test]
async fn lists_are_read_page_after_page() {
    let fake = Fake::serve(|asked: Asked| async move {
        let row = |index: u64| {
            serde_json::json!({
                "id": {"job": 42, "stage": 0, "index": index}, "label": "", "state": "failed", "attempts": 1, "reason": "oom",
                "exit_code": null, "message": "", "runner": null, "started_ms": null, "ended_ms": null, "not_before_ms": null
            })
        };
        match asked.query("cursor") {
            None => json(200, &serde_json::json!({"rows": [row(0), row(1)], "next": "2"})),
            Some(first) => json(200, &serde_json::json!({"rows": [row(first)]})),
        }
    })
    .await;
    let desk = Desk::at(&fake.url);
    let said = desk.dsg(&["chunks", "42", "--failed", "-o", "ndjson"]).await;
    assert_eq!((said.code, said.out.lines().count()), (0, 3));
    assert_eq!(
        fake.lines(),
        [
            "GET /api/v1/jobs/42/chunks?stage=main&limit=200&state=failed",
            "GET /api/v1/jobs/42/chunks?stage=main&limit=200&state=failed&cursor=2"
        ]
    );
    let said = desk.dsg(&["chunks", "42", "-n", "1"]).await;
    assert_eq!(said.out.lines().count(), 2);
    assert_eq!(said.err, "the first 1 are shown; --all shows the rest\n");
}
