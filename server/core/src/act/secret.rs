//! Secrets: set and removed while jobs run. An attempt has what was set when it began; the next one has what is set then.
use dsg_schemas::api::Acted;
use dsg_schemas::limits::SECRETS_OF_GRID;

use super::acted;
use crate::event::{Millis, Refusal, Sealed};
use crate::grid::Grid;
use crate::job::{Job, counted};
use crate::row::SecretRow;

impl Grid {
    pub(super) fn set_secret(
        &mut self,
        now: Millis,
        who: String,
        name: String,
        sealed: Sealed,
    ) -> Result<Acted, Refusal> {
        let is_new = !self.secrets.contains_key(&name);
        if is_new && self.secrets.len() >= SECRETS_OF_GRID {
            return Err(Refusal::TooManySecrets(SECRETS_OF_GRID));
        }
        let Sealed { key, sealed, size } = sealed;
        let said = if is_new { "can be used in job files" } else { "has another value for what starts from now on" };
        let message = format!("secret `{name}` {said}");
        self.secrets.insert(name, SecretRow { key, sealed, size, by: who, at_ms: now });
        self.changes.secrets = true;
        self.changes.work_available = true;
        acted(1, message)
    }

    pub(super) fn remove_secret(&mut self, name: &str) -> Result<Acted, Refusal> {
        if self.secrets.remove(name).is_none() {
            return Err(Refusal::UnknownSecret(name.to_owned()));
        }
        self.changes.secrets = true;
        let open = self.jobs.values().filter(|job| !job.row.state.is_final() && wants(job, name)).count() as u64;
        acted(
            1,
            match open {
                0 => format!("secret `{name}` is removed"),
                open => format!("secret `{name}` is removed; what is left of {} waits for it", counted(open, "job")),
            },
        )
    }
}

fn wants(job: &Job, name: &str) -> bool {
    let run = job.row.gather.as_ref().and_then(|gather| gather.run.as_ref());
    let needs = std::iter::once(&job.row.main.needs).chain(run.map(|run| &run.needs));
    needs.flat_map(|needs| &needs.secrets).any(|wanted| wanted == name)
}
