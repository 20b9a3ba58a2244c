//! An image that nobody needs is removed, under all its names; one that a container has is not.
use std::io::Read;
use std::sync::Arc;

use dsg_runner::container::Engine;
use dsg_runner::selftest::image;
use dsg_schemas::ids::RunnerId;
use sha2::{Digest, Sha256};

use crate::bench::{Bench, RUNNER};

/// The image of the self-test with a line more in its history: another one, in the same layer, without a name.
fn another(line: &str) -> Vec<u8> {
    let packed = image().expect("packed").archive;
    let mut parts = Vec::new();
    for entry in tar::Archive::new(packed.as_slice()).entries().expect("entries") {
        let mut entry = entry.expect("an entry");
        let mut bytes = Vec::new();
        entry.read_to_end(&mut bytes).expect("readable");
        parts.push((entry.path().expect("a path").display().to_string(), bytes));
    }
    let config = parts.iter().position(|(name, _)| name.len() == 64 + 5 && name.ends_with(".json")).expect("a config");
    let mut said: serde_json::Value = serde_json::from_slice(&parts[config].1).expect("json");
    said["history"][0]["comment"] = line.into();
    let said = said.to_string().into_bytes();
    let name = Sha256::digest(&said).iter().map(|byte| format!("{byte:02x}")).collect::<String>() + ".json";
    let list = serde_json::json!([{"Config": name, "RepoTags": null, "Layers": ["layer.tar"]}]);
    let mut archive = tar::Builder::new(Vec::new());
    for (path, bytes) in parts {
        let (path, bytes) = match path.as_str() {
            "manifest.json" => (path, list.to_string().into_bytes()),
            "layer.tar" => (path, bytes),
            _ => (name.clone(), said.clone()),
        };
        let mut header = tar::Header::new_gnu();
        header.set_size(bytes.len() as u64);
        header.set_mode(0o644);
        archive.append_data(&mut header, path, bytes.as_slice()).expect("added");
    }
    archive.into_inner().expect("an archive")
}

pub async fn images_go_when_nobody_needs_them(bench: Arc<Bench>) {
    let folder = tempfile::tempdir().expect("dir");
    let file = folder.path().join("image.tar");
    std::fs::write(&file, another(&bench.grid)).expect("written");
    let (engine, grid) = (&bench.engine, bench.grid.as_str());
    let names = ["one", "two"].map(|tag| format!("localhost/{grid}:{tag}"));
    let first = engine.load_file(&file, &names[0]).await.expect("loaded");
    let again = engine.load_file(&file, &names[1]).await.expect("loaded again");
    let brought = first.brought.as_ref().map(|brought| brought.name.clone());
    assert_eq!((brought, again.brought), (Some(engine.full_name(&names[0])), None), "{}", bench.kind);
    assert_eq!(first.id, again.id);
    let look = async |runner: RunnerId| {
        let seen = engine.images(grid, runner).await.expect("listed");
        seen.into_iter().find(|image| image.id == first.id)
    };
    let mut plan = bench.plan(48, &["exit", "0"]);
    plan.image.clone_from(&first.id);
    let container = engine.create(&plan).await.expect("created");
    let seen = look(RUNNER).await.expect("it is there");
    let mut told = seen.names;
    told.sort();
    assert_eq!(told, names, "{}", bench.kind);
    assert_eq!((seen.in_use, seen.others_use_it), (true, false), "{}", bench.kind);
    let others = look(RunnerId(1)).await.expect("it is there");
    assert!(others.others_use_it, "{}: of another runner", bench.kind);
    assert_eq!(engine.remove_image(&first.id, &names[1..]).await, Ok(false), "{}: it has two names", bench.kind);
    assert_eq!(engine.remove_image(&first.id, &names).await, Ok(false), "{}: a container has it", bench.kind);
    assert!(look(RUNNER).await.is_some(), "{}", bench.kind);
    bench.remove(&container).await;
    assert_eq!(engine.remove_image(&first.id, &names).await, Ok(true), "{}", bench.kind);
    assert_eq!(look(RUNNER).await, None, "{}", bench.kind);
    assert_eq!(engine.remove_image(&first.id, &names).await, Ok(true), "{}: it is gone", bench.kind);
}
