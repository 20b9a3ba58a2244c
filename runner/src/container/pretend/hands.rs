//! What a test can do to a pretend engine and see of it.
use std::sync::PoisonError;
use std::sync::atomic::Ordering;

use super::gate::{Call, Gate};
use super::{Container, PretendEngine, is_live};
use crate::container::{ContainerPlan, State, label};

const LARGE: u64 = 1 << 40;

impl PretendEngine {
    /// From now on it does not answer, until told otherwise; containers go on.
    pub fn set_gone(&self, gone: bool) {
        self.inner.gone.store(gone, Ordering::SeqCst);
    }

    /// Free bytes where containers live, on a large disk and before any image is fetched; unknown at first.
    pub fn set_disk_free(&self, bytes: u64) {
        self.set_disk(bytes, LARGE);
    }

    pub fn set_disk(&self, free_bytes: u64, total_bytes: u64) {
        self.shelf().disk = Some((free_bytes, total_bytes));
    }

    /// What each image takes of the disk that is fetched from now on.
    pub fn set_image_bytes(&self, bytes: u64) {
        self.shelf().image_bytes = bytes;
    }

    /// Somebody else gives an image, which may be there already or not, one more name.
    pub fn name_image(&self, image: &str, name: &str) {
        self.shelf().named(image, name);
    }

    /// Names of all images, in the order in which they came.
    pub fn shelf_names(&self) -> Vec<String> {
        self.shelf().names()
    }

    /// Returns when there is no image of that name.
    pub async fn taken_off(&self, name: &str) {
        self.until(|| !self.shelf().names().iter().any(|found| found == name)).await;
    }

    /// From now on such calls wait until they are let go.
    pub fn hold(&self, call: Call) {
        self.gate(call).shut(true);
    }

    pub fn let_go(&self, call: Call) {
        self.gate(call).shut(false);
    }

    /// Lets some of them go.
    pub fn let_pass(&self, call: Call, count: u64) {
        self.gate(call).let_pass(count);
    }

    /// Returns when such a call waits.
    pub async fn is_held_up(&self, call: Call) {
        self.gate(call).somebody_waits().await;
    }

    pub(super) fn gate(&self, call: Call) -> &Gate {
        match call {
            Call::Create => &self.inner.gates[0],
            Call::Start => &self.inner.gates[1],
            Call::Write => &self.inner.gates[2],
            Call::Remove => &self.inner.gates[3],
        }
    }

    /// Names of the containers that exist, ended ones too.
    pub fn names(&self) -> Vec<String> {
        let mut names: Vec<String> = self.containers().keys().cloned().collect();
        names.sort_unstable();
        names
    }

    /// As if somebody had removed it by hand.
    pub fn vanish(&self, name: &str) {
        if let Some(container) = self.containers().remove(name) {
            container.state.send_replace(State::Gone);
        }
        self.changed();
    }

    /// Names of images that were loaded from files, in their order.
    pub fn loaded(&self) -> Vec<String> {
        self.inner.loaded.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The plan of a container, to look at in a test.
    pub fn plan(&self, name: &str) -> Option<ContainerPlan> {
        self.containers().get(name).map(|container| container.plan.clone())
    }

    /// Gives a container another name and grid, as if it were somebody else's.
    pub fn relabel(&self, name: &str, new_name: &str, grid: &str) {
        let mut containers = self.containers();
        if let Some(mut container) = containers.remove(name) {
            container.plan.labels.insert(label::GRID.to_owned(), grid.to_owned());
            containers.insert(new_name.to_owned(), container);
        }
    }

    /// Ends a container with this exit code, and returns when it has ended.
    pub async fn finish(&self, name: &str, code: i32) {
        if let Some(container) = self.containers().get(name) {
            container.stopped.send_replace(Some(code));
        }
        self.ended(name).await;
    }

    /// Returns when the container has written so many lines.
    pub async fn logged(&self, name: &str, lines: usize) {
        let wrote = |container: &Container| container.dropped + container.log.len();
        self.until(|| self.containers().get(name).is_some_and(|container| wrote(container) >= lines)).await;
    }

    /// Returns when the container exists and has ended.
    pub async fn ended(&self, name: &str) {
        self.until(|| self.containers().get(name).is_some_and(|container| !is_live(&container.state.borrow()))).await;
    }

    /// Returns when there is no container of that name.
    pub async fn removed(&self, name: &str) {
        self.until(|| !self.containers().contains_key(name)).await;
    }

    /// Returns when it was asked so often while it was gone.
    pub async fn asked(&self, times: u64) {
        self.until(|| self.inner.refused.load(Ordering::SeqCst) >= times).await;
    }

    async fn until(&self, condition: impl Fn() -> bool) {
        let mut changes = self.inner.changes.subscribe();
        while !condition() {
            if changes.changed().await.is_err() {
                return;
            }
        }
    }
}
