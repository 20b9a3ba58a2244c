//! Plays one scenario: fake runners, a clock, and rows that are committed after each event.
use std::collections::BTreeMap;

use dsg_core::{
    Act, Answer, Edit, Event, Expire, Expired, GatherTurn, Grown, Join, Key, Millis, Orders, Refusal, Report, Row,
    Sealed, Sync,
};
use dsg_schemas::api::{Act as PersonsAct, Retries};
use dsg_schemas::ids::{AttemptId, ChunkId, JobId, RunnerId, SessionId};
use dsg_schemas::reason::EndReason;
use dsg_schemas::units::{self, Bytes};
use dsg_schemas::wire::{AttemptReport, Ended, Facts, Phase, StoredFile};

use crate::shell::Shell;
use crate::show;
use crate::words::{Words, facts, policy, submission};

/// When scenarios begin.
pub const START: Millis = 1_000_000;

struct Play {
    shell: Shell,
    now: Millis,
    runners: BTreeMap<String, Fake>,
    gathers: Gathers,
    out: Vec<String>,
}

#[derive(Default)]
struct Fake {
    id: RunnerId,
    session: SessionId,
    seq: u64,
    facts: Facts,
    holding: BTreeMap<AttemptId, Phase>,
    last: Option<Sync>,
}

/// The gathers that were announced of a job, oldest first.
type Gathers = BTreeMap<JobId, Vec<GatherTurn>>;

/// The scenario again, each command followed by what it prints now.
pub fn play(text: &str, file: &str) -> String {
    let mut play = Play {
        shell: Shell::new(START),
        now: START,
        runners: BTreeMap::new(),
        gathers: Gathers::new(),
        out: Vec::new(),
    };
    let mut printed = String::new();
    for (number, line) in text.lines().enumerate().filter(|(_, line)| !line.starts_with('>')) {
        printed.push_str(line);
        printed.push('\n');
        let words: Vec<&str> = line.split_whitespace().collect();
        if let Some((command, rest)) = words.split_first().filter(|(command, _)| !command.starts_with('#')) {
            let (before, states) = (play.shell.disk.clone(), show::states(&play.shell.disk));
            play.command(command, Words(rest.to_vec()), &format!("{file}:{}", number + 1));
            let disk = &play.shell.disk;
            let changed = show::changes(&before, &states, disk, &show::states(disk));
            play.out.extend(changed);
        }
        for line in play.out.drain(..) {
            printed.push_str(&format!("> {line}\n"));
        }
    }
    printed
}

impl Play {
    fn apply(&mut self, event: Event) -> Result<Answer, Refusal> {
        let answer = self.shell.apply(self.now, event.clone());
        let effects = self.shell.commit();
        self.shell.answered(&event, &answer);
        for (job, turn) in &effects.gather_due {
            self.gathers.entry(*job).or_default().push(*turn);
        }
        self.out.extend(show::effects(&effects));
        answer
    }

