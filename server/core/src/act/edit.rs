//! Edit: the job file of a held job is replaced, and what did not succeed will run by the new one.
use dsg_schemas::api::{Acted, HoldReason};
use dsg_schemas::ids::{AttemptId, GATHER, JobId, MAIN};

use super::acted;
use crate::attempt::Standing;
use crate::event::{Edit, Millis, Refusal};
use crate::grid::{Grid, Timer};
use crate::job::counted;
use crate::planted::{Bug, planted};
use crate::policy::{GatherPolicy, Submission};
use crate::row::{FirstChunks, JobRow, Key, Row};

impl Grid {
    pub(super) fn edit(&mut self, now: Millis, edit: Edit) -> Result<Acted, Refusal> {
        let Edit { who, job: id, submission, other_work, again } = edit;
        self.changes.visited.insert(id);
        may_be_edited(&self.known(id)?.row, &submission, other_work && !again)?;
        let lost = self.attempts.values().filter(|live| live.row.chunk.job == id && live.standing == Standing::Lost);
        let lost: Vec<AttemptId> = lost.map(|live| live.row.id).collect();
        lost.into_iter().filter(|_| !planted(Bug::EditKeepsLost)).for_each(|attempt| self.fence(attempt));
        self.replace(now, id, *submission);
        // Why the grid held it is no longer true.
        self.set_held(id, Some(HoldReason::Person), Some(who), None);
        let ended = self.jobs.get(&id).map_or(0, |job| {
            let tally = &job.row.tally;
            if again { tally.ended() } else { tally.failed + tally.cancelled }
        });
        let count = if ended > 0 { self.again_all(now, id, again) } else { 0 };
        self.ungather(now, id);
        self.settle(now, id);
        let revision = self.jobs.get(&id).map_or(0, |job| job.row.edits) + 1;
        let failed =
            if count > 0 { format!("; {} will run again", counted(count, "ended chunk")) } else { String::new() };
        acted(count.max(1), format!("job {id} is edited (revision {revision} of its file){failed}"))
    }

    fn replace(&mut self, now: Millis, id: JobId, submission: Submission) {
        let Some(job) = self.jobs.get(&id) else { return };
        let indexes: Vec<u16> = job.stages().map(|(index, _)| index).collect();
        indexes.iter().for_each(|index| self.leave_lanes(id, *index));
        let Some(job) = self.jobs.get_mut(&id) else { return };
        let row = &mut job.row;
        let Submission {
            request: _,
            owner: _,
            hold: _,
            name,
            labels,
            image,
            priority,
            job_timeout_ms,
            main,
            gather,
            retention,
            spec,
        } = submission;
        (row.name, row.labels, row.image, row.priority) = (name, labels, image, priority);
        (row.job_timeout_ms, row.main, row.gather, row.retention) = (job_timeout_ms, main, gather, retention);
        if let Some(run) = row.gather.as_mut().and_then(|gather| gather.run.as_mut()) {
            run.chunks = 1;
        }
        row.edits = row.edits.saturating_add(1);
        row.first_chunks = FirstChunks::default();
        row.canary_over = false;
        self.changes.rows.insert(Key::Spec(id), Some(Row::Spec(spec)));
        self.changes.jobs.insert(id);
        job.started_on.clear();
        for index in indexes {
            let Some(policy) = job.row.policy(index).cloned() else { continue };
            let (class, needs) = self.queue.enter(&policy.needs, &policy.constraints);
            if let Some(stage) = job.stage_mut(index) {
                (stage.class, stage.needs) = (class, needs);
                // The release looks again, by what the new file allows.
                if let Some(at) = stage.queue_check.take() {
                    self.timers.remove(&(at, Timer::Queue(id, index)));
                }
            }
        }
        if let Some(at) = job.row.deadline_ms() {
            self.timers.insert((at.max(now), Timer::Job(id)));
        }
        let gather = job.gather.iter_mut().flat_map(|stage| stage.touched.values_mut());
        for row in job.main.touched.values_mut().chain(gather).filter(|_| !planted(Bug::EditKeepsBudgets)) {
            // What waits does so with fresh budgets, as far as it had spent any.
            row.renew(now);
            self.changes.chunks.insert(row.id);
        }
        self.reorder(id, MAIN);
        self.reorder(id, GATHER);
    }
}

fn may_be_edited(row: &JobRow, new: &Submission, must_not_mix: bool) -> Result<(), Refusal> {
    let job = row.id;
    if row.state.is_final() {
        return Err(Refusal::EndedAsItWas(job));
    }
    if !row.held {
        return Err(Refusal::NotHeld(job));
    }
    let running = row.tally.active() + row.gather_tally.active();
    if running > 0 {
        return Err(Refusal::StillRunning { job, running: counted(running, "chunk") });
    }
    if row.main.chunks != new.main.chunks {
        let (before, after) = (counted(row.main.chunks.into(), "chunk"), new.main.chunks);
        return Err(Refusal::OtherShape {
            job,
            why: format!("it was split into {before}, the changed file gives {after}"),
        });
    }
    let runs = |gather: &Option<GatherPolicy>| gather.as_ref().is_some_and(|gather| gather.run.is_some());
    if runs(&row.gather) != runs(&new.gather) {
        let why = "a gather container cannot be added or taken away".to_owned();
        return Err(Refusal::OtherShape { job, why });
    }
    if must_not_mix && row.tally.succeeded > 0 && !planted(Bug::EditMixesWork) {
        return Err(Refusal::WouldMix { job, succeeded: counted(row.tally.succeeded, "chunk") });
    }
    Ok(())
}
