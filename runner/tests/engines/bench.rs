//! An engine to test on, and how a container goes there.
use std::path::PathBuf;
use std::sync::Arc;

use dsg_runner::container::docker::{ConnectOptions, DockerEngine, connect};
use dsg_runner::container::{ContainerPlan, Engine, Exit, Failure, Piece, Reading, State, label};
use dsg_runner::selftest::image;
use dsg_schemas::ids::RunnerId;
use dsg_schemas::spec::PullPolicy;
use dsg_schemas::wire::log::Stream;
use tokio::sync::mpsc;

pub const MIB: u64 = 1 << 20;
pub const RUNNER: RunnerId = RunnerId(4711);

/// An engine with the self-test image, and names that no other run has.
pub struct Bench {
    pub engine: DockerEngine,
    pub socket: PathBuf,
    pub image: String,
    pub grid: String,
    pub kind: String,
}

/// How a container went.
pub struct Run {
    pub id: String,
    pub exit: Exit,
    pub stdout: Vec<u8>,
    pub stderr: Vec<u8>,
}

impl Run {
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.stdout).into_owned()
    }
}

impl Bench {
    /// `None`: not given, skipped.
    pub async fn open(variable: &str) -> Option<Arc<Bench>> {
        let Ok(address) = std::env::var(variable) else {
            eprintln!("SKIPPED: {variable} is not set, so this engine was not tested");
            return None;
        };
        let options = ConnectOptions { engine: Some(address.clone()), ..ConnectOptions::default() };
        let engine = connect(&options).await.unwrap_or_else(|failure| panic!("{variable}={address}: {failure}"));
        let packed = image().expect("an image");
        let image = engine.load_image(packed.archive).await.expect("loaded");
        let again = engine.image(&packed.name, PullPolicy::Never, &|_| {}).await.expect("found by its name");
        assert_eq!((image.as_str(), again.brought), (again.id.as_str(), None));
        let kind = engine.facts().await.expect("facts").kind;
        let socket = PathBuf::from(address.trim_start_matches("unix://"));
        Some(Arc::new(Bench { engine, socket, image, grid: format!("test-{}-{kind}", std::process::id()), kind }))
    }

    pub fn plan(&self, attempt: u64, command: &[&str]) -> ContainerPlan {
        let labels = [
            (label::GRID, self.grid.clone()),
            (label::RUNNER, RUNNER.to_string()),
            (label::ATTEMPT, attempt.to_string()),
        ];
        ContainerPlan {
            name: format!("dsg-{}-{attempt}", self.grid),
            labels: labels.into_iter().map(|(name, value)| (name.to_owned(), value)).collect(),
            image: self.image.clone(),
            command: command.iter().map(|word| (*word).to_owned()).collect(),
            network: "none".to_owned(),
            cpus_milli: 1_000,
            memory_bytes: 64 * MIB,
            ..ContainerPlan::default()
        }
    }

    pub async fn run(&self, plan: &ContainerPlan) -> Run {
        let id = self.engine.create(plan).await.expect("created");
        let pieces = self.engine.attach(&id).await.expect("attached");
        self.engine.start(&id).await.expect("started");
        let (stdout, stderr) = collect(pieces).await;
        let exit = self.ended(&id).await;
        Run { id, exit, stdout, stderr }
    }

    pub async fn ended(&self, id: &str) -> Exit {
        loop {
            self.engine.wait(id).await.expect("waited");
            match self.engine.inspect(id).await.expect("inspected") {
                State::Exited(exit) => return exit,
                State::Running { .. } => {}
                other => panic!("{}: {other:?}", self.kind),
            }
        }
    }

    pub async fn remove(&self, id: &str) {
        self.engine.remove(id).await.expect("removed");
    }

    pub async fn raw_inspect(&self, id: &str) -> serde_json::Value {
        use http_body_util::BodyExt;
        let stream = tokio::net::UnixStream::connect(&self.socket).await.expect("connected");
        let io = hyper_util::rt::TokioIo::new(stream);
        let (mut sender, connection) = hyper::client::conn::http1::handshake(io).await.expect("a handshake");
        tokio::spawn(connection);
        let request = hyper::Request::get(format!("/containers/{id}/json")).header("host", "localhost");
        let request = request.body(http_body_util::Empty::<bytes::Bytes>::new()).expect("a request");
        let answer = sender.send_request(request).await.expect("an answer").into_body().collect().await.expect("whole");
        serde_json::from_slice(&answer.to_bytes()).expect("json")
    }
}

pub async fn collect_log(mut reading: Reading) -> (Vec<u8>, Vec<u8>) {
    let (sender, pieces) = mpsc::channel(1);
    let (_, all) = tokio::join!(
        async move {
            while let Some(piece) = reading.recv().await {
                sender.send(piece.expect("whole")).await.expect("read");
            }
        },
        collect(pieces)
    );
    all
}

pub async fn collect(mut pieces: mpsc::Receiver<Piece>) -> (Vec<u8>, Vec<u8>) {
    let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
    while let Some(piece) = pieces.recv().await {
        match piece.stream {
            Stream::Stdout => stdout.extend_from_slice(&piece.bytes),
            Stream::Stderr => stderr.extend_from_slice(&piece.bytes),
        }
    }
    (stdout, stderr)
}

pub fn expect_failure<T>(result: Result<T, Failure>) -> Failure {
    match result {
        Ok(_) => panic!("this had to fail"),
        Err(failure) => failure,
    }
}
