//! A failed run as a scenario: the same events in the words of `scenarios/*.txt`.
use std::collections::BTreeMap;

use dsg_core::{Act, Answer, Edit, Event, Expire, Expired, Join, Millis, Sync};
use dsg_schemas::api::{Act as PersonsAct, Retries};
use dsg_schemas::ids::{AttemptId, RunnerId, SessionId};
use dsg_schemas::units;
use dsg_schemas::wire::{Facts, Phase};

use crate::disk::Disk;
use crate::fault::{Fault, catch};
use crate::play::play;
use crate::said;
use crate::seeds::Failure;
use crate::shell::{Shell, Step};
use crate::shrink::begin;

/// The text of a scenario file, with a word on whether it fails by itself.
pub fn scenario(failure: &Failure, steps: &[Step]) -> String {
    let Failure { seed, fault: Fault { place, message }, steps: all } = failure;
    let lines = lines(steps);
    let body: String = lines.iter().map(|line| format!("{line}\n")).collect();
    let verdict = match play_alone(&body) {
        Err(fault) if fault.place == *place => "It fails there when it is played.",
        Err(_) | Ok(()) => "Played by itself it does not fail there: only the seed shows it.",
    };
    let message = message.lines().collect::<Vec<_>>().join(" ");
    format!(
        "# Seed {seed}, {} of {} steps: {message}\n# at {place}. {verdict}\n# Once it is mended, `make bless` adds what is printed.\n{body}",
        steps.len(),
        all.len()
    )
}

/// Whether a scenario fails by itself, and where.
pub fn play_alone(text: &str) -> Result<(), Fault> {
    catch(|| play(text, "the scenario")).map(|_| ())
}

/// What the player of scenarios knows of a runner.
#[derive(Default)]
struct Fake {
    name: String,
    facts: Option<Facts>,
    session: SessionId,
    seq: u64,
    holding: BTreeMap<AttemptId, String>,
}

/// One command for each step, and the time between them.
fn lines(steps: &[Step]) -> Vec<String> {
    let mut now = begin(steps);
    let mut shell = Shell::new(now);
    let mut fakes: BTreeMap<RunnerId, Fake> = BTreeMap::new();
    let mut lines = Vec::new();
    for step in steps {
        match step {
            Step::Event(at, Event::Tick) => lines.push(format!("wait {}", units::Millis(at - now))),
            Step::Event(at, event) => {
                pause(&mut lines, now, *at);
                lines.extend(command(&mut fakes, &shell.disk, event));
            }
            Step::Restart(at, None) => {
                pause(&mut lines, now, *at);
                lines.push("restart".to_owned());
            }
            Step::Restart(at, Some(ticked)) => {
                pause(&mut lines, now, *ticked);
                lines.push("restart same".to_owned());
                if at != ticked {
                    pause(&mut lines, *ticked, *at);
                    lines.push("restart".to_owned());
                }
            }
            Step::Away(from, to) => {
                pause(&mut lines, now, *from);
                lines.push(format!("away {}", units::Millis(to - from)));
            }
        }
        now = match step {
            Step::Event(at, _) | Step::Restart(at, _) | Step::Away(_, at) => *at,
        };
        // The last step is the one that fails.
        let Ok(answered) = catch(|| shell.again(step)) else { break };
        if let Some((event, Ok(answer))) = answered {
            learn(&mut fakes, &event, answer);
        }
    }
    lines
}

fn pause(lines: &mut Vec<String>, from: Millis, to: Millis) {
    if to > from {
        lines.push(format!("quiet {}", units::Millis(to - from)));
    } else if to < from {
        lines.push(format!("back {}", units::Millis(from - to)));
    }
}

