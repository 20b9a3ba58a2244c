//! A simulated host: a runner process that follows the protocol, and containers that outlive it.
use std::collections::{BTreeMap, BTreeSet};

use dsg_core::{Millis, Needs, Orders, Report};
use dsg_schemas::ids::{AttemptId, ChunkId, RunnerId, SessionId};
use dsg_schemas::reason::EndReason;
use dsg_schemas::wire::{AttemptReport, Ended, Facts, Gpu, Phase};

use crate::dice::Dice;
use crate::world::AHEAD;

#[derive(Clone)]
pub struct Host {
    pub name: String,
    pub facts: Facts,
    pub id: Option<RunnerId>,
    /// Counts starts of the machine; those of a copy are far from those of its original.
    pub boot: u64,
    /// Counts starts of the process: answers to an earlier one do not arrive.
    pub life: u64,
    pub session: Option<SessionId>,
    pub seq: u64,
    /// The process is down until then.
    pub down_until: Millis,
    /// It speaks again then, or earlier if something happens.
    pub speaks_at: Millis,
    pub no_more: bool,
    /// Its containers are frozen, by the server's word.
    pub paused: bool,
    /// Until then nothing can be pulled there.
    pub sick_until: Millis,
    pub containers: BTreeMap<AttemptId, Container>,
    /// Its clock runs so many times as fast, in percent.
    pub drift: u64,
    /// It is gone for good.
    pub dead: bool,
    /// It has the identity of another machine, and is gone then.
    pub copy_until: Option<Millis>,
}

#[derive(Clone)]
pub struct Container {
    pub chunk: ChunkId,
    pub needs: Needs,
    pub gpus: Vec<String>,
    pub phase: Phase,
    /// When it goes on to its next phase.
    pub next_at: Millis,
    pub outcome: EndReason,
    /// Told to stop: then it is not frozen any more.
    pub stopping: bool,
}

impl Host {
    pub fn new(index: u64, dice: &mut Dice) -> Host {
        let gpus = if index == 0 { 2 } else { dice.below(3) as u32 };
        let shares = dice.below(4) as u32;
        let gpu = |at| Gpu { uuid: format!("gpu{at}"), index: at, memory_bytes: 16 << 30, shares, ..Gpu::default() };
        let facts = Facts {
            cpus_milli: 1000 * if index == 0 { 8 } else { 2 + dice.below(7) },
            memory_bytes: 16 << 30,
            disk_bytes: 100 << 30,
            gpus: (0..gpus).map(gpu).collect(),
            ends_ms: (index > 0 && dice.percent(20)).then(|| AHEAD + dice.below(600_000)),
            tags: if dice.percent(50) { vec!["fast".to_owned()] } else { Vec::new() },
            ..Facts::default()
        };
        Host {
            name: format!("host{index}"),
            facts,
            id: None,
            boot: 0,
            life: 0,
            session: None,
            seq: 0,
            down_until: 0,
            speaks_at: 0,
            no_more: false,
            paused: false,
            sick_until: 0,
            containers: BTreeMap::new(),
            drift: dice.one_of(&[100, 100, 101, 50, 200, 100_000]).unwrap_or(100),
            dead: false,
            copy_until: None,
        }
    }

    /// Another machine with the same disk image, and so the same identity.
    pub fn copy(&self, until: Millis) -> Host {
        Host {
            boot: self.boot + 1_000,
            session: None,
            seq: 0,
            down_until: 0,
            speaks_at: 0,
            containers: BTreeMap::new(),
            copy_until: Some(until),
            ..self.clone()
        }
    }

    /// Containers go on, whether the process is there or not. Says whether there is something to report.
    pub fn go_on(&mut self, now: Millis, dice: &mut Dice) -> bool {
        let mut news = false;
        let frozen = self.paused;
        for container in self.containers.values_mut().filter(|container| !container.stopping) {
            // What is fetched or stored goes on; what runs stands still.
            if let Phase::Running { paused, .. } = &mut container.phase {
                news |= *paused != frozen;
                *paused = frozen;
                container.next_at = container.next_at.max(if frozen { now + 1 } else { 0 });
            }
        }
        for container in self.containers.values_mut().filter(|container| container.next_at <= now) {
            let ran = dice.below(60_000) * self.drift / 100;
            container.phase = match &container.phase {
                Phase::Preparing { .. } if container.outcome == EndReason::PullFailed => ended(container.outcome, 0),
                // Quick ones are over before anybody hears that they run.
                Phase::Preparing { .. } if dice.percent(10) => ended(container.outcome, ran),
                Phase::Preparing { .. } => Phase::Running { since_ms: now * self.drift / 100, paused: false },
                Phase::Running { .. } if container.outcome == EndReason::Succeeded => Phase::Storing,
                Phase::Running { .. } | Phase::Storing => ended(container.outcome, ran),
                Phase::Ended(_) => continue,
            };
            container.next_at = now + dice.below(20_000);
            news = true;
        }
        news
    }

