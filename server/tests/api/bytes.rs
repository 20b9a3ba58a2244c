//! Logs, blobs and joined files over HTTP: what a runner sends is what people get.
use dsg_schemas::api::{BlobHave, JobState, LogPage, ManifestLine};
use dsg_schemas::ids::{AttemptId, JobId};
use dsg_schemas::reason::EndReason;
use dsg_schemas::wire::log::{self, LogAnswer, LogHave, Piece, Stream};
use dsg_schemas::wire::{AttemptReport, Ended, Phase, StoredFile};
use dsg_server::blobs::BlobHash;
use reqwest::{Method, Response, header};

use super::grid::{Grid, HELLO, Runner, is, problem, read, running};

const SUMS: &str = "
name: sums
image: busybox
command: [sum]
chunks: {count: 3}
outputs: [{name: table, path: /out/table.csv}]
gather: {mode: csv, from: table, output: all}
";

impl Grid {
    pub(super) async fn fetch(&self, path: &str, headers: &[(header::HeaderName, &str)]) -> Response {
        let request = self.http.get(format!("{}{path}", self.server.url)).bearer_auth(&self.token);
        let request = headers.iter().fold(request, |request, (name, value)| request.header(name, *value));
        request.send().await.expect("an answer")
    }
    pub(super) async fn put(&self, token: &str, hash: BlobHash, offset: u64, size: usize, bytes: &[u8]) -> Response {
        let path = format!("{}/api/v1/blobs/sha256/{hash}?offset={offset}&size={size}", self.server.url);
        self.http.put(path).bearer_auth(token).body(bytes.to_vec()).send().await.expect("an answer")
    }
    pub(super) async fn append(
        &self,
        runner: &Runner,
        attempt: AttemptId,
        pieces: &[(Stream, u64, &[u8])],
    ) -> Response {
        let mut batch = Vec::new();
        for (stream, offset, bytes) in pieces {
            log::push(&mut batch, &Piece { stream: *stream, time_ms: 1, offset: *offset, bytes });
        }
        let path = format!("{}/api/v1/attempts/{attempt}/log", self.server.url);
        let request = self.http.patch(path).bearer_auth(&runner.credential);
        request.header("content-type", log::CONTENT_TYPE).body(batch).send().await.expect("an answer")
    }
    /// Starts everything that is there, and says how each ended.
    async fn run_all(&self, runner: &mut Runner, left: impl Fn(u32) -> String) {
        let start = runner.sync(self, Vec::new()).await.orders.start;
        let mut reports = Vec::new();
        for order in start {
            let text = left(order.chunk.index);
            let hash = BlobHash::of(text.as_bytes());
            is(&self.put(&runner.credential, hash, 0, text.len(), text.as_bytes()).await, 200);
            let (name, file) = ("table".to_owned(), "table.csv".to_owned());
            let file = StoredFile { name, file, size: text.len() as u64, sha256: hash.to_string() };
            let ended =
                Ended { exit_code: Some(0), outputs: vec![file], ..Ended::before_start(EndReason::Succeeded, "") };
            reports.push(AttemptReport { attempt: order.attempt, phase: Phase::Ended(Box::new(ended)) });
        }
        runner.sync(self, reports).await;
    }
    pub(super) async fn ended(&self, job: JobId) -> dsg_schemas::api::JobDetail {
        loop {
            let detail = self.job(job).await;
            if detail.job.state.is_final() {
                return detail;
            }
            tokio::task::yield_now().await;
        }
    }
}

fn header_of(answer: &Response, name: header::HeaderName) -> &str {
    answer.headers().get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
}

