//! The same promises kept by real engines. Give sockets in DSG_TEST_DOCKER and DSG_TEST_PODMAN (as in unix:///run/docker.sock);
//! an engine that is not given is skipped, and said so. Needs no registry: the runner's self-test image does everything.
mod bench;
mod exact;
mod gpus;
mod images;
mod pause;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use dsg_runner::Config;
use dsg_runner::container::docker::{ConnectOptions, connect};
use dsg_runner::container::{Bind, Engine, State};
use dsg_runner::doctor::{examine, table};
use dsg_runner::probe::host;
use dsg_runner::selftest::{Subject, preflight};
use dsg_schemas::ids::{AttemptId, RunnerId};
use dsg_schemas::reason::EndReason;
use dsg_schemas::spec::PullPolicy;
use dsg_schemas::wire::{Gpu, Work};

use bench::{Bench, MIB, RUNNER, collect_log, expect_failure};
use exact::{a_named_device_is_there_and_no_other, forks_end_at_the_limit, what_is_made_is_what_was_asked_for};
use gpus::{gpus_come_through_cdi, gpus_come_through_the_hook};
use images::images_go_when_nobody_needs_them;
use pause::a_pause_really_pauses;

async fn output_is_complete(bench: Arc<Bench>) {
    let run = bench.run(&bench.plan(1, &["lines", "20000", "then", "error", "oh", "then", "exit", "9"])).await;
    let expected: String = (0..20_000).map(|line| format!("line {line}\n")).collect();
    assert!(run.text() == expected, "{}: {} of {} bytes", bench.kind, run.stdout.len(), expected.len());
    assert_eq!((run.exit.code, run.stderr.as_slice()), (9, b"oh\n".as_slice()));
    assert_eq!(run.exit.oom, Some(false), "{}: {:?}", bench.kind, run.exit);
    assert!(run.exit.started_ms > 1_700_000_000_000);
    let (stdout, stderr) = collect_log(bench.engine.logs(&run.id, false).await.expect("logs")).await;
    assert!(stdout == expected.as_bytes() && stderr == b"oh\n", "{}: the engine's own log differs", bench.kind);
    bench.remove(&run.id).await;
    assert_eq!(bench.engine.inspect(&run.id).await, Ok(State::Gone));
    bench.remove(&run.id).await;
    assert_eq!(bench.engine.stop(&run.id, 0).await, Ok(()));
    assert_eq!(bench.engine.wait(&run.id).await, Ok(()));
    let no_log = match bench.engine.logs(&run.id, false).await {
        Ok(mut reading) => expect_failure(reading.recv().await.expect("the failure comes before the end")),
        Err(failure) => failure,
    };
    assert!(!no_log.engine_gone, "{}: {no_log}", bench.kind);
    assert!(!expect_failure(bench.engine.copy_out(&run.id, "/x").await).engine_gone);
}

async fn odd_bytes_survive(bench: Arc<Bench>) {
    let run = bench.run(&bench.plan(2, &["bytes", "ff00fe0a", "then", "print", "no newline"])).await;
    let expected = [b"\xff\x00\xfe\n".as_slice(), b"no newline"].concat();
    assert_eq!(run.stdout, expected, "{}", bench.kind);
    assert_eq!(run.exit.code, 0);
    let (stdout, _) = collect_log(bench.engine.logs(&run.id, false).await.expect("logs")).await;
    if bench.kind == "docker" {
        // Docker keeps its log as JSON text, where bytes that are no UTF-8 become replacement characters: attach is the truth.
        assert!(stdout.ends_with(b"no newline"), "{stdout:?}");
    } else {
        assert_eq!(stdout, expected);
    }
    bench.remove(&run.id).await;
}