/// `None` for what a scenario has no word for: what a runner says that it does not know.
fn command(fakes: &mut BTreeMap<RunnerId, Fake>, disk: &Disk, event: &Event) -> Option<String> {
    Some(match event {
        Event::Tick => return None,
        Event::Submit(submission) => format!("submit {}", said::submission(submission).join(" ")),
        Event::Join(Join::Enrol { name, .. }) => format!("enrol {name}"),
        Event::Join(Join::Hello { runner, host, facts, .. }) => {
            let fake = fakes.get_mut(runner)?;
            let mut words = vec![format!("hello {}", fake.name), format!("host={host}")];
            if fake.facts.as_ref() != Some(facts) {
                words.extend(said::facts(facts));
                fake.facts = Some((**facts).clone());
            }
            words.join(" ")
        }
        Event::Sync(sync) => sync_words(fakes.get_mut(&sync.runner)?, sync),
        Event::Act(Act::Gathered { job, result: Ok(_), .. }) => format!("gathered {job}"),
        Event::Act(Act::Gathered { job, result: Err(why), .. }) => {
            format!("gathered {job} problem={}", why.replace(' ', "_"))
        }
        Event::Act(Act::Edit(Edit { who: _, job, submission, other_work, again })) => {
            let words = said::submission(submission);
            let flags = [(*other_work, " other"), (*again, " again")];
            let flags: String = flags.into_iter().filter(|(set, _)| *set).map(|(_, word)| word).collect();
            format!("edit {job} {}{flags}", words[1..].join(" "))
        }
        Event::Act(Act::Expire(Expire { job, ended_ms, what, why: _ })) => {
            let what = match what {
                Expired::Logs { .. } => "logs",
                Expired::Outputs { count: 0, .. } => "none",
                Expired::Outputs { .. } => "outputs",
                Expired::Job => "job",
            };
            let stale = disk.job(*job).is_some_and(|row| row.ended_ms != Some(*ended_ms));
            format!("expire {job} {what}{}", if stale { " stale" } else { "" })
        }
        Event::Act(Act::SetSecret { name, sealed, .. }) => format!("seal {name} {} size={}B", sealed.key, sealed.size),
        Event::Act(Act::RemoveSecret { name }) => format!("unseal {name}"),
        Event::Act(Act::Person { act, .. }) => match act {
            PersonsAct::Cancel { job } => format!("cancel {job}"),
            PersonsAct::Hold { job } => format!("hold {job}"),
            PersonsAct::Release { job } => format!("release {job}"),
            PersonsAct::Delete { job } => format!("delete {job}"),
            PersonsAct::Retry { job, which: Retries::Failed } => format!("retry {job} failed"),
            PersonsAct::Retry { job, which: Retries::All } => format!("retry {job} all"),
            PersonsAct::Retry { job, which: Retries::Chunks(chunks) } => {
                let chunks: Vec<String> = chunks.iter().map(ToString::to_string).collect();
                format!("retry {job} {}", chunks.join(","))
            }
            PersonsAct::LimitJob { job, parallelism } => {
                format!("limit {job} {}", parallelism.map_or_else(|| "none".to_owned(), |limit| limit.to_string()))
            }
            PersonsAct::LimitOwner { owner, cpus_milli, gpus } => {
                let cpus = cpus_milli.map(|milli| format!(" cpus={}", milli as f64 / 1000.0)).unwrap_or_default();
                let gpus = gpus.map(|gpus| format!(" gpus={gpus}")).unwrap_or_default();
                format!("limit owner={owner}{cpus}{gpus}")
            }
            PersonsAct::PushImage { name, sha256, size: _ } => format!("push {name} {sha256}"),
            PersonsAct::RemoveImage { name } => format!("unpush {name}"),
            PersonsAct::Drain { runner } => format!("drain {}", fakes.get(runner)?.name),
            PersonsAct::Undrain { runner } => format!("undrain {}", fakes.get(runner)?.name),
            PersonsAct::Pause { runner } => format!("pause {}", fakes.get(runner)?.name),
            PersonsAct::Evict { runner } => format!("evict {}", fakes.get(runner)?.name),
            PersonsAct::Resume { runner } => format!("resume {}", fakes.get(runner)?.name),
            PersonsAct::RemoveRunner { runner, force } => {
                format!("remove {}{}", fakes.get(runner)?.name, if *force { " force" } else { "" })
            }
        },
    })
}

/// What differs from what the player would say by itself.
fn sync_words(fake: &mut Fake, sync: &Sync) -> String {
    let Sync { runner: _, session, seq, report } = sync;
    let next = if report.is_some() { fake.seq + 1 } else { fake.seq };
    let mut words = vec![format!("{} {}", if report.is_some() { "sync" } else { "wake" }, fake.name)];
    if *session != fake.session {
        words.push(format!("session={session}"));
    }
    if *seq != next || *session != fake.session {
        words.push(format!("seq={seq}"));
    }
    if *session == fake.session {
        fake.seq = fake.seq.max(*seq);
    }
    let Some(report) = report else { return words.join(" ") };
    let says: BTreeMap<AttemptId, String> =
        report.attempts.iter().map(|report| (report.attempt, said::phase(&report.phase))).collect();
    if fake.holding.keys().any(|id| !says.contains_key(id)) {
        words.push("only".to_owned());
        fake.holding.clear();
    }
    let news = says.iter().filter(|(id, phase)| fake.holding.get(id) != Some(phase));
    words.extend(news.map(|(id, phase)| format!("{id}={phase}")));
    fake.holding = says;
    if let Some(why) = &report.no_more {
        words.push(format!("no_more={}", why.replace(' ', "_")));
    }
    words.join(" ")
}

fn learn(fakes: &mut BTreeMap<RunnerId, Fake>, event: &Event, answer: Answer) {
    match (event, answer) {
        (_, Answer::Enrolled { runner, name }) => _ = fakes.insert(runner, Fake { name, ..Fake::default() }),
        (_, Answer::Session { runner, session, .. }) => {
            if let Some(fake) = fakes.get_mut(&runner) {
                (fake.session, fake.seq) = (session, 0);
            }
        }
        (Event::Sync(sync), Answer::Orders(orders)) => {
            let Some(fake) = fakes.get_mut(&sync.runner) else { return };
            let preparing = || said::phase(&Phase::Preparing { note: String::new() });
            for start in &orders.start {
                fake.holding.entry(start.attempt).or_insert_with(preparing);
            }
            fake.holding.retain(|id, _| !orders.forget.contains(id));
        }
        (_, Answer::Orders(_) | Answer::Job { .. } | Answer::Acted(_) | Answer::Ticked) => {}
    }
}
