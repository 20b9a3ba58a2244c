//! One simulated world: hosts, a lossy network, people, and a server that is slow, suspended, restarted and fails to commit.
use std::collections::BTreeMap;

use dsg_core::{Act, Answer, Effects, Event, Join, Key, Millis, Refusal, Row, Sync};
use dsg_schemas::api::Act as PersonsAct;
use dsg_schemas::ids::{JobId, RunnerId, SessionId};
use dsg_schemas::reason::EndReason;

use crate::dice::Dice;
use crate::host::Host;
use crate::misfortune::{Outage, SECOND_THOUGHTS};
use crate::people;
use crate::seen::Seen;
use crate::shell::Shell;

/// Faults stop after so much time, suspensions not counted.
const FAULTS_FOR: Millis = 400_000;
/// By then every job must have ended.
const END: Millis = 20_000_000;
/// The server's clock is so far ahead of the world's, give or take.
pub const AHEAD: Millis = 100_000_000;

/// On its way to the server: from a host, or from a person or the server itself.
#[derive(Clone)]
pub struct Request {
    pub at: Millis,
    pub host: Option<usize>,
    pub life: u64,
    pub event: Event,
}

/// On its way to a host.
struct Reply {
    at: Millis,
    host: usize,
    life: u64,
    /// Session and number of the sync that it answers.
    of: Option<(SessionId, u64)>,
    answer: Result<Answer, Refusal>,
}

type Answers = Vec<(Request, Result<Answer, Refusal>)>;

pub struct World {
    pub dice: Dice,
    pub now: Millis,
    pub shell: Shell,
    pub hosts: Vec<Host>,
    pub requests: Vec<Request>,
    pub seen: Seen,
    pub outage: Outage,
    /// How far the server's clock is ahead of the world's.
    pub ahead: Millis,
    pub faults_until: Millis,
    /// Some syncs of long ago, to arrive once more.
    pub old: Vec<Event>,
    /// How often somebody may still want results anew that are being gathered.
    pub second_thoughts_left: u32,
    replies: Vec<Reply>,
    /// The syncs that the server holds open.
    held: BTreeMap<usize, (u64, Sync)>,
    prints: bool,
}

impl World {
    pub fn new(seed: u64, prints: bool) -> World {
        let mut dice = Dice(seed);
        let count = 2 + dice.below(4);
        World {
            hosts: (0..count).map(|index| Host::new(index, &mut dice)).collect(),
            dice,
            now: 1,
            shell: Shell::new(1 + AHEAD),
            requests: Vec::new(),
            seen: Seen::default(),
            outage: Outage::None,
            ahead: AHEAD,
            faults_until: FAULTS_FOR,
            old: Vec::new(),
            second_thoughts_left: SECOND_THOUGHTS,
            replies: Vec::new(),
            held: BTreeMap::new(),
            prints,
        }
    }

    pub fn run(&mut self) {
        for _ in 0..1 + self.dice.below(4) {
            self.submit();
        }
        loop {
            self.now += 200 + self.dice.below(2_000);
            assert!(self.now < END, "no progress: {:?}", self.unfinished());
            let faults = self.now < self.faults_until;
            if faults {
                self.misfortune();
            } else {
                self.help();
                let idle = |host: &Host| host.dead || host.containers.is_empty();
                if self.hosts.iter().all(idle) && self.unfinished().is_empty() {
                    break;
                }
            }
            self.second_thoughts();
            self.hosts_speak(faults);
            self.server_works(faults);
            self.replies_arrive(faults);
            self.hosts.iter().for_each(Host::prove_capacity);
        }
        let lost = |row: &&Row| matches!(row, Row::Job(row) if row.failures.contains_key(&EndReason::RunnerLost));
        self.seen.lost = self.shell.disk.rows.values().filter(lost).count() as u64;
        self.seen.successes = self.shell.proof.successes;
        self.seen.rests = self.shell.proof.rests;
        self.seen.simulated_s = self.now / 1000;
        (self.seen.rows_loaded, self.seen.blocks_loaded) = (self.shell.rows_loaded, self.shell.blocks_loaded);
    }

    pub fn say(&self, what: impl FnOnce() -> String) {
        if self.prints {
            println!("{:>9} {}", self.now, what());
        }
    }

    /// What the server's clock shows.
    pub fn clock(&self) -> Millis {
        self.now + self.ahead
    }

