//! What must hold when a job file is replaced, and when a rule or a person takes what an ended job left.
use std::collections::BTreeMap;

use dsg_core::row::JobRow;
use dsg_core::{Act, Answer, Edit, Effects, Event, Expire, Expired, Refusal};
use dsg_schemas::api::{Act as PersonsAct, HoldReason};
use dsg_schemas::ids::{AttemptId, ChunkId, JobId, MAIN};

use super::{Proof, Rows};
use crate::disk::{Disk, job_of};

/// Chunks that fail in the same way before one succeeds, until the job must be held.
const SAME_FAILURES: u32 = 5;

type Batch = [(Event, Result<Answer, Refusal>)];

impl Proof {
    /// Called before each event: what it finds.
    pub fn before(&mut self, disk: &Disk, effects: &Effects, event: &Event) {
        let job = match event {
            Event::Act(Act::Edit(edit)) => edit.job,
            Event::Act(Act::Expire(expire)) => expire.job,
            Event::Act(Act::Person { act: PersonsAct::Delete { job }, .. }) => *job,
            _ => return,
        };
        let is_gone = effects.removed_jobs.contains(&job);
        self.was = Rows(disk, effects).job(job).filter(|_| !is_gone).cloned();
    }

    /// The new file is there, nothing ran by the old one, and what succeeded by it counts only if it is the same work.
    pub(super) fn edited(&mut self, rows: &Rows, edit: &Edit) {
        let Edit { who: _, job, submission, other_work, again } = edit;
        let was = self.was.take().unwrap_or_else(|| panic!("job {job} is edited, and is not there"));
        let is = rows.job(*job).unwrap_or_else(|| panic!("job {job} is edited, and has no row"));
        assert!(was.held && !was.state.is_final(), "job {job} was {:?} when it was edited", was.state);
        let ran = was.tally.active() + was.gather_tally.active();
        assert_eq!(ran, 0, "chunks of job {job} ran when it was edited");
        let succeeded = was.tally.succeeded;
        assert!(*again || !other_work || succeeded == 0, "results of job {job} are mixed with those of other work");
        assert_eq!(is.tally.succeeded, if *again { 0 } else { succeeded }, "what an edit keeps of job {job}");
        assert_eq!(is.tally.failed + is.tally.cancelled, 0, "what did not succeed of job {job} runs by the new file");
        assert_eq!(is.edits, was.edits + 1, "the revision of job {job}");
        assert_eq!((is.main.chunks, &is.owner), (was.main.chunks, &was.owner), "what an edit leaves of job {job}");
        assert_eq!((&is.main, is.priority), (&submission.main, submission.priority), "the policy of job {job}");
        assert_eq!(is.gather, submission.gather, "how job {job} gathers");
        assert!(is.held || is.state.is_final(), "job {job} goes on before it is released");
    }

    /// Only what has ended goes, and only if it is what the rule saw.
    pub(super) fn expired(&mut self, rows: &Rows, expire: &Expire) {
        let Expire { job, ended_ms, what, .. } = expire;
        let was = self.is_ended(*job);
        assert_eq!(was.ended_ms, Some(*ended_ms), "job {job} ran again since the rule looked at it");
        let removed = rows.1.removed_jobs.contains(job);
        assert_eq!(removed, *what == Expired::Job, "job {job} is gone, and a rule took its {what:?}");
    }

    /// The job that goes, wholly or in part, had ended.
    pub(super) fn is_ended(&mut self, job: JobId) -> JobRow {
        let was = self.was.take().unwrap_or_else(|| panic!("something of job {job} goes, and it is not there"));
        assert!(was.state.is_final(), "something of job {job} goes, which is {:?}", was.state);
        was
    }

    /// Nothing is written of a job that is gone, not even by a container that outlived it.
    pub(super) fn gone_is_gone(&self, effects: &Effects) {
        let written = effects.rows.iter().filter_map(|(key, row)| Some((key, row.as_ref()?)));
        let back =
            written.into_iter().find(|(key, row)| job_of(key, row).is_some_and(|job| self.removed_jobs.contains(&job)));
        assert!(back.is_none(), "a row of a job that is gone is written: {back:?}");
    }