async fn limits_and_rights_hold_inside(bench: Arc<Bench>) {
    let mut plan = bench.plan(
        3,
        &[
            "limits",
            "then",
            "id",
            "then",
            "env",
            "then",
            "cat",
            "/in/data",
            "then",
            "list",
            "/out",
            "then",
            "write",
            "/scratch/x",
            "y",
        ],
    );
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join("data"), "42\n").expect("written");
    plan.env = BTreeMap::from([("ODD".to_owned(), "a b=c 'd' ü".to_owned()), ("HOME".to_owned(), "/tmp".to_owned())]);
    plan.user = Some("1234:1235".to_owned());
    plan.cpus_milli = 500;
    plan.folders = vec!["/out".to_owned()];
    plan.scratch = vec!["/scratch".to_owned()];
    let host = folder.path().join("data").display().to_string();
    plan.binds = vec![Bind { host, container: "/in/data".to_owned(), write: false, named: false }];
    let run = bench.run(&plan).await;
    let text = run.text();
    for line in [
        format!("memory {}", 64 * MIB),
        "pids 4096".to_owned(),
        "core 0 0 bytes".to_owned(),
        "CapEff: 0000000000000000".to_owned(),
        "NoNewPrivs: 1".to_owned(),
        "Seccomp: 2".to_owned(),
        "Uid: 1234 1234 1234 1234".to_owned(),
        "Gid: 1235 1235 1235 1235".to_owned(),
        "ODD=a b=c 'd' ü".to_owned(),
        "NVIDIA_VISIBLE_DEVICES=void".to_owned(),
        "42".to_owned(),
    ] {
        assert!(text.lines().any(|have| have == line), "{}: {line:?} is missing in\n{text}", bench.kind);
    }
    assert!(text.contains("cpu-quota 50000"), "{text}");
    assert_eq!(run.exit.code, 0, "{}", String::from_utf8_lossy(&run.stderr));
    bench.remove(&run.id).await;
    plan.command = ["write", "/in/data", "changed"].map(str::to_owned).to_vec();
    let run = bench.run(&plan).await;
    assert_eq!(run.exit.code, 99, "a bind is read-only");
    bench.remove(&run.id).await;
    plan.binds[0].host = folder.path().join("missing").display().to_string();
    assert!(expect_failure(bench.engine.create(&plan).await).message.contains("does not exist on this host"));
}

/// What is mounted on the host beneath the folder is not the job's.
async fn a_mount_by_name_is_the_folder_alone(bench: Arc<Bench>) {
    let folder = tempfile::tempdir().expect("a folder");
    let below = folder.path().join("below");
    std::fs::create_dir(&below).expect("a folder");
    std::fs::write(folder.path().join("data"), "42\n").expect("written");
    let mounted = Mounted::tmpfs(&bench.socket, &below).await;
    if let Some(mounted) = &mounted {
        std::fs::write(mounted.seen_by_engine().join("secret"), "not yours").expect("written");
    }
    let mut plan = bench.plan(30, &["cat", "/data/data", "then", "list", "/data", "then", "list", "/data/below"]);
    let host = folder.path().display().to_string();
    plan.binds = vec![Bind { host, container: "/data".to_owned(), write: false, named: true }];
    let run = bench.run(&plan).await;
    assert_eq!(run.exit.code, 0, "{}: {}", bench.kind, String::from_utf8_lossy(&run.stderr));
    let text = run.text();
    assert!(text.contains("42\n") && text.contains("below") && !text.contains("secret"), "{}: {text}", bench.kind);
    bench.remove(&run.id).await;
    plan.command = ["write", "/data/new", "written"].map(str::to_owned).to_vec();
    let run = bench.run(&plan).await;
    assert_eq!(run.exit.code, 99, "{}: it is read-only", bench.kind);
    bench.remove(&run.id).await;
    plan.binds[0].write = true;
    let run = bench.run(&plan).await;
    assert_eq!(run.exit.code, 0, "{}: {}", bench.kind, String::from_utf8_lossy(&run.stderr));
    assert_eq!(std::fs::read_to_string(folder.path().join("new")).expect("read"), "written");
    bench.remove(&run.id).await;
}

/// A file system that the engine has there: it may live in a mount namespace of its own, where it does not hear of ours.
struct Mounted {
    engine: i32,
    folder: PathBuf,
}

impl Mounted {
    async fn tmpfs(socket: &Path, folder: &Path) -> Option<Mounted> {
        let peer = tokio::net::UnixStream::connect(socket).await.expect("an engine").peer_cred().expect("a peer");
        let engine = peer.pid().expect("a process");
        if !engine_does(engine, &["mount", "-t", "tmpfs", "none"], folder) {
            eprintln!("SKIPPED: what is mounted beneath a mount: only root may mount here");
            return None;
        }
        Some(Mounted { engine, folder: folder.to_owned() })
    }

    fn seen_by_engine(&self) -> PathBuf {
        let root = Path::new("/proc").join(self.engine.to_string()).join("root");
        root.join(self.folder.strip_prefix("/").expect("a whole path"))
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        assert!(engine_does(self.engine, &["umount"], &self.folder), "{} is still mounted", self.folder.display());
    }
}

