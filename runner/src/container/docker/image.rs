//! Making an image present, by a pull or from a file, and what it is called and says of itself.
use std::collections::BTreeSet;
use std::path::Path;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use bollard::models::BuildInfo;
use bollard::query_parameters::{ImportImageOptions, ImportImageOptionsBuilder, TagImageOptionsBuilder};
use bollard::{body_full, body_try_stream};
use dsg_schemas::reason::EndReason;
use dsg_schemas::spec::PullPolicy;
use futures_util::{Stream, StreamExt};
use serde_json::Value;
use tokio_util::io::ReaderStream;

use super::DockerEngine;
use super::failure::{Trouble, is_about_login, pull_reason};
use super::images::{bare, ids};
use super::plain::escaped_path;
use super::platform::Platform;
use crate::container::{Bringing, Failure, Present};

const LOAD: Duration = Duration::from_secs(600);
/// For tens of gigabytes on a slow disk.
const LOAD_FILE: Duration = Duration::from_secs(3 * 3600);
const PIECE: usize = 256 << 10;

/// Images that are remembered; more are asked about again.
const IMAGES: usize = 1000;

/// What an image says, where nobody says otherwise.
pub(super) struct ImageDefaults {
    /// Empty is root.
    pub user: String,
    /// Names of its environment variables.
    pub env: BTreeSet<String>,
}

/// An image as inspect shows it.
struct Seen {
    id: String,
    bytes: u64,
    platform: Option<Platform>,
}

impl Seen {
    /// `None`: it was there before, or nobody knows.
    fn brought_as(&self, name: String, before: Option<&BTreeSet<String>>) -> Option<Bringing> {
        let new = before.is_some_and(|before| !before.contains(&bare(&self.id)));
        new.then_some(Bringing { name, bytes: self.bytes })
    }

    fn present(self, brought: Option<Bringing>, misfit: Option<String>) -> Present {
        Present { id: self.id, brought, misfit }
    }
}

impl DockerEngine {
    pub(super) async fn make_present(
        &self,
        image: &str,
        policy: PullPolicy,
        note: &(dyn Fn(String) + Send + Sync),
    ) -> Result<Present, Failure> {
        let name = full_name(image);
        if policy != PullPolicy::Always {
            for name in [image, name.as_str()] {
                match self.look_at_image(name).await {
                    Ok(seen) => {
                        let misfit = self.misfit(&seen, image);
                        return Ok(seen.present(None, misfit));
                    }
                    Err(trouble) if trouble.missing() || trouble.says(&["no such image"]) => {}
                    Err(trouble) => return Err(trouble.failed(&format!("look for image {image}"))),
                }
            }
        }
        if policy == PullPolicy::Never {
            return Err(Failure {
                reason: EndReason::ImageNotFound,
                message: format!(
                    "image {image} is not on this runner, and the job says pull: never; load it here, or let it be pulled"
                ),
                engine_gone: false,
            });
        }
        let pulled = self.pull(&name, note).await;
        let before = pulled.map_err(|trouble| {
            let (reason, login) = (pull_reason(&trouble), is_about_login(&trouble));
            let mut failure = trouble.sorted(&format!("pull image {image}"), reason);
            if login {
                failure.message = format!("{}; {}", failure.message, self.registries.looked_at(&name));
            }
            failure
        })?;
        // The only proof of a pull: Podman tells of failures inside an answer that began as a success.
        let seen = self
            .look_at_image(&name)
            .await
            .map_err(|trouble| trouble.sorted(&format!("find image {image} after its pull"), EndReason::PullFailed))?;
        let (brought, misfit) = (seen.brought_as(name, before.as_deref()), self.misfit(&seen, image));
        Ok(seen.present(brought, misfit))
    }

    fn misfit(&self, seen: &Seen, image: &str) -> Option<String> {
        Platform::objection(self.platform.as_ref(), seen.platform.as_ref(), image)
    }

    async fn look_at_image(&self, name: &str) -> Result<Seen, Trouble> {
        let found = self.plain.get(&format!("/images/{}/json", escaped_path(name))).await?;
        let id = found["Id"].as_str().ok_or_else(|| Trouble::Strange(format!("image {name} has no id")))?;
        let platform = Platform::read(&found["Os"], &found["Architecture"]);
        Ok(Seen { id: id.to_owned(), bytes: found["Size"].as_u64().unwrap_or(0), platform })
    }

    /// Of an image by its id, which never means another one: asked once.
    pub(super) async fn image_defaults(&self, id: &str) -> Result<Arc<ImageDefaults>, Trouble> {
        let known = || self.images.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(defaults) = known().get(id) {
            return Ok(defaults.clone());
        }
        let defaults = Arc::new(self.ask_image_defaults(id).await?);
        let mut images = known();
        if images.len() >= IMAGES {
            images.clear();
        }
        images.insert(id.to_owned(), defaults.clone());
        Ok(defaults)
    }

    async fn ask_image_defaults(&self, id: &str) -> Result<ImageDefaults, Trouble> {
        let found = self.plain.get(&format!("/images/{}/json", escaped_path(id))).await?;
        let env = found["Config"]["Env"].as_array().map(Vec::as_slice).unwrap_or_default();
        let name = |pair: &Value| pair.as_str()?.split('=').next().map(str::to_owned);
        Ok(ImageDefaults {
            user: found["Config"]["User"].as_str().unwrap_or_default().to_owned(),
            env: env.iter().filter_map(name).collect(),
        })
    }

