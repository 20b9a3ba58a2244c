//! What was answered is there after a restart, and after a kill.
use std::path::Path;
use std::process::{Child, Command, Stdio};

use dsg_schemas::api::{JobState, Submit, Submitted, TokenKind};
use reqwest::Method;

use super::grid::{Grid, HELLO, PATIENCE, client, problem, read, running, succeeded};

#[tokio::test]
async fn a_restart_loses_nothing_and_greets_its_runners_anew() {
    let grid = Grid::start().await;
    let mut ada = grid.runner("ada").await;
    let mara = grid.token(TokenKind::Submitter, "mara").await;
    let job = grid.submit(HELLO).await;
    let attempts: Vec<_> = ada.sync(&grid, Vec::new()).await.orders.start.iter().map(|order| order.attempt).collect();
    ada.sync(&grid, attempts.iter().map(|attempt| running(*attempt)).collect()).await;

    let grid = grid.restart().await;
    assert!(grid.server.welcome.is_none(), "the first start was the first start");
    assert_eq!(grid.job(job).await.job.chunks.running, 2);
    let request = ada.request(Vec::new(), 0);
    assert_eq!(problem(ada.send(&grid, &request).await).await.code, "hello_first");
    ada.hello(&grid, "boot-1").await;
    let held: Vec<_> = attempts.iter().map(|attempt| running(*attempt)).collect();
    assert!(ada.sync(&grid, held).await.orders.is_empty(), "they go on");
    ada.sync(&grid, attempts.iter().map(|attempt| succeeded(*attempt)).collect()).await;
    assert_eq!(grid.job(job).await.job.state, JobState::Succeeded);
    assert_eq!(grid.call::<()>(Method::GET, "/api/v1/whoami", &mara, None).await.status(), 200);
    let next = grid.submit(HELLO).await;
    assert!(next > job, "no id is used twice");
}

struct Process(Child);

impl Process {
    fn start(data: &Path) -> Process {
        let program = env!("CARGO_BIN_EXE_dsg-server");
        let mut command = Command::new(program);
        command.arg("--data").arg(data).args(["--listen", "127.0.0.1:0", "--plain-http"]);
        Process(command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("a process"))
    }
    fn kill(mut self) {
        self.0.kill().expect("killed");
        self.0.wait().expect("gone");
    }
}

/// The URL is written once the server listens.
async fn url(data: &Path) -> String {
    let found = async {
        loop {
            match std::fs::read_to_string(data.join("url")) {
                Ok(url) => return url.trim().to_owned(),
                Err(_) => tokio::time::sleep(std::time::Duration::from_millis(20)).await,
            }
        }
    };
    tokio::time::timeout(PATIENCE, found).await.expect("a URL in time")
}

#[tokio::test]
async fn what_was_answered_survives_kill_9() {
    let data = tempfile::tempdir().expect("a directory");
    let http = client();
    let mut known = Vec::new();
    for _ in 0..3 {
        let process = Process::start(data.path());
        let url = url(data.path()).await;
        let token = std::fs::read_to_string(data.path().join("admin.token")).expect("a token");
        for job in &known {
            let there = http.get(format!("{url}/api/v1/jobs/{job}")).bearer_auth(token.trim()).send().await;
            assert_eq!(there.expect("an answer").status(), 200, "job {job} was answered for");
        }
        for _ in 0..5 {
            let submit = Submit { spec: HELLO.to_owned(), ..Submit::default() };
            let done = http.post(format!("{url}/api/v1/jobs")).bearer_auth(token.trim()).json(&submit).send().await;
            known.push(read::<Submitted>(done.expect("an answer")).await.job);
        }
        process.kill();
        std::fs::remove_file(data.path().join("url")).expect("the old URL goes");
    }
    assert_eq!(known.len(), 15);
}