fn engine_does(engine: i32, words: &[&str], folder: &Path) -> bool {
    let namespace = format!("--mount=/proc/{engine}/ns/mnt");
    Command::new("nsenter").arg(namespace).args(words).arg(folder).status().is_ok_and(|status| status.success())
}

async fn every_container_is_hardened(bench: Arc<Bench>) {
    let mut plan = bench.plan(4, &["echo"]);
    plan.shm_bytes = Some(32 * MIB);
    let id = bench.engine.create(&plan).await.expect("created");
    assert_eq!(bench.engine.inspect(&id).await, Ok(State::Created));
    let all = bench.raw_inspect(&id).await;
    let config = &all["HostConfig"];
    let list = |name: &str| {
        let values = config[name].as_array().cloned().unwrap_or_default();
        let words =
            values.iter().filter_map(|value| value.as_str().map(|word| word.trim_start_matches("CAP_").to_owned()));
        words.collect::<std::collections::BTreeSet<_>>()
    };
    let set = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<std::collections::BTreeSet<_>>();
    assert_eq!(config["Memory"], 64 * MIB);
    assert_eq!(config["MemorySwap"], 64 * MIB);
    assert_eq!(config["PidsLimit"], 4096);
    assert_eq!(config["Privileged"], false);
    assert_eq!(config["NetworkMode"], "none");
    assert_eq!(config["AutoRemove"], false);
    assert_eq!(config["ShmSize"], 32 * MIB);
    assert_eq!(config["LogConfig"]["Type"], "json-file");
    assert_ne!(config["PidMode"], "host");
    assert_ne!(config["IpcMode"], "host");
    assert_ne!(config["UsernsMode"], "host");
    assert!(config["SecurityOpt"].to_string().contains("no-new-privileges"), "{config}");
    let given = ["CHOWN", "DAC_OVERRIDE", "FOWNER", "KILL", "SETGID", "SETUID"];
    if bench.kind == "docker" {
        assert_eq!((list("CapDrop"), list("CapAdd")), (set(&["ALL"]), set(&given)));
        assert_eq!(config["LogConfig"]["Config"]["max-size"], "64m");
    } else {
        // Podman tells differences to its own default set instead; the numbers inside the container are the proof below.
        let extra: Vec<_> = list("CapAdd").into_iter().filter(|name| !given.contains(&name.as_str())).collect();
        assert!(extra.is_empty(), "{extra:?}");
    }
    let names = config["Ulimits"].to_string().to_lowercase();
    assert!(["nofile", "nproc", "core"].iter().all(|name| names.contains(name)), "{names}");
    bench.remove(&id).await;
    let run = bench.run(&bench.plan(5, &["limits"])).await;
    // CHOWN 0, DAC_OVERRIDE 1, FOWNER 3, KILL 5, SETGID 6, SETUID 7.
    assert!(run.text().contains("CapEff: 00000000000000eb"), "{}: {}", bench.kind, run.text());
    bench.remove(&run.id).await;
}

async fn oom_is_told_from_a_plain_137(bench: Arc<Bench>) {
    let eater = bench.run(&bench.plan(6, &["eat-memory", "200"])).await;
    assert_eq!((eater.exit.code, eater.exit.oom), (137, Some(true)), "{}", bench.kind);
    let peak = eater.exit.peak_memory_bytes.expect("a peak");
    assert!((8 * MIB..=64 * MIB).contains(&peak), "{}: {peak}", bench.kind);
    bench.remove(&eater.id).await;
    let plain = bench.run(&bench.plan(7, &["exit", "137"])).await;
    assert_eq!((plain.exit.code, plain.exit.oom), (137, Some(false)), "{}", bench.kind);
    bench.remove(&plain.id).await;
    let child = bench.run(&bench.plan(8, &["child", "eat-memory", "200", "then", "exit", "3"])).await;
    assert_eq!((child.exit.code, child.exit.oom), (3, Some(true)), "{}: {}", bench.kind, child.text());
    bench.remove(&child.id).await;
}

