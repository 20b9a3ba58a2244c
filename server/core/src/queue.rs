//! The order in which waiting work is placed: stages that have ready chunks, grouped by priority, owner and class of needs.
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use dsg_schemas::ids::{JobId, StageIndex};
use dsg_schemas::spec::Constraints;

use crate::planted::{Bug, planted};
use crate::policy::Needs;
use crate::share::Shares;

/// What decides alone whether a runner can hold a chunk: stages with the same needs and constraints share one.
pub(crate) struct Class {
    pub needs: Arc<Needs>,
    pub constraints: Constraints,
    /// Stages in memory that are of this class.
    members: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct ClassId(u64);

pub(crate) type StageKey = (JobId, StageIndex);
type ByClass = BTreeMap<ClassId, BTreeSet<StageKey>>;
type ByOwner = BTreeMap<String, ByClass>;

#[derive(Default)]
pub(crate) struct Queue {
    classes: BTreeMap<ClassId, Class>,
    ids: BTreeMap<(Needs, String), ClassId>,
    next: u64,
    ready: BTreeMap<Reverse<u8>, ByOwner>,
    shares: Shares,
}

impl Queue {
    pub fn class(&self, id: ClassId) -> Option<&Class> {
        self.classes.get(&id)
    }

    /// The class of a stage that comes into memory.
    pub fn enter(&mut self, needs: &Needs, constraints: &Constraints) -> (ClassId, Arc<Needs>) {
        let key = class_key(needs, constraints);
        let id = *self.ids.entry(key).or_insert_with(|| {
            self.next += 1;
            ClassId(self.next)
        });
        let class = self.classes.entry(id).or_insert_with(|| Class {
            needs: Arc::new(needs.clone()),
            constraints: constraints.clone(),
            members: 0,
        });
        class.members += 1;
        (id, class.needs.clone())
    }

    /// A stage leaves memory.
    pub fn leave(&mut self, id: ClassId, needs: &Needs, constraints: &Constraints) {
        let Some(class) = self.classes.get_mut(&id) else { return };
        class.members -= 1;
        if class.members == 0 {
            self.classes.remove(&id);
            self.ids.remove(&class_key(needs, constraints));
        }
    }

    /// Puts a stage into the order, or takes it out; says whether it came in newly.
    pub fn set(&mut self, priority: u8, owner: &str, class: ClassId, stage: StageKey, ready: bool) -> bool {
        if !ready {
            self.unset(priority, owner, class, stage);
            return false;
        }
        let owners = self.ready.entry(Reverse(priority)).or_default();
        match owners.get_mut(owner) {
            Some(classes) => classes.entry(class).or_default().insert(stage),
            None => owners.insert(owner.to_owned(), [(class, [stage].into())].into()).is_none(),
        }
    }

    fn unset(&mut self, priority: u8, owner: &str, class: ClassId, stage: StageKey) {
        let Some(owners) = self.ready.get_mut(&Reverse(priority)) else { return };
        let Some(classes) = owners.get_mut(owner) else { return };
        if let Some(stages) = classes.get_mut(&class) {
            stages.remove(&stage);
            if stages.is_empty() {
                classes.remove(&class);
            }
        }
        if classes.is_empty() {
            owners.remove(owner);
        }
        if owners.is_empty() {
            self.ready.remove(&Reverse(priority));
        }
    }

    pub fn contains(&self, priority: u8, owner: &str, class: ClassId, stage: StageKey) -> bool {
        let stages = self.ready.get(&Reverse(priority)).and_then(|owners| owners.get(owner)?.get(&class));
        stages.is_some_and(|stages| stages.contains(&stage))
    }

    pub fn len(&self) -> usize {
        self.ready
            .values()
            .flat_map(|owners| owners.values())
            .flat_map(|classes| classes.values())
            .map(BTreeSet::len)
            .sum()
    }

    pub fn is_empty(&self) -> bool {
        self.ready.is_empty()
    }

    /// Groups in the order in which they are served, each with its owner: by priority, then the owner who has had least. Within
    /// a group the oldest job comes first.
    pub fn groups(&self) -> impl Iterator<Item = (&str, &ByClass)> {
        self.ready.values().flat_map(|owners| {
            let mut order: Vec<(u64, &String, &ByClass)> =
                owners.iter().map(|(owner, classes)| (self.shares.had_by(owner), owner, classes)).collect();
            order.sort_by_key(|(had, owner, _)| (if planted(Bug::SharesUnasked) { 0 } else { *had }, *owner));
            order.into_iter().map(|(_, owner, classes)| (owner.as_str(), classes))
        })
    }

    pub fn shares(&self) -> &Shares {
        &self.shares
    }

    pub fn shares_mut(&mut self) -> &mut Shares {
        &mut self.shares
    }
}

fn class_key(needs: &Needs, constraints: &Constraints) -> (Needs, String) {
    // Constraints have no order of their own; their JSON has, and serialising plain data does not fail.
    (needs.clone(), serde_json::to_string(constraints).unwrap_or_default())
}
