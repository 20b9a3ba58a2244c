//! One simulated world: a server that commits or fails to, hosts, a lossy network, and people.
use std::collections::BTreeMap;

use dsg_core::{Act, Answer, Effects, Event, Grid, Join, Key, Millis, Needs, Refusal, Row, Sync};
use dsg_schemas::api::Act as PersonsAct;
use dsg_schemas::ids::{ChunkId, GATHER, JobId, RunnerId, SessionId};
use dsg_schemas::reason::EndReason;
use dsg_schemas::wire::Phase;

use crate::dice::Dice;
use crate::disk::Disk;
use crate::host::Host;
use crate::people;
use crate::proof::Proof;

/// Faults stop here.
const FAULTS_UNTIL: Millis = 400_000;
/// By then every job must have ended.
const END: Millis = 20_000_000;

#[derive(Clone, Debug, Default)]
pub struct Seen {
    pub events: u64,
    pub starts: u64,
    pub successes: u64,
    pub lost: u64,
    pub server_restarts: u64,
    pub failed_commits: u64,
    pub host_failures: u64,
    pub jobs: u64,
    pub simulated_s: u64,
}

impl Seen {
    pub fn add(&mut self, other: &Seen) {
        let Seen { events, starts, successes, lost, server_restarts, failed_commits, host_failures, jobs, simulated_s } =
            other;
        self.events += events;
        self.starts += starts;
        self.successes += successes;
        self.lost += lost;
        self.server_restarts += server_restarts;
        self.failed_commits += failed_commits;
        self.host_failures += host_failures;
        self.jobs += jobs;
        self.simulated_s += simulated_s;
    }
}

