//! Numbers, not a proof: `cargo test --release -p dsg-core --test simulator -- --ignored --nocapture speed`.
use std::collections::BTreeMap;
use std::time::Instant;

use dsg_core::{Act, Answer, Effects, Event, Grid, Join, Report, Sync};
use dsg_schemas::api::{Act as PersonsAct, Retries};
use dsg_schemas::ids::{AttemptId, JobId, RunnerId, SessionId};
use dsg_schemas::reason::EndReason;
use dsg_schemas::wire::{AttemptReport, Ended, Facts, Phase};

use crate::dice::Dice;
use crate::people;

#[test]
#[ignore = "prints numbers; nothing to pass"]
fn speed() {
    for (chunks, runners, jobs) in [(1_000, 10, 1), (100_000, 100, 1), (100_000, 100, 1_000), (1_000_000, 100, 1)] {
        let mut grid = Grid::default();
        let mut rows = 0;
        let mut apply = |grid: &mut Grid, now, event| {
            let mut effects = Effects::default();
            let answer = grid.apply(now, event, &mut effects);
            rows += effects.rows.len();
            answer.expect("no refusal")
        };
        let start = Instant::now();
        for number in 0..jobs {
            let mut submission = people::submission(&mut Dice(7), number);
            (submission.hold, submission.gather, submission.job_timeout_ms) = (false, None, None);
            submission.main = people::stage(&mut Dice(7), chunks / jobs as u32);
            submission.main.needs = dsg_core::Needs { cpus_milli: 1000, ..Default::default() };
            (submission.main.parallelism, submission.main.per_runner) = (None, None);
            submission.owner = format!("owner{}", number % 20);
            apply(&mut grid, 1, Event::Submit(Box::new(submission)));
        }
        let submitted = start.elapsed();
        let facts = Facts { cpus_milli: 16_000, memory_bytes: 1 << 40, ..Facts::default() };
        let mut sessions: Vec<(RunnerId, SessionId)> = Vec::new();
        for at in 0..runners {
            let name = format!("runner{at}");
            let enrol = Join::Enrol { name: name.clone(), credential_sha256: String::new() };
            let Answer::Enrolled { runner, .. } = apply(&mut grid, 1, Event::Join(enrol)) else { panic!("enrol") };
            let facts = Box::new(facts.clone());
            let hello = Join::Hello { runner, nonce: name.clone(), host: name, version: "1".into(), facts };
            let Answer::Session { session, .. } = apply(&mut grid, 1, Event::Join(hello)) else { panic!("hello") };
            sessions.push((runner, session));
        }
        let start = Instant::now();
        let (mut now, mut syncs, mut placed) = (2, 0u64, 0u64);
        let mut holding: BTreeMap<RunnerId, Vec<AttemptReport>> = BTreeMap::new();
        while placed < u64::from(chunks) {
            for (runner, session) in &sessions {
                (now, syncs) = (now + 1, syncs + 1);
                let report = Report { attempts: holding.remove(runner).unwrap_or_default(), ..Report::default() };
                let sync = Sync { runner: *runner, session: *session, seq: now, report: Some(report) };
                let Answer::Orders(orders) = apply(&mut grid, now, Event::Sync(sync)) else { panic!("orders") };
                placed += orders.start.len() as u64;
                let ended = |attempt: AttemptId| AttemptReport {
                    attempt,
                    phase: Phase::Ended(Box::new(Ended::before_start(EndReason::Succeeded, ""))),
                };
                holding.insert(*runner, orders.start.iter().map(|start| ended(start.attempt)).collect());
            }
        }
        let rate = placed as f64 / start.elapsed().as_secs_f64();
        println!(
            "{chunks} chunks of {jobs} jobs, {runners} runners: submit {submitted:?}, {syncs} syncs, {rate:.0} chunks/s"
        );
        let job = JobId(1);
        for act in [PersonsAct::Cancel { job }, PersonsAct::Retry { job, which: Retries::Chunks(Vec::new()) }] {
            let mut effects = Effects::default();
            let start = Instant::now();
            let done = grid.apply(now, Event::Act(Act::Person { who: "mara".into(), act: act.clone() }), &mut effects);
            println!("  {act:?}: {:?}, {done:?}", start.elapsed());
        }
        println!("  {rows} rows");
    }
}
