//! What is due: a pure function of rules, rows, sizes and the time.
use std::collections::{BTreeMap, HashMap};

use dsg_core::row::{JobRow, Removed};
use dsg_schemas::api::JobState;
use dsg_schemas::ids::{AttemptId, JobId};
use dsg_schemas::spec;
use dsg_schemas::units::{Bytes, Millis};

use super::rules::Rules;

/// A job that has ended, as far as rules look at it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ended {
    pub id: JobId,
    pub ended_ms: u64,
    pub succeeded: bool,
    pub retention: spec::Retention,
    /// It may have logs, and outputs: those of attempts from here on.
    pub logs: Option<AttemptId>,
    pub outputs: Option<AttemptId>,
}

/// What ended jobs have. A blob that several of them have is there once.
#[derive(Debug, Default)]
pub struct Usage {
    pub logs: HashMap<JobId, Vec<(AttemptId, u64)>>,
    pub outputs: HashMap<JobId, HashMap<[u8; 32], u64>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum What {
    Logs,
    Outputs,
    /// With everything that belongs to it.
    Job,
}

impl What {
    pub fn word(self) -> &'static str {
        match self {
            What::Logs => "logs",
            What::Outputs => "outputs",
            What::Job => "job",
        }
    }
}

/// What a rule wants to remove.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Due {
    pub job: JobId,
    pub ended_ms: u64,
    pub what: What,
    /// The rule, for people.
    pub why: String,
}

impl Ended {
    pub fn of(row: &JobRow) -> Option<Ended> {
        let ended_ms = row.ended_ms.filter(|_| row.state.is_final())?;
        let left = |removed: &Option<Removed>| match removed {
            None => Some(AttemptId(0)),
            Some(removed) => removed.ran_again.then_some(removed.below),
        };
        Some(Ended {
            id: row.id,
            ended_ms,
            succeeded: row.state == JobState::Succeeded,
            retention: row.retention,
            logs: left(&row.logs_removed),
            outputs: left(&row.outputs_removed),
        })
    }

    fn due(&self, what: What, why: String) -> Due {
        Due { job: self.id, ended_ms: self.ended_ms, what, why }
    }

    fn too_old(&self, now_ms: u64, rules: &Rules, limit: Option<(Millis, String)>) -> Option<String> {
        let (limit, rule) = limit?;
        let times = if self.succeeded { 1 } else { rules.failed_times.max(1) };
        let limit = Millis(limit.0.saturating_mul(times.into()));
        let longer = if times > 1 { format!("; {times} times as long, as it did not succeed") } else { String::new() };
        (now_ms.saturating_sub(self.ended_ms) >= limit.0).then(|| format!("older than {limit} ({rule}{longer})"))
    }
}

/// By age. A job's own word counts where it is shorter than the server's.
pub fn by_age(now_ms: u64, rules: &Rules, jobs: &[Ended]) -> Vec<Due> {
    let Rules { logs, outputs, jobs: rows, failed_times: _, size: _ } = rules;
    let limit = |own: Option<Millis>, most: Option<Millis>, what: &str| match (own, most) {
        (Some(own), most) if most.is_none_or(|most| own < most) => {
            Some((own, format!("`retention.{what}` of its job file")))
        }
        (_, most) => most.map(|most| (most, format!("--keep-{what}"))),
    };
    let mut due = Vec::new();
    for job in jobs {
        let row = rows.map(|limit| (limit, "--keep-jobs".to_owned()));
        if let Some(why) = job.too_old(now_ms, rules, row) {
            due.push(job.due(What::Job, why));
            continue;
        }
        let of_logs = job.logs.and(limit(job.retention.logs, *logs, "logs"));
        let of_outputs = job.outputs.and(limit(job.retention.outputs, *outputs, "outputs"));
        due.extend(job.too_old(now_ms, rules, of_logs).map(|why| job.due(What::Logs, why)));
        due.extend(job.too_old(now_ms, rules, of_outputs).map(|why| job.due(What::Outputs, why)));
    }
    due
}