/// On its way to the server: from a host, or from a person or the server itself.
#[derive(Clone)]
struct Request {
    at: Millis,
    host: Option<usize>,
    life: u64,
    event: Event,
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

pub struct World {
    dice: Dice,
    now: Millis,
    grid: Grid,
    disk: Disk,
    hosts: Vec<Host>,
    requests: Vec<Request>,
    replies: Vec<Reply>,
    /// The syncs that the server holds open.
    held: BTreeMap<usize, (u64, Sync)>,
    proof: Proof,
    needs: BTreeMap<(JobId, u16), Needs>,
    seen: Seen,
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
            grid: Grid::default(),
            disk: Disk::default(),
            requests: Vec::new(),
            replies: Vec::new(),
            held: BTreeMap::new(),
            proof: Proof::default(),
            needs: BTreeMap::new(),
            seen: Seen::default(),
            prints,
        }
    }

    pub fn run(mut self) -> Seen {
        for _ in 0..1 + self.dice.below(4) {
            self.submit();
        }
        loop {
            self.now += 200 + self.dice.below(2_000);
            assert!(self.now < END, "no progress: {:?}", self.unfinished());
            let faults = self.now < FAULTS_UNTIL;
            if faults {
                self.misfortune();
            } else {
                self.help();
                if self.unfinished().is_empty() && self.hosts.iter().all(|host| host.containers.is_empty()) {
                    break;
                }
            }
            self.hosts_speak(faults);
            self.server_works(faults);
            self.replies_arrive(faults);
            self.hosts.iter().for_each(Host::prove_capacity);
        }
        let lost = |row: &&Row| matches!(row, Row::Job(row) if row.failures.contains_key(&EndReason::RunnerLost));
        self.seen.lost = self.disk.rows.values().filter(lost).count() as u64;
        self.seen.successes = self.proof.successes;
        self.seen.simulated_s = self.now / 1000;
        self.seen
    }

    fn say(&self, what: impl FnOnce() -> String) {
        if self.prints {
            println!("{:>9} {}", self.now, what());
        }
    }

    fn unfinished(&self) -> Vec<JobId> {
        let jobs =
            self.disk.rows.range(Key::Job(JobId(0))..=Key::Job(JobId(u64::MAX))).filter_map(|(key, row)| {
                match (key, row) {
                    (Key::Job(id), Row::Job(row)) if !row.state.is_final() => Some(*id),
                    _ => None,
                }
            });
        jobs.collect()
    }

    fn submit(&mut self) {
        self.seen.jobs += 1;
        let submission = people::submission(&mut self.dice, self.seen.jobs);
        self.request(None, Event::Submit(Box::new(submission)));
    }

    fn person(&mut self, act: PersonsAct) {
        self.request(None, Event::Act(Act::Person { who: "mara".to_owned(), act }));
    }

    fn request(&mut self, host: Option<usize>, event: Event) {
        let life = host.map_or(0, |host| self.hosts[host].life);
        self.requests.push(Request { at: self.now, host, life, event });
    }

    /// Anything that can go wrong, and people who do this and that.
    fn misfortune(&mut self) {
        if self.dice.percent(3) {
            self.submit();
        }
        if self.dice.percent(8) {
            let runners: Vec<RunnerId> = self.hosts.iter().filter_map(|host| host.id).collect();
            if let Some(act) = people::act(&mut self.dice, self.seen.jobs, &runners) {
                self.person(act);
            }
        }
        for index in 0..self.hosts.len() {
            let until = self.now + self.dice.below(150_000);
            match self.dice.below(1000) {
                0..3 => {
                    self.say(|| format!("host{index} loses power"));
                    self.hosts[index].power_cut(until);
                    self.seen.host_failures += 1;
                }
                3..8 => {
                    self.say(|| format!("the process on host{index} ends"));
                    self.hosts[index].stop_process(until.min(self.now + 20_000));
                    self.seen.host_failures += 1;
                }
                8..12 => self.hosts[index].no_more = !self.hosts[index].no_more,
                // Cut off: it runs on, and nobody hears it.
                12..18 => self.hosts[index].speaks_at = until,
                _ => {}
            }
        }
        if self.dice.percent(1) {
            self.restart_server();
        }
    }

    /// Faults are over: what people and hosts held back is let go.
    fn help(&mut self) {
        for index in 0..self.hosts.len() {
            let host = &mut self.hosts[index];
            host.no_more = false;
            host.down_until = host.down_until.min(self.now);
            host.speaks_at = host.speaks_at.min(self.now + 10_000);
        }
        if self.dice.percent(5) {
            let drained: Vec<RunnerId> = self.hosts.iter().filter_map(|host| host.id).collect();
            drained.into_iter().for_each(|runner| self.person(PersonsAct::Undrain { runner }));
            self.unfinished().into_iter().for_each(|job| self.person(PersonsAct::Release { job }));
        }
    }

    /// Memory is gone; rows are what there is. They must say the same.
    fn restart_server(&mut self) {
        self.say(|| "the server restarts".to_owned());
        self.seen.server_restarts += 1;
        let mut effects = Effects::default();
        let ticked = self.grid.apply(self.now, Event::Tick, &mut effects);
        assert_eq!(ticked, Ok(Answer::Ticked));
        self.commit(&effects, false);
        let mut loaded = self.disk.load(self.now).expect("committed rows load");
        Proof::same_after_load(&self.grid, &mut loaded, self.now);
        self.reload();
    }

    fn reload(&mut self) {
        self.grid = self.disk.load(self.now).expect("committed rows load");
        self.grid.check();
        self.held.clear();
        // Announced gathers are forgotten with the process.
        self.requests.retain(|request| !matches!(request.event, Event::Act(Act::Gathered { .. })));
    }

    fn hosts_speak(&mut self, faults: bool) {
        for index in 0..self.hosts.len() {
            let now = self.now;
            let host = &mut self.hosts[index];
            let news = host.go_on(now, &mut self.dice);
            for (id, container) in &host.containers {
                if matches!(&container.phase, Phase::Ended(ended) if ended.reason == EndReason::Succeeded) {
                    self.proof.succeeded.insert(*id);
                }
            }
            let cut_off = host.speaks_at > now + 20_000;
            if host.down_until > now || cut_off || (host.speaks_at > now && !news) {
                continue;
            }
            host.speaks_at = now + 5_000 + self.dice.below(10_000);
            let event = match (host.id, host.session) {
                (None, _) => Event::Join(Join::Enrol { name: host.name.clone(), credential_sha256: String::new() }),
                (Some(runner), None) => Event::Join(Join::Hello {
                    runner,
                    nonce: String::new(),
                    host: host.boot.to_string(),
                    version: "0.1.0".to_owned(),
                    facts: Box::new(host.facts.clone()),
                }),
                (Some(runner), Some(session)) => {
                    host.seq += 1;
                    Event::Sync(Sync { runner, session, seq: host.seq, report: Some(host.report()) })
                }
            };
            self.send(index, event, faults);
        }
    }

    /// Into the network: lost, late, twice.
    fn send(&mut self, host: usize, event: Event, faults: bool) {
        let copies = match self.dice.below(100) {
            0..10 if faults => 0,
            10..17 if faults => 2,
            _ => 1,
        };
        for _ in 0..copies {
            let late = if faults && self.dice.percent(10) { self.dice.below(90_000) } else { self.dice.below(300) };
            let life = self.hosts[host].life;
            self.requests.push(Request { at: self.now + late, host: Some(host), life, event: event.clone() });
        }
    }

    /// Takes what is there, applies it, commits once, and only then answers.
    fn server_works(&mut self, faults: bool) {
        let now = self.now;
        let (due, later) =
            std::mem::take(&mut self.requests).into_iter().partition(|request: &Request| request.at <= now);
        self.requests = later;
        let mut due: Vec<Request> = due;
        due.sort_by_key(|request| request.at);
        if self.dice.percent(60) || self.grid.next_deadline().is_some_and(|at| at <= now) {
            due.push(Request { at: now, host: None, life: 0, event: Event::Tick });
        }
        let mut effects = Effects::default();
        let (mut answers, mut retried) = (Vec::new(), false);
        for request in due {
            retried |= is_retry(&request.event);
            let answer = self.apply(request.event.clone(), &mut effects);
            answers.push((request, answer));
        }
        if std::mem::take(&mut effects.work_available) {
            for (host, (life, sync)) in std::mem::take(&mut self.held) {
                let wake = Request { at: now, host: Some(host), life, event: Event::Sync(sync) };
                let answer = self.apply(wake.event.clone(), &mut effects);
                answers.push((wake, answer));
            }
        }
        if faults && self.dice.percent(1) {
            self.say(|| "a commit fails".to_owned());
            self.seen.failed_commits += 1;
            return self.reload();
        }
        self.commit(&effects, retried);
        for job in effects.gather_due {
            let result = if self.dice.percent(15) { Err("headers differ".to_owned()) } else { Ok(Vec::new()) };
            let at = now + self.dice.below(5_000);
            self.requests.push(Request { at, host: None, life: 0, event: Event::Act(Act::Gathered { job, result }) });
        }
        for (request, answer) in answers {
            self.reply(request, answer, faults);
        }
    }

    fn apply(&mut self, event: Event, effects: &mut Effects) -> Result<Answer, Refusal> {
        self.seen.events += 1;
        let mut answer = self.grid.apply(self.now, event.clone(), effects);
        if let Err(Refusal::NotLoaded(job)) = answer {
            // The shell reads what is committed; rows of this batch are not there yet, so that it commits first.
            self.commit(effects, true);
            effects.rows.clear();
            effects.removed_jobs.clear();
            self.grid.load_job(self.now, self.disk.job_rows(job));
            answer = self.grid.apply(self.now, event.clone(), effects);
        }
        self.say(|| format!("{event:?}\n          = {answer:?}"));
        self.grid.check();
        answer
    }

    fn commit(&mut self, effects: &Effects, retried: bool) {
        self.proof.look(&self.disk, effects, retried);
        for (key, row) in &effects.rows {
            if let (Key::Job(id), Some(Row::Job(row))) = (key, row) {
                self.needs.insert((*id, 0), row.main.needs.clone());
                if let Some(run) = row.gather.as_ref().and_then(|gather| gather.run.as_ref()) {
                    self.needs.insert((*id, GATHER), run.needs.clone());
                }
            }
        }
        self.disk.commit(effects);
    }

    fn reply(&mut self, request: Request, answer: Result<Answer, Refusal>, faults: bool) {
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
        let (due, later) = std::mem::take(&mut self.replies).into_iter().partition(|reply: &Reply| reply.at <= now);
        self.replies = later;
        let due: Vec<Reply> = due;
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
                    let needs = |chunk: ChunkId| self.needs.get(&(chunk.job, chunk.stage)).cloned().unwrap_or_default();
                    self.seen.starts += host.obey(now, orders, needs, &mut self.dice, faults);
                    host.speaks_at = host.speaks_at.min(now + 1_000);
                }
                Err(Refusal::HelloFirst) => host.session = None,
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

fn is_retry(event: &Event) -> bool {
    matches!(event, Event::Act(Act::Person { act: PersonsAct::Retry { .. } | PersonsAct::Delete { .. }, .. }))
}