    pub fn unfinished(&self) -> Vec<JobId> {
        let rows = self.shell.disk.rows.range(Key::Job(JobId(0))..=Key::Job(JobId(u64::MAX)));
        let jobs = rows.filter_map(|(key, row)| match (key, row) {
            (Key::Job(id), Row::Job(row)) if !row.state.is_final() => Some(*id),
            _ => None,
        });
        jobs.collect()
    }

    pub fn submit(&mut self) {
        self.seen.jobs += 1;
        let submission = people::submission(&mut self.dice, self.seen.jobs);
        self.request(Event::Submit(Box::new(submission)));
    }

    pub fn person(&mut self, act: PersonsAct) {
        self.request(Event::Act(Act::Person { who: "mara".to_owned(), act }));
    }

    fn request(&mut self, event: Event) {
        self.requests.push(Request { at: self.now, host: None, life: 0, event });
    }

    fn hosts_speak(&mut self, faults: bool) {
        for index in 0..self.hosts.len() {
            let now = self.now;
            let host = &mut self.hosts[index];
            if host.dead {
                continue;
            }
            let news = host.go_on(now, &mut self.dice);
            let cut_off = host.speaks_at > now + 20_000;
            if host.down_until > now || cut_off || (host.speaks_at > now && !news) {
                continue;
            }
            host.speaks_at = now + 5_000 + self.dice.below(10_000);
            let event = match (host.id, host.session) {
                (None, _) => Event::Join(Join::Enrol { name: host.name.clone(), credential_sha256: String::new() }),
                (Some(runner), None) => hello(host, runner),
                (Some(runner), Some(session)) => {
                    host.seq += 1;
                    Event::Sync(Sync { runner, session, seq: host.seq, report: Some(host.report()) })
                }
            };
            if faults {
                self.remember(&event);
            }
            self.send(index, event, faults);
        }
    }

    /// Into the network: lost, late, twice, and so in another order than they were sent.
    pub fn send(&mut self, host: usize, event: Event, faults: bool) {
        let copies = match self.dice.below(100) {
            0..10 if faults => 0,
            10..17 if faults => 2,
            _ => 1,
        };
        for _ in 0..copies {
            let late = match self.dice.below(100) {
                0..10 if faults => self.dice.below(90_000),
                10..20 if faults => self.dice.below(5_000),
                _ => self.dice.below(300),
            };
            let life = self.hosts[host].life;
            self.requests.push(Request { at: self.now + late, host: Some(host), life, event: event.clone() });
        }
    }

    /// Takes what is there, applies it, commits once, and only then answers.
    fn server_works(&mut self, faults: bool) {
        if !self.server_is_up(faults) {
            return;
        }
        let now = self.now;
        let mut answers = Answers::new();
        let mut due: Vec<Request> = self.requests.extract_if(.., |request| request.at <= now).collect();
        due.sort_by_key(|request| request.at);
        let clock = self.clock();
        if self.dice.percent(60) || self.shell.grid.next_deadline().is_some_and(|at| at <= clock) {
            due.push(Request { at: now, host: None, life: 0, event: Event::Tick });
        }
        for request in due {
            let answer = self.apply(request.event.clone());
            answers.push((request, answer));
        }
        if self.shell.takes_work_available() {
            for (host, (life, sync)) in std::mem::take(&mut self.held) {
                let wake = Request { at: now, host: Some(host), life, event: Event::Sync(sync) };
                let answer = self.apply(wake.event.clone());
                answers.push((wake, answer));
            }
        }
        if faults && self.dice.percent(3) {
            let until = now + self.dice.one_of(&[2_000, 10_000, 70_000]).map_or(0, |most| self.dice.below(most));
            self.say(|| format!("a commit takes until {until}"));
            self.seen.slow_commits += 1;
            self.outage = Outage::Commits { since: now, until, answers };
            return;
        }
        self.commit(answers, faults);
    }

    pub fn apply(&mut self, event: Event) -> Result<Answer, Refusal> {
        self.seen.events += 1;
        let said = self.prints.then(|| format!("{event:?}"));
        let answer = self.shell.apply(self.clock(), event);
        self.say(|| format!("{}\n          = {answer:?}", said.unwrap_or_default()));
        answer
    }