/// By size: the oldest give first, those that succeeded before those that did not; of one job first the outputs.
pub fn by_size(most: Bytes, jobs: &[Ended], usage: &Usage) -> Vec<Due> {
    let mut holders: BTreeMap<&[u8; 32], u64> = BTreeMap::new();
    let mut total: u64 = usage.logs.values().flatten().map(|(_, bytes)| bytes).sum();
    for (hash, bytes) in usage.outputs.values().flatten() {
        let count = holders.entry(hash).or_default();
        total += if *count == 0 { *bytes } else { 0 };
        *count += 1;
    }
    let why = format!("the logs and outputs of ended jobs are more than {most} (--keep-size)");
    let mut order: Vec<&Ended> = jobs.iter().collect();
    order.sort_by_key(|job| (!job.succeeded, job.ended_ms, job.id));
    let mut due = Vec::new();
    for job in order {
        if total > most.0
            && let Some(outputs) = usage.outputs.get(&job.id).filter(|outputs| !outputs.is_empty())
        {
            for (hash, bytes) in outputs {
                let count = holders.entry(hash).or_default();
                *count = count.saturating_sub(1);
                total -= if *count == 0 { *bytes } else { 0 };
            }
            due.push(job.due(What::Outputs, why.clone()));
        }
        if total > most.0
            && let Some(logs) = usage.logs.get(&job.id).filter(|logs| !logs.is_empty())
        {
            total -= logs.iter().map(|(_, bytes)| bytes).sum::<u64>();
            due.push(job.due(What::Logs, why.clone()));
        }
    }
    due
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: u64 = 86_400_000;

    fn job(id: u64, ended_day: u64, succeeded: bool) -> Ended {
        let (id, ended_ms, retention) = (JobId(id), ended_day * DAY, spec::Retention::default());
        Ended { id, ended_ms, succeeded, retention, logs: Some(AttemptId(0)), outputs: Some(AttemptId(0)) }
    }
    fn days(count: u64) -> Option<Millis> {
        Some(Millis(count * DAY))
    }
    fn shown(due: Vec<Due>) -> Vec<String> {
        due.into_iter().map(|due| format!("{} of {}: {}", due.what.word(), due.job, due.why)).collect()
    }

    #[test]
    fn nothing_is_removed_where_nobody_asked_for_it() {
        assert_eq!(by_age(u64::MAX, &Rules::default(), &[job(1, 0, true), job(2, 0, false)]), Vec::new());
    }

    #[test]
    fn age_counts_from_the_end_and_failed_jobs_keep_longer() {
        let rules = Rules { logs: days(10), outputs: days(20), jobs: days(40), ..Rules::default() };
        let jobs = [job(1, 100, true), job(2, 100, false)];
        let on = |day: u64, more: u64| shown(by_age(day * DAY + more, &rules, &jobs));
        assert_eq!(by_age(110 * DAY - 1, &rules, &jobs), Vec::new());
        assert_eq!(on(110, 0), ["logs of 1: older than 10d (--keep-logs)"]);
        let longer = "; 2 times as long, as it did not succeed";
        assert_eq!(
            on(120, 0),
            [
                "logs of 1: older than 10d (--keep-logs)".to_owned(),
                "outputs of 1: older than 20d (--keep-outputs)".to_owned(),
                format!("logs of 2: older than 20d (--keep-logs{longer})"),
            ]
        );
        assert_eq!(on(140, 0)[0], "job of 1: older than 40d (--keep-jobs)", "and nothing of it besides");
        assert_eq!(on(140, 0).len(), 3);
        assert_eq!(on(180, 0)[1], format!("job of 2: older than 80d (--keep-jobs{longer})"));
    }

    #[test]
    fn what_is_gone_is_not_due_again_and_a_jobs_own_word_only_shortens() {
        let rules = Rules { logs: days(10), failed_times: 1, ..Rules::default() };
        let gone = Ended { logs: None, ..job(1, 0, true) };
        let own = |id, logs: Option<Millis>, outputs| {
            let retention = spec::Retention { logs, outputs };
            Ended { retention, ..job(id, 0, true) }
        };
        let jobs = [gone, own(2, days(3), None), own(3, days(30), days(5))];
        assert_eq!(
            shown(by_age(5 * DAY, &rules, &jobs)),
            [
                "logs of 2: older than 3d (`retention.logs` of its job file)",
                "outputs of 3: older than 5d (`retention.outputs` of its job file)"
            ]
        );
        assert!(shown(by_age(10 * DAY, &rules, &jobs)).contains(&"logs of 3: older than 10d (--keep-logs)".to_owned()));
    }

    #[test]
    fn above_the_size_the_oldest_succeeded_ones_give_first_and_shared_bytes_count_once() {
        let jobs = [job(1, 3, true), job(2, 1, false), job(3, 2, true)];
        let mut usage = Usage::default();
        usage.logs.extend([(JobId(1), vec![(AttemptId(1), 10)]), (JobId(3), vec![(AttemptId(3), 5)])]);
        let blob = |name: u8| ([name; 32], 100);
        usage.outputs.insert(JobId(1), HashMap::from([blob(1), blob(9)]));
        usage.outputs.insert(JobId(2), HashMap::from([blob(2)]));
        usage.outputs.insert(JobId(3), HashMap::from([blob(3), blob(9)]));
        let due =
            |most| by_size(Bytes(most), &jobs, &usage).iter().map(|due| (due.job.0, due.what)).collect::<Vec<_>>();
        assert_eq!(due(415), [], "four blobs and the logs");
        assert_eq!(due(414), [(3, What::Outputs)]);
        assert_eq!(due(315), [(3, What::Outputs)], "blob 9 is still the first one's");
        assert_eq!(due(314), [(3, What::Outputs), (3, What::Logs)]);
        assert_eq!(due(300), [(3, What::Outputs), (3, What::Logs), (1, What::Outputs)]);
        let rest = [(3, What::Outputs), (3, What::Logs), (1, What::Outputs), (1, What::Logs), (2, What::Outputs)];
        assert_eq!(due(0), rest, "what failed comes last");
    }
}
