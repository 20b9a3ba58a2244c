//! The grid on real engines: one suite, run against Docker and against Podman, whichever `tests/lab/engines` could start.
//!
//! All jobs of one engine are submitted at once and then looked at one by one: starting containers is what costs time here.
#[path = "engines/contained.rs"]
mod contained;
#[path = "engines/hostile.rs"]
mod hostile;
#[path = "engines/pushed.rs"]
mod pushed;
#[path = "engines/registry.rs"]
mod registry;
#[path = "engines/rotation.rs"]
mod rotation;
#[path = "engines/secrets.rs"]
mod secrets;
#[path = "engines/service.rs"]
mod service;
#[path = "engines/sight.rs"]
mod sight;
#[path = "engines/unwell.rs"]
mod unwell;
#[path = "engines/upgrade.rs"]
mod upgrade;

use std::path::Path;

use anyhow::{Context, Result, ensure};
use dsg_schemas::api::{Act, ChunkDetail, ChunkState, JobState, Submit};
use dsg_schemas::ids::JobId;
use dsg_schemas::reason::EndReason;
use dsg_tests::client::Client;
use dsg_tests::lab::Lab;

const EXAMPLES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../job-specs");

/// The socket of an engine, or why there is none, said loudly.
fn engine(name: &str) -> Option<String> {
    let socket = std::env::var(format!("DSG_TEST_{name}")).ok();
    if socket.is_none() {
        let why =
            std::env::var(format!("DSG_SKIP_{name}")).unwrap_or_else(|_| "start it through `make engines`".to_owned());
        eprintln!("SKIPPED: nothing was tested on {name}: {why}");
    }
    socket.map(|path| format!("unix://{path}"))
}

async fn lab(socket: &str) -> Result<Lab> {
    let mut lab = Lab::start().await?;
    lab.add_runner("ada", &["--engine", socket, "--cpus", "4", "--memory", "4GiB"]).await?;
    Ok(lab)
}

fn example(name: &str) -> Result<String> {
    std::fs::read_to_string(Path::new(EXAMPLES).join(name)).with_context(|| format!("reading {name}"))
}

fn shell(name: &str, more: &str) -> String {
    format!("name: {name}\nimage: dsg-shell:1\nresources: {{cpus: 0.25, memory: 32MiB}}\n{more}\n")
}

async fn stdout(client: &Client, chunk: &ChunkDetail) -> Result<Vec<u8>> {
    let attempt = chunk.history.last().context("no attempt")?;
    client.log(attempt.id, "stdout").await
}

/// Tests that need no more than the socket, on both engines.
macro_rules! on_both {
    ($($docker:ident, $podman:ident: $test:path;)*) => { $(
        #[tokio::test(flavor = "multi_thread")]
        async fn $docker() -> Result<()> {
            match engine("DOCKER") {
                Some(socket) => $test(&socket).await,
                None => Ok(()),
            }
        }

        #[tokio::test(flavor = "multi_thread")]
        async fn $podman() -> Result<()> {
            match engine("PODMAN") {
                Some(socket) => $test(&socket).await,
                None => Ok(()),
            }
        }
    )* };
}

on_both! {
    docker_runs_the_suite, podman_runs_the_suite: suite;
    docker_survives_crashes, podman_survives_crashes: crashes;
    docker_containers_live_through_an_upgrade, podman_containers_live_through_an_upgrade: upgrade::containers_live_through_an_upgrade;
    docker_bounds_what_means_no_good, podman_bounds_what_means_no_good: hostile::what_means_no_good_stays_within_its_bounds;
}

