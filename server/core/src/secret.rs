//! Whether the secrets of work can be had, and who may have them: the runner that holds the attempt, while it holds it.
use std::collections::BTreeMap;

use dsg_schemas::ids::{AttemptId, RunnerId};
use dsg_schemas::limits::SECRETS_BYTES;
use dsg_schemas::units::Bytes;

use crate::attempt::Standing;
use crate::event::Refusal;
use crate::grid::Grid;
use crate::policy::Needs;
use crate::row::SecretRow;

impl Grid {
    /// Names the key that the shell has; nothing that is sealed with another one is given out or waited for in vain.
    pub fn set_secret_key(&mut self, key: String) {
        self.secret_key = key;
    }

    /// By their names, as they are sealed.
    pub fn secrets(&self) -> &BTreeMap<String, SecretRow> {
        &self.secrets
    }

    /// Why nothing with these needs can start now, if a secret is the reason. Put behind "waits for".
    pub(crate) fn lacks_secret(&self, needs: &Needs) -> Option<String> {
        let mut bytes = 0;
        for name in &needs.secrets {
            let Some(row) = self.secrets.get(name) else {
                return Some(format!("secret `{name}`, which nobody has set (`dsg secret set {name}`)"));
            };
            if row.key != self.secret_key {
                return Some(format!("secret `{name}`: {}", locked(row)));
            }
            bytes += row.size;
        }
        let most = SECRETS_BYTES as u64;
        (bytes > most).then(|| {
            let (bytes, most) = (Bytes(bytes), Bytes(most));
            format!("shorter secrets: together they have {bytes}, and one container is given at most {most}")
        })
    }

    /// Why a secret cannot be had.
    pub fn is_locked(&self, row: &SecretRow) -> Option<String> {
        (row.key != self.secret_key).then(|| locked(row))
    }

    /// What an attempt is to have, as it is sealed; for its runner, and only while it holds the lease.
    pub fn secrets_of(&self, id: AttemptId, runner: RunnerId) -> Result<BTreeMap<String, SecretRow>, Refusal> {
        let live = self.attempts.get(&id).filter(|live| live.row.runner == runner);
        let live = live.filter(|live| live.standing == Standing::Current).ok_or(Refusal::NotYourAttempt(id))?;
        if let Some(why) = self.lacks_secret(&live.needs) {
            return Err(Refusal::NoSecret(why));
        }
        let found = |name: &String| Some((name.clone(), self.secrets.get(name)?.clone()));
        Ok(live.needs.secrets.iter().filter_map(found).collect())
    }
}

fn locked(row: &SecretRow) -> String {
    format!(
        "it was sealed with key {}, which the server does not have; bring that key file back and restart the server, or set the secret again",
        row.key
    )
}
