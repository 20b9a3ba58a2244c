//! The self-test program packed as an image that both engines load. Nothing in it depends on when or where it is packed, so that
//! its id is the same on every host.
use dsg_schemas::spec::Arch;
use serde_json::json;
use sha2::{Digest, Sha256};

const PROGRAM: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/dsg-selftest"));
/// The path of the program in its image, which is its entry point.
pub const PROGRAM_PATH: &str = "/dsg-selftest";

/// A `docker save` archive with one image, and the image's name.
pub struct SelfTestImage {
    pub name: String,
    pub archive: Vec<u8>,
}

/// Packs it.
pub fn image() -> std::io::Result<SelfTestImage> {
    let layer = layer()?;
    let config = config(&layer).to_string().into_bytes();
    let id = hex(&Sha256::digest(&config));
    // A name of its own for each content: an old image of the same name would prove the wrong thing.
    let name = format!("localhost/dsg-selftest:{}", &id[..16]);
    let manifest = json!([{"Config": format!("{id}.json"), "RepoTags": [name], "Layers": ["layer.tar"]}]);
    let mut archive = tar::Builder::new(Vec::new());
    add(&mut archive, &format!("{id}.json"), &config, 0o644)?;
    add(&mut archive, "layer.tar", &layer, 0o644)?;
    add(&mut archive, "manifest.json", manifest.to_string().as_bytes(), 0o644)?;
    Ok(SelfTestImage { name, archive: archive.into_inner()? })
}

fn config(layer: &[u8]) -> serde_json::Value {
    let arch = match this_arch() {
        Some(Arch::Arm64) => "arm64",
        Some(Arch::Amd64) | None => "amd64",
    };
    json!({
        "architecture": arch,
        "os": "linux",
        "created": "1970-01-01T00:00:00Z",
        "config": {"Entrypoint": [PROGRAM_PATH], "Env": ["PATH=/"], "WorkingDir": "/"},
        "rootfs": {"type": "layers", "diff_ids": [format!("sha256:{}", hex(&Sha256::digest(layer)))]},
        "history": [{"created": "1970-01-01T00:00:00Z", "created_by": "dsg-runner"}],
    })
}

fn layer() -> std::io::Result<Vec<u8>> {
    let mut layer = tar::Builder::new(Vec::new());
    for (folder, mode) in [("tmp/", 0o1777), ("etc/", 0o755), ("data/", 0o755)] {
        let mut header = header(0, mode);
        header.set_entry_type(tar::EntryType::Directory);
        layer.append_data(&mut header, folder, std::io::empty())?;
    }
    add(&mut layer, "etc/passwd", b"root:x:0:0:root:/:/dsg-selftest\n", 0o644)?;
    add(&mut layer, "etc/group", b"root:x:0:\n", 0o644)?;
    // Data, and so not executable: for the proof that a command which cannot run is told as such.
    add(&mut layer, "data/notes.txt", b"a file that is no program\n", 0o644)?;
    add(&mut layer, &PROGRAM_PATH[1..], PROGRAM, 0o755)?;
    layer.into_inner()
}

fn add(tar: &mut tar::Builder<Vec<u8>>, path: &str, bytes: &[u8], mode: u32) -> std::io::Result<()> {
    tar.append_data(&mut header(bytes.len(), mode), path, bytes)
}

fn header(size: usize, mode: u32) -> tar::Header {
    let mut header = tar::Header::new_gnu();
    header.set_size(size as u64);
    header.set_mode(mode);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// What this program was built for.
pub fn this_arch() -> Option<Arch> {
    match std::env::consts::ARCH {
        "x86_64" => Some(Arch::Amd64),
        "aarch64" => Some(Arch::Arm64),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    #[test]
    fn the_archive_is_the_same_every_time_and_names_its_own_content() {
        let one = image().expect("packed");
        assert_eq!(one.archive, image().expect("packed").archive);
        let mut parts = std::collections::BTreeMap::new();
        for entry in tar::Archive::new(one.archive.as_slice()).entries().expect("entries") {
            let mut entry = entry.expect("an entry");
            let mut bytes = Vec::new();
            entry.read_to_end(&mut bytes).expect("readable");
            parts.insert(entry.path().expect("a path").display().to_string(), bytes);
        }
        let manifest: serde_json::Value = serde_json::from_slice(&parts["manifest.json"]).expect("json");
        let config = manifest[0]["Config"].as_str().expect("a name");
        assert_eq!(config, format!("{}.json", hex(&Sha256::digest(&parts[config]))));
        let config: serde_json::Value = serde_json::from_slice(&parts[config]).expect("json");
        let layer = format!("sha256:{}", hex(&Sha256::digest(&parts["layer.tar"])));
        assert_eq!(config["rootfs"]["diff_ids"][0], layer);
        assert_eq!(manifest[0]["RepoTags"][0], one.name);
    }

    #[test]
    fn the_program_is_static_so_that_an_empty_image_can_run_it() {
        assert!(PROGRAM.starts_with(b"\x7fELF"));
        assert!(!PROGRAM.windows(10).any(|part| part == b"/ld-linux-" || part == b"/ld-musl-x"));
    }
}
