//! What was gathered is what counts: no result of a gather is taken once chunks ran again since it was asked for.
use dsg_core::{Act, Answer, Effects, Event, Refusal};
use dsg_schemas::ids::{AttemptId, ChunkId, JobId, MAIN};

use super::Proof;

/// The attempts whose outputs count.
pub(super) type Counting = Vec<(ChunkId, AttemptId)>;

impl Proof {
    /// Called before the rows of a batch are looked at.
    pub(super) fn gathers_are_of_what_counts(&self, batch: &[(Event, Result<Answer, Refusal>)]) {
        for (event, answer) in batch {
            if let Event::Act(Act::Gathered { job, turn, result: Ok(_) }) = event
                && let Ok(Answer::Acted(acted)) = answer
                && acted.count > 0
            {
                let asked = self.asked_to_gather.get(turn);
                let now = self.counting(*job);
                assert_eq!(asked, Some(&now), "what was gathered of job {job}, and what counts now");
            }
        }
    }

    /// And after them.
    pub(super) fn note_gathers(&mut self, effects: &Effects) {
        for (job, turn) in &effects.gather_due {
            self.asked_to_gather.insert(*turn, self.counting(*job));
        }
    }

    fn counting(&self, job: JobId) -> Counting {
        let of_job = self.accepted.range(ChunkId { job, stage: MAIN, index: 0 }..);
        let of_job = of_job.take_while(|(chunk, _)| (chunk.job, chunk.stage) == (job, MAIN));
        of_job.map(|(chunk, attempt)| (*chunk, *attempt)).collect()
    }
}
