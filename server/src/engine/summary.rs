//! What the engine thread publishes for everybody to see.
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use dsg_core::row::JobRow;
use dsg_schemas::api::{OwnerView, QueueEntry, RunnerView};
use dsg_schemas::ids::JobId;

#[derive(Clone, Debug, Default)]
pub struct Summary {
    /// Grows with each publication.
    pub revision: u64,
    pub now_ms: u64,
    /// The store cannot be opened: nothing new is taken until it can.
    pub store_is_gone: bool,
    pub runners: Vec<RunnerView>,
    /// In the order in which it will be placed.
    pub queue: Vec<QueueEntry>,
    /// There is more behind these.
    pub queue_goes_on: bool,
    /// Those who use or used something lately, or have a limit; the one who comes next first.
    pub owners: Vec<OwnerView>,
    /// Jobs that have not ended.
    pub open_jobs: BTreeMap<JobId, Arc<JobRow>>,
}

/// Conditions that a person must know about, by what they are about.
#[derive(Debug, Default)]
pub struct Banners(Mutex<BTreeMap<&'static str, String>>);

impl Banners {
    pub fn show(&self, about: &'static str, text: impl Into<String>) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(about, text.into());
    }
    pub fn hide(&self, about: &'static str) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(about);
    }
    pub fn all(&self) -> Vec<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).values().cloned().collect()
    }
}