async fn use_is_measured(bench: Arc<Bench>) {
    let run = bench.run(&bench.plan(9, &["eat-memory", "24", "then", "burn-cpu", "700", "then", "sleep", "600"])).await;
    let cpu_ms = run.exit.cpu_ms.expect("measured");
    let peak = run.exit.peak_memory_bytes.expect("measured");
    // On a busy host it gets less than it wants, and the last half second may be missing.
    assert!((50..5_000).contains(&cpu_ms), "{}: {cpu_ms} ms", bench.kind);
    assert!((20 * MIB..=64 * MIB).contains(&peak), "{}: {peak}", bench.kind);
    // Podman notes a start when it gets round to it, so that on a busy host short runs look shorter still.
    let least = if bench.kind == "docker" { 1_200 } else { 0 };
    assert!((least..60_000).contains(&run.exit.run_ms), "{}: {} ms", bench.kind, run.exit.run_ms);
    bench.remove(&run.id).await;
}

async fn a_missing_image_is_named(bench: Arc<Bench>) {
    let failure = expect_failure(bench.engine.image("localhost/nobody/has-this:1", PullPolicy::Never, &|_| {}).await);
    assert_eq!((failure.reason, failure.engine_gone), (EndReason::ImageNotFound, false));
    assert!(failure.message.contains("localhost/nobody/has-this:1"), "{failure}");
    // Nobody listens there: not to be had now, which is no proof that it does not exist.
    let unreachable = bench.engine.image("127.0.0.1:9/x/y:1", PullPolicy::Missing, &|_| {}).await;
    let failure = expect_failure(unreachable);
    assert_eq!((failure.reason, failure.engine_gone), (EndReason::PullFailed, false), "{}: {failure}", bench.kind);
}

async fn a_bad_command_is_the_users(bench: Arc<Bench>) {
    for (attempt, command) in [(10, "/no/such/program"), (11, "/data/notes.txt")] {
        let mut plan = bench.plan(attempt, &[]);
        plan.entrypoint = Some(vec![command.to_owned()]);
        let id = bench.engine.create(&plan).await.expect("created");
        let started = match bench.engine.attach(&id).await {
            Ok(_pieces) => bench.engine.start(&id).await,
            Err(failure) => Err(failure),
        };
        match started {
            Err(failure) => {
                assert_eq!((failure.reason, failure.engine_gone), (EndReason::BadCommand, false), "{failure}");
                assert!(failure.message.contains(command), "{failure}");
            }
            // With an init it starts, and the init ends with the reason.
            Ok(()) => {
                let exit = bench.ended(&id).await;
                assert!(matches!(exit.code, 126 | 127), "{}: {exit:?}", bench.kind);
                assert!(exit.error.contains(command), "{}: {exit:?}", bench.kind);
            }
        }
        bench.remove(&id).await;
    }
    let ordinary = bench.run(&bench.plan(12, &["error", "nothing special", "then", "exit", "127"])).await;
    assert_eq!((ordinary.exit.code, ordinary.exit.error.as_str()), (127, ""), "{}", bench.kind);
    bench.remove(&ordinary.id).await;
}

async fn files_come_out(bench: Arc<Bench>) {
    let mut plan = bench.plan(13, &["write", "/out/a.txt", "alpha", "then", "write", "/out/deep/b.txt", "beta"]);
    plan.folders = vec!["/out".to_owned(), "/out/deep".to_owned()];
    plan.user = Some("1234".to_owned());
    let run = bench.run(&plan).await;
    assert_eq!(run.exit.code, 0, "{}: {}", bench.kind, String::from_utf8_lossy(&run.stderr));
    assert_eq!(files(&bench, &run.id, "/out/a.txt").await, Some(vec![("a.txt".to_owned(), "alpha".to_owned())]));
    let both =
        [("out/a.txt", "alpha"), ("out/deep/b.txt", "beta")].map(|(name, text)| (name.to_owned(), text.to_owned()));
    assert_eq!(files(&bench, &run.id, "/out").await, Some(both.to_vec()));
    assert_eq!(files(&bench, &run.id, "/out/nothing").await, None);
    bench.remove(&run.id).await;
}

async fn files(bench: &Bench, id: &str, path: &str) -> Option<Vec<(String, String)>> {
    use std::io::Read;
    let mut pieces = bench.engine.copy_out(id, path).await.expect("copied")?;
    let mut whole = Vec::new();
    while let Some(piece) = pieces.recv().await {
        whole.extend_from_slice(&piece.expect("a piece"));
    }
    let mut found = Vec::new();
    for entry in tar::Archive::new(whole.as_slice()).entries().expect("a tar") {
        let mut entry = entry.expect("an entry");
        if entry.header().entry_type().is_file() {
            let mut text = String::new();
            entry.read_to_string(&mut text).expect("text");
            found.push((entry.path().expect("a path").display().to_string(), text));
        }
    }
    found.sort();
    Some(found)
}

