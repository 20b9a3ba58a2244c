//! A container engine on a Unix socket that runs nothing and knows the truth about everything, and tells it or not.
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use dsg_schemas::wire::log::Stream;
use serde_json::Value;
use tokio::net::UnixListener;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::answer::answer;
use super::script::{Call, How, Script};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Real {
    Created,
    Running,
    Exited,
}

/// One container, as it really is.
#[derive(Clone, Debug)]
pub struct Truth {
    pub attempt: u64,
    pub name: String,
    pub labels: Value,
    pub requests: Value,
    pub real: Real,
    pub removed: bool,
    pub began_ms: i64,
    pub ended_ms: i64,
    pub code: i32,
    pub oom: bool,
    /// It came to its own end, and nobody made it.
    pub own_end: bool,
    /// It has the GPUs that it asked for.
    pub gpus: bool,
    pub log: Vec<(Stream, Vec<u8>)>,
}

impl Truth {
    pub fn bytes(&self, stream: Stream) -> Vec<u8> {
        self.log.iter().filter(|(of, _)| *of == stream).flat_map(|(_, bytes)| bytes.clone()).collect()
    }
}

#[derive(Default)]
pub struct World {
    pub containers: BTreeMap<String, Truth>,
    pub scripts: BTreeMap<u64, Script>,
    asked: BTreeMap<(u64, &'static str), u32>,
    /// How often each lie was told.
    pub told: BTreeMap<String, u32>,
    /// No more lies.
    pub calm: bool,
    /// Nothing is answered.
    pub hung: bool,
    /// Containers outlive the engine, as under Podman.
    pub outlived: bool,
}

impl World {
    fn count(&mut self, what: &str) {
        *self.told.entry(what.to_owned()).or_default() += 1;
    }
}

#[derive(Clone)]
pub struct LyingEngine {
    world: Arc<Mutex<World>>,
    pub changed: watch::Sender<u64>,
    pub socket: PathBuf,
    /// Of this life of the engine.
    life: Arc<Mutex<CancellationToken>>,
}

impl LyingEngine {
    pub fn start(socket: PathBuf, outlived: bool) -> LyingEngine {
        let world = World { outlived, ..World::default() };
        let engine = LyingEngine {
            world: Arc::new(Mutex::new(world)),
            changed: watch::Sender::new(0),
            socket,
            life: Arc::default(),
        };
        engine.listen();
        engine
    }

    fn listen(&self) {
        let life = CancellationToken::new();
        *self.life.lock().expect("no panic inside") = life.clone();
        let listener = UnixListener::bind(&self.socket).expect("a socket");
        let engine = self.clone();
        tokio::spawn(life.clone().run_until_cancelled_owned(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(life.clone().run_until_cancelled_owned(answer(engine.clone(), stream)));
            }
        }));
    }

    /// Stops, and takes its containers along; or some of them are not even known any more.
    pub async fn restart(&self, down: Duration, forgets: bool) {
        self.change(|world| {
            let outlived = world.outlived;
            let mut cut_short = 0;
            for (_, truth) in world.containers.iter_mut().filter(|(_, truth)| truth.real == Real::Running && !outlived)
            {
                let traps = world.scripts.get(&truth.attempt).is_some_and(|script| script.program.traps);
                end(truth, if traps { 0 } else { 143 });
                truth.removed |= forgets;
                cut_short += u32::from(traps && !forgets);
            }
            (0..cut_short).for_each(|_| world.count("ended with 0 by a restart"));
        });
        self.life.lock().expect("no panic inside").cancel();
        drop(std::fs::remove_file(&self.socket));
        tokio::time::sleep(down).await;
        self.listen();
    }

    pub fn world(&self) -> MutexGuard<'_, World> {
        self.world.lock().expect("no panic inside")
    }

    pub fn change<T>(&self, change: impl FnOnce(&mut World) -> T) -> T {
        let result = change(&mut self.world());
        self.changed.send_modify(|n| *n += 1);
        result
    }

    /// The lie that this call is answered with.
    pub fn lie(&self, call: Call, attempt: u64) -> Option<How> {
        let mut world = self.world();
        if world.calm {
            return None;
        }
        let asked = world.asked.entry((attempt, name(call))).or_default();
        let before = *asked;
        *asked += 1;
        let lies = &world.scripts.get(&attempt)?.lies;
        let mut due =
            lies.iter().filter(|lie| lie.call == call && (lie.after..lie.after + lie.times).contains(&before));
        let how = due.next()?.how;
        world.count(&format!("{call:?} {}", how.kind()));
        Some(how)
    }

    /// Runs it to its own end, unless somebody ends it before.
    pub fn really_start(&self, id: &str) {
        let script = self.change(|world| {
            let truth = world.containers.get_mut(id).filter(|truth| truth.real == Real::Created && !truth.removed)?;
            (truth.real, truth.began_ms) = (Real::Running, now_ms());
            world.scripts.get(&truth.attempt).cloned()
        });
        let Some(Script { program, .. }) = script else { return };
        let (engine, id) = (self.clone(), id.to_owned());
        tokio::spawn(async move {
            for piece in program.output {
                let lives = engine.change(|world| {
                    let truth = world.containers.get_mut(&id).filter(|truth| truth.real == Real::Running);
                    truth.map(|truth| truth.log.push(piece)).is_some()
                });
                if !lives {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(program.pause_ms)).await;
            }
            engine.change(|world| {
                if let Some(truth) = world.containers.get_mut(&id).filter(|truth| truth.real == Real::Running) {
                    end(truth, program.code);
                    (truth.own_end, truth.oom) = (true, program.oom);
                }
            });
        });
    }

    /// TERM, and KILL for who does not listen.
    pub fn really_stop(&self, id: &str) {
        self.change(|world| {
            let Some(truth) = world.containers.get_mut(id).filter(|truth| truth.real == Real::Running) else { return };
            let traps = world.scripts.get(&truth.attempt).is_some_and(|script| script.program.traps);
            end(truth, if traps { 0 } else { 143 });
        });
    }

    pub fn really_remove(&self, id: &str) {
        self.change(|world| {
            if let Some(truth) = world.containers.get_mut(id) {
                if truth.real == Real::Running {
                    end(truth, 137);
                }
                truth.removed = true;
            }
        });
    }
}

fn end(truth: &mut Truth, code: i32) {
    (truth.real, truth.ended_ms, truth.code) = (Real::Exited, now_ms(), code);
}

fn name(call: Call) -> &'static str {
    match call {
        Call::Image => "image",
        Call::Create => "create",
        Call::Attach => "attach",
        Call::Start => "start",
        Call::Inspect => "inspect",
        Call::Wait => "wait",
        Call::Logs => "logs",
        Call::Stop => "stop",
        Call::Remove => "remove",
    }
}

pub fn now_ms() -> i64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("after 1970");
    now.as_millis() as i64
}
