//! The grid as real processes with pretend engines: what crosses processes, without Docker or Podman. Run by `make check`.
use std::collections::BTreeSet;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use dsg_schemas::api::{Act, Checked, ChunkState, JobState, Retries, Submit, Upload, Uploads};
use dsg_schemas::reason::EndReason;
use dsg_tests::client::hex;
use dsg_tests::lab::Lab;
use reqwest::Method;
use sha2::{Digest, Sha256};

const EXAMPLES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../job-specs");

async fn lab(runners: &[&str]) -> Result<Lab> {
    let mut lab = Lab::start().await?;
    for name in runners {
        lab.add_runner(name, &["--pretend", "--cpus", "8", "--memory", "8GiB"]).await?;
    }
    Ok(lab)
}

fn pretend(name: &str, words: &str, more: &str) -> String {
    format!(
        "name: {name}\nimage: pretend/{name}\nresources: {{cpus: 1, memory: 16MiB}}\ncommand: [pretend, {words}]\n{more}\n"
    )
}

/// Both programs say at their start what they do.
#[tokio::test(flavor = "multi_thread")]
async fn logs_that_are_no_terminal_have_no_colours() -> Result<()> {
    let lab = lab(&["ada"]).await?;
    for log in [lab.log("server.log"), lab.log("ada.log")] {
        ensure!(log.contains("INFO") && !log.contains('\u{1b}'), "{log:?}");
    }
    Ok(())
}

/// Every example passes the check, with the number of chunks that its text promises.
#[tokio::test(flavor = "multi_thread")]
async fn every_example_is_accepted() -> Result<()> {
    let lab = lab(&[]).await?;
    let mut seen = BTreeSet::new();
    let expected = [
        ("hello", 10),
        ("matrix-sweep", 8),
        ("range", 8),
        ("gpu", 4),
        ("retry-rules", 5),
        ("long-log", 2),
        ("fails", 6),
        ("co2/job", 22),
    ];
    for (name, chunks) in expected {
        let path = Path::new(EXAMPLES).join(format!("{name}.yaml"));
        let spec = std::fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))?;
        let folder = path.parent().context("no folder")?;
        let uploads = if name.contains('/') {
            lab.client.upload(folder, &["fit_window.py", "mauna-loa-co2.csv", "draw.gnuplot"]).await?
        } else {
            Uploads::new()
        };
        let submit = Submit { spec, uploads, ..Submit::default() };
        let checked: Checked = lab.client.post("/api/v1/check", &submit).await?;
        ensure!(checked.ok && checked.chunks == chunks, "{name}: {checked:?}");
        ensure!(
            !checked.warnings.is_empty(),
            "{name}: a grid without runners should say that nothing can run: {checked:?}"
        );
        seen.insert(path);
    }
    for entry in std::fs::read_dir(EXAMPLES)? {
        let path = entry?.path();
        let is_job = path.extension().is_some_and(|end| end == "yaml");
        ensure!(!is_job || seen.contains(&path), "{} is tested by nothing", path.display());
    }
    Ok(())
}

/// The server is killed three times in the middle of a job: nothing is lost, and nothing runs again.
#[tokio::test(flavor = "multi_thread")]
async fn a_killed_server_loses_nothing_and_runs_nothing_again() -> Result<()> {
    let mut lab = lab(&["ada", "byron"]).await?;
    let spec = pretend("long", "run_ms=300, lines=3", "chunks: {count: 120}");
    let job = lab.client.submit(&spec).await?;
    for part in 1..=3 {
        let what = format!("a good part of the job is done ({part})");
        let done = lab.client.eventually(&what, |client| async move {
            let detail = client.job(job).await?;
            Ok((detail.job.chunks.succeeded >= part * 20).then_some(()))
        });
        done.await?;
        lab.kill_server()?;
        lab.start_server().await?;
    }
    let detail = lab.client.ended(job).await?;
    ensure!(detail.job.state == JobState::Succeeded && detail.job.chunks.succeeded == 120, "{detail:?}");
    ensure!(detail.failures.is_empty(), "some attempts ended badly: {:?}", detail.failures);
    for index in 0..120 {
        let chunk = lab.client.chunk_at(job, index).await?;
        ensure!(chunk.history.len() == 1, "chunk {index} ran {} times: {chunk:?}", chunk.history.len());
        let log = lab.client.log(chunk.history[0].id, "stdout").await?;
        ensure!(String::from_utf8_lossy(&log).lines().count() == 3, "chunk {index} lost lines: {log:?}");
    }
    Ok(())
}

