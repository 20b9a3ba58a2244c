//! Join and hello: a runner gets a name once, and a session at each start.
use dsg_schemas::ids::{RunnerId, SessionId};
use dsg_schemas::wire::Facts;

use crate::event::{Answer, Join, Millis, Refusal};
use crate::grid::Grid;
use crate::planted::{Bug, planted};
use crate::row::RunnerRow;
use crate::runner::{Runner, Session};

/// Sessions minted between two writes of the counter.
const SESSION_STEP: u64 = 1000;

impl Grid {
    pub(crate) fn join(&mut self, now: Millis, join: Join) -> Result<Answer, Refusal> {
        match join {
            Join::Enrol { name, credential_sha256 } => Ok(self.enrol(now, name, credential_sha256)),
            Join::Hello { runner, nonce: _, host, version, facts } => self.hello(now, runner, host, version, *facts),
        }
    }

    fn enrol(&mut self, now: Millis, name: String, credential_sha256: String) -> Answer {
        self.meta.next_runner = self.meta.next_runner.max(1);
        let id = RunnerId(self.meta.next_runner);
        self.meta.next_runner += 1;
        self.changes.meta = true;
        let name = self.free_name(name);
        let row = RunnerRow {
            id,
            name: name.clone(),
            credential_sha256,
            version: String::new(),
            facts: Facts::default(),
            drain: false,
            halted: None,
            ended: None,
            joined_ms: now,
            sick: Default::default(),
        };
        self.runners.insert(id, Runner::new(row, self.lease, now));
        self.changes.runners.insert(id);
        Answer::Enrolled { runner: id, name }
    }

    /// A taken name gets a number behind it.
    fn free_name(&self, name: String) -> String {
        let taken = |name: &str| self.runners.values().any(|runner| runner.row.name == name);
        if !taken(&name) {
            return name;
        }
        let numbered = (2..).map(|number| format!("{name}-{number}"));
        numbered.into_iter().find(|name| !taken(name)).unwrap_or(name)
    }

    /// A new session displaces the old one at once, unless another machine speaks in the same name right now.
    fn hello(
        &mut self,
        now: Millis,
        id: RunnerId,
        host: String,
        version: String,
        facts: Facts,
    ) -> Result<Answer, Refusal> {
        let runner = self.runners.get_mut(&id).ok_or(Refusal::UnknownRunner(id))?;
        let silent = runner.is_silent(now);
        if let Some(session) =
            runner.session.as_ref().filter(|session| session.host != host && !silent && !planted(Bug::CloneAdmitted))
        {
            return Err(Refusal::Cloned { host: session.host.clone() });
        }
        if self.next_session >= self.meta.next_session {
            self.next_session = self.meta.next_session.max(1);
            self.meta.next_session = self.next_session + SESSION_STEP;
            self.changes.meta = true;
        }
        let session = SessionId(self.next_session);
        self.next_session += 1;
        if runner.row.version != version || runner.row.facts != facts || runner.row.ended.is_some() {
            (runner.row.version, runner.row.facts, runner.row.ended) = (version, facts, None);
            self.changes.runners.insert(id);
        }
        runner.session = Some(Session { id: session, host, seq: None });
        runner.heard = now;
        runner.no_more = None;
        Ok(Answer::Session { runner: id, name: runner.row.name.clone(), session })
    }
}