    pub fn commit(&mut self, answers: Answers, faults: bool) {
        if self.shell.faults.answers_first {
            for (request, answer) in answers.clone() {
                self.reply(request, answer, faults);
            }
        }
        if faults && self.dice.percent(2) {
            self.say(|| "a commit fails".to_owned());
            self.seen.failed_commits += 1;
            self.shell.fail(self.clock());
            return self.forget();
        }
        let Effects { gather_due, .. } = self.shell.commit();
        for (job, turn) in gather_due {
            let result = if self.dice.percent(15) { Err("headers differ".to_owned()) } else { Ok(Vec::new()) };
            // A large one takes so long that people change their mind meanwhile.
            let takes = if self.dice.percent(25) { self.dice.below(300_000) } else { self.dice.below(5_000) };
            let at = self.now + takes;
            self.requests.push(Request {
                at,
                host: None,
                life: 0,
                event: Event::Act(Act::Gathered { job, turn, result }),
            });
        }
        for (request, answer) in answers {
            self.reply(request, answer, faults);
        }
    }

    /// What only the server's process knew is gone with it: held syncs and announced gathers.
    pub fn forget(&mut self) {
        self.held.clear();
        self.requests.retain(|request| !matches!(request.event, Event::Act(Act::Gathered { .. })));
    }

    fn reply(&mut self, request: Request, answer: Result<Answer, Refusal>, faults: bool) {
        self.shell.answered(&request.event, &answer);
        if answer.is_ok() {
            self.seen.edits += u64::from(matches!(request.event, Event::Act(Act::Edit(_))));
            self.seen.expired += u64::from(matches!(request.event, Event::Act(Act::Expire(_))));
        }
        let Some(host) = request.host else { return };
        let mut of = None;
        if let (Event::Sync(sync), Ok(Answer::Orders(orders))) = (&request.event, &answer) {
            of = Some((sync.session, sync.seq));
            let nothing = orders.start.is_empty() && orders.stop.is_empty() && orders.forget.is_empty();
            if nothing && self.dice.percent(70) {
                self.held.insert(host, (request.life, Sync { report: None, ..sync.clone() }));
                return;
            }
            self.held.remove(&host);
        }
        if faults && self.dice.percent(8) {
            return;
        }
        let late = if faults && self.dice.percent(10) { self.dice.below(60_000) } else { self.dice.below(300) };
        self.replies.push(Reply { at: self.now + late, host, life: request.life, of, answer });
    }

    fn replies_arrive(&mut self, faults: bool) {
        let now = self.now;
        let due: Vec<Reply> = self.replies.extract_if(.., |reply| reply.at <= now).collect();
        for reply in due {
            let host = &mut self.hosts[reply.host];
            if host.down_until > now || host.life != reply.life {
                continue;
            }
            match reply.answer {
                Ok(Answer::Enrolled { runner, .. }) if host.id.is_none() => host.id = Some(runner),
                Ok(Answer::Session { session, runner, .. }) if host.session.is_none() && host.id == Some(runner) => {
                    host.session = Some(session);
                    host.seq = 0;
                    host.speaks_at = now;
                }
                Ok(Answer::Orders(orders)) if reply.of == host.session.map(|session| (session, host.seq)) => {
                    let evicted = orders.stop.iter().filter(|stop| stop.reason == EndReason::Evicted);
                    self.seen.evictions += evicted.count() as u64;
                    self.seen.pauses += u64::from(orders.pause);
                    let needs = |attempt| self.shell.proof.needs_of(attempt);
                    self.seen.starts += host.obey(now, orders, needs, &mut self.dice, faults);
                    host.speaks_at = host.speaks_at.min(now + 1_000);
                }
                Err(Refusal::HelloFirst) => host.session = None,
                Err(Refusal::Cloned { .. }) => self.seen.copies_refused += 1,
                Err(Refusal::UnknownRunner(_)) if host.copy_until.is_some() => host.die(),
                Err(Refusal::UnknownRunner(_)) => {
                    // Removed by a person: its containers are not this grid's any more, and it joins anew.
                    host.containers.clear();
                    (host.id, host.session) = (None, None);
                }
                _ => {}
            }
        }
    }
}

pub fn hello(host: &Host, runner: RunnerId) -> Event {
    Event::Join(Join::Hello {
        runner,
        nonce: String::new(),
        host: host.boot.to_string(),
        version: "0.1.0".to_owned(),
        facts: Box::new(host.facts.clone()),
    })
}
