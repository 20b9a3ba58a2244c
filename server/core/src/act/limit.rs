//! Limits that people set while work goes on: how much of a job, or of an owner, runs at once.
use dsg_schemas::api::Acted;
use dsg_schemas::ids::{JobId, MAIN};

use super::acted;
use crate::event::Refusal;
use crate::grid::Grid;
use crate::row::OwnerLimit;
use crate::share::{EVERYBODY, cpu_words};

impl Grid {
    pub(super) fn limit_job(&mut self, id: JobId, parallelism: Option<u32>) -> Result<Acted, Refusal> {
        self.changes.visited.insert(id);
        if self.known(id)?.row.state.is_final() {
            return Err(Refusal::Ended(id));
        }
        if parallelism == Some(0) {
            return Err(Refusal::NoPlaces(id));
        }
        let words = match parallelism {
            Some(limit) => format!("at most {limit} of its chunks run at once"),
            None => "any number of its chunks may run at once".to_owned(),
        };
        let Some(job) = self.jobs.get_mut(&id) else { return Err(Refusal::UnknownJob(id)) };
        if job.row.main.parallelism == parallelism {
            return acted(0, format!("job {id}: {words} already"));
        }
        job.row.main.parallelism = parallelism;
        self.changes.jobs.insert(id);
        self.reorder(id, MAIN);
        self.changes.work_available = true;
        acted(1, format!("job {id}: {words} from now on"))
    }

    pub(super) fn limit_owner(
        &mut self,
        owner: &str,
        cpus_milli: Option<u64>,
        gpus: Option<u32>,
    ) -> Result<Acted, Refusal> {
        let limit = OwnerLimit { cpus_milli, gpus };
        let limit = (limit != OwnerLimit::default()).then_some(limit);
        let who = if owner == EVERYBODY { "everyone without a limit of their own" } else { owner };
        let words = limit.as_ref().map_or_else(|| "no limit".to_owned(), limit_words);
        if !self.queue.shares_mut().set_limit(owner, limit) {
            return acted(0, format!("{who} has {words} already"));
        }
        self.changes.owners = true;
        self.changes.work_available = true;
        acted(1, format!("{who} has {words} from now on"))
    }
}

/// `at most 8 cpus and 2 GPUs at once`.
fn limit_words(limit: &OwnerLimit) -> String {
    let cpus = limit.cpus_milli.map(cpu_words);
    let gpus = limit.gpus.map(|count| crate::job::counted(u64::from(count), "GPU"));
    let parts: Vec<String> = [cpus, gpus].into_iter().flatten().collect();
    format!("at most {} at once", parts.join(" and "))
}
