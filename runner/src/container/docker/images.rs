//! What images the engine has, who uses them, and removing one that nobody needs.
use std::collections::BTreeSet;
use std::time::Duration;

use dsg_schemas::ids::RunnerId;
use serde_json::Value;

use super::DockerEngine;
use super::failure::Trouble;
use super::image::{full_name, parts};
use super::lifecycle::own;
use super::plain::{Plain, escaped_path};
use crate::container::{Failure, ImageSeen};

/// For tens of gigabytes on a slow disk.
const REMOVAL: Duration = Duration::from_secs(600);
/// How both engines say that something needs it.
const NEEDED: [&str; 6] =
    ["conflict", "in use", "using its referenced image", "is using", "must be forced", "more than one tag"];

impl DockerEngine {
    pub(super) async fn list_images(&self, grid: &str, runner: RunnerId) -> Result<Vec<ImageSeen>, Failure> {
        let ask =
            async { Ok::<_, Trouble>((self.plain.get("/images/json").await?, self.plain.get(CONTAINERS).await?)) };
        let (images, containers) = ask.await.map_err(|trouble| trouble.failed("list images"))?;
        let images = images.as_array().map(Vec::as_slice).unwrap_or_default();
        let containers = containers.as_array().map(Vec::as_slice).unwrap_or_default();
        Ok(images.iter().filter_map(|image| seen(image, containers, grid, runner)).collect())
    }

    pub(super) async fn drop_image(&self, id: &str, names: &[String]) -> Result<bool, Failure> {
        let patient = Plain { deadline: REMOVAL, ..self.plain.clone() };
        // By its id an engine removes only what has one name; the last name goes with it.
        let others = names.iter().skip(1).map(String::as_str);
        for name in others.chain([id]) {
            match patient.delete(&format!("/images/{}", escaped_path(name))).await {
                Ok(_) => {}
                Err(trouble) if trouble.missing() || trouble.says(&["no such image", "image not known"]) => {}
                Err(trouble) if trouble.says(&NEEDED) => return Ok(false),
                Err(trouble) => return Err(trouble.failed(&format!("remove image {name}"))),
            }
        }
        Ok(true)
    }
}

const CONTAINERS: &str = "/containers/json?all=true";

/// Those that are there, under a name or without. `None`: nobody knows.
pub(super) async fn ids(plain: &Plain) -> Option<BTreeSet<String>> {
    let images = plain.get("/images/json?all=true").await.ok()?;
    images.as_array()?.iter().map(|image| image["Id"].as_str().map(bare)).collect()
}

/// Some answers have ids with their kind in front, and some without.
pub(super) fn bare(id: &str) -> String {
    id.trim_start_matches("sha256:").to_owned()
}

fn seen(image: &Value, containers: &[Value], grid: &str, runner: RunnerId) -> Option<ImageSeen> {
    let id = image["Id"].as_str()?.to_owned();
    let texts = |key: &str| {
        let list = image[key].as_array().map(Vec::as_slice).unwrap_or_default();
        let full = list.iter().filter_map(Value::as_str).filter(|name| !name.starts_with("<none>")).map(full_name);
        full.collect::<Vec<_>>()
    };
    let mut names = texts("RepoTags");
    // A pull by tag leaves a digest of the same repository beside it: that is no name of its own.
    let tagged: BTreeSet<String> = names.iter().map(|name| parts(name).0.to_owned()).collect();
    names.extend(texts("RepoDigests").into_iter().filter(|name| !tagged.contains(parts(name).0)));
    let users = || containers.iter().filter(|container| container["ImageID"].as_str().map(bare) == Some(bare(&id)));
    Some(ImageSeen {
        in_use: users().next().is_some(),
        others_use_it: users().any(|container| own(container, grid, runner).is_none()),
        id,
        names,
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn names_are_told_in_full_and_users_by_their_labels() {
        let image = json!({"Id": "sha256:1", "RepoTags": ["busybox:1", "lab.example/x:2"],
            "RepoDigests": ["busybox@sha256:aa", "other.example/y@sha256:bb", "<none>@<none>"]});
        let mine = json!({"Id": "c", "ImageID": "1",
            "Labels": {"dsg.grid": "g", "dsg.runner": "3", "dsg.attempt": "17"}});
        let look = |containers: &[Value]| seen(&image, containers, "g", RunnerId(3)).expect("an image");
        let alone = look(&[]);
        let names = ["docker.io/library/busybox:1", "lab.example/x:2", "other.example/y@sha256:bb"];
        assert_eq!(alone.names, names);
        assert_eq!((alone.in_use, alone.others_use_it), (false, false));
        let by = |container: &Value| {
            let found = look(std::slice::from_ref(container));
            (found.in_use, found.others_use_it)
        };
        assert_eq!(by(&mine), (true, false));
        assert_eq!(by(&json!({"Id": "c", "ImageID": "sha256:1", "Labels": {}})), (true, true));
        assert_eq!(by(&json!({"Id": "c", "ImageID": "sha256:2", "Labels": {}})), (false, false));
    }
}