    pub fn report(&self) -> Report {
        let attempts = self
            .containers
            .iter()
            .map(|(id, container)| AttemptReport { attempt: *id, phase: container.phase.clone() });
        Report {
            attempts: attempts.collect(),
            no_more: self.no_more.then(|| "disk is full".to_owned()),
            ..Report::default()
        }
    }

    pub fn obey(
        &mut self,
        now: Millis,
        orders: Orders,
        needs: impl Fn(AttemptId) -> Needs,
        dice: &mut Dice,
        faults: bool,
    ) -> u64 {
        let mut starts = 0;
        self.paused = orders.pause;
        for start in orders.start {
            self.containers.entry(start.attempt).or_insert_with(|| {
                starts += 1;
                // Every fourth job is one that its user got wrong.
                let wrong = start.chunk.job.0.is_multiple_of(4) && dice.percent(60);
                let outcome = match dice.below(100) {
                    _ if self.sick_until > now => EndReason::PullFailed,
                    _ if wrong => EndReason::Exit,
                    0..8 if faults => EndReason::PullFailed,
                    8..18 => EndReason::Exit,
                    18..20 if faults => EndReason::Evicted,
                    20..25 => EndReason::Oom,
                    _ => EndReason::Succeeded,
                };
                Container {
                    chunk: start.chunk,
                    needs: needs(start.attempt),
                    gpus: start.gpus.clone(),
                    phase: Phase::Preparing { note: String::new() },
                    next_at: now + dice.below(5_000),
                    outcome,
                    stopping: false,
                }
            });
        }
        for stop in orders.stop {
            if let Some(container) = self.containers.get_mut(&stop.attempt)
                && !matches!(container.phase, Phase::Ended(_))
            {
                // It takes its grace time.
                container.outcome = stop.reason;
                container.stopping = true;
                container.phase = Phase::Running { since_ms: now, paused: false };
                container.next_at = container.next_at.min(now + dice.below(10_000));
            }
        }
        for forget in orders.forget {
            self.containers.remove(&forget);
        }
        starts
    }

    /// The machine loses power: everything on it is gone.
    pub fn power_cut(&mut self, until: Millis) {
        self.containers.clear();
        self.boot += 1;
        self.stop_process(until);
    }

    /// The process ends; containers run on, and the next process finds them.
    pub fn stop_process(&mut self, until: Millis) {
        self.session = None;
        self.life += 1;
        self.down_until = until;
    }

    pub fn die(&mut self) {
        self.power_cut(Millis::MAX);
        self.dead = true;
    }

    /// What really runs here must fit, whatever the server believes.
    pub fn prove_capacity(&self) {
        let live = || self.containers.values().filter(|container| !matches!(container.phase, Phase::Ended(_)));
        let cpus: u64 = live().map(|container| container.needs.cpus_milli).sum();
        let memory: u64 = live().map(|container| container.needs.memory_bytes).sum();
        assert!(cpus <= self.facts.cpus_milli, "{} runs {cpus} of {} milli-cpus", self.name, self.facts.cpus_milli);
        assert!(memory <= self.facts.memory_bytes, "{} uses {memory} bytes", self.name);
        for gpu in &self.facts.gpus {
            let on_it = || live().filter(|container| container.gpus.contains(&gpu.uuid));
            let most = if on_it().all(|container| container.needs.gpu_share) { gpu.most_shares() } else { 1 };
            let count = on_it().count();
            assert!(count <= most as usize, "{count} containers have {} of {}, and {most} may", gpu.uuid, self.name);
        }
        for container in live() {
            let shown = |gpu: &String| self.facts.gpus.iter().any(|one| one.uuid == *gpu);
            assert!(container.gpus.iter().all(shown), "{} got a GPU of nobody", container.chunk);
            let devices: BTreeSet<&String> = container.gpus.iter().collect();
            assert_eq!(devices.len(), container.gpus.len(), "{} got a GPU twice", container.chunk);
            assert_eq!(container.gpus.len(), container.needs.gpus as usize, "{} got its GPUs", container.chunk);
        }
    }
}

fn ended(outcome: EndReason, run_ms: u64) -> Phase {
    let mut ended = Ended::before_start(outcome, "");
    ended.exit_code = (outcome == EndReason::Exit).then_some(1);
    ended.run_ms = run_ms;
    Phase::Ended(Box::new(ended))
}
