//! The images of a pretend engine, and the room that they take of its disk.
use std::sync::{MutexGuard, PoisonError};

use dsg_schemas::ids::RunnerId;

use super::PretendEngine;
use crate::container::{Bringing, ImageSeen, Present, label};
use crate::room::Space;

#[derive(Debug, Default)]
pub(super) struct Shelf {
    /// Free before any image, and in all.
    pub disk: Option<(u64, u64)>,
    pub image_bytes: u64,
    images: Vec<Image>,
}

#[derive(Debug)]
struct Image {
    id: String,
    names: Vec<String>,
    bytes: u64,
}

impl Shelf {
    /// Whatever is asked for can be had.
    pub fn fetch(&mut self, name: &str) -> Present {
        let is_it = |image: &&Image| image.id == name || image.names.iter().any(|known| known == name);
        if let Some(image) = self.images.iter().find(is_it) {
            return Present { id: image.id.clone(), ..Present::default() };
        }
        let (id, bytes) = (format!("sha256:{name}"), self.image_bytes);
        self.images.push(Image { id: id.clone(), names: vec![name.to_owned()], bytes });
        Present { id, brought: Some(Bringing { name: name.to_owned(), bytes }), misfit: misfit(name) }
    }

    pub fn named(&mut self, name: &str, new: &str) {
        let id = self.fetch(name).id;
        if let Some(image) = self.images.iter_mut().find(|image| image.id == id) {
            image.names.push(new.to_owned());
        }
    }

    pub fn names(&self) -> Vec<String> {
        self.images.iter().flat_map(|image| image.names.clone()).collect()
    }

    pub fn space(&self) -> Option<Space> {
        let (free, total_bytes) = self.disk?;
        let taken: u64 = self.images.iter().map(|image| image.bytes).sum();
        Some(Space { free_bytes: free.saturating_sub(taken), total_bytes, device: 0 })
    }
}

/// Of images that say so themselves.
fn misfit(name: &str) -> Option<String> {
    (name == "pretend/foreign").then(|| format!("image {name} is for another platform"))
}

impl PretendEngine {
    pub(super) fn shelf(&self) -> MutexGuard<'_, Shelf> {
        self.inner.shelf.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn seen_images(&self, grid: &str, runner: RunnerId) -> Vec<ImageSeen> {
        let containers = self.containers();
        let users = |id: &str| containers.values().filter(|container| container.plan.image == id).collect::<Vec<_>>();
        let runner = runner.to_string();
        let is_ours = |labels: &std::collections::BTreeMap<String, String>| {
            let is = |key: &str, value: &str| labels.get(key).is_some_and(|found| found == value);
            is(label::GRID, grid) && is(label::RUNNER, &runner)
        };
        let seen = |image: &Image| {
            let users = users(&image.id);
            ImageSeen {
                id: image.id.clone(),
                names: image.names.clone(),
                in_use: !users.is_empty(),
                others_use_it: users.iter().any(|container| !is_ours(&container.plan.labels)),
            }
        };
        self.shelf().images.iter().map(seen).collect()
    }

    /// As an engine does it without force.
    pub(super) fn shelved(&self, id: &str, names: &[String]) -> bool {
        if self.containers().values().any(|container| container.plan.image == id) {
            return false;
        }
        let mut shelf = self.shelf();
        let Some(image) = shelf.images.iter_mut().find(|image| image.id == id) else { return true };
        image.names.retain(|name| !names.contains(name));
        let bare = image.names.is_empty();
        shelf.images.retain(|image| !(bare && image.id == id));
        bare
    }
}
