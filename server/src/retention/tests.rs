//! Which bytes a sweep keeps.
use std::time::Duration;

use dsg_core::event::{Answer, Event, Join, Report, Sync};
use dsg_schemas::api::{Submit, Upload};
use dsg_schemas::reason::EndReason;
use dsg_schemas::wire::{AttemptReport, Ended, Facts, Phase, StoredFile};

use super::bytes::spoken;
use crate::Config;
use crate::blobs::BlobHash;

/// What a sweep would keep: uploads, outputs of attempts and gathered files; not what was only uploaded.
#[tokio::test]
async fn everything_that_a_row_speaks_of_is_kept() {
    let data = tempfile::tempdir().expect("a directory");
    let server = crate::start(Config::local(data.path())).await.expect("a server");
    let app = server.app.clone();
    let blob = |text: &str| app.blobs.write(text.as_bytes()).expect("stored");
    let file = |text: &str| {
        let (hash, size) = blob(text);
        StoredFile { name: "o".into(), file: "o".into(), size, sha256: hash.to_string() }
    };
    let (upload, size) = blob("rows\n1\n");
    let (output, stray) = (file("output"), file("stray"));
    let spec = "name: n\nimage: i\ncommand: [c]\nchunks: {rows: {from: 'upload:t.csv'}}\noutputs: [{name: o, path: /out/o}]\ngather: {mode: concat, from: o, output: all}\n";
    let uploads = [("t.csv".to_owned(), Upload { size, sha256: upload.to_string() })].into();
    let submit = Submit { spec: spec.to_owned(), uploads, ..Submit::default() };
    let caller =
        crate::auth::Caller { name: "mara".into(), role: dsg_schemas::api::Role::Admin, runner: None, token: None };
    let job = crate::api::submit::submitted(&app, &caller, submit).await.expect("a job").job;
    let enrol = Join::Enrol { name: "ada".into(), credential_sha256: "x".into() };
    let Ok(Answer::Enrolled { runner, .. }) = app.engine.apply(Event::Join(enrol)).await else { panic!("enrolled") };
    let facts = Facts { cpus_milli: 8000, memory_bytes: 8 << 30, disk_bytes: 1 << 40, ..Facts::default() };
    let hello =
        Join::Hello { runner, nonce: "n".into(), host: "h".into(), version: "v".into(), facts: Box::new(facts) };
    let Ok(Answer::Session { session, .. }) = app.engine.apply(Event::Join(hello)).await else { panic!("a session") };
    let sync = async |seq, attempts| {
        let report = Report { attempts, ..Report::default() };
        let sync = Sync { runner, session, seq, report: Some(report) };
        match app.engine.apply(Event::Sync(sync)).await {
            Ok(Answer::Orders(orders)) => orders,
            other => panic!("{other:?}"),
        }
    };
    let attempt = sync(1, Vec::new()).await.start[0].attempt;
    let ended = Ended { outputs: vec![output.clone()], ..Ended::before_start(EndReason::Succeeded, "") };
    sync(2, vec![AttemptReport { attempt, phase: Phase::Ended(Box::new(ended)) }]).await;
    // The server gathers by itself.
    let row = async || app.read(move |rows| rows.job(job)).await.expect("read").expect("a job");
    while !row().await.state.is_final() {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let keep = app.store.read(spoken).expect("read").kept;
    let kept = |file: &StoredFile| file.sha256.parse::<BlobHash>().is_ok_and(|hash| keep.contains(&hash.0));
    assert!(keep.contains(&upload.0) && kept(&output) && !kept(&stray));
    let gathered = row().await.gathered;
    assert!(!gathered.is_empty() && gathered.iter().all(kept));
    app.blobs.sweep(&keep, |_| Duration::ZERO).expect("swept");
    let there = |file: &StoredFile| app.blobs.has(file.sha256.parse().expect("a hash"), file.size);
    assert!(there(&output) && !there(&stray));
    server.stop().await;
}

/// An archive stays while its name means it, and while a job keeps it.
#[tokio::test]
async fn images_stay_for_their_names_and_for_the_jobs_that_keep_them() {
    use dsg_schemas::api;
    let data = tempfile::tempdir().expect("a directory");
    let server = crate::start(Config::local(data.path())).await.expect("a server");
    let caller = || crate::auth::Caller { name: "mara".into(), role: api::Role::Submitter, runner: None, token: None };
    let app = server.app.clone();
    let push = async |text: &str, name: &str| {
        let (hash, size) = app.blobs.write(text.as_bytes()).expect("stored");
        let act = api::Act::PushImage { name: name.to_owned(), sha256: hash.to_string(), size };
        crate::api::acts::perform(&app, caller(), act).await.expect("pushed");
        hash.0
    };
    let first = push("first", "dsg/fit:1").await;
    let spec = "name: n\nimage: dsg/fit:1\ncommand: [c]\nchunks: {count: 1}\n".to_owned();
    let submit = Submit { spec, ..Submit::default() };
    crate::api::submit::submitted(&app, &caller(), submit).await.expect("a job");
    let second = push("second", "dsg/fit:1").await;
    let removed = push("removed", "dsg/old:1").await;
    let act = api::Act::RemoveImage { name: "dsg/old:1".to_owned() };
    crate::api::acts::perform(&app, caller(), act).await.expect("removed");
    let act = api::Act::PushImage { name: "dsg/none:1".to_owned(), sha256: "0".repeat(64), size: 1 };
    assert!(crate::api::acts::perform(&app, caller(), act).await.is_err(), "its archive was never sent");
    let other = crate::auth::Caller { name: "otto".into(), ..caller() };
    let act = api::Act::RemoveImage { name: "dsg/fit:1".to_owned() };
    assert!(crate::api::acts::perform(&app, other, act).await.is_err(), "it is somebody else's");
    server.stop().await;

    let server = crate::start(Config::local(data.path())).await.expect("a server");
    let keep = server.app.store.read(spoken).expect("read").kept;
    assert!(keep.contains(&first) && keep.contains(&second) && !keep.contains(&removed));
    server.stop().await;
}