    fn command(&mut self, command: &str, words: Words, at: &str) {
        let first = words.0.first().copied().unwrap_or_default();
        let job = || JobId(first.parse().unwrap_or_else(|_| panic!("{at}: {first:?} is no job")));
        match command {
            "runner" => {
                let name = self.enrol(first, &words);
                self.hello(&name, &Words(Vec::new()));
            }
            "enrol" => _ = self.enrol(first, &words),
            "hello" => self.hello(first, &words),
            "reboot" => self.fake(first).holding.clear(),
            "submit" => {
                let answer = self.apply(Event::Submit(Box::new(submission(&words))));
                self.out.push(match answer {
                    Ok(Answer::Job { job, fresh: true }) => format!("job {job}"),
                    Ok(Answer::Job { job, fresh: false }) => format!("job {job}, as answered before"),
                    other => format!("{other:?}"),
                });
            }
            "sync" => self.sync(first, &words),
            "wake" => self.wake(first, &words),
            "repeat" => {
                let sync = self.fake(first).last.clone().expect("a sync before");
                let answer = self.apply(Event::Sync(sync));
                self.orders(first, answer, false);
            }
            "wait" => {
                self.now += words.duration_of(first);
                let answer = self.apply(Event::Tick);
                assert_eq!(answer, Ok(Answer::Ticked));
            }
            "quiet" => self.now += words.duration_of(first),
            "away" => {
                let from = self.now;
                self.now += words.duration_of(first);
                self.shell.away(from, self.now);
            }
            "back" => self.now -= words.duration_of(first),
            "restart" => self.shell.restart(self.now, (first == "same").then_some(self.now)),
            "cancel" => self.person(PersonsAct::Cancel { job: job() }),
            "hold" => self.person(PersonsAct::Hold { job: job() }),
            "release" => self.person(PersonsAct::Release { job: job() }),
            "delete" => self.person(PersonsAct::Delete { job: job() }),
            "retry" => {
                let which = match words.0.get(1).copied() {
                    Some("failed") => Retries::Failed,
                    Some("all") => Retries::All,
                    list => Retries::Chunks(list.unwrap_or_default().split(',').map(chunk).collect()),
                };
                self.person(PersonsAct::Retry { job: job(), which });
            }
            "push" => self.person(PersonsAct::PushImage {
                name: first.to_owned(),
                sha256: words.0.get(1).copied().unwrap_or_default().to_owned(),
                size: 1,
            }),
            "unpush" => self.person(PersonsAct::RemoveImage { name: first.to_owned() }),
            "key" => self.shell.grid.set_secret_key(first.to_owned()),
            "seal" => {
                let sealed = Sealed {
                    key: words.0.get(1).copied().unwrap_or("k1").to_owned(),
                    sealed: "sealed".into(),
                    size: words.bytes("size", "9B"),
                };
                self.admin(Act::SetSecret { who: "mara".to_owned(), name: first.to_owned(), sealed });
            }
            "unseal" => self.admin(Act::RemoveSecret { name: first.to_owned() }),
            "limit" => self.limit(first, &words),
            "edit" => self.edit(job(), &words),
            "drain" | "undrain" | "pause" | "evict" | "resume" | "remove" => {
                let runner = self.fake(first).id;
                self.person(match command {
                    "drain" => PersonsAct::Drain { runner },
                    "undrain" => PersonsAct::Undrain { runner },
                    "pause" => PersonsAct::Pause { runner },
                    "evict" => PersonsAct::Evict { runner },
                    "resume" => PersonsAct::Resume { runner },
                    _ => PersonsAct::RemoveRunner { runner, force: words.has("force") },
                });
            }
            "gathered" => self.gathered(job(), &words),
            "expire" => self.expire(job(), &words),
            _ => self.question(command, first, &words, at),
        }
    }

    fn question(&mut self, command: &str, first: &str, words: &Words, at: &str) {
        let job = || JobId(first.parse().unwrap_or_else(|_| panic!("{at}: {first:?} is no job")));
        let lines = match command {
            "explain" => match self.shell.grid.explain(self.now, chunk(first)) {
                Ok(explanation) => show::explanation(&explanation),
                Err(refusal) => vec![format!("refused: {refusal}")],
            },
            "why" => vec![self.shell.grid.job_why(self.now, job()).unwrap_or("it goes on".into())],
            "job" => show::job(&self.shell.disk, job()),
            "queue" => show::queue(&self.shell.grid, self.now),
            "owners" => show::owners(&self.shell.grid),
            "images" => {
                let row = |(name, row): (&String, &dsg_core::row::ImageRow)| {
                    format!("{name} is {} by {}", row.sha256, row.by)
                };
                self.shell.grid.images().iter().map(row).collect()
            }
            "secrets" => {
                let (attempt, runner) =
                    (first.parse().expect("an attempt"), words.0.get(1).copied().unwrap_or_default());
                let runner = self.fake(runner).id;
                match self.shell.grid.secrets_of(AttemptId(attempt), runner) {
                    Ok(found) => vec![format!("{:?}", found.into_keys().collect::<Vec<_>>())],
                    Err(refusal) => vec![format!("refused: {refusal}")],
                }
            }
            "runners" => show::runners(&self.shell.grid, self.now),
            "attempt" => show::attempt(&self.shell.disk, &self.shell.grid, first.parse().expect("an attempt")),
            "row" => show::row(&self.shell.disk, chunk(first)),
            "deadline" => {
                let at = self.shell.grid.next_deadline();
                vec![at.map_or("none".into(), |at| format!("in {} ms", at.saturating_sub(self.now)))]
            }
            "can" => vec![self.shell.grid.can_any_run(self.now, &policy(words)).err().unwrap_or("yes".into())],
            other => panic!("{at}: no command {other:?}"),
        };
        self.out.extend(lines);
    }

    fn fake(&mut self, name: &str) -> &mut Fake {
        self.runners.get_mut(name).unwrap_or_else(|| panic!("no runner {name:?}"))
    }

    fn enrol(&mut self, name: &str, words: &Words) -> String {
        let join = Join::Enrol { name: name.to_owned(), credential_sha256: "hash".to_owned() };
        let Ok(Answer::Enrolled { runner, name: given }) = self.apply(Event::Join(join)) else { panic!("enrol") };
        if given != name {
            self.out.push(format!("it is called {given}"));
        }
        self.runners.insert(given.clone(), Fake { id: runner, facts: facts(words), ..Fake::default() });
        given
    }

