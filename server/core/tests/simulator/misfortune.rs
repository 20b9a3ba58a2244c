//! Everything that goes wrong in a simulated world, and the help that comes when faults are over.
use dsg_core::{Act, Answer, EVERYBODY, Event, Key, Millis, Refusal, Row};
use dsg_schemas::api::{Act as PersonsAct, Retries};
use dsg_schemas::ids::{AttemptId, ChunkId, MAIN, RunnerId};
use dsg_schemas::reason::EndReason;
use dsg_schemas::wire::{AttemptReport, Ended, Phase};

use crate::people;
use crate::world::{AHEAD, Request, World, hello};

/// Syncs of long ago that are kept to arrive once more.
const OLD: usize = 40;
const HOUR_MS: Millis = 3_600_000;
/// The server's loop turns at least each second; a pause longer than this was none of its own.
const STANDSTILL_MS: Millis = 5_000;
/// Copies of machines in one world.
const COPIES: usize = 2;
/// In one world, so that it comes to an end.
pub const SECOND_THOUGHTS: u32 = 5;

/// Why the server does nothing.
pub enum Outage {
    None,
    /// What it applied since is not on disk yet; what arrives waits.
    Commits {
        since: Millis,
        until: Millis,
        answers: Vec<(Request, Result<Answer, Refusal>)>,
    },
    /// Its process or its machine is suspended; what arrives waits.
    Sleeps {
        since: Millis,
        until: Millis,
    },
    /// It is down, and what arrives is lost; its rows say what its memory did at the time given.
    Down {
        until: Millis,
        ticked: Millis,
    },
}

impl World {
    /// Anything that can go wrong, and people who do this and that.
    pub fn misfortune(&mut self) {
        if self.dice.percent(3) {
            self.submit();
        }
        let runners: Vec<RunnerId> = self.hosts.iter().filter_map(|host| host.id).collect();
        if self.dice.percent(8)
            && let Some(act) = people::act(&mut self.dice, self.seen.jobs, &runners)
        {
            self.person(act);
        }
        if self.dice.percent(2) {
            self.storm(&runners);
        }
        if self.dice.percent(5) {
            self.edit();
        }
        if self.dice.percent(3) {
            self.expire();
        }
        if self.dice.percent(5)
            && let Some(event) = self.pick_old()
        {
            // Nobody listens for this answer any more.
            self.requests.push(Request { at: self.now, host: None, life: 0, event });
        }
        for index in 0..self.hosts.len() {
            if !self.hosts[index].dead {
                self.host_misfortune(index);
            }
        }
        if matches!(self.outage, Outage::None) && self.dice.percent(2) {
            match self.dice.below(4) {
                0 => self.sleep(),
                _ => self.go_down(),
            }
        }
    }

    /// Somebody sees that a result is wrong, while it is gathered. Most jobs get that far only when the faults are over.
    pub fn second_thoughts(&mut self) {
        let gathered = |request: &Request| match request.event {
            Event::Act(Act::Gathered { job, .. }) => Some(job),
            _ => None,
        };
        if self.second_thoughts_left > 0
            && self.dice.percent(10)
            && let Some(job) = self.requests.iter().find_map(gathered)
        {
            self.second_thoughts_left -= 1;
            let chunk = ChunkId { job, stage: MAIN, index: self.dice.below(8) as u32 };
            self.person(PersonsAct::Retry { job, which: Retries::Chunks(vec![chunk]) });
        }
    }

    fn host_misfortune(&mut self, index: usize) {
        let now = self.now;
        let until = now + self.dice.below(150_000);
        let is_copy = self.hosts[index].copy_until.is_some();
        if self.hosts[index].copy_until.is_some_and(|until| until <= now) {
            return self.hosts[index].die();
        }
        match self.dice.below(1000) {
            0..3 => {
                self.say(|| format!("host{index} loses power"));
                self.hosts[index].power_cut(until);
                self.seen.host_failures += 1;
            }
            3..8 => {
                self.say(|| format!("the process on host{index} ends"));
                self.hosts[index].stop_process(until.min(now + 20_000));
                self.seen.host_failures += 1;
            }
            8..12 => self.hosts[index].no_more = !self.hosts[index].no_more,
            // Cut off: it runs on, and nobody hears it.
            12..18 => self.hosts[index].speaks_at = until,
            // Host 0 stays: it can hold whatever there is.
            18 if index > 0 => {
                self.say(|| format!("host{index} is gone for good"));
                self.hosts[index].die();
                self.seen.deaths += 1;
            }
            19..21 => self.say_hello_often(index),
            21..23 if !is_copy && self.hosts.iter().filter(|host| host.copy_until.is_some()).count() < COPIES => {
                self.say(|| format!("a copy of host{index} starts"));
                let copy = self.hosts[index].copy(until);
                self.hosts.push(copy);
            }
            23..27 => self.report_what_is_over(index),
            27..30 => self.hosts[index].sick_until = until,
            _ => {}
        }
    }

    /// A process that loses its session again and again.
    fn say_hello_often(&mut self, index: usize) {
        let host = &mut self.hosts[index];
        let Some(runner) = host.id.filter(|_| host.down_until <= self.now) else { return };
        host.session = None;
        let event = hello(host, runner);
        for _ in 0..3 + self.dice.below(6) {
            self.send(index, event.clone(), true);
        }
    }