async fn stop_asks_and_then_kills(bench: Arc<Bench>) {
    let id = bench.engine.create(&bench.plan(14, &["echo", "up", "then", "sleep", "600000"])).await.expect("created");
    let has_init = bench.raw_inspect(&id).await["HostConfig"]["Init"] == true;
    bench.engine.start(&id).await.expect("started");
    assert!(matches!(bench.engine.inspect(&id).await, Ok(State::Running { since_ms }) if since_ms > 0));
    // The engine's "started" comes before the command is in place: until then the process is the engine's own helper,
    // which ends at TERM with 2.
    let mut lines = bench.engine.logs(&id, true).await.expect("logs");
    let mut seen = Vec::new();
    while !seen.ends_with(b"\n") {
        seen.extend_from_slice(&lines.recv().await.expect("a first line").expect("whole").bytes);
    }
    assert_eq!(seen, b"up\n");
    bench.engine.stop(&id, 1_000).await.expect("stopped");
    let exit = bench.ended(&id).await;
    // Process 1 without an init does not hear TERM, so that the kill after the grace is what ends it.
    assert_eq!(exit.code, if has_init { 143 } else { 137 }, "{}", bench.kind);
    assert_eq!(exit.oom, Some(false), "{}: stopped, not out of memory", bench.kind);
    bench.engine.stop(&id, 1_000).await.expect("fine when it has ended");
    bench.remove(&id).await;
}

async fn a_second_create_finds_the_first(bench: Arc<Bench>) {
    let plan = bench.plan(15, &["echo", "one"]);
    let first = bench.engine.create(&plan).await.expect("created");
    assert_eq!(bench.engine.create(&plan).await.as_ref(), Ok(&first));
    let mut other = bench.plan(16, &["echo", "two"]);
    other.name = plan.name.clone();
    let second = bench.engine.create(&other).await.expect("created in place of a leftover");
    assert_ne!(first, second);
    assert_eq!(bench.engine.inspect(&first).await, Ok(State::Gone));
    let mine = bench.engine.own(&bench.grid, RUNNER).await.expect("listed");
    let mine: Vec<_> = mine.iter().filter(|own| own.id == second).map(|own| own.attempt).collect();
    assert_eq!(mine, [AttemptId(16)]);
    assert_eq!(bench.engine.own(&bench.grid, RunnerId(471)).await.expect("listed"), []);
    assert_eq!(bench.engine.own("another-grid", RUNNER).await.expect("listed"), []);
    bench.remove(&second).await;
}

async fn a_running_container_is_taken_up_again(bench: Arc<Bench>) {
    let command = ["echo", "before", "then", "sleep", "20000", "then", "echo", "after", "then", "exit", "4"];
    let id = bench.engine.create(&bench.plan(17, &command)).await.expect("created");
    bench.engine.start(&id).await.expect("started");
    // A second life of the runner: another client, which knows only labels. A busy host has twenty seconds for it.
    let address = format!("unix://{}", bench.socket.display());
    let options = ConnectOptions { engine: Some(address), ..ConnectOptions::default() };
    let second = connect(&options).await.expect("connected");
    let found = second.own(&bench.grid, RUNNER).await.expect("listed");
    assert!(found.iter().any(|own| own.id == id && own.attempt == AttemptId(17)));
    let state = second.inspect(&id).await;
    assert!(matches!(state, Ok(State::Running { .. })), "{}: {state:?}", bench.kind);
    let exit = loop {
        second.wait(&id).await.expect("waited");
        if let State::Exited(exit) = second.inspect(&id).await.expect("inspected") {
            break exit;
        }
    };
    assert_eq!((exit.code, exit.oom), (4, Some(false)), "{}", bench.kind);
    let (stdout, _) = collect_log(second.logs(&id, false).await.expect("logs")).await;
    assert_eq!(stdout, b"before\nafter\n", "{}", bench.kind);
    bench.remove(&id).await;
}

