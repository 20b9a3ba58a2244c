//! Following logs over connections that break, and a job to its end.
use super::*;

fn line(n: u64, text: &str) -> Value {
    serde_json::json!({"n": n, "time_ms": 1_700_000_000_000_u64 + n, "stream": "stdout", "text": text})
}

fn chunk(index: u64, state: &str, attempts: u32) -> Value {
    let (reason, code) =
        if state == "failed" { (Value::from("exit"), Value::from(3)) } else { (Value::Null, Value::Null) };
    serde_json::json!({
        "id": {"job": 42, "stage": 0, "index": index}, "label": "", "state": state, "attempts": attempts, "reason": reason,
        "exit_code": code, "message": if state == "failed" { "it failed" } else { "" }, "runner": "ada", "started_ms": 1, "ended_ms": 2,
        "not_before_ms": null
    })
}

fn detail(index: u64, state: &str, attempts: u32) -> Value {
    let mut detail = chunk(index, state, attempts);
    let attempt = |number: u32| {
        serde_json::json!({
            "id": index * 10 + u64::from(number), "number": number, "runner": 1, "runner_name": "ada", "phase": "ended", "note": "",
            "leased_ms": 0, "started_ms": 1, "ended_ms": 2, "run_ms": 1, "reason": "succeeded", "message": "", "exit_code": 0,
            "signal": null, "peak_memory_bytes": null, "cpu_ms": null, "gpus": [], "image_id": null, "outputs": [], "accepted": false
        })
    };
    detail["job_name"] = "radium".into();
    detail["items"] = serde_json::json!([]);
    detail["command"] = serde_json::json!([]);
    detail["history"] = (1..=attempts).map(attempt).collect();
    detail["explanation"] = Value::Null;
    detail
}

/// Two lines of a log at a time, then the connection breaks; five lines in all.
fn log(asked: &Asked) -> Response {
    let from = asked.query("from").unwrap_or(0);
    let attempt = asked.uri.path().split('/').nth(4).expect("an attempt");
    let to = (from + 2).min(5);
    let lines: Vec<Value> = (from..to).map(|n| line(n, &format!("{attempt} says {n}"))).collect();
    let page = serde_json::json!({"lines": lines, "next": to, "total": 5, "stdout_bytes": 0, "stderr_bytes": 0, "ended": to == 5,
                                  "missing_bytes": 0});
    cut(
        200,
        &[("content-type", "text/event-stream".to_owned())],
        format!(": hello\n\nid: {to}\ndata: {page}\n\n").as_bytes(),
    )
}

#[tokio::test]
async fn a_log_is_followed_over_broken_connections_and_each_line_comes_once() {
    let fake = Fake::serve(|asked| async move {
        match asked.uri.path() {
            "/api/v1/jobs/42/chunks/main/7" => json(200, &detail(7, "running", 2)),
            _ => log(&asked),
        }
    })
    .await;
    let said = Desk::at(&fake.url).dsg(&["logs", "42/7", "-f"]).await;
    assert_eq!(said.code, 0, "{}", said.err);
    assert_eq!(said.out, "72 says 0\n72 says 1\n72 says 2\n72 says 3\n72 says 4\n", "the last attempt, each line once");
    let follows = [
        "GET /api/v1/attempts/72/log/follow?from=0",
        "GET /api/v1/attempts/72/log/follow?from=2",
        "GET /api/v1/attempts/72/log/follow?from=4",
    ];
    assert_eq!(fake.lines()[1..], follows);
    let said = Desk::at(&fake.url).dsg(&["logs", "42/7", "--attempt", "9"]).await;
    assert_eq!((said.code, said.err.as_str()), (5, "error: chunk 42/7 has no attempt 9\n"));
    let said = Desk::at(&fake.url).dsg(&["logs", "42"]).await;
    assert_eq!(said.code, 2);
}

#[tokio::test]
async fn a_job_is_followed_to_its_end_with_every_log_and_every_failure() {
    let polls = Arc::new(Mutex::new(0));
    let fake = Fake::serve(move |asked| {
        let polls = polls.clone();
        async move {
            match asked.uri.path() {
                "/api/v1/jobs/42" => {
                    let mut polls = polls.lock().expect("not poisoned");
                    *polls += 1;
                    json(200, &if *polls < 3 { job("running", 0, 0, 2) } else { job("partial", 1, 1, 0) })
                }
                "/api/v1/jobs/42/chunks" => {
                    let (one, two) = if *polls.lock().expect("not poisoned") < 3 {
                        ("running", "waiting")
                    } else {
                        ("succeeded", "failed")
                    };
                    let rows = [chunk(0, one, 1), chunk(1, two, u32::from(two == "failed") * 2)];
                    json(200, &serde_json::json!({ "rows": rows }))
                }
                "/api/v1/jobs/42/chunks/main/0" => json(200, &detail(0, "succeeded", 1)),
                "/api/v1/jobs/42/chunks/main/1" => json(200, &detail(1, "failed", 2)),
                _ => log(&asked),
            }
        }
    })
    .await;
    let said = Desk::at(&fake.url).dsg(&["logs", "42", "-f"]).await;
    assert_eq!(said.code, 3, "{}", said.err);
    let mut lines: Vec<&str> = said.out.lines().collect();
    lines.sort_unstable();
    let mut expected: Vec<String> = Vec::new();
    for (chunk, attempt) in [(0, 1), (1, 11), (1, 12)] {
        expected.extend((0..5).map(|n| format!("[{chunk}@ada] {attempt} says {n}")));
    }
    expected.sort_unstable();
    assert_eq!(lines, expected, "all attempts of all chunks, the quick ones too, each line once");
    let expected = "\
job 42 running: 2 waiting
chunk 42/1 failed after attempt 2: exit 3: it failed
job 42 partial: 1 of 2 chunks succeeded, in 1m 01s
  see `dsg chunks 42 --failed`, then `dsg retry 42 --failed`
  results: dsg fetch 42 -o results/
";
    assert_eq!(said.err, expected);
}