    fn hello(&mut self, name: &str, words: &Words) {
        let fake = self.fake(name);
        if words.0.iter().skip(1).any(|word| !word.starts_with("host=")) {
            fake.facts = facts(words);
        }
        let (runner, facts) = (fake.id, Box::new(fake.facts.clone()));
        let host = words.get("host").unwrap_or("home").to_owned();
        let hello = Join::Hello { runner, nonce: "nonce".into(), host, version: "0.1.0".into(), facts };
        match self.apply(Event::Join(hello)) {
            Ok(Answer::Session { session, .. }) => {
                let fake = self.fake(name);
                (fake.session, fake.seq) = (session, 0);
            }
            Err(refusal) => self.out.push(format!("refused: {refusal}")),
            Ok(other) => panic!("{other:?}"),
        }
    }

    fn sync(&mut self, name: &str, words: &Words) {
        let fake = self.fake(name);
        if words.has("only") {
            fake.holding.clear();
        }
        for word in &words.0 {
            let Some((attempt, phase)) = word.split_once('=') else { continue };
            if let Ok(attempt) = attempt.parse() {
                fake.holding.insert(AttemptId(attempt), phase_of(phase));
            }
        }
        let broke = words.list("sick_gpus");
        for gpu in fake.facts.gpus.iter_mut().filter(|gpu| broke.contains(&gpu.uuid)) {
            gpu.unhealthy = Some("fell off the bus".to_owned());
        }
        let facts = (!broke.is_empty()).then(|| Box::new(fake.facts.clone()));
        let (session, seq) = fake.number(words, fake.seq + 1);
        let attempts =
            fake.holding.iter().map(|(attempt, phase)| AttemptReport { attempt: *attempt, phase: phase.clone() });
        let report = Report {
            attempts: attempts.collect(),
            no_more: words.get("no_more").map(|why| why.replace('_', " ")),
            goodbye: words.has("goodbye"),
            facts,
            ..Report::default()
        };
        let sync = Sync { runner: fake.id, session, seq, report: Some(report) };
        fake.last = Some(sync.clone());
        let answer = self.apply(Event::Sync(sync));
        self.orders(name, answer, words.get("answer") != Some("lost"));
    }

    fn wake(&mut self, name: &str, words: &Words) {
        let fake = self.fake(name);
        let (session, seq) = fake.number(words, fake.seq);
        let sync = Sync { runner: fake.id, session, seq, report: None };
        let answer = self.apply(Event::Sync(sync));
        self.orders(name, answer, true);
    }

    fn orders(&mut self, name: &str, answer: Result<Answer, Refusal>, arrives: bool) {
        let orders = match answer {
            Ok(Answer::Orders(orders)) => orders,
            Err(refusal) => return self.out.push(format!("refused: {refusal}")),
            Ok(other) => panic!("{other:?}"),
        };
        let Orders { start, stop, forget, drain, pause } = orders;
        for order in &start {
            let gpus = if order.gpus.is_empty() { String::new() } else { format!(" with {}", order.gpus.join(", ")) };
            let grown = match order.grown {
                Grown { memory_bytes: None, run_ms: None } => String::new(),
                Grown { memory_bytes, run_ms } => format!(
                    " with {}{}",
                    memory_bytes.map(|bytes| format!("{} of memory ", Bytes(bytes))).unwrap_or_default(),
                    run_ms.map(|run| format!("{} to run", units::Millis(run))).unwrap_or_default()
                ),
            };
            let line =
                format!("{name} starts {}#{} as attempt {}{gpus}{grown}", order.chunk, order.number, order.attempt);
            self.out.push(line.trim_end().to_owned());
        }
        self.out.extend(stop.iter().map(|order| format!("{name} stops attempt {}: {}", order.attempt, order.reason)));
        self.out.extend(forget.iter().map(|attempt| format!("{name} forgets attempt {attempt}")));
        if drain {
            self.out.push(format!("{name} is told to drain"));
        }
        if pause {
            self.out.push(format!("{name} is told to pause"));
        }
        let fake = self.fake(name);
        if arrives {
            for order in start {
                fake.holding.entry(order.attempt).or_insert(Phase::Preparing { note: String::new() });
            }
            fake.holding.retain(|attempt, _| !forget.contains(attempt));
        }
    }

    fn person(&mut self, act: PersonsAct) {
        self.admin(Act::Person { who: "mara".to_owned(), act });
    }

    fn admin(&mut self, act: Act) {
        let answer = self.apply(Event::Act(act));
        self.acted(answer);
    }

    fn acted(&mut self, answer: Result<Answer, Refusal>) {
        let line = match answer {
            Ok(Answer::Acted(acted)) => format!("{} ({})", acted.message, acted.count),
            Err(refusal) => format!("refused: {refusal}"),
            Ok(other) => panic!("{other:?}"),
        };
        self.out.push(line);
    }