async fn the_host_proves_itself(bench: Arc<Bench>) {
    let file = tempfile::NamedTempFile::new().expect("a file");
    let nonce = format!("proof-{}", std::process::id());
    let lock = Some(file.path().to_owned());
    let subject = Subject { grid: bench.grid.clone(), runner: RunnerId(4712), nonce, lock, secrets: None };
    let mut facts = host();
    facts.gpus = vec![Gpu { uuid: "GPU-that-is-not-there".to_owned(), ..Gpu::default() }];
    let checks = preflight(&bench.engine, &subject, &mut facts).await;
    let passed: Vec<_> = checks.iter().map(|check| (check.name.as_str(), check.passed)).collect();
    let fine = ["run", "exit code", "log", "memory", "cpus", "pids", "privileges", "no network", "network", "files"];
    let expected: Vec<_> = fine.into_iter().map(|name| (name, true)).chain([("gpu", false)]).collect();
    assert_eq!(passed, expected, "{}: {checks:#?}", bench.kind);
    assert_eq!(checks[10].blocks, Some(Work::Gpus));
    assert!(facts.gpus.is_empty() && facts.gpu_note.is_some(), "a GPU that no container gets is not offered");
    assert_eq!(bench.engine.own(&bench.grid, RunnerId(4712)).await.expect("listed"), [], "nothing is left behind");
    assert!(bench.engine.disk().await.expect("asked").is_none_or(|disk| disk.free_bytes > 0));
}

/// Beside whatever else runs on the engine, and without a trace.
async fn doctor_reports_and_changes_nothing(bench: Arc<Bench>) {
    let state = tempfile::tempdir().expect("dir");
    let memory = tempfile::tempdir_in("/dev/shm").expect("a folder in memory");
    let secrets = memory.path().join("secrets");
    let config = Config { secrets, ..Config::new(state.path().join("none"), host()) };
    let nonce = format!("doctor-{}", std::process::id());
    let report = examine(&config, Ok(&bench.engine as &dyn Engine), &nonce).await;
    let text = table(&report);
    assert_eq!(report.failures(), 0, "{}: {text}", bench.kind);
    assert!(text.contains(&format!("passed    {} ", bench.kind)), "{text}");
    assert!(!config.state.exists());
    assert_eq!(std::fs::read_dir(memory.path()).expect("a list").count(), 0);
    for name in ["run", "network", "secrets"] {
        let name = format!("dsg-selftest-{name}-{nonce}");
        assert_eq!(bench.engine.inspect(&name).await, Ok(State::Gone), "{}: {name}", bench.kind);
    }
}

/// Each check as a task of its own, a few at a time: the engine, not we, is what takes the time.
async fn suite(variable: &str) {
    let Some(bench) = Bench::open(variable).await else { return };
    macro_rules! checks {
        ($($check:ident),* $(,)?) => { vec![$((stringify!($check), tokio::spawn($check(bench.clone())))),*] };
    }
    let first =
        checks![output_is_complete, odd_bytes_survive, limits_and_rights_hold_inside, every_container_is_hardened];
    let mut failed = finish(first).await;
    let second =
        checks![oom_is_told_from_a_plain_137, a_missing_image_is_named, a_bad_command_is_the_users, files_come_out];
    failed.extend(finish(second).await);
    let third = checks![
        use_is_measured,
        stop_asks_and_then_kills,
        a_second_create_finds_the_first,
        a_running_container_is_taken_up_again,
    ];
    failed.extend(finish(third).await);
    failed.extend(
        finish(checks![
            the_host_proves_itself,
            doctor_reports_and_changes_nothing,
            a_mount_by_name_is_the_folder_alone,
            a_pause_really_pauses,
            images_go_when_nobody_needs_them,
        ])
        .await,
    );
    let fifth =
        checks![what_is_made_is_what_was_asked_for, a_named_device_is_there_and_no_other, forks_end_at_the_limit];
    failed.extend(finish(fifth).await);
    // One after the other: the way of asking is the engine's, not the check's.
    failed.extend(finish(checks![gpus_come_through_cdi]).await);
    failed.extend(finish(checks![gpus_come_through_the_hook]).await);
    for own in bench.engine.own(&bench.grid, RUNNER).await.expect("listed") {
        bench.remove(&own.id).await;
    }
    assert!(failed.is_empty(), "{}: {failed:?}", bench.kind);
}

async fn finish(checks: Vec<(&'static str, tokio::task::JoinHandle<()>)>) -> Vec<&'static str> {
    let mut failed = Vec::new();
    for (name, check) in checks {
        // Far beyond what a check takes; a hang is a failure with a name.
        let ended = tokio::time::timeout(Duration::from_secs(180), check).await;
        if !matches!(ended, Ok(Ok(()))) {
            failed.push(name);
        }
    }
    failed
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn docker_keeps_the_promises() {
    suite("DSG_TEST_DOCKER").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn podman_keeps_the_promises() {
    suite("DSG_TEST_PODMAN").await;
}
