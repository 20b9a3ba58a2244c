//! People who replace the job files of held jobs, and rules that take what ended jobs left.
use std::collections::BTreeSet;

use dsg_core::row::JobRow;
use dsg_core::{Act, Edit, Event, Expire, Expired, Millis, Row, StagePolicy, Submission};
use dsg_schemas::api::{Act as PersonsAct, Retries};
use dsg_schemas::ids::JobId;

use crate::dice::Dice;
use crate::people;
use crate::world::{Request, World};

impl World {
    /// Of a job that rests, best of one whose lost attempts may come back; else of any. It is held for that if it is not.
    pub fn edit(&mut self) {
        let goes_on = |row: &&JobRow| !row.state.is_final();
        let rests = |row: &&JobRow| row.tally.active() + row.gather_tally.active() == 0;
        let returning: BTreeSet<JobId> = self.shell.disk.rows.values().filter_map(may_return).collect();
        let mut jobs: Vec<&JobRow> = self.shell.disk.jobs().filter(goes_on).collect();
        if self.dice.percent(40) && jobs.iter().any(|row| rests(row) && returning.contains(&row.id)) {
            jobs.retain(|row| rests(row) && returning.contains(&row.id));
        } else if self.dice.percent(85) && jobs.iter().any(|row| rests(row) && row.held) {
            jobs.retain(|row| rests(row) && row.held);
        }
        let Some(row) = self.dice.one_of(&jobs).cloned() else { return };
        let job = row.id;
        if !row.held && self.dice.percent(80) {
            self.person(PersonsAct::Hold { job });
            if !rests(&&row) {
                return;
            }
        }
        let edit = Edit {
            who: "mara".to_owned(),
            job,
            submission: Box::new(changed(&mut self.dice, &row)),
            other_work: self.dice.percent(40),
            again: self.dice.percent(40),
        };
        for _ in 0..1 + u64::from(self.dice.percent(10)) {
            self.later(0, Event::Act(Act::Edit(edit.clone())));
        }
        if self.dice.percent(60) {
            let release = PersonsAct::Release { job };
            self.later(10_000, Event::Act(Act::Person { who: "mara".to_owned(), act: release }));
        }
    }

    /// A rule looks at an ended job, which may run again before it acts.
    pub fn expire(&mut self) {
        let ended: Vec<&JobRow> = self.shell.disk.jobs().filter(|row| row.state.is_final()).collect();
        let Some(row) = self.dice.one_of(&ended) else { return };
        let (job, ended_ms) = (row.id, row.ended_ms.unwrap_or_default());
        let what = match self.dice.below(10) {
            0..3 => Expired::Logs { count: 1, bytes: 10 },
            3..6 => Expired::Outputs { count: 1, bytes: 10 },
            6 => Expired::Outputs { count: 0, bytes: 0 },
            _ => Expired::Job,
        };
        if self.dice.percent(30) {
            let which = if self.dice.percent(50) { Retries::All } else { Retries::Failed };
            self.person(PersonsAct::Retry { job, which });
        }
        let expire = Expire { job, ended_ms, what, why: "older than 30d".to_owned() };
        self.later(30_000, Event::Act(Act::Expire(expire)));
    }

    fn later(&mut self, most: Millis, event: Event) {
        let at = self.now + self.dice.below(most);
        self.requests.push(Request { at, host: None, life: 0, event });
    }
}

/// The job of an attempt that is lost and may come back.
fn may_return(row: &Row) -> Option<JobId> {
    match row {
        Row::Attempt(row) if row.may_return => Some(row.chunk.job),
        _ => None,
    }
}

/// The file with something else in it: often only what a chunk needs, sometimes everything, rarely even its shape.
fn changed(dice: &mut Dice, row: &JobRow) -> Submission {
    let mut new = people::submission(dice, row.id.0);
    let reshapes = dice.percent(5);
    let chunks = if reshapes { new.main.chunks } else { row.main.chunks };
    new.main = if dice.percent(50) {
        StagePolicy { chunks, ..new.main }
    } else {
        StagePolicy { chunks, needs: new.main.needs, max_memory_bytes: new.main.max_memory_bytes, ..row.main.clone() }
    };
    if !reshapes {
        new.gather.clone_from(&row.gather);
        if let Some(run) = new.gather.as_mut().and_then(|gather| gather.run.as_mut()) {
            *run = people::stage(dice, 1);
        }
    }
    // One of thousands is there to be cut off.
    if chunks > 100 {
        new.job_timeout_ms = Some(200_000);
    }
    new
}
