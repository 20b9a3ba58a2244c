//! Lanes: chunks of a stage that wait with the same needs. Most have what the job file says; those that ran out of memory need more.
use std::collections::BTreeSet;
use std::sync::Arc;

use dsg_schemas::ids::{ChunkId, JobId, StageIndex};

use crate::grid::Grid;
use crate::job::Stage;
use crate::planted::{Bug, planted};
use crate::policy::Needs;
use crate::queue::ClassId;

/// Of the chunks that have grown to one size.
pub(crate) struct Lane {
    pub class: ClassId,
    pub needs: Arc<Needs>,
    /// Few: these are exceptions.
    pub ready: BTreeSet<u32>,
}

impl Stage {
    fn lane_of(&self, index: u32) -> Option<&Lane> {
        self.grown.get(&self.grown_memory(index)?)
    }

    fn grown_memory(&self, index: u32) -> Option<u64> {
        self.touched.get(&index)?.grown.as_ref()?.memory_bytes
    }

    pub fn needs_of(&self, index: u32) -> &Arc<Needs> {
        self.lane_of(index).filter(|_| !planted(Bug::GrownUnreserved)).map_or(&self.needs, |lane| &lane.needs)
    }

    pub fn class_of(&self, index: u32) -> ClassId {
        self.lane_of(index).map_or(self.class, |lane| lane.class)
    }

    pub fn insert_ready(&mut self, index: u32) {
        match self.grown_memory(index).and_then(|memory| self.grown.get_mut(&memory)) {
            Some(lane) => _ = lane.ready.insert(index),
            None => self.ready.insert(index),
        }
    }

    pub fn remove_ready(&mut self, index: u32) {
        self.ready.remove(index);
        self.grown.values_mut().for_each(|lane| _ = lane.ready.remove(&index));
    }

    pub fn clear_ready(&mut self) {
        self.ready.clear();
        self.grown.values_mut().for_each(|lane| lane.ready.clear());
    }

    /// Classes in which chunks of this stage wait, whether any does now or not.
    pub fn classes(&self) -> impl Iterator<Item = ClassId> {
        std::iter::once(self.class).chain(self.grown.values().map(|lane| lane.class))
    }

    /// Those that may start now in this class, in ascending order.
    pub fn ready_in(&self, class: ClassId) -> Box<dyn Iterator<Item = u32> + '_> {
        if class == self.class {
            return Box::new(self.ready.iter());
        }
        match self.grown.values().find(|lane| lane.class == class) {
            Some(lane) => Box::new(lane.ready.iter().copied()),
            None => Box::new(std::iter::empty()),
        }
    }

    pub fn ready_count(&self, class: ClassId) -> u64 {
        if class == self.class {
            return self.ready.len();
        }
        self.grown.values().find(|lane| lane.class == class).map_or(0, |lane| lane.ready.len() as u64)
    }

    /// The first of all that may start now.
    pub fn first_ready(&self) -> Option<u32> {
        let grown = self.grown.values().filter_map(|lane| lane.ready.first().copied());
        self.ready.first().into_iter().chain(grown).min()
    }
}

impl Grid {
    /// Makes sure that there is a lane for a chunk that has grown.
    pub(crate) fn open_lane(&mut self, id: ChunkId) {
        let Some(job) = self.jobs.get_mut(&id.job) else { return };
        let Some(memory) = job.chunk(id).and_then(|row| row.grown.as_ref()?.memory_bytes) else { return };
        let (Some(policy), Some(stage)) = (job.row.policy(id.stage), job.stage(id.stage)) else { return };
        if stage.grown.contains_key(&memory) {
            return;
        }
        let needs = Needs { memory_bytes: memory, ..policy.needs.clone() };
        let (class, needs) = self.queue.enter(&needs, &policy.constraints);
        if let Some(stage) = job.stage_mut(id.stage) {
            stage.grown.insert(memory, Lane { class, needs, ready: BTreeSet::new() });
        }
    }

    /// A stage leaves memory, or gets other needs.
    pub(crate) fn leave_lanes(&mut self, id: JobId, index: StageIndex) {
        let Some(job) = self.jobs.get_mut(&id) else { return };
        let (owner, priority) = (job.row.owner.clone(), job.row.priority);
        let Some(constraints) = job.row.policy(index).map(|policy| policy.constraints.clone()) else { return };
        let Some(stage) = job.stage_mut(index) else { return };
        let grown = std::mem::take(&mut stage.grown).into_values().map(|lane| (lane.class, lane.needs));
        let all: Vec<(ClassId, Arc<Needs>)> = grown.chain([(stage.class, stage.needs.clone())]).collect();
        for (class, needs) in all {
            self.queue.set(priority, &owner, class, (id, index), false);
            self.queue.leave(class, &needs, &constraints);
        }
    }
}