    /// Loads a `docker save` archive and gives the id of the image in it.
    pub(super) async fn load(&self, archive: Vec<u8>) -> Result<String, Failure> {
        let answers = self.long.import_image(import(), body_full(archive.into()), None);
        self.loaded(answers, LOAD).await.map(|seen| seen.id)
    }

    /// In pieces, whatever its size.
    pub(super) async fn load_as(&self, archive: &Path, name: &str) -> Result<Present, Failure> {
        let opened = tokio::fs::File::open(archive).await;
        let file = opened.map_err(|error| Failure {
            reason: EndReason::DiskFull,
            message: format!("failed to open {}: {error}", archive.display()),
            engine_gone: false,
        })?;
        let body = body_try_stream(ReaderStream::with_capacity(file, PIECE));
        let before = ids(&self.plain).await;
        let seen = self.loaded(self.long.import_image(import(), body, None), LOAD_FILE).await?;
        let (repository, tag) = parts(name);
        let options = TagImageOptionsBuilder::default().repo(repository).tag(tag).build();
        let tagged = self.deadline(self.short.tag_image(&seen.id, Some(options))).await;
        tagged.map_err(|trouble| trouble.failed(&format!("name an image {name}")))?;
        let (brought, misfit) = (seen.brought_as(full_name(name), before.as_ref()), self.misfit(&seen, name));
        Ok(seen.present(brought, misfit))
    }

    async fn loaded(
        &self,
        answers: impl Stream<Item = Result<BuildInfo, bollard::errors::Error>> + Send,
        within: Duration,
    ) -> Result<Seen, Failure> {
        let attempted = "load an image archive";
        let read = async {
            let mut answers = Box::pin(answers);
            let mut said = String::new();
            while let Some(answer) = answers.next().await {
                said.push_str(answer.map_err(Trouble::from)?.stream.as_deref().unwrap_or_default());
            }
            let name = loaded_name(&said).ok_or_else(|| Trouble::Strange(format!("it says {said:?}")))?;
            self.look_at_image(name).await
        };
        let silent = |_| Trouble::Silent("no answer in time".to_owned());
        let loaded = tokio::time::timeout(within, read).await.map_err(silent).and_then(|loaded| loaded);
        loaded.map_err(|trouble| trouble.failed(attempted))
    }
}

fn import() -> ImportImageOptions {
    ImportImageOptionsBuilder::default().build()
}

/// The name that both engines understand alike: with its registry, and with a tag (without one, some pull all of them).
pub(super) fn full_name(image: &str) -> String {
    let first = image.split('/').next().unwrap_or_default();
    let has_registry = image.contains('/') && (first.contains(['.', ':']) || first == "localhost");
    let is_id = image.starts_with("sha256:");
    let named = match (is_id || has_registry, image.contains('/')) {
        (true, _) => image.to_owned(),
        (false, true) => format!("docker.io/{image}"),
        (false, false) => format!("docker.io/library/{image}"),
    };
    if is_id {
        return named;
    }
    // Beside a digest a tag means nothing, and engines disagree on it.
    match parts(&named) {
        (repository, digest) if digest.contains(':') => format!("{repository}@{digest}"),
        (repository, tag) => format!("{repository}:{tag}"),
    }
}

/// Repository, and tag or digest.
pub(super) fn parts(name: &str) -> (&str, &str) {
    if let Some((tagged, digest)) = name.split_once('@') {
        return (parts(tagged).0, digest);
    }
    let folder = name.rfind('/').map_or(0, |at| at + 1);
    match name[folder..].rfind(':') {
        Some(at) => (&name[..folder + at], &name[folder + at + 1..]),
        None => (name, "latest"),
    }
}

/// From `Loaded image: NAME` or `Loaded image ID: sha256:…`.
fn loaded_name(said: &str) -> Option<&str> {
    let line = said.lines().rev().find(|line| line.starts_with("Loaded image"))?;
    line.split_once(": ").map(|(_, name)| name.trim())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_become_what_both_engines_understand() {
        let cases = [
            ("busybox", "docker.io/library/busybox:latest", ("docker.io/library/busybox", "latest")),
            ("lab/x:1", "docker.io/lab/x:1", ("docker.io/lab/x", "1")),
            ("127.0.0.1:5000/x", "127.0.0.1:5000/x:latest", ("127.0.0.1:5000/x", "latest")),
            ("ghcr.io/lab/x@sha256:ab", "ghcr.io/lab/x@sha256:ab", ("ghcr.io/lab/x", "sha256:ab")),
            ("localhost/x:1", "localhost/x:1", ("localhost/x", "1")),
            ("x:1@sha256:ab", "docker.io/library/x@sha256:ab", ("docker.io/library/x", "sha256:ab")),
        ];
        for (image, full, split) in cases {
            assert_eq!(full_name(image), full);
            assert_eq!(parts(full), split);
        }
        assert_eq!(full_name("sha256:ab"), "sha256:ab");
    }

    #[test]
    fn the_loaded_image_is_found_in_what_the_engine_says() {
        assert_eq!(loaded_name("Loaded image: localhost/x:1\n"), Some("localhost/x:1"));
        assert_eq!(loaded_name("Loaded image ID: sha256:ab\n"), Some("sha256:ab"));
        assert_eq!(loaded_name("no"), None);
    }
}
