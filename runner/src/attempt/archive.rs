//! An image archive before it is loaded. Engines give what they load the names that stand in it: one that bears names could take the
//! place of an image that the owner of this host trusts, so only nameless ones are let in.
use std::collections::HashSet;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Component, Path, PathBuf};

use serde_json::Value;
use tar::Entry;

/// Lists of a few images are small.
const LIST_BYTES: u64 = 4 << 20;
const NAMES: [&str; 2] = ["org.opencontainers.image.ref.name", "io.containerd.image.name"];

/// Whether it is one image without a name; if not, why.
pub fn look_through(path: &Path) -> io::Result<Result<(), String>> {
    let mut archive = tar::Archive::new(File::open(path)?);
    let (mut lists, mut indexes, mut links) = (0, 0, HashSet::new());
    for entry in archive.entries_with_seek()? {
        let Ok(mut entry) = entry else { return Ok(Err("it is no tar archive".to_owned())) };
        let Some(path) = plain_path(&mut entry, &mut links)? else {
            return Ok(Err("a file in it is not where its name says; save the image anew".to_owned()));
        };
        let name = path.to_string_lossy();
        if !matches!(&*name, "manifest.json" | "repositories" | "index.json") {
            continue;
        }
        let mut text = Vec::new();
        entry.by_ref().take(LIST_BYTES).read_to_end(&mut text)?;
        let Ok(list) = serde_json::from_slice::<Value>(&text) else {
            return Ok(Err(format!("its {name} cannot be understood")));
        };
        let named = match &*name {
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

/// Where the entry ends up, if that is the same for whoever unpacks it: engines clean names, follow links that were unpacked before, and
/// read more kinds of headers than we do, so that what we take for another file could become the list of names.
fn plain_path<R: Read>(entry: &mut Entry<'_, R>, links: &mut HashSet<PathBuf>) -> io::Result<Option<PathBuf>> {
    let mut names = 0;
    for extension in entry.pax_extensions()?.into_iter().flatten() {
        let extension = extension?;
        let key = extension.key_bytes();
        names += u32::from(key == b"path");
        if names > 1 || key.starts_with(b"GNU.sparse") {
            return Ok(None);
        }
    }
    let mut path = PathBuf::new();
    for part in entry.path()?.components() {
        match part {
            Component::Normal(part) => path.push(part),
            Component::CurDir => {}
            Component::ParentDir | Component::RootDir | Component::Prefix(_) => return Ok(None),
        }
    }
    let kind = entry.header().entry_type();
    // Of equal layers `docker save` writes one, and links to it.
    let known = kind.is_file() || kind.is_dir() || kind.is_symlink() || kind.is_pax_global_extensions();
    if !known || path.ancestors().skip(1).any(|folder| links.contains(folder)) {
        return Ok(None);
    }
    if kind.is_symlink() {
        links.insert(path.clone());
    }
    Ok(Some(path))
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

    /// A whole archive, and behind it one entry that is made by hand.
    fn verdict_with(add: impl FnOnce(&mut tar::Builder<Vec<u8>>)) -> Result<(), String> {
        let mut tar = tar::Builder::new(Vec::new());
        let text = br#"[{"Config": "c.json", "RepoTags": null, "Layers": []}]"#;
        let mut header = tar::Header::new_gnu();
        header.set_size(text.len() as u64);
        tar.append_data(&mut header, "manifest.json", &text[..]).expect("added");
        add(&mut tar);
        let mut file = tempfile::NamedTempFile::new().expect("a file");
        file.write_all(&tar.into_inner().expect("an archive")).expect("written");
        look_through(file.path()).expect("read")
    }

    /// As it stands in a header: the builder refuses such names.
    fn raw(tar: &mut tar::Builder<Vec<u8>>, name: &str, kind: tar::EntryType, target: &str) {
        let text = br#"[{"RepoTags": ["python:3"]}]"#;
        let text = if kind.is_file() { &text[..] } else { &[] };
        let mut header = tar::Header::new_gnu();
        header.as_old_mut().name[..name.len()].copy_from_slice(name.as_bytes());
        header.as_old_mut().linkname[..target.len()].copy_from_slice(target.as_bytes());
        header.set_entry_type(kind);
        header.set_size(text.len() as u64);
        header.set_cksum();
        tar.append(&header, text).expect("added");
    }

    #[test]
    fn no_file_becomes_the_list_of_names_under_another_name() {
        use tar::EntryType::{Link, Regular, Symlink};
        assert_eq!(verdict_with(|_| ()), Ok(()));
        assert_eq!(
            verdict_with(|tar| raw(tar, "b/layer.tar", Symlink, "../a/layer.tar")),
            Ok(()),
            "as docker save does"
        );
        for name in ["a/../manifest.json", "../manifest.json", "/manifest.json", "./a/./../manifest.json"] {
            assert!(verdict_with(|tar| raw(tar, name, Regular, "")).is_err(), "{name}");
        }
        let through_a_link = verdict_with(|tar| {
            raw(tar, "b", Symlink, ".");
            raw(tar, "b/manifest.json", Regular, "");
        });
        assert!(through_a_link.is_err());
        assert!(verdict_with(|tar| raw(tar, "x", Link, "manifest.json")).is_err(), "a hard link");
        for extension in [vec![("path", "a"), ("path", "manifest.json")], vec![("GNU.sparse.name", "manifest.json")]] {
            let found = verdict_with(|tar| {
                let extension = extension.iter().map(|(key, value)| (*key, value.as_bytes()));
                tar.append_pax_extensions(extension).expect("added");
                raw(tar, "a", Regular, "");
            });
            assert!(found.is_err());
        }
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