    /// Beside what it holds, a runner reports an attempt that it held once, or that another one holds.
    fn report_what_is_over(&mut self, index: usize) {
        let Some(Row::Meta(meta)) = self.shell.disk.rows.get(&Key::Meta) else { return };
        let attempt = AttemptId(self.dice.below(meta.next_attempt));
        let host = &mut self.hosts[index];
        let (Some(runner), Some(session)) = (host.id, host.session) else { return };
        if host.down_until > self.now || host.containers.contains_key(&attempt) {
            return;
        }
        host.seq += 1;
        let mut report = host.report();
        let phase = match self.dice.below(3) {
            0 => Phase::Running { since_ms: 0, paused: false },
            1 => Phase::Ended(Box::new(Ended::before_start(EndReason::Exit, ""))),
            _ => Phase::Ended(Box::new(Ended::before_start(EndReason::Succeeded, ""))),
        };
        report.attempts.push(AttemptReport { attempt, phase });
        let event = Event::Sync(dsg_core::Sync { runner, session, seq: host.seq, report: Some(report) });
        self.send(index, event, true);
    }

    /// The same by many people at once.
    fn storm(&mut self, runners: &[RunnerId]) {
        let Some(act) = people::act(&mut self.dice, self.seen.jobs, runners) else { return };
        for who in 0..3 + self.dice.below(12) {
            let event = Event::Act(Act::Person { who: format!("person{who}"), act: act.clone() });
            self.requests.push(Request { at: self.now, host: None, life: 0, event });
        }
    }

    pub fn remember(&mut self, event: &Event) {
        if self.old.len() < OLD {
            self.old.push(event.clone());
        } else if self.dice.percent(20) {
            let at = self.dice.below(OLD as u64) as usize;
            self.old[at] = event.clone();
        }
    }

    fn pick_old(&mut self) -> Option<Event> {
        let at = self.dice.below(self.old.len() as u64) as usize;
        // Only a report: whoever says hello twice displaces itself, and that is what it asked for.
        self.old.get(at).filter(|event| matches!(event, Event::Sync(_))).cloned()
    }

    /// Suspended, for seconds or for an hour.
    fn sleep(&mut self) {
        self.seen.sleeps += 1;
        let since = self.now;
        let until = since + self.dice.below(100_000);
        self.outage = Outage::Sleeps { since, until };
        if self.dice.percent(50) {
            let leap = self.dice.below(HOUR_MS);
            self.now += leap;
            self.faults_until += leap;
        }
        self.say(|| format!("the server sleeps since {since} until {until}"));
    }

    fn go_down(&mut self) {
        self.seen.server_restarts += 1;
        let ticked = self.clock();
        let answer = self.shell.apply(ticked, Event::Tick);
        assert_eq!(answer, Ok(Answer::Ticked));
        self.shell.commit();
        let until = self.now + if self.dice.percent(50) { 0 } else { self.dice.below(200_000) };
        self.say(|| format!("the server is down until {until}"));
        self.outage = Outage::Down { until, ticked };
    }

    /// Whether the server does something now; if it did not, it goes on from where it was.
    pub fn server_is_up(&mut self, faults: bool) -> bool {
        let goes_on = match &self.outage {
            Outage::None => false,
            Outage::Commits { until, .. } | Outage::Sleeps { until, .. } | Outage::Down { until, .. } => {
                faults && *until > self.now
            }
        };
        if goes_on {
            return false;
        }
        match std::mem::replace(&mut self.outage, Outage::None) {
            Outage::None => {}
            Outage::Commits { since, answers, .. } => {
                self.commit(answers, faults);
                self.was_away(since);
            }
            Outage::Sleeps { since, .. } => {
                self.was_away(since);
                if self.dice.percent(50) {
                    // Whether runners said anything meanwhile is seen only after its timer.
                    _ = self.apply(Event::Tick);
                }
            }
            Outage::Down { ticked, .. } => self.come_up(ticked),
        }
        true
    }

    /// What the shell does when its loop finds that it stood still.
    fn was_away(&mut self, since: Millis) {
        if self.now - since > STANDSTILL_MS {
            self.shell.away(since + self.ahead, self.clock());
        }
    }

    /// A new process; its wall clock may have been set, but what it counts from is never behind its rows.
    fn come_up(&mut self, ticked: Millis) {
        let now = self.now;
        self.requests.retain(|request| request.host.is_none() || request.at > now);
        let set = if self.dice.percent(20) { self.dice.below(4 * HOUR_MS) } else { 2 * HOUR_MS };
        let wall = now + AHEAD - 2 * HOUR_MS + set;
        let rows = dsg_core::latest_ms(self.shell.disk.rows.values());
        let clock = if self.shell.faults.clock_goes_back { wall } else { wall.max(rows) };
        self.ahead = clock - now;
        self.say(|| format!("the server starts at {clock}, {set} of {} ms ahead", 2 * HOUR_MS));
        self.shell.restart(clock, Some(ticked));
        self.forget();
    }

    /// Faults are over: what people and hosts held back is let go.
    pub fn help(&mut self) {
        for host in &mut self.hosts {
            if host.copy_until.is_some() && !host.dead {
                host.die();
            }
            if host.dead {
                continue;
            }
            host.no_more = false;
            host.sick_until = 0;
            host.down_until = host.down_until.min(self.now);
            host.speaks_at = host.speaks_at.min(self.now + 10_000);
        }
        if self.dice.percent(5) {
            let drained: Vec<RunnerId> = self.hosts.iter().filter_map(|host| host.id).collect();
            for runner in drained {
                self.person(PersonsAct::Undrain { runner });
                self.person(PersonsAct::Resume { runner });
            }
            self.unfinished().into_iter().for_each(|job| self.person(PersonsAct::Release { job }));
            for owner in ["mara", "otto", EVERYBODY].map(str::to_owned) {
                self.person(PersonsAct::LimitOwner { owner, cpus_milli: None, gpus: None });
            }
        }
    }
}