#[tokio::test(flavor = "multi_thread")]
async fn docker_runs_a_runner_in_a_container() -> Result<()> {
    match engine("DOCKER") {
        Some(socket) => contained::a_runner_in_a_container_runs_jobs(&format!("docker -H {socket}"), &socket).await,
        None => Ok(()),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn podman_runs_a_runner_in_a_container() -> Result<()> {
    let Some(socket) = engine("PODMAN") else { return Ok(()) };
    let command = std::env::var("DSG_TEST_PODMAN_COMMAND").context("DSG_TEST_PODMAN_COMMAND is not set")?;
    contained::a_runner_in_a_container_runs_jobs(&command, &socket).await
}

#[tokio::test(flavor = "multi_thread")]
async fn docker_loads_what_was_pushed() -> Result<()> {
    match engine("DOCKER") {
        Some(socket) => pushed::an_image_goes_without_a_registry(&format!("docker -H {socket}"), &socket).await,
        None => Ok(()),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn podman_loads_what_was_pushed() -> Result<()> {
    let Some(socket) = engine("PODMAN") else { return Ok(()) };
    let command = std::env::var("DSG_TEST_PODMAN_COMMAND").context("DSG_TEST_PODMAN_COMMAND is not set")?;
    pushed::an_image_goes_without_a_registry(&command, &socket).await
}

#[tokio::test(flavor = "multi_thread")]
async fn docker_gives_secrets_to_one_container() -> Result<()> {
    match engine("DOCKER") {
        Some(socket) => secrets::secrets_are_files_of_one_container(&format!("docker -H {socket}"), &socket).await,
        None => Ok(()),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn podman_gives_secrets_to_one_container() -> Result<()> {
    let Some(socket) = engine("PODMAN") else { return Ok(()) };
    let command = std::env::var("DSG_TEST_PODMAN_COMMAND").context("DSG_TEST_PODMAN_COMMAND is not set")?;
    secrets::secrets_are_files_of_one_container(&command, &socket).await
}

#[tokio::test(flavor = "multi_thread")]
async fn docker_pulls_from_a_registry() -> Result<()> {
    match engine("DOCKER") {
        Some(socket) => registry::docker_pulls(&socket).await,
        None => Ok(()),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn podman_pulls_from_a_registry() -> Result<()> {
    match engine("PODMAN") {
        Some(_) => registry::podman_pulls().await,
        None => Ok(()),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn docker_may_be_unwell() -> Result<()> {
    let Some(socket) = engine("DOCKER") else { return Ok(()) };
    unwell::an_engine_may_be_unwell(unwell::OwnEngine::docker(&format!("docker -H {socket}"))?, false).await
}

#[tokio::test(flavor = "multi_thread")]
async fn podman_may_be_unwell() -> Result<()> {
    let Some(_) = engine("PODMAN") else { return Ok(()) };
    let command = std::env::var("DSG_TEST_PODMAN_COMMAND").context("DSG_TEST_PODMAN_COMMAND is not set")?;
    unwell::an_engine_may_be_unwell(unwell::OwnEngine::podman(&command)?, true).await
}

/// Where there is nothing but the program `podman`.
#[tokio::test(flavor = "multi_thread")]
async fn podman_is_started_where_nobody_did() -> Result<()> {
    match engine("PODMAN") {
        Some(_) => service::a_runner_starts_podmans_service().await,
        None => Ok(()),
    }
}

async fn suite(socket: &str) -> Result<()> {
    let lab = lab(socket).await?;
    let client = &lab.client;
    let co2 = Path::new(EXAMPLES).join("co2");
    let uploads = client.upload(&co2, &["fit_window.py", "mauna-loa-co2.csv", "draw.gnuplot"]).await?;
    let spec = example("co2/job.yaml")?;
    let set = [("weeks".to_owned(), "208".to_owned()), ("draws".to_owned(), "500".to_owned())].into();
    let demo = client.submit_with(Submit { spec, set, uploads, request: None }).await?;
    let hello = client.submit(&example("hello.yaml")?).await?;
    let fails = client.submit(&example("fails.yaml")?).await?;
    let rules = client.submit(&example("retry-rules.yaml")?).await?;
    let accepted = client.submit(&shell("accepted", ACCEPTED)).await?;
    let matrix = client.submit(&example("matrix-sweep.yaml")?).await?;
    let range = client.submit(&example("range.yaml")?).await?;
    let long_log = client.submit(&example("long-log.yaml")?).await?;
    let starts = client.submit(&shell("starts", STARTS)).await?;
    let no_image =
        client.submit("name: none\nimage: dsg-there-is-none:1\npull_policy: never\nchunks: {count: 1}\n").await?;
    let bytes = client.submit(&shell("bytes", BYTES)).await?;
    let inside = client.submit(&shell("inside", INSIDE)).await?;
    let endless =
        client.submit(&shell("endless", "command: [sleep, '600']\nchunks: {count: 1}\ntimeouts: {grace: 1s}")).await?;

    let sights = sight::submit(client, &lab.path("uploads")).await?;

    cancelled_while_running(client, endless).await.context("cancel while it runs")?;
    cancelled_while_pulling(client).await.context("cancel while the image is pulled")?;
    says_its_number(client, hello).await.context("hello")?;
    fails_for_the_right_reasons(client, fails).await.context("fails")?;
    retries_by_rule(client, rules).await.context("retry-rules")?;
    accepted_ends_keep_their_outputs(client, accepted).await.context("accepted")?;
    ends(client, starts, &[EndReason::BadCommand, EndReason::Exit]).await.context("starts")?;
    ends(client, no_image, &[EndReason::ImageNotFound]).await.context("no image")?;
    bytes_stay_bytes(client, bytes).await.context("bytes")?;
    limits_hold_inside(client, inside).await.context("inside")?;
    gathers(client, matrix, "orbits", 9).await.context("matrix-sweep")?;
    gathers(client, range, "primes", 17_984).await.context("range")?;
    whole_log(client, long_log).await.context("long-log")?;
    the_demo(client, demo).await.context("co2")?;
    sight::check(client, sights).await.context("what a container sees")?;
    Ok(())
}

/// A command that is not there, and one that is there but fails, are different ends.
const STARTS: &str = "command: ['{{item.value}}', '/nowhere']\nchunks: {items: [/no/such/command, ls]}";
/// The second chunk ends with a code that a rule accepts, the third as well, but without its output.
const ACCEPTED: &str = "chunks: {items: [0, 3, 4]}
retry: {rules: [{when: {exit_codes: ['3..4']}, action: accept}]}
outputs: [{name: row, path: /out/row.txt}]
gather: {mode: concat, from: row, output: rows, when: partial}
script: |
  [ $ITEM_VALUE = 4 ] || echo row $ITEM_VALUE >$DSG_OUTPUT_DIR/row.txt
  exit $ITEM_VALUE";
/// Invalid UTF-8, a NUL, and no newline at the end.
const BYTES: &str = "chunks: {count: 1}\nscript: |\n  printf 'a\\377\\376\\000b\\nlast line'";
const INSIDE: &str = "chunks: {count: 1}
script: |
  cat /sys/fs/cgroup/memory/memory.limit_in_bytes 2>/dev/null || cat /sys/fs/cgroup/memory.max
  grep -E '^(NoNewPrivs|CapBnd)' /proc/self/status
  ulimit -n
  ls /sys/class/net
  cat /dsg/items.jsonl
  touch /dsg/x 2>/dev/null && echo writable || echo read-only
";

async fn says_its_number(client: &Client, job: JobId) -> Result<()> {
    let detail = client.ended(job).await?;
    ensure!(detail.job.state == JobState::Succeeded && detail.job.chunks.succeeded == 10, "{detail:?}");
    for index in 0..10 {
        let chunk = client.chunk_at(job, index).await?;
        let log = stdout(client, &chunk).await?;
        ensure!(log == format!("chunk {index} of 10\n").as_bytes(), "{:?}", String::from_utf8_lossy(&log));
        ensure!(chunk.history.len() == 1 && chunk.history[0].accepted && chunk.history[0].exit_code == Some(0));
    }
    Ok(())
}

async fn ends(client: &Client, job: JobId, reasons: &[EndReason]) -> Result<()> {
    client.ended(job).await?;
    for (index, reason) in reasons.iter().enumerate() {
        let chunk = client.chunk_at(job, index as u32).await?;
        ensure!(chunk.chunk.reason == Some(*reason), "chunk {index} should end as {reason}: {chunk:?}");
        ensure!(!chunk.chunk.message.is_empty(), "chunk {index} ends without a word: {chunk:?}");
    }
    Ok(())
}

async fn fails_for_the_right_reasons(client: &Client, job: JobId) -> Result<()> {
    client.ended(job).await?;
    let expected = [
        (EndReason::Succeeded, None),
        (EndReason::Exit, Some(2)),
        (EndReason::Oom, None),
        (EndReason::RunTimeout, None),
        (EndReason::Stalled, None),
        (EndReason::OutputMissing, Some(0)),
    ];
    for (index, (reason, code)) in expected.into_iter().enumerate() {
        let chunk = client.chunk_at(job, index as u32).await?;
        let attempt = chunk.history.last().context("no attempt")?;
        ensure!(attempt.reason == Some(reason), "chunk {index} should end as {reason}: {chunk:?}");
        ensure!(code.is_none() || attempt.exit_code == code, "chunk {index} should end with {code:?}: {chunk:?}");
    }
    Ok(())
}

async fn retries_by_rule(client: &Client, job: JobId) -> Result<()> {
    let detail = client.ended(job).await?;
    let mut seen = Vec::new();
    for index in 0..5 {
        let chunk = client.chunk_at(job, index).await?;
        seen.push((chunk.chunk.state, chunk.history.len()));
    }
    let expected = [
        (ChunkState::Succeeded, 1),
        (ChunkState::Succeeded, 2), // 75: tried again
        (ChunkState::Failed, 1),    // 64: never again
        (ChunkState::Succeeded, 1), // 3: accepted
        (ChunkState::Succeeded, 2), // 1: retry.limit
    ];
    ensure!(seen == expected, "{seen:?} in {detail:?}");
    Ok(())
}

async fn accepted_ends_keep_their_outputs(client: &Client, job: JobId) -> Result<()> {
    let detail = client.ended(job).await?;
    ensure!((detail.job.chunks.succeeded, detail.job.chunks.failed) == (2, 1), "{detail:?}");
    ensure!(client.gathered(&detail, "rows").await? == b"row 0\nrow 3\n", "{detail:?}");
    let chunk = client.chunk_at(job, 2).await?;
    ensure!(chunk.chunk.reason == Some(EndReason::OutputMissing), "{chunk:?}");
    ensure!(chunk.history[0].exit_code == Some(4), "{chunk:?}");
    Ok(())
}

async fn bytes_stay_bytes(client: &Client, job: JobId) -> Result<()> {
    client.ended(job).await?;
    let log = stdout(client, &client.chunk_at(job, 0).await?).await?;
    ensure!(log == b"a\xff\xfe\x00b\nlast line", "{log:?}");
    Ok(())
}

async fn limits_hold_inside(client: &Client, job: JobId) -> Result<()> {
    client.ended(job).await?;
    let log = stdout(client, &client.chunk_at(job, 0).await?).await?;
    let seen = String::from_utf8_lossy(&log).into_owned();
    for expected in [format!("{}\n", 32 << 20), "NoNewPrivs:\t1\n".into(), "read-only\n".into()] {
        ensure!(seen.contains(&expected), "{expected:?} is not in {seen:?}");
    }
    // At most ours, and less where the engine itself may have less.
    let files = seen.lines().skip(1).find_map(|line| line.parse::<u64>().ok()).context("no limit of open files")?;
    ensure!((1024..=65_536).contains(&files), "{files} open files: {seen:?}");
    ensure!(!seen.contains("eth0"), "there is a network inside: {seen:?}");
    let bounding = seen.lines().find_map(|line| line.strip_prefix("CapBnd:\t")).context("no CapBnd")?;
    let sys_admin = 1 << 21;
    ensure!(u64::from_str_radix(bounding.trim(), 16)? & sys_admin == 0, "CAP_SYS_ADMIN is left: {seen:?}");
    Ok(())
}

async fn gathers(client: &Client, job: JobId, name: &str, lines: usize) -> Result<()> {
    let detail = client.ended(job).await?;
    ensure!(detail.job.state == JobState::Succeeded, "{detail:?}");
    let file = client.gathered(&detail, name).await?;
    let found = file.split(|byte| *byte == b'\n').count() - 1;
    ensure!(found == lines, "{name} has {found} lines, not {lines}");
    Ok(())
}

async fn whole_log(client: &Client, job: JobId) -> Result<()> {
    let detail = client.ended(job).await?;
    ensure!(detail.job.state == JobState::Succeeded, "{detail:?}");
    let chunk = client.chunk_at(job, 1).await?;
    let mut expected: String = (1..=20_000).map(|step| format!("step {step} of 20000\n")).collect();
    expected.extend([10, 40, 70, 100].map(|percent| format!("\rwriting {percent} %")));
    expected.push_str("\n\u{1b}[1;32mdone\u{1b}[0m without a newline at the end");
    let log = stdout(client, &chunk).await?;
    ensure!(log == expected.as_bytes(), "{} bytes, not the {} that were written", log.len(), expected.len());
    let errors = client.log(chunk.history[0].id, "stderr").await?;
    ensure!(String::from_utf8(errors)?.lines().count() == 20);
    Ok(())
}

async fn the_demo(client: &Client, job: JobId) -> Result<()> {
    let detail = client.ended(job).await?;
    ensure!(detail.job.state == JobState::Succeeded, "{detail:?}");
    ensure!(detail.job.chunks.succeeded == 11, "2,284 weeks by 208 are 11 windows: {detail:?}");
    let table = String::from_utf8(client.gathered(&detail, "windows").await?)?;
    ensure!(table.lines().count() == 12 && table.starts_with("start,middle,stop,weeks,ppm,"), "{table}");
    let figure = client.gathered(&detail, "figure").await?;
    ensure!(figure.starts_with(b"\x89PNG\r\n") && figure.len() > 10_000, "no picture: {} bytes", figure.len());
    Ok(())
}

async fn in_state(client: &Client, job: JobId, state: ChunkState) -> Result<ChunkDetail> {
    let what = format!("{job}/0 is {state:?}");
    let found = client.eventually(&what, |client| async move {
        let chunk = client.chunk_at(job, 0).await?;
        Ok((chunk.chunk.state == state).then_some(chunk))
    });
    found.await
}

async fn cancelled_while_running(client: &Client, job: JobId) -> Result<()> {
    in_state(client, job, ChunkState::Running).await?;
    client.act(Act::Cancel { job }).await?;
    let detail = client.ended(job).await?;
    ensure!(detail.job.state == JobState::Cancelled, "{detail:?}");
    // The chunk is cancelled at once; its container is gone when the attempt has ended, too.
    let ended = client.eventually("the container is gone", |client| async move {
        let chunk = client.chunk_at(job, 0).await?;
        Ok(chunk.history.last().filter(|attempt| attempt.reason.is_some()).cloned())
    });
    let attempt = ended.await?;
    ensure!(attempt.reason == Some(EndReason::Cancelled), "{attempt:?}");
    Ok(())
}

/// A registry that takes the connection and never answers.
async fn cancelled_while_pulling(client: &Client) -> Result<()> {
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    let address = silent.local_addr()?;
    let keep = tokio::spawn(async move {
        let mut taken = Vec::new();
        while let Ok((connection, _)) = silent.accept().await {
            taken.push(connection);
        }
    });
    let job = client.submit(&format!("name: pulling\nimage: '{address}/silent:1'\nchunks: {{count: 1}}\n")).await?;
    in_state(client, job, ChunkState::Leased).await?;
    client.act(Act::Cancel { job }).await?;
    let detail = client.ended(job).await?;
    ensure!(detail.job.state == JobState::Cancelled, "{detail:?}");
    keep.abort();
    Ok(())
}

/// Server and runner are killed while containers run: nothing is lost, nothing runs again.
async fn crashes(socket: &str) -> Result<()> {
    let mut lab = lab(socket).await?;
    let job = lab.client.submit(&shell("crashes", SLOW)).await?;
    in_state(&lab.client, job, ChunkState::Running).await?;
    lab.kill_server()?;
    lab.start_server().await?;
    in_state(&lab.client, job, ChunkState::Running).await?;
    lab.kill_runner("ada")?;
    lab.restart_runner("ada").await?;
    let detail = lab.client.ended(job).await?;
    ensure!(detail.job.state == JobState::Succeeded, "{detail:?}");
    for index in 0..4 {
        let chunk = lab.client.chunk_at(job, index).await?;
        ensure!(chunk.history.len() == 1, "chunk {index} ran {} times: {chunk:?}", chunk.history.len());
        let log = stdout(&lab.client, &chunk).await?;
        let expected: String = (1..=10).map(|step| format!("{step}\n")).collect();
        ensure!(log == expected.as_bytes(), "chunk {index}: {:?}", String::from_utf8_lossy(&log));
    }
    rotation::what_was_rotated_away_is_declared(&mut lab, socket).await.context("a rotated log")
}

const SLOW: &str = "chunks: {count: 4}
script: |
  for step in 1 2 3 4 5 6 7 8 9 10; do echo $step; sleep 1; done
";