#[tokio::test]
async fn a_blob_goes_up_in_pieces_and_comes_down_in_ranges() {
    let grid = Grid::start().await;
    let bytes: Vec<u8> = (0..100_000u32).map(|at| (at % 251) as u8).collect();
    let (hash, size) = (BlobHash::of(&bytes), bytes.len());
    let path = format!("/api/v1/blobs/sha256/{hash}");
    is(&grid.fetch(&path, &[]).await, 404);
    let have: BlobHave = read(grid.put(&grid.token, hash, 0, size, &bytes[..40_000]).await).await;
    assert_eq!(have, BlobHave { have: 40_000, complete: false });
    let wrong = grid.put(&grid.token, hash, 0, size, &bytes[..40_000]).await;
    is(&wrong, 409);
    assert_eq!(wrong.json::<BlobHave>().await.expect("where to go on"), have);
    is(&grid.fetch(&path, &[]).await, 404);
    // A whole piece, far more than a socket holds: the answer must arrive all the same.
    is(&grid.put(&grid.token, hash, 1, 9 << 20, &vec![0; 8 << 20]).await, 409);
    let grid = grid.restart().await;
    let have: BlobHave = read(grid.put(&grid.token, hash, 40_000, size, &bytes[40_000..]).await).await;
    assert_eq!(have, BlobHave { have: size as u64, complete: true });

    let head = grid.call::<()>(Method::HEAD, &path, &grid.token, None).await;
    is(&head, 200);
    assert_eq!(header_of(&head, header::CONTENT_LENGTH), "100000");
    let whole = grid.fetch(&path, &[]).await;
    let tag = header_of(&whole, header::ETAG).to_owned();
    assert!(header_of(&whole, header::CONTENT_DISPOSITION).starts_with("attachment"));
    assert_eq!(header_of(&whole, header::X_CONTENT_TYPE_OPTIONS), "nosniff");
    assert!(header_of(&whole, header::CONTENT_SECURITY_POLICY).contains("sandbox"));
    assert_eq!(whole.bytes().await.expect("bytes"), bytes);
    let part = grid.fetch(&path, &[(header::RANGE, "bytes=99990-"), (header::IF_RANGE, &tag)]).await;
    is(&part, 206);
    assert_eq!(header_of(&part, header::CONTENT_RANGE), "bytes 99990-99999/100000");
    assert_eq!(part.bytes().await.expect("bytes"), bytes[99_990..]);
    is(&grid.fetch(&path, &[(header::RANGE, "bytes=100000-")]).await, 416);
    is(&grid.fetch(&path, &[(header::RANGE, "bytes=0-1"), (header::IF_RANGE, "\"other\"")]).await, 200);
    is(&grid.fetch(&path, &[(header::IF_NONE_MATCH, &tag)]).await, 304);

    let lie = problem(grid.put(&grid.token, BlobHash::of(b"truth"), 0, 3, b"lie").await).await;
    assert_eq!((lie.status, &lie.code[..]), (422, "wrong_hash"));
    for path in ["..%2f..%2fadmin.token", "%00", &"a".repeat(63), &"A".repeat(64), &"g".repeat(64), &"a".repeat(5000)] {
        is(&grid.fetch(&format!("/api/v1/blobs/sha256/{path}"), &[]).await, 404);
    }
}

