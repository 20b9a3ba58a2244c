//! Checking and submitting: uploads that break off, answers that get lost, job files that are wrong.
use std::collections::BTreeMap;

use super::*;
use crate::hash;

const GOOD: &str = "name: radium\nimage: debian:12\ncommand: [sha256sum, /in/big.bin]\nchunks:\n  count: 3\ninputs:\n  - name: big\n    from: upload:data/big.bin\n    path: /in/big.bin\n";

fn big() -> Vec<u8> {
    (0..(9 << 20) / 4_u32).flat_map(u32::to_le_bytes).collect()
}

/// Keeps blobs by path; every second piece is stored, but its answer is lost.
#[derive(Clone, Default)]
struct Store {
    blobs: Arc<Mutex<BTreeMap<String, Vec<u8>>>>,
    jobs: Arc<Mutex<Vec<Value>>>,
    pieces: Arc<Mutex<u32>>,
}

impl Store {
    fn answer(&self, asked: &Asked) -> Response {
        match (asked.method.as_str(), asked.uri.path()) {
            ("HEAD", path) => json(if self.blob(path).is_some() { 200 } else { 404 }, &Value::Null),
            ("PUT", path) => self.put(path, asked),
            ("POST", "/api/v1/jobs") => {
                let mut jobs = self.jobs.lock().expect("not poisoned");
                jobs.push(asked.json());
                if jobs.len() == 1 {
                    return cut(201, &[], b"{\"job\"");
                }
                json(201, &serde_json::json!({"job": 42, "chunks": 3, "warnings": ["no runner is \u{1b}[2Jhere"]}))
            }
            _ => problem(404, "no such route"),
        }
    }
    fn blob(&self, path: &str) -> Option<Vec<u8>> {
        let blob = self.blobs.lock().expect("not poisoned").get(path).cloned()?;
        path.ends_with(&hash::of_bytes(&blob)).then_some(blob)
    }
    fn put(&self, path: &str, asked: &Asked) -> Response {
        let mut blobs = self.blobs.lock().expect("not poisoned");
        let blob = blobs.entry(path.to_owned()).or_default();
        let (offset, size) = (asked.query("offset").expect("an offset"), asked.query("size").expect("a size"));
        let fits = offset == blob.len() as u64;
        if fits {
            blob.extend_from_slice(&asked.body);
        }
        let have = serde_json::json!({"have": blob.len(), "complete": blob.len() as u64 == size});
        let mut pieces = self.pieces.lock().expect("not poisoned");
        *pieces += 1;
        match (fits, *pieces % 2) {
            (true, 1) => cut(200, &[], b"{"),
            (true, _) => json(200, &have),
            (false, _) => json(409, &have),
        }
    }
}

async fn store() -> (Store, Fake) {
    let store = Store::default();
    let kept = store.clone();
    let fake = Fake::serve(move |asked| {
        let store = kept.clone();
        async move { store.answer(&asked) }
    })
    .await;
    (store, fake)
}

#[tokio::test]
async fn lost_answers_cost_nothing_and_make_no_second_job() {
    let (store, fake) = store().await;
    let desk = Desk::at(&fake.url);
    desk.put("data/big.bin", big());
    let file = desk.put("job.yaml", GOOD);
    let said = desk.dsg(&["submit", &file]).await;
    assert_eq!(said.code, 0, "{}", said.err);
    assert_eq!(said.out, "42\n");
    let expected =
        "warning: no runner is \\u{1b}[2Jhere\njob 42 submitted: radium, 3 chunks; `dsg logs 42 -f` follows it\n";
    assert_eq!(said.err, expected);
    let path = format!("/api/v1/blobs/sha256/{}", hash::of_bytes(&big()));
    assert_eq!(store.blob(&path).expect("whole").len(), 9 << 20);
    let jobs = store.jobs.lock().expect("not poisoned").clone();
    assert_eq!((jobs.len(), &jobs[0]), (2, &jobs[1]), "the same request is sent again");
    assert_eq!(jobs[0]["request"].as_str().expect("a request").len(), 32);
    assert_eq!(jobs[0]["uploads"]["data/big.bin"]["size"], 9 << 20);
    let puts = fake.lines().iter().filter(|line| line.starts_with("PUT")).count();
    let said = desk.dsg(&["submit", &file]).await;
    assert_eq!(said.code, 0, "{}", said.err);
    assert_eq!(
        fake.lines().iter().filter(|line| line.starts_with("PUT")).count(),
        puts,
        "what is there is not sent again"
    );
    let jobs = store.jobs.lock().expect("not poisoned").clone();
    assert_ne!(jobs[1]["request"], jobs[2]["request"], "a second submit is a second job");
}

#[tokio::test]
async fn wrong_job_files_are_never_sent() {
    let (_, fake) = store().await;
    let desk = Desk::at(&fake.url);
    let file = desk.put("job.yaml", GOOD.replace("image", "imagge"));
    for words in [["submit", &file], ["check", &file]] {
        let said = desk.dsg(&words).await;
        assert_eq!(said.code, 7);
        assert!(
            said.err.contains(&format!("{file}:2:1: ")) && said.err.contains("2 | imagge: debian:12"),
            "{}",
            said.err
        );
        assert!(said.err.contains("did you mean") && !said.err.contains("error:"), "{}", said.err);
    }
    assert_eq!(fake.lines(), Vec::<String>::new());
    let missing = desk.put("other.yaml", GOOD.replace("big.bin\n    path", "bag.bin\n    path"));
    let said = desk.dsg(&["check", &missing]).await;
    assert_eq!(said.code, 7, "{}", said.err);
    assert!(said.err.contains("no such file beside the job file"), "{}", said.err);
}

#[tokio::test]
async fn a_check_without_a_server_is_a_check_all_the_same() {
    let desk = Desk::new();
    desk.put("data/big.bin", "small");
    let file = desk.put("job.yaml", GOOD);
    let said = desk.dsg(&["check", &file, "--plan"]).await;
    assert_eq!((said.code, said.err), (0, format!("{file} is right: 3 chunks\n")));
    assert!(said.out.contains("command  sha256sum /in/big.bin"), "{}", said.out);
    assert!(said.out.contains("DSG_CHUNK_COUNT=3"), "{}", said.out);
    let said = desk.dsg(&["check", &file, "-o", "json"]).await;
    let checked: Value = serde_json::from_str(&said.out).expect("JSON");
    assert_eq!((&checked["ok"], &checked["chunks"]), (&true.into(), &3.into()));
}
