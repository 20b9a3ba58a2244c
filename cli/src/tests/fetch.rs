//! Fetching results from a server that cuts connections, lies, and names files badly.
use super::*;
use crate::hash;

/// A file of 300 kB that is not the same anywhere.
fn content() -> Vec<u8> {
    (0..75_000_u32).flat_map(|number| number.wrapping_mul(2_654_435_761).to_le_bytes()).collect()
}

/// The answers to everything but blobs.
fn around(asked: &Asked, file: &str, bytes: &[u8], sha256: &str) -> Option<Response> {
    let stored =
        serde_json::json!({"name": file.trim_end_matches(".bin"), "file": file, "size": bytes.len(), "sha256": sha256});
    match asked.uri.path() {
        "/api/v1/jobs/42" => {
            let mut detail = job("partial", 1, 1, 0);
            detail["gathered"] =
                serde_json::json!([{"name": "all", "file": "all.csv", "size": bytes.len(), "sha256": sha256}]);
            Some(json(200, &detail))
        }
        "/api/v1/jobs/42/manifest" => {
            let line = |index: u32, status: &str, outputs: Value| {
                serde_json::json!({"index": index, "label": "", "status": status, "attempt": 1, "runner": "ada", "exit_code": 0,
                                   "reason": null, "outputs": outputs})
            };
            let text = format!(
                "{}\n{}\n",
                line(0, "succeeded", serde_json::json!([stored])),
                line(1, "failed", serde_json::json!([]))
            );
            Some(Response::new(Body::from(text)))
        }
        _ => None,
    }
}

fn from_of(asked: &Asked) -> usize {
    let range = asked.range.as_deref().and_then(|range| range.strip_prefix("bytes=")?.strip_suffix('-'));
    range.map_or(0, |from| from.parse().expect("a number"))
}

#[tokio::test]
async fn a_fetch_goes_on_where_it_was_cut_and_sends_nothing_twice() {
    let fake = Fake::serve(|asked| async move {
        let bytes = content();
        let sha256 = hash::of_bytes(&bytes);
        if let Some(response) = around(&asked, "out.bin", &bytes, &sha256) {
            return response;
        }
        assert_eq!(asked.uri.path(), format!("/api/v1/blobs/sha256/{sha256}"));
        let from = from_of(&asked);
        let (status, range) = if from > 0 {
            (206, format!("bytes {from}-{}/{}", bytes.len() - 1, bytes.len()))
        } else {
            (200, String::new())
        };
        let rest = &bytes[from..];
        // Each connection lives for 100 kB.
        let piece = &rest[..rest.len().min(100_000)];
        match piece.len() == rest.len() {
            true => Response::builder()
                .status(status)
                .header("content-range", range)
                .body(Body::from(piece.to_vec()))
                .expect("a response"),
            false => cut(status, &[("content-range", range)], piece),
        }
    })
    .await;
    let desk = Desk::at(&fake.url);
    let folder = desk.path("results");
    let said = desk.dsg(&["fetch", "42", "-o", &folder]).await;
    assert_eq!(said.code, 0, "{}", said.err);
    assert_eq!(desk.read("results/main/0/out.bin"), content());
    assert_eq!(desk.read("results/all.csv"), content());
    assert_eq!(String::from_utf8(desk.read("results/manifest.jsonl")).expect("UTF-8").lines().count(), 2);
    let expected =
        format!("2 files (586 KiB) fetched into {folder}\n1 chunks have no results; manifest.jsonl says why\n");
    assert_eq!(said.err, expected);
    let blobs =
        |fake: &Fake| fake.asked().into_iter().filter(|asked| asked.uri.path().contains("blobs")).collect::<Vec<_>>();
    let resumed = blobs(&fake).iter().filter(|asked| asked.range.is_some()).count();
    assert!(resumed >= 2, "broken downloads must be gone on with");
    let before = blobs(&fake).len();
    let said = desk.dsg(&["fetch", "42", "-o", &folder]).await;
    assert_eq!((said.code, blobs(&fake).len()), (0, before), "{}", said.err);
    assert!(said.err.starts_with("0 files (0 B) fetched into"), "{}", said.err);
    // A file that rotted on our disk is fetched again; a part that was left is used.
    desk.put("results/all.csv", vec![0; content().len()]);
    let said = desk.dsg(&["fetch", "42", "-o", &folder, "--only", "gathered", "--format", "ndjson"]).await;
    assert_eq!(said.code, 0);
    let count: Value = serde_json::from_str(&said.out).expect("JSON");
    assert_eq!((&count["fetched"], &count["there"]), (&1.into(), &0.into()));
    assert_eq!(desk.read("results/all.csv"), content());
}

#[tokio::test]
async fn wrong_bytes_are_never_kept() {
    let fake = Fake::serve(|asked| async move {
        let bytes = content();
        match around(&asked, "out.bin", &bytes, &hash::of_bytes(&bytes)) {
            Some(response) => response,
            None => Response::new(Body::from(vec![7; bytes.len()])),
        }
    })
    .await;
    let desk = Desk::at(&fake.url);
    let said = desk.dsg(&["fetch", "42", "-o", &desk.path("results")]).await;
    assert_eq!(said.code, 1);
    assert!(said.err.contains("not with the sha256 that was promised"), "{}", said.err);
    let left: Vec<_> = std::fs::read_dir(desk.path("results/main/0")).expect("listed").collect();
    assert_eq!(left.len(), 0, "{left:?}");
}

#[tokio::test]
async fn no_file_leaves_the_folder_and_none_of_another_is_lost() {
    let fake = Fake::serve(|asked| async move {
        let bytes = b"x".to_vec();
        match around(&asked, "../../../escaped", &bytes, &hash::of_bytes(&bytes)) {
            Some(response) => response,
            None => Response::new(Body::from(bytes)),
        }
    })
    .await;
    let desk = Desk::at(&fake.url);
    desk.put("results/all.csv", "mine");
    let said = desk.dsg(&["fetch", "42", "-o", &desk.path("results")]).await;
    assert_eq!(said.code, 1);
    assert!(said.err.contains("is in the way"), "{}", said.err);
    assert_eq!(desk.read("results/all.csv"), b"mine");
    assert_eq!(desk.read("results/main/0/_/_/_/escaped"), b"x");
    assert!(!desk.home.path().join("escaped").exists());
    let said = desk.dsg(&["fetch", "42", "-o", &desk.path("results"), "--force"]).await;
    assert_eq!((said.code, desk.read("results/all.csv")), (0, b"x".to_vec()));
}
