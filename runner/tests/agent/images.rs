//! Images that people brought to the server: fetched and loaded once, and only if nothing in them passes for another image.
use dsg_runner::container::pretend::PretendEngine;
use dsg_schemas::api::Upload;
use dsg_schemas::reason::EndReason;
use dsg_schemas::units::Bytes;
use dsg_schemas::wire::{Phase, StartOrder};
use serde_json::{Value, json};

use crate::fake::{Fake, order};
use crate::sha256;

fn archive(names: Value) -> Vec<u8> {
    let list = json!([{"Config": "c.json", "RepoTags": names, "Layers": []}]).to_string();
    let mut header = tar::Header::new_gnu();
    header.set_size(list.len() as u64);
    let mut tar = tar::Builder::new(Vec::new());
    tar.append_data(&mut header, "manifest.json", list.as_bytes()).expect("added");
    tar.into_inner().expect("an archive")
}

fn wanting(fake: &Fake, attempt: u64, archive: &[u8]) -> StartOrder {
    let (size, sha256) = (archive.len() as u64, sha256(archive));
    fake.change(|state| state.blobs.insert(sha256.clone(), archive.to_vec()));
    let pushed = Some(Upload { size, sha256 });
    StartOrder { image: "dsg/fit:1".to_owned(), pushed, ..order(attempt, &["exit=0"]) }
}

#[tokio::test]
async fn an_image_is_fetched_and_loaded_once_however_many_want_it() {
    let (fake, engine, state) = (Fake::start().await, PretendEngine::new(), tempfile::tempdir().expect("dir"));
    fake.joined(state.path()).await;
    let runner = fake.run(state.path(), &engine);
    let image = archive(Value::Null);
    let name = format!("localhost/dsg-pushed:{}", sha256(&image));
    for attempt in 1..=4 {
        fake.offer(wanting(&fake, attempt, &image));
    }
    for attempt in 1..=4 {
        let ended = fake.ended(attempt).await;
        assert_eq!((ended.reason, ended.image_id), (EndReason::Succeeded, Some(format!("sha256:{name}"))));
    }
    assert_eq!(engine.loaded(), [name]);
    assert_eq!(fake.change(|state| state.blob_asks), 1);
    runner.stop().await;
}

#[tokio::test]
async fn how_far_an_image_is_fetched_is_told() {
    let (fake, engine, state) = (Fake::start().await, PretendEngine::new(), tempfile::tempdir().expect("dir"));
    fake.joined(state.path()).await;
    let runner = fake.run(state.path(), &engine);
    let image = archive(Value::Null);
    fake.change(|state| state.halves_held = true);
    fake.offer(wanting(&fake, 1, &image));
    let (half, all) = (Bytes(image.len() as u64 / 2), Bytes(image.len() as u64));
    let note = format!("fetching image dsg/fit:1 from the server: {half} of {all}");
    fake.until("how far it is", |state| {
        let told = state.syncs.iter().flat_map(|sync| &sync.attempts).map(|report| &report.phase);
        told.into_iter().any(|phase| *phase == Phase::Preparing { note: note.clone() })
    })
    .await;
    fake.change(|state| state.halves_held = false);
    assert_eq!(fake.ended(1).await.reason, EndReason::Succeeded);
    runner.stop().await;
}

#[tokio::test]
async fn an_image_that_would_take_the_name_of_another_is_not_loaded() {
    let (fake, engine, state) = (Fake::start().await, PretendEngine::new(), tempfile::tempdir().expect("dir"));
    fake.joined(state.path()).await;
    let runner = fake.run(state.path(), &engine);
    let ended = fake.runs(wanting(&fake, 1, &archive(json!(["python:3"])))).await;
    assert_eq!(ended.reason, EndReason::ImageNotFound);
    assert!(ended.message.contains("bears names of its own"), "{}", ended.message);
    // Nor does an image of the server's own run under a name that its owner trusts.
    let forged = StartOrder { image: "python:3".to_owned(), ..wanting(&fake, 2, &archive(Value::Null)) };
    assert_eq!(fake.runs(forged).await.reason, EndReason::Refused);
    assert_eq!(engine.loaded(), Vec::<String>::new());
    runner.stop().await;
}