#[tokio::test]
async fn a_log_reaches_its_followers_and_stays_after_the_end() {
    let grid = Grid::start().await;
    let mut runner = grid.runner("ada").await;
    grid.submit(HELLO).await;
    let attempt = runner.sync(&grid, Vec::new()).await.orders.start[0].attempt;
    let path = format!("/api/v1/attempts/{attempt}/log");
    let mut follow = grid.fetch(&format!("{path}/follow"), &[]).await;
    let LogAnswer { have, .. } = read(grid.append(&runner, attempt, &[(Stream::Stdout, 0, b"one\ntw")]).await).await;
    assert_eq!(have, LogHave { stdout: 6, stderr: 0 });
    // A lost answer: the same again, with more; and a gap, which is not taken.
    let again: &[(Stream, u64, &[u8])] = &[(Stream::Stdout, 0, b"one\ntwo\n"), (Stream::Stderr, 5, b"gap")];
    let LogAnswer { have, .. } = read(grid.append(&runner, attempt, again).await).await;
    assert_eq!(have, LogHave { stdout: 8, stderr: 0 });
    let other = grid.runner("eve").await;
    assert_eq!(problem(grid.append(&other, attempt, &[(Stream::Stdout, 8, b"forged\n")]).await).await.code, "fenced");
    is(&grid.append(&runner, AttemptId(999), &[(Stream::Stdout, 0, b"x")]).await, 409);
    let shown: LogPage = grid.get(&path).await;
    assert_eq!((shown.total, shown.ended), (2, false));

    runner.sync(&grid, vec![running(attempt)]).await;
    read::<LogAnswer>(grid.append(&runner, attempt, &[(Stream::Stderr, 0, b"last")]).await).await;
    let mut ended = Ended { exit_code: Some(3), ..Ended::before_start(EndReason::Exit, "it failed") };
    (ended.stdout_bytes, ended.stderr_bytes) = (8, 4);
    let report = AttemptReport { attempt, phase: Phase::Ended(Box::new(ended)) };
    assert_eq!(runner.sync(&grid, vec![report]).await.orders.forget, [attempt]);

    // The stream ends by itself, and said each line once.
    let mut events = String::new();
    while let Some(bytes) = follow.chunk().await.expect("a stream that ends well") {
        events.push_str(std::str::from_utf8(&bytes).expect("text"));
    }
    let pages = events.lines().filter_map(|line| line.strip_prefix("data: "));
    let pages: Vec<LogPage> = pages.map(|page| serde_json::from_str(page).expect("a page")).collect();
    let lines: Vec<(u64, &str)> =
        pages.iter().flat_map(|page| &page.lines).map(|line| (line.n, &line.text[..])).collect();
    assert_eq!(lines, [(0, "one"), (1, "two"), (2, "last")]);
    assert!(pages.last().is_some_and(|page| page.ended && page.missing_bytes == 0));
    let comes_back = ("last-event-id".parse().expect("a name"), "3");
    is(&grid.fetch(&format!("{path}/follow"), &[comes_back]).await, 204);

    let grid = grid.restart().await;
    let tail: LogPage = grid.get(&format!("{path}?tail=1")).await;
    assert_eq!((&tail.lines[0].text[..], tail.total, tail.ended), ("last", 3, true));
    let raw = grid.fetch(&format!("{path}/raw"), &[]).await;
    assert_eq!(header_of(&raw, header::CONTENT_TYPE), "text/plain; charset=utf-8");
    assert_eq!(raw.text().await.expect("text"), "one\ntwo\nlast");
    let part = grid.fetch(&format!("{path}/raw?stream=stdout"), &[(header::RANGE, "bytes=4-6")]).await;
    is(&part, 206);
    assert_eq!(part.text().await.expect("text"), "two");
    for path in ["/api/v1/attempts/999/log", "/api/v1/attempts/x/log", "/api/v1/attempts/..%2f1/log/raw"] {
        is(&grid.fetch(path, &[]).await, 404);
    }
}

#[tokio::test]
async fn what_chunks_left_is_joined_and_listed() {
    let grid = Grid::start().await;
    let mut runner = grid.runner("ada").await;
    let job = grid.submit(SUMS).await;
    grid.run_all(&mut runner, |index| format!("chunk,sum\n{index},{}\n", index * 10)).await;
    let detail = grid.ended(job).await;
    assert_eq!((detail.job.state, &detail.gather_problem), (JobState::Succeeded, &None));
    let [file] = &detail.gathered[..] else { panic!("{:?}", detail.gathered) };
    assert_eq!((&file.name[..], &file.file[..]), ("all", "all.csv"));
    let joined = grid.fetch(&format!("/api/v1/blobs/sha256/{}?name={}", file.sha256, file.file), &[]).await;
    assert_eq!(header_of(&joined, header::CONTENT_DISPOSITION), "attachment; filename=\"all.csv\"");
    assert_eq!(joined.text().await.expect("text"), "chunk,sum\n0,0\n1,10\n2,20\n");

    let manifest = grid.fetch(&format!("/api/v1/jobs/{job}/manifest"), &[]).await.text().await.expect("text");
    let lines: Vec<ManifestLine> = manifest.lines().map(|line| serde_json::from_str(line).expect("a line")).collect();
    assert_eq!(
        lines.iter().map(|line| (line.index, line.attempt)).collect::<Vec<_>>(),
        [(0, Some(1)), (1, Some(1)), (2, Some(1))]
    );
    assert!(lines.iter().all(|line| line.outputs.len() == 1 && line.runner.as_deref() == Some("ada")));
    is(&grid.fetch("/api/v1/jobs/99/manifest", &[]).await, 404);
}

#[tokio::test]
async fn a_header_that_differs_fails_the_job_and_names_the_chunk() {
    let grid = Grid::start().await;
    let mut runner = grid.runner("ada").await;
    let job = grid.submit(SUMS).await;
    grid.run_all(&mut runner, |index| format!("chunk,{}\n0,0\n", if index == 2 { "total" } else { "sum" })).await;
    let detail = grid.ended(job).await;
    assert_eq!(detail.job.state, JobState::Failed);
    let why = detail.gather_problem.expect("a reason");
    assert!(why.contains(&format!("{job}/2")) && why.contains("total"), "{why}");
}
