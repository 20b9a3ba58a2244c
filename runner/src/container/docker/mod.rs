//! Docker (API 1.41 and newer) and Podman (4.3 and newer) through the same socket protocol. What they do differently is known by
//! probing, once, at connect.
mod archive;
mod connect;
mod create;
mod failure;
mod find;
mod freeze;
#[cfg(test)]
mod golden;
mod gpu;
mod hardening;
mod image;
mod images;
mod libpod;
mod life;
mod lifecycle;
mod plain;
mod platform;
mod pull;
mod registry;
mod state;
mod streams;

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicUsize};
use std::sync::{Arc, Mutex};

use bollard::Docker;
use bytes::Bytes;
use dsg_schemas::ids::RunnerId;
use dsg_schemas::spec::PullPolicy;
use dsg_schemas::wire::EngineFacts;
use tokio::process::Child;
use tokio::sync::mpsc;

pub use connect::{ConnectOptions, connect, connect_within};
pub use registry::Registries;

use super::watch::Watches;
use super::{Answer, ContainerPlan, Engine, Failure, ImageSeen, Own, Piece, Present, Reading, State};
use crate::room::Space;
use gpu::GpuWay;
pub(crate) use hardening::CAPABILITIES;
use hardening::Ceilings;
use plain::Plain;
use platform::Platform;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Docker,
    Podman,
}

/// One container engine on this host.
pub struct DockerEngine {
    kind: Kind,
    /// What it runs, if it says so.
    platform: Option<Platform>,
    /// For calls that answer soon.
    short: Docker,
    /// For streams, pulls and stops: its time-out covers the wait for headers, which Podman sends with the first byte of output.
    long: Docker,
    plain: Plain,
    /// Where it keeps containers, if that is on this host.
    data_root: Option<PathBuf>,
    /// Containers go on while it is down.
    outlived: bool,
    /// No process reaper is installed: learnt from the first create that fails for it.
    no_init: AtomicBool,
    ceilings: Ceilings,
    gpu_ways: Vec<GpuWay>,
    gpu_way: AtomicUsize,
    /// One pull per image at a time, shared by all who wait for it.
    pulls: Arc<Mutex<HashMap<String, pull::Pull>>>,
    registries: Registries,
    /// What images say, by their ids.
    images: Mutex<HashMap<String, Arc<image::ImageDefaults>>>,
    watches: Watches,
    /// `podman system service`, where we started it ourselves. It ends with us; containers have their own monitor and go on.
    service: tokio::sync::Mutex<Option<Child>>,
}

impl Engine for DockerEngine {
    fn facts(&self) -> Answer<'_, EngineFacts> {
        Box::pin(self.ask_facts())
    }

    fn image<'a>(
        &'a self,
        image: &'a str,
        policy: PullPolicy,
        note: &'a (dyn Fn(String) + Send + Sync),
    ) -> Answer<'a, Present> {
        Box::pin(self.make_present(image, policy, note))
    }

    fn load_image(&self, archive: Vec<u8>) -> Answer<'_, String> {
        Box::pin(self.load(archive))
    }

    fn load_file<'a>(&'a self, archive: &'a Path, name: &'a str) -> Answer<'a, Present> {
        Box::pin(self.load_as(archive, name))
    }

    fn full_name(&self, name: &str) -> String {
        image::full_name(name)
    }

    fn images<'a>(&'a self, grid: &'a str, runner: RunnerId) -> Answer<'a, Vec<ImageSeen>> {
        Box::pin(self.list_images(grid, runner))
    }

    fn remove_image<'a>(&'a self, id: &'a str, names: &'a [String]) -> Answer<'a, bool> {
        Box::pin(self.drop_image(id, names))
    }

    fn place(&self) -> String {
        let root = self.data_root.as_deref().unwrap_or(&self.plain.socket);
        format!("{:?} at {}", self.kind, root.display()).to_lowercase()
    }

    fn create<'a>(&'a self, plan: &'a ContainerPlan) -> Answer<'a, String> {
        Box::pin(self.create_or_adopt(plan))
    }

    fn attach<'a>(&'a self, id: &'a str) -> Answer<'a, mpsc::Receiver<Piece>> {
        Box::pin(self.open_attach(id))
    }

    fn logs<'a>(&'a self, id: &'a str, follow: bool) -> Answer<'a, Reading> {
        Box::pin(self.open_logs(id, follow))
    }

    fn start<'a>(&'a self, id: &'a str) -> Answer<'a, ()> {
        Box::pin(self.start_watched(id))
    }

    fn inspect<'a>(&'a self, id: &'a str) -> Answer<'a, State> {
        Box::pin(self.look(id))
    }

    fn wait<'a>(&'a self, id: &'a str) -> Answer<'a, ()> {
        Box::pin(self.wait_for_end(id))
    }

    fn pause<'a>(&'a self, id: &'a str) -> Answer<'a, ()> {
        Box::pin(self.freeze(id))
    }

    fn unpause<'a>(&'a self, id: &'a str) -> Answer<'a, ()> {
        Box::pin(self.thaw(id))
    }

    fn stop<'a>(&'a self, id: &'a str, grace_ms: u64) -> Answer<'a, ()> {
        Box::pin(self.stop_with_grace(id, grace_ms))
    }

    fn copy_out<'a>(
        &'a self,
        id: &'a str,
        path: &'a str,
    ) -> Answer<'a, Option<mpsc::Receiver<Result<Bytes, Failure>>>> {
        Box::pin(self.download(id, path))
    }

    fn written<'a>(&'a self, id: &'a str) -> Answer<'a, Option<u64>> {
        Box::pin(self.layer_bytes(id))
    }

    fn life(&self) -> Answer<'_, Option<String>> {
        Box::pin(self.present_life())
    }

    fn remove<'a>(&'a self, id: &'a str) -> Answer<'a, ()> {
        Box::pin(self.remove_with_volumes(id))
    }

    fn own<'a>(&'a self, grid: &'a str, runner: RunnerId) -> Answer<'a, Vec<Own>> {
        Box::pin(self.list_own(grid, runner))
    }

    fn disk(&self) -> Answer<'_, Option<Space>> {
        Box::pin(self.ask_space())
    }

    fn cpu_ms(&self) -> Vec<(String, u64)> {
        self.watches.cpu_ms()
    }

    fn close(&self) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        Box::pin(async {
            if let Some(mut service) = self.service.lock().await.take() {
                drop(service.kill().await);
            }
        })
    }

    fn gpu_ways(&self) -> Vec<String> {
        self.gpu_ways.iter().map(|way| way.name().to_owned()).collect()
    }

    fn choose_gpu_way(&self, way: usize) {
        self.gpu_way.store(way, std::sync::atomic::Ordering::Relaxed);
    }
}
