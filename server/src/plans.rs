//! Plans of jobs, read once and kept while they are used: each start order and each label comes from one.
use std::io::Read;
use std::sync::{Arc, Mutex, PoisonError};

use dsg_schemas::ids::JobId;
use dsg_schemas::spec::Plan;

use crate::app::Shared;
use crate::blobs::BlobHash;
use crate::failure::{Failure, Reply};

/// As many jobs as are likely to run at once; a plan with a table may take some megabytes.
const KEPT: usize = 64;

#[derive(Default)]
pub struct Plans {
    /// The one used last stands last.
    kept: Mutex<Vec<(JobId, Arc<Plan>)>>,
}

impl Plans {
    fn find(&self, job: JobId) -> Option<Arc<Plan>> {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let place = kept.iter().position(|(id, _)| *id == job)?;
        let entry = kept.remove(place);
        let plan = entry.1.clone();
        kept.push(entry);
        Some(plan)
    }
    /// The job's file was replaced: the next one who asks reads the new one.
    pub fn forget(&self, job: JobId) {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner).retain(|(id, _)| *id != job);
    }
    fn keep(&self, job: JobId, plan: Arc<Plan>) {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.retain(|(id, _)| *id != job);
        kept.push((job, plan));
        if kept.len() > KEPT {
            kept.remove(0);
        }
    }
}

impl Shared {
    pub async fn plan(&self, job: JobId) -> Reply<Arc<Plan>> {
        if let Some(plan) = self.plans.find(job) {
            return Ok(plan);
        }
        let bytes = self.read(move |rows| rows.spec(job)).await?;
        let bytes = bytes.ok_or_else(|| Failure::not_found(format!("there is no job {job}")))?;
        let blobs = self.blobs.clone();
        let read = move || -> Reply<Plan> {
            let broken = |error: &dyn std::fmt::Display| Failure::internal("read the stored plan of a job", error);
            let mut plan = Plan::from_bytes(&bytes).map_err(|error| broken(&error))?;
            let Some(hash) = plan.table_sha256().map(str::to_owned) else { return Ok(plan) };
            let hash: BlobHash = hash.parse().map_err(|error| broken(&error))?;
            let mut table = Vec::new();
            let (mut file, _) = blobs.read(hash).map_err(|error| broken(&error))?;
            file.read_to_end(&mut table).map_err(|error| broken(&error))?;
            plan.attach_table(table).map_err(|error| broken(&error))?;
            Ok(plan)
        };
        let plan = Arc::new(self.blocking("read the plan of a job", read).await?);
        self.plans.keep(job, plan.clone());
        Ok(plan)
    }
}
