//! An image archive before it is loaded. Engines give what they load the names that stand in it: one that bears names could take the
//! place of an image that the owner of this host trusts, so only nameless ones are let in.
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use serde_json::Value;

/// Lists of a few images are small.
const LIST_BYTES: u64 = 4 << 20;
const NAMES: [&str; 2] = ["org.opencontainers.image.ref.name", "io.containerd.image.name"];

/// Whether it is one image without a name; if not, why.
pub fn look_through(path: &Path) -> io::Result<Result<(), String>> {
    let mut archive = tar::Archive::new(File::open(path)?);
    let (mut lists, mut indexes) = (0, 0);
    for entry in archive.entries_with_seek()? {
        let Ok(mut entry) = entry else { return Ok(Err("it is no tar archive".to_owned())) };
        let name = entry.path()?.to_string_lossy().trim_start_matches("./").to_owned();
        if !matches!(name.as_str(), "manifest.json" | "repositories" | "index.json") {
            continue;
        }
        let mut text = Vec::new();
        entry.by_ref().take(LIST_BYTES).read_to_end(&mut text)?;
        let Ok(list) = serde_json::from_slice::<Value>(&text) else {
            return Ok(Err(format!("its {name} cannot be understood")));
        };
        let named = match name.as_str() {
            "manifest.json" => {
                lists += 1;
                let images = list.as_array().map(Vec::as_slice).unwrap_or_default();
                if images.len() != 1 {
                    return Ok(Err(format!("it holds {} images", images.len())));
                }
                images.iter().any(|image| image["RepoTags"].as_array().is_some_and(|tags| !tags.is_empty()))
            }
            "index.json" => {
                indexes += 1;
                let images = list["manifests"].as_array().map(Vec::as_slice).unwrap_or_default();
                images.iter().any(|image| NAMES.iter().any(|name| !image["annotations"][*name].is_null()))
            }
            _ => list.as_object().is_none_or(|names| !names.is_empty()),
        };
        if named {
            return Ok(Err(
                "it bears names of its own, which could take the place of other images; save it by its id".to_owned()
            ));
        }
    }
    // A second list would be read by some engines in place of the first.
    Ok(if lists == 1 && indexes <= 1 { Ok(()) } else { Err("it is no archive of one image".to_owned()) })
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use serde_json::json;

    use super::*;

    fn verdict(files: &[(&str, Value)]) -> Result<(), String> {
        let mut tar = tar::Builder::new(Vec::new());
        for (name, text) in files {
            let text = text.to_string();
            let mut header = tar::Header::new_gnu();
            header.set_size(text.len() as u64);
            tar.append_data(&mut header, name, text.as_bytes()).expect("added");
        }
        let mut file = tempfile::NamedTempFile::new().expect("a file");
        file.write_all(&tar.into_inner().expect("an archive")).expect("written");
        look_through(file.path()).expect("read")
    }

    #[test]
    fn only_one_image_without_a_name_is_let_in() {
        let list = |tags: Value| json!([{"Config": "c.json", "RepoTags": tags, "Layers": []}]);
        let nameless = ("manifest.json", list(Value::Null));
        let index = |notes: Value| ("index.json", json!({"manifests": [{"digest": "sha256:a", "annotations": notes}]}));
        for fine in [
            vec![nameless.clone()],
            vec![("manifest.json", list(json!([]))), ("repositories", json!({}))],
            vec![nameless.clone(), index(json!({"other": "x"}))],
        ] {
            assert_eq!(verdict(&fine), Ok(()), "{fine:?}");
        }
        for wrong in [
            vec![],
            vec![("manifest.json", list(json!(["python:3"])))],
            vec![nameless.clone(), ("manifest.json", list(json!(["python:3"])))],
            vec![nameless.clone(), nameless.clone()],
            vec![("manifest.json", json!([{"RepoTags": null}, {"RepoTags": null}]))],
            vec![nameless.clone(), ("repositories", json!({"python": {"3": "x"}}))],
            vec![nameless.clone(), ("./repositories", json!({"python": {"3": "x"}}))],
            vec![nameless.clone(), index(json!({"io.containerd.image.name": "docker.io/library/python:3"}))],
            vec![nameless.clone(), index(json!({"org.opencontainers.image.ref.name": "3"}))],
            vec![nameless.clone(), index(json!({})), index(json!({}))],
            vec![("manifest.json", json!({"RepoTags": ["python:3"]}))],
        ] {
            assert!(verdict(&wrong).is_err(), "{wrong:?}");
        }
    }
}