    /// Notes since which revision of its file the work of a job is the same; says which jobs were edited.
    pub(super) fn note_edits(&mut self, disk: &Disk, batch: &Batch) -> BTreeMap<JobId, u32> {
        let mut edited: BTreeMap<JobId, u32> = BTreeMap::new();
        for (event, answer) in batch {
            let (Event::Act(Act::Edit(edit)), Ok(_)) = (event, answer) else { continue };
            let before = || disk.job(edit.job).map_or(0, |row| row.edits);
            let revision = edited.entry(edit.job).or_insert_with(before);
            *revision += 1;
            if edit.other_work {
                self.work.insert(edit.job, *revision);
            }
        }
        edited
    }

    /// A chunk succeeds: by the file as it was when nothing of it ran last, and never by one that asked for other work.
    pub(super) fn of_this_work(&self, rows: &Rows, id: ChunkId, attempt: AttemptId) {
        let Some(row) = rows.attempt(attempt) else { return };
        let since = self.work.get(&id.job).copied().unwrap_or(0);
        assert!(row.edits >= since, "{id} counts {attempt} by revision {}, other work since {since}", row.edits);
        let known = rows.0.job(id.job).map_or(0, |row| row.edits);
        assert!(row.edits >= known, "{id} counts {attempt} by revision {}, and the file is at {known}", row.edits);
    }

    /// A job that goes on counts nothing whose outputs a rule has taken.
    pub(super) fn counts_what_is_there(&self, row: &JobRow) {
        let Some(removed) = row.outputs_removed.as_ref().filter(|removed| removed.count > 0) else { return };
        let chunk = |index| ChunkId { job: row.id, stage: MAIN, index };
        let mut accepted = self.accepted.range(chunk(0)..=chunk(u32::MAX));
        let gone = accepted.find(|(_, attempt)| removed.took(**attempt)).filter(|_| !row.state.is_final());
        assert!(gone.is_none(), "job {} goes on and counts {gone:?}, whose outputs were removed", row.id);
    }

    /// First chunks that all fail in the same way hold their job, once.
    pub(super) fn breaker(&mut self, was: Option<&JobRow>, row: &JobRow, asked: bool, anew: bool) {
        let id = row.id;
        let same = |row: &JobRow| row.held_for == Some(HoldReason::SameFailure);
        let first = &row.first_chunks;
        if anew {
            self.released.remove(&id);
        } else if was.is_some_and(same) && !row.held && !row.state.is_final() {
            self.released.insert(id);
        }
        if same(row) && !was.is_some_and(same) {
            assert!(!self.released.contains(&id), "job {id} is held again for what a person released it from");
            // What ran on may have succeeded since.
            let succeeded = was.filter(|_| !asked).map_or(0, |was| was.tally.succeeded);
            assert_eq!(succeeded, 0, "job {id} is held for its first chunks, of which some had succeeded");
            if let Some(like) = &first.like {
                let ends = self.ends.get(&(id, like.reason)).copied().unwrap_or(0);
                assert!(ends >= u64::from(SAME_FAILURES), "job {id} is held for {ends} ends by {}", like.reason);
            }
        }
        // What a person did in this batch may have come after the failure.
        let failures = |row: &JobRow| row.failures.values().sum::<u64>();
        let failed = failures(row) > was.map_or(0, failures) && !asked;
        if !failed || row.held || row.state.is_final() || row.stopped.is_some() || row.tally.succeeded > 0 {
            return;
        }
        let left = row.tally.total().saturating_sub(first.started.into());
        let many = first.failed >= SAME_FAILURES && first.failed * 2 >= first.started && left >= first.failed.into();
        assert!(first.over || !many, "{} of {} first chunks of job {id} failed alike", first.failed, first.started);
    }
}

/// The job that a person holds, releases, edits or sends into a new life.
pub(super) fn asked(event: &Event, answer: &Result<Answer, Refusal>) -> Option<JobId> {
    match (event, answer) {
        (Event::Act(Act::Edit(edit)), Ok(_)) => Some(edit.job),
        (
            Event::Act(Act::Person {
                act: PersonsAct::Hold { job } | PersonsAct::Release { job } | PersonsAct::Retry { job, .. },
                ..
            }),
            Ok(_),
        ) => Some(*job),
        _ => None,
    }
}
