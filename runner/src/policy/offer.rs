//! What the containers of this runner may have together: what it offers, and no more. A server that keeps count never asks for more, so
//! that an order beyond it comes from one that does not, or that wants the owner's part.
use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use dsg_schemas::ids::AttemptId;
use dsg_schemas::units::Bytes;
use dsg_schemas::wire::{Facts, Limits};

#[derive(Default)]
pub struct Offer(Mutex<Ledger>);

#[derive(Default)]
struct Ledger {
    /// 0: not bounded.
    cpus_milli: u64,
    memory_bytes: u64,
    /// How many may have a GPU at once, by its UUID; one where nothing is said.
    gpus: BTreeMap<String, u32>,
    held: BTreeMap<AttemptId, Limits>,
}

impl Offer {
    pub fn set(&self, facts: &Facts) {
        let mut ledger = self.lock();
        (ledger.cpus_milli, ledger.memory_bytes) = (facts.cpus_milli, facts.memory_bytes);
        ledger.gpus = facts.gpus.iter().map(|gpu| (gpu.uuid.clone(), gpu.most_shares())).collect();
    }

    /// Why an attempt may not have so much, put behind "its runner"; else it has it.
    pub fn take(&self, attempt: AttemptId, limits: &Limits) -> Result<(), String> {
        let mut ledger = self.lock();
        match ledger.objection(attempt, limits) {
            Some(why) => Err(why),
            None => {
                ledger.held.insert(attempt, limits.clone());
                Ok(())
            }
        }
    }

    /// What runs already, whatever is offered by now.
    pub fn keep(&self, attempt: AttemptId, limits: &Limits) {
        self.lock().held.insert(attempt, limits.clone());
    }

    pub fn give_back(&self, attempt: AttemptId) {
        self.lock().held.remove(&attempt);
    }

    fn lock(&self) -> MutexGuard<'_, Ledger> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Ledger {
    fn objection(&self, attempt: AttemptId, limits: &Limits) -> Option<String> {
        let others = || self.held.iter().filter(|(id, _)| **id != attempt).map(|(_, limits)| limits);
        let sum = |of: fn(&Limits) -> u64| others().map(of).fold(of(limits), u64::saturating_add);
        let cpus = sum(|limits| limits.cpus_milli);
        if self.cpus_milli > 0 && cpus > self.cpus_milli {
            let (cpus, all) = (cpus as f64 / 1000.0, self.cpus_milli as f64 / 1000.0);
            return Some(format!("offers {all} cpus, and its containers would have {cpus}"));
        }
        let memory = sum(|limits| limits.memory_bytes);
        if self.memory_bytes > 0 && memory > self.memory_bytes {
            let (memory, all) = (Bytes(memory), Bytes(self.memory_bytes));
            return Some(format!("offers {all} of memory, and its containers would have {memory}"));
        }
        limits.gpus.iter().find_map(|gpu| {
            let most = self.gpus.get(gpu).copied().unwrap_or(1);
            let holders = others().filter(|other| other.gpus.contains(gpu)).count();
            let full = format!("gives GPU {gpu} to {most} at once, and {holders} have it");
            (holders >= most as usize).then_some(full)
        })
    }
}

#[cfg(test)]
mod tests {
    use dsg_schemas::wire::Gpu;

    use super::*;

    fn limits(cpus_milli: u64, memory_bytes: u64, gpus: &[&str]) -> Limits {
        let gpus = gpus.iter().map(|gpu| (*gpu).to_owned()).collect();
        Limits { cpus_milli, memory_bytes, gpus, ..Limits::default() }
    }

    #[test]
    fn what_is_offered_is_given_once() {
        let gpu = |uuid: &str, shares| Gpu { uuid: uuid.to_owned(), shares, ..Gpu::default() };
        let gpus = vec![gpu("GPU-a", 0), gpu("GPU-b", 2)];
        let offer = Offer::default();
        offer.set(&Facts { cpus_milli: 4000, memory_bytes: 4 << 30, gpus, ..Facts::default() });
        let take = |attempt, limits: &Limits| offer.take(AttemptId(attempt), limits);
        assert_eq!(take(1, &limits(2000, 1 << 30, &["GPU-a", "GPU-b"])), Ok(()));
        assert_eq!(take(1, &limits(2000, 1 << 30, &["GPU-a", "GPU-b"])), Ok(()), "it has it already");
        let refused = |more: &Limits| take(2, more).expect_err("too much");
        assert_eq!(refused(&limits(2001, 0, &[])), "offers 4 cpus, and its containers would have 4.001");
        assert_eq!(refused(&limits(0, (3 << 30) + 1, &[])).split(',').next(), Some("offers 4GiB of memory"));
        assert_eq!(refused(&limits(0, 0, &["GPU-a"])), "gives GPU GPU-a to 1 at once, and 1 have it");
        assert_eq!(take(2, &limits(2000, 3 << 30, &["GPU-b"])), Ok(()), "as much as there is");
        assert_eq!(take(3, &limits(0, 0, &["GPU-b"])), Err("gives GPU GPU-b to 2 at once, and 2 have it".to_owned()));
        offer.give_back(AttemptId(1));
        assert_eq!(take(3, &limits(2000, 1 << 30, &["GPU-b"])), Ok(()), "what was refused holds nothing");
        // An owner who offers less from now on does not undo what runs.
        offer.set(&Facts { cpus_milli: 1000, ..Facts::default() });
        offer.keep(AttemptId(4), &limits(9000, 0, &[]));
        assert!(take(5, &limits(1, 0, &[])).is_err());
    }
}
