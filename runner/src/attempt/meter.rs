//! What an attempt does with the GPUs that it holds, looked at now and then while it runs.
use std::sync::{Arc, Mutex, PoisonError};

use dsg_schemas::wire::{GpuLoad, GpuUse};
use tokio_util::task::AbortOnDropHandle;

use super::Shared;
use crate::sampled::Sample;

/// Ends its looks when dropped.
pub struct Meter {
    sums: Arc<Mutex<Vec<Sum>>>,
    _looks: Option<AbortOnDropHandle<()>>,
}

/// Of one GPU: counts, sums and the most.
#[derive(Debug, Default)]
struct Sum {
    uuid: String,
    busy: Of,
    memory: Of,
}

#[derive(Debug, Default)]
struct Of {
    count: u64,
    sum: u64,
    most: u64,
}

impl Of {
    fn add(&mut self, seen: Option<u64>) {
        let Some(seen) = seen else { return };
        (self.count, self.sum, self.most) = (self.count + 1, self.sum + seen, self.most.max(seen));
    }

    fn average(&self) -> Option<u64> {
        self.sum.checked_div(self.count)
    }

    fn most(&self) -> Option<u64> {
        (self.count > 0).then_some(self.most)
    }
}

impl Meter {
    pub fn begin(shared: &Arc<Shared>, gpus: &[String]) -> Meter {
        let sums = gpus.iter().map(|uuid| Sum { uuid: uuid.clone(), ..Sum::default() }).collect();
        let sums: Arc<Mutex<Vec<Sum>>> = Arc::new(Mutex::new(sums));
        let looks =
            (!gpus.is_empty()).then(|| AbortOnDropHandle::new(tokio::spawn(look(shared.clone(), sums.clone()))));
        Meter { sums, _looks: looks }
    }

    pub fn read(&self) -> Vec<GpuUse> {
        let sums = self.sums.lock().unwrap_or_else(PoisonError::into_inner);
        let percent = |number: Option<u64>| number.and_then(|number| u32::try_from(number).ok());
        let used = |Sum { uuid, busy, memory }: &Sum| GpuUse {
            uuid: uuid.clone(),
            busy_percent_average: percent(busy.average()),
            busy_percent_most: percent(busy.most()),
            memory_bytes_average: memory.average(),
            memory_bytes_most: memory.most(),
        };
        sums.iter().filter(|sum| sum.busy.count + sum.memory.count > 0).map(used).collect()
    }
}

async fn look(shared: Arc<Shared>, sums: Arc<Mutex<Vec<Sum>>>) {
    let mut before = None;
    loop {
        tokio::time::sleep(shared.patience.meter).await;
        let Sample { load, at } = shared.sampled.newest().await;
        // What a driver that hangs said last counts once.
        if at != before {
            add(&mut sums.lock().unwrap_or_else(PoisonError::into_inner), &load.gpus);
        }
        before = at;
    }
}

fn add(sums: &mut [Sum], loads: &[GpuLoad]) {
    for sum in sums {
        if let Some(load) = loads.iter().find(|load| load.uuid == sum.uuid) {
            sum.busy.add(load.busy_percent.map(u64::from));
            sum.memory.add(load.memory_used_bytes);
        }
    }
}