/// What was acknowledged is there after a kill, however soon it comes.
#[tokio::test(flavor = "multi_thread")]
async fn what_was_acknowledged_survives() -> Result<()> {
    let mut lab = lab(&[]).await?;
    let mut jobs = Vec::new();
    for round in 0..5 {
        jobs.push(lab.client.submit(&pretend(&format!("round-{round}"), "exit=0", "chunks: {count: 3}")).await?);
        lab.kill_server()?;
        lab.start_server().await?;
    }
    for job in &jobs {
        ensure!(lab.client.job(*job).await?.job.state == JobState::Waiting);
    }
    // The same intent to submit, sent again after a lost answer and a crash, is the same job.
    let submit = Submit {
        spec: pretend("once", "exit=0", "chunks: {count: 1}"),
        request: Some("4f1e".to_owned()),
        ..Submit::default()
    };
    let first = lab.client.submit_with(submit.clone()).await?;
    lab.kill_server()?;
    lab.start_server().await?;
    ensure!(lab.client.submit_with(submit).await? == first);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_person_holds_releases_retries_and_deletes() -> Result<()> {
    let lab = lab(&["ada"]).await?;
    let client = &lab.client;
    let job = client.submit(&pretend("held", "exit=3", "hold: true\nchunks: {count: 4}")).await?;
    ensure!(client.job(job).await?.job.state == JobState::Held);
    client.act(Act::Release { job }).await?;
    let detail = client.ended(job).await?;
    ensure!(detail.job.state == JobState::Failed && detail.job.chunks.failed == 4, "{detail:?}");
    ensure!(detail.failures.get(&EndReason::Exit) == Some(&4), "{:?}", detail.failures);
    let acted = client.act(Act::Retry { job, which: Retries::Failed }).await?;
    ensure!(acted.count == 4, "{acted:?}");
    let again = client.eventually("the second attempts have ended", |client| async move {
        let detail = client.job(job).await?;
        Ok((detail.job.state.is_final() && detail.failures.get(&EndReason::Exit) == Some(&8)).then_some(detail))
    });
    again.await?;
    let chunk = client.chunk_at(job, 3).await?;
    ensure!(chunk.chunk.state == ChunkState::Failed && chunk.history.len() == 2, "{chunk:?}");
    client.act(Act::Delete { job }).await?;
    let answer = client.request(Method::GET, &format!("/api/v1/jobs/{job}")).send().await?;
    ensure!(answer.status() == 404, "a deleted job is still there: {}", answer.status());
    Ok(())
}

/// A file source, its outputs, a joined table, and the manifest.
#[tokio::test(flavor = "multi_thread")]
async fn rows_become_chunks_and_outputs_one_table() -> Result<()> {
    let lab = lab(&["ada"]).await?;
    let rows = b"name,mass\nmercury,0.055\nvenus,0.815\nearth,1\n";
    let sha256 = hex(&Sha256::digest(rows));
    let path = format!("/api/v1/blobs/sha256/{sha256}?offset=0&size={}", rows.len());
    lab.client.request(Method::PUT, &path).body(rows.to_vec()).send().await?.error_for_status()?;
    let uploads = Uploads::from([("planets.csv".to_owned(), Upload { size: rows.len() as u64, sha256 })]);
    let spec = "name: planets
image: pretend/planets
resources: {cpus: 1, memory: 16MiB}
command: [pretend, \"write=/out/row.csv=name,mass\\n{{item.name}},{{item.mass}}\\n\"]
chunks: {rows: {from: \"upload:planets.csv\"}, label: \"{{item.name}}\"}
outputs: [{name: row, path: /out/row.csv}]
gather: {mode: csv, from: row, output: planets}
";
    let job = lab.client.submit_with(Submit { spec: spec.to_owned(), uploads, ..Submit::default() }).await?;
    let detail = lab.client.ended(job).await?;
    ensure!(detail.job.state == JobState::Succeeded, "{detail:?}");
    let table = lab.client.gathered(&detail, "planets").await?;
    ensure!(table == rows, "{:?}", String::from_utf8_lossy(&table));
    ensure!(lab.client.chunk_at(job, 1).await?.chunk.label == "venus");
    let manifest =
        lab.client.request(Method::GET, &format!("/api/v1/jobs/{job}/manifest")).send().await?.text().await?;
    ensure!(manifest.lines().count() == 3 && manifest.contains("\"earth\""), "{manifest}");
    Ok(())
}

/// A chunk that nothing can run says so, and a runner that can changes that.
#[tokio::test(flavor = "multi_thread")]
async fn a_wait_is_explained_and_ends_when_its_reason_does() -> Result<()> {
    let mut lab = lab(&["ada"]).await?;
    let spec =
        "name: big\nimage: pretend/big\nresources: {cpus: 16, memory: 1GiB}\ncommand: [pretend]\nchunks: {count: 1}\n";
    let job = lab.client.submit(spec).await?;
    let chunk = lab.client.chunk_at(job, 0).await?;
    let why = chunk.explanation.context("a waiting chunk without an explanation")?;
    ensure!(why.never && why.runners.iter().any(|reason| reason.runner == "ada"), "{why:?}");
    lab.add_runner("big", &["--pretend", "--cpus", "32", "--memory", "8GiB"]).await?;
    ensure!(lab.client.ended(job).await?.job.state == JobState::Succeeded);
    Ok(())
}