    /// `limit 1 4`, `limit 1 none`, `limit owner=mara cpus=2`.
    fn limit(&mut self, first: &str, words: &Words) {
        if let Some(owner) = words.get("owner") {
            let cpus_milli = words.get("cpus").map(crate::words::milli_cpus);
            return self.person(PersonsAct::LimitOwner {
                owner: owner.to_owned(),
                cpus_milli,
                gpus: words.number("gpus"),
            });
        }
        let job = JobId(first.parse().expect("a job"));
        let parallelism = words.0.get(1).filter(|word| **word != "none").map(|word| word.parse().expect("a number"));
        self.person(PersonsAct::LimitJob { job, parallelism });
    }

    /// `edit 1 chunks=9 memory=2GiB other again`: as submit; `other`: the chunks do something else than before.
    fn edit(&mut self, job: JobId, words: &Words) {
        let submission = Box::new(submission(words));
        let (other_work, again) = (words.has("other"), words.has("again"));
        let answer =
            self.apply(Event::Act(Act::Edit(Edit { who: "mara".to_owned(), job, submission, other_work, again })));
        self.acted(answer);
    }

    fn gathered(&mut self, job: JobId, words: &Words) {
        let result = match words.get("problem") {
            Some(problem) => Err(problem.replace('_', " ")),
            None => Ok(words.0.iter().skip(1).filter(|word| **word != "late").map(|name| stored(name)).collect()),
        };
        // `late`: the answer to the one before the last.
        let before = usize::from(words.has("late"));
        let turn = self.gathers.get(&job).and_then(|turns| turns.iter().rev().nth(before)).copied().unwrap_or_default();
        match self.apply(Event::Act(Act::Gathered { job, turn, result })) {
            Ok(Answer::Acted(acted)) => self.out.push(acted.message),
            other => panic!("{other:?}"),
        }
    }

    fn expire(&mut self, job: JobId, words: &Words) {
        let what = match words.0.get(1).copied() {
            Some("logs") => Expired::Logs { count: 1, bytes: 10 },
            Some("outputs") => Expired::Outputs { count: 1, bytes: 10 },
            Some("none") => Expired::Outputs { count: 0, bytes: 0 },
            _ => Expired::Job,
        };
        let ended_ms = match self.shell.disk.rows.get(&Key::Job(job)) {
            Some(Row::Job(row)) => row.ended_ms.unwrap_or_default().saturating_sub(words.has("stale").into()),
            _ => 0,
        };
        let why = "older than 30d".to_owned();
        match self.apply(Event::Act(Act::Expire(Expire { job, ended_ms, what, why }))) {
            Ok(Answer::Acted(acted)) => self.out.push(acted.message),
            Err(refusal) => self.out.push(format!("refused: {refusal}")),
            other => panic!("{other:?}"),
        }
    }
}

impl Fake {
    /// Session and number of a sync, as said or as they follow.
    fn number(&mut self, words: &Words, next: u64) -> (SessionId, u64) {
        let session = words.number("session").map_or(self.session, SessionId);
        let seq = words.number("seq").unwrap_or(next);
        if session == self.session {
            self.seq = self.seq.max(seq);
        }
        (session, seq)
    }
}

impl Words<'_> {
    fn duration_of(&self, text: &str) -> Millis {
        text.parse::<dsg_schemas::units::Millis>().expect("a duration").0
    }
}

fn stored(name: &str) -> StoredFile {
    StoredFile { name: name.into(), file: name.into(), size: 1, sha256: "00".into() }
}

fn chunk(text: &str) -> ChunkId {
    text.parse().expect("a chunk")
}

/// `preparing`, `running`, `storing`, `exit:1`, `oom`, `succeeded+table+figure` (with these outputs), `succeeded@5m` (it ran so long), …
fn phase_of(text: &str) -> Phase {
    match text {
        "preparing" => Phase::Preparing { note: String::new() },
        "pulling" => Phase::Preparing { note: "pulling the image".to_owned() },
        "running" => Phase::Running { since_ms: 0, paused: false },
        "paused" => Phase::Running { since_ms: 0, paused: true },
        "storing" => Phase::Storing,
        _ => {
            let mut parts = text.split('+');
            let end = parts.next().unwrap_or_default();
            let (end, ran) = end.split_once('@').unwrap_or((end, "0s"));
            let (word, code) = end.split_once(':').unwrap_or((end, ""));
            let reason = EndReason::ALL.into_iter().find(|reason| reason.word() == word).expect("a reason");
            let silent = matches!(reason, EndReason::Succeeded | EndReason::Evicted);
            let mut ended = Ended::before_start(reason, if silent { "" } else { "it said so" });
            ended.exit_code = code.parse().ok();
            ended.run_ms = Words(Vec::new()).duration_of(ran);
            ended.outputs = parts.map(stored).collect();
            Phase::Ended(Box::new(ended))
        }
    }
}
