//! A container engine that runs nothing: what would happen is written in the command. It serves tests, benchmarks of the grid
//! itself, and demonstrations on a machine without an engine. Containers live as long as this value, so that a runner's second
//! life can find those of its first. Long because the whole trait of an engine is answered here; what is behind an answer has files of its own.
//!
//! `command: [pretend, run_ms=20, exit=3, lines=5]`; see `Script` for all words. Anything else succeeds at once.
mod fault;
mod freeze;
mod gate;
mod hands;
mod script;
mod shelf;

use std::collections::HashMap;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use dsg_schemas::ids::RunnerId;
use dsg_schemas::reason::EndReason;
use dsg_schemas::spec::PullPolicy;
use dsg_schemas::wire::EngineFacts;
use dsg_schemas::wire::log::Stream;
use tokio::sync::{mpsc, watch};

use super::{Answer, ContainerPlan, Engine, Exit, Failure, ImageSeen, Own, Piece, Present, Reading, State, label};
use crate::now_ms;
use crate::room::Space;
pub use fault::Fault;
pub use gate::Call;
use gate::Gate;
use script::{Script, archive};
use shelf::Shelf;

/// More than a task reads before it lets others have their turn: a flood leaves no gap.
const PIECES: usize = 256;
/// The image of the self-test: the only one whose program is played.
const LOADED: &str = "sha256:pretend/loaded";

struct Container {
    plan: ContainerPlan,
    script: Script,
    state: watch::Sender<State>,
    log: Vec<Piece>,
    /// Pieces that were rotated out of it.
    dropped: usize,
    attached: Vec<mpsc::Sender<Piece>>,
    /// Asked to end, with the exit code that will show it.
    stopped: watch::Sender<Option<i32>>,
    /// Frozen: it does nothing, and hears nothing.
    frozen: watch::Sender<bool>,
    started_ms: u64,
}

/// See the module's text.
#[derive(Clone, Default)]
pub struct PretendEngine {
    inner: Arc<Inner>,
}

struct Inner {
    containers: Mutex<HashMap<String, Container>>,
    gone: AtomicBool,
    /// How often it was asked while it was gone.
    refused: AtomicU64,
    gates: [Gate; 4],
    shelf: Mutex<Shelf>,
    faults: Mutex<Vec<Fault>>,
    /// Names of images that were loaded from files, in their order.
    loaded: Mutex<Vec<String>>,
    /// Counts whatever happens here, for those who wait for something.
    changes: watch::Sender<u64>,
}

impl Default for Inner {
    fn default() -> Inner {
        Inner {
            containers: Mutex::default(),
            gone: AtomicBool::new(false),
            refused: AtomicU64::new(0),
            gates: Default::default(),
            shelf: Mutex::default(),
            faults: Mutex::default(),
            loaded: Mutex::default(),
            changes: watch::Sender::new(0),
        }
    }
}

impl PretendEngine {
    pub fn new() -> PretendEngine {
        PretendEngine::default()
    }

    fn changed(&self) {
        self.inner.changes.send_modify(|count| *count += 1);
    }

    fn containers(&self) -> MutexGuard<'_, HashMap<String, Container>> {
        self.inner.containers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn awake(&self) -> Result<(), Failure> {
        if self.inner.gone.load(Ordering::SeqCst) {
            self.inner.refused.fetch_add(1, Ordering::SeqCst);
            self.changed();
            return Err(Failure {
                reason: EndReason::EngineError,
                message: "the pretend engine does not answer".to_owned(),
                engine_gone: true,
            });
        }
        Ok(())
    }

    /// Like a pipe: whoever is attached and does not read holds the container up.
    async fn write(&self, id: &str, piece: Piece, live: bool) {
        let attached = match self.containers().get_mut(id) {
            Some(container) => {
                if !self.has(Fault::Log) {
                    container.log.push(piece.clone());
                }
                if container.script.rotate.is_some_and(|most| container.log.len() > most) {
                    container.dropped += container.log.len();
                    container.log.clear();
                }
                if live { container.attached.clone() } else { Vec::new() }
            }
            None => return,
        };
        for receiver in attached {
            // An error says that nobody reads any more, which holds nobody up.
            drop(receiver.send(piece.clone()).await);
        }
        self.changed();
    }

    /// Whenever somebody has read, there is as much again. Kept in no log: it would fill the memory.
    async fn flood(&self, id: &str, script: &Script) {
        let attached = self.containers().get(id).map_or(Vec::new(), |container| container.attached.clone());
        let piece = Piece { stream: Stream::Stdout, bytes: script.line(Stream::Stdout, 0) };
        let frozen = self.frozen(id);
        loop {
            freeze::thawed(frozen.clone()).await;
            for one in &attached {
                while one.try_send(piece.clone()).is_ok() {}
            }
            tokio::task::yield_now().await;
        }
    }

    fn end(&self, id: &str, started_ms: u64, code: i32, oom: bool) {
        let code = if self.has(Fault::ExitCode) { 0 } else { code };
        if let Some(container) = self.containers().get_mut(id) {
            container.attached.clear();
            container.state.send_replace(State::Exited(Exit {
                code,
                oom: Some(oom),
                run_ms: now_ms().saturating_sub(started_ms),
                started_ms,
                ..Exit::default()
            }));
        }
        self.changed();
    }

    async fn perform(self, id: String, script: Script, started_ms: u64, mut stopped: watch::Receiver<Option<i32>>) {
        let frozen = self.frozen(&id);
        let act = async {
            if !script.says.is_empty() {
                let piece = Piece { stream: Stream::Stdout, bytes: script.says.clone().into() };
                self.write(&id, piece, !self.has(Fault::Output)).await;
            }
            let total = script.lines.max(script.errors);
            for n in 0..total {
                if script.every_ms > 0 {
                    freeze::sleep(frozen.clone(), Duration::from_millis(script.every_ms)).await;
                }
                let live = !script.cut_attach || n < total / 2;
                for (stream, count) in [(Stream::Stdout, script.lines), (Stream::Stderr, script.errors)] {
                    if n < count {
                        self.gate(Call::Write).pass().await;
                        freeze::thawed(frozen.clone()).await;
                        self.write(&id, Piece { stream, bytes: script.line(stream, n) }, live).await;
                    }
                }
            }
            if script.flood {
                self.flood(&id, &script).await;
            }
            match script.forever {
                true => std::future::pending().await,
                false => freeze::sleep(frozen.clone(), Duration::from_millis(script.run_ms)).await,
            }
        };
        let told = async {
            let code = stopped.wait_for(Option::is_some).await.ok().and_then(|code| *code);
            freeze::thawed(frozen.clone()).await;
            code
        };
        let code = tokio::select! {
            biased;
            () = act => None,
            code = told => code,
        };
        let own = if script.oom { 137 } else { script.exit };
        self.end(&id, started_ms, code.unwrap_or(own), script.oom && code.is_none());
    }
}

fn failure(reason: EndReason, message: impl Into<String>) -> Failure {
    Failure { reason, message: message.into(), engine_gone: false }
}

impl Engine for PretendEngine {
    fn facts(&self) -> Answer<'_, EngineFacts> {
        Box::pin(async {
            self.awake()?;
            let (version, api_version) = (env!("CARGO_PKG_VERSION").to_owned(), String::new());
            Ok(EngineFacts { kind: "pretend".to_owned(), version, api_version, ..EngineFacts::default() })
        })
    }

    fn image<'a>(
        &'a self,
        image: &'a str,
        _policy: PullPolicy,
        note: &'a (dyn Fn(String) + Send + Sync),
    ) -> Answer<'a, Present> {
        Box::pin(async move {
            self.awake()?;
            match image {
                "pretend/missing" => Err(failure(EndReason::ImageNotFound, "there is no image pretend/missing")),
                "pretend/broken" => Err(failure(EndReason::PullFailed, "the registry of pretend/broken is down")),
                "pretend/slow" => {
                    note("pulling pretend/slow, which never ends".to_owned());
                    std::future::pending().await
                }
                _ if image.starts_with("localhost/dsg-pushed:") && !self.loaded().iter().any(|name| name == image) => {
                    Err(failure(EndReason::ImageNotFound, format!("nobody loaded {image}")))
                }
                _ => Ok(self.shelf().fetch(image)),
            }
        })
    }

    fn load_image(&self, _archive: Vec<u8>) -> Answer<'_, String> {
        Box::pin(async {
            self.awake()?;
            match self.has(Fault::Load) {
                true => Err(failure(EndReason::EngineError, "failed to load an image: no space left on device")),
                false => Ok(LOADED.to_owned()),
            }
        })
    }

    fn load_file<'a>(&'a self, _archive: &'a Path, name: &'a str) -> Answer<'a, Present> {
        Box::pin(async move {
            self.awake()?;
            self.inner.loaded.lock().unwrap_or_else(PoisonError::into_inner).push(name.to_owned());
            let present = self.shelf().fetch(name);
            self.changed();
            Ok(present)
        })
    }

    fn images<'a>(&'a self, grid: &'a str, runner: RunnerId) -> Answer<'a, Vec<ImageSeen>> {
        Box::pin(async move {
            self.awake()?;
            Ok(self.seen_images(grid, runner))
        })
    }

    fn remove_image<'a>(&'a self, id: &'a str, names: &'a [String]) -> Answer<'a, bool> {
        Box::pin(async move {
            self.awake()?;
            let removed = self.shelved(id, names);
            self.changed();
            Ok(removed)
        })
    }

    fn place(&self) -> String {
        "pretend".to_owned()
    }

    fn create<'a>(&'a self, plan: &'a ContainerPlan) -> Answer<'a, String> {
        Box::pin(async move {
            self.awake()?;
            self.gate(Call::Create).pass().await;
            self.creates(plan)?;
            let script = match plan.image == LOADED {
                true => {
                    let (says, exit) = self.act(plan);
                    Script { says, exit, ..Script::default() }
                }
                false => Script::read(plan),
            };
            self.containers().entry(plan.name.clone()).or_insert_with(|| Container {
                plan: plan.clone(),
                script,
                state: watch::Sender::new(State::Created),
                log: Vec::new(),
                dropped: 0,
                attached: Vec::new(),
                stopped: watch::Sender::new(None),
                frozen: watch::Sender::new(false),
                started_ms: 0,
            });
            Ok(plan.name.clone())
        })
    }

    fn attach<'a>(&'a self, id: &'a str) -> Answer<'a, mpsc::Receiver<Piece>> {
        Box::pin(async move {
            self.awake()?;
            let (sender, receiver) = mpsc::channel(PIECES);
            let mut containers = self.containers();
            let container = containers.get_mut(id).ok_or_else(|| missing(id))?;
            container.attached.push(sender);
            Ok(receiver)
        })
    }

    fn logs<'a>(&'a self, id: &'a str, follow: bool) -> Answer<'a, Reading> {
        Box::pin(async move {
            self.awake()?;
            let (sender, receiver) = mpsc::channel(64);
            let (so_far, mut next, mut state) = {
                let containers = self.containers();
                let container = containers.get(id).ok_or_else(|| missing(id))?;
                (container.log.clone(), container.dropped, container.state.subscribe())
            };
            let engine = self.clone();
            let id = id.to_owned();
            tokio::spawn(async move {
                let mut pieces = so_far;
                loop {
                    for piece in pieces.drain(..) {
                        next += 1;
                        if sender.send(Ok(piece)).await.is_err() {
                            return;
                        }
                    }
                    if follow {
                        // The pretend log is polled; only re-adoption reads it this way.
                        let wait = Duration::from_millis(10);
                        let over = tokio::time::timeout(wait, state.wait_for(|state| !is_live(state))).await.is_ok();
                        if let Some(found) = engine.containers().get(&id) {
                            next = next.max(found.dropped);
                            pieces = found.log[next - found.dropped..].to_vec();
                        }
                        if !over || !pieces.is_empty() {
                            continue;
                        }
                    }
                    return;
                }
            });
            Ok(receiver)
        })
    }

    fn start<'a>(&'a self, id: &'a str) -> Answer<'a, ()> {
        Box::pin(async move {
            self.awake()?;
            self.gate(Call::Start).pass().await;
            let started_ms = now_ms();
            let (script, stopped) = {
                let mut containers = self.containers();
                let container = containers.get_mut(id).ok_or_else(|| missing(id))?;
                if container.script.bad_command {
                    return Err(failure(EndReason::BadCommand, "the command was not found in the image"));
                }
                if *container.state.borrow() != State::Created {
                    return Ok(());
                }
                container.state.send_replace(State::Running { since_ms: started_ms });
                container.started_ms = started_ms;
                (container.script.clone(), container.stopped.subscribe())
            };
            let quick = Script { exit: script.exit, files: script.files.clone(), ..Script::default() } == script;
            match quick {
                true => self.end(id, started_ms, script.exit, false),
                false => drop(tokio::spawn(self.clone().perform(id.to_owned(), script, started_ms, stopped))),
            }
            Ok(())
        })
    }

    fn inspect<'a>(&'a self, id: &'a str) -> Answer<'a, State> {
        Box::pin(async move {
            self.awake()?;
            Ok(self.containers().get(id).map_or(State::Gone, |container| container.state.borrow().clone()))
        })
    }

    fn wait<'a>(&'a self, id: &'a str) -> Answer<'a, ()> {
        Box::pin(async move {
            self.awake()?;
            let state = self.containers().get(id).map(|container| container.state.subscribe());
            if let Some(mut state) = state {
                // An error says that it was removed: inspect tells.
                drop(state.wait_for(|state| !is_live(state)).await);
            }
            Ok(())
        })
    }

    fn pause<'a>(&'a self, id: &'a str) -> Answer<'a, ()> {
        Box::pin(async move {
            self.awake()?;
            self.set_frozen(id, true);
            Ok(())
        })
    }

    fn unpause<'a>(&'a self, id: &'a str) -> Answer<'a, ()> {
        Box::pin(async move {
            self.awake()?;
            self.set_frozen(id, false);
            Ok(())
        })
    }

    fn stop<'a>(&'a self, id: &'a str, grace_ms: u64) -> Answer<'a, ()> {
        Box::pin(async move {
            self.awake()?;
            let found = self.containers().get(id).map(|c| (c.stopped.clone(), c.state.subscribe(), c.script.deaf));
            let Some((stopped, mut state, deaf)) = found else { return Ok(()) };
            if *state.borrow() == State::Created {
                return Ok(());
            }
            self.set_frozen(id, false);
            if deaf {
                tokio::time::sleep(Duration::from_millis(grace_ms)).await;
            }
            stopped.send_replace(Some(if deaf { 137 } else { 143 }));
            if is_live(&state.borrow()) {
                drop(state.wait_for(|state| !is_live(state)).await);
            }
            Ok(())
        })
    }

    fn copy_out<'a>(
        &'a self,
        id: &'a str,
        path: &'a str,
    ) -> Answer<'a, Option<mpsc::Receiver<Result<Bytes, Failure>>>> {
        Box::pin(async move {
            self.awake()?;
            let files = self.containers().get(id).ok_or_else(|| missing(id))?.script.files.clone();
            let Some(archive) = archive(&files, path) else { return Ok(None) };
            let (sender, receiver) = mpsc::channel(1);
            tokio::spawn(async move { sender.send(Ok(archive.into())).await });
            Ok(Some(receiver))
        })
    }

    fn written<'a>(&'a self, id: &'a str) -> Answer<'a, Option<u64>> {
        Box::pin(async move {
            self.awake()?;
            let containers = self.containers();
            let script = &containers.get(id).ok_or_else(|| missing(id))?.script;
            Ok(Some(script.fills + script.files.values().map(|text| text.len() as u64).sum::<u64>()))
        })
    }

    fn remove<'a>(&'a self, id: &'a str) -> Answer<'a, ()> {
        Box::pin(async move {
            self.awake()?;
            self.gate(Call::Remove).pass().await;
            self.vanish(id);
            Ok(())
        })
    }

    fn own<'a>(&'a self, grid: &'a str, runner: RunnerId) -> Answer<'a, Vec<Own>> {
        Box::pin(async move {
            self.awake()?;
            let runner = runner.to_string();
            let containers = self.containers();
            let mine = containers.iter().filter_map(|(id, container)| {
                let labels = &container.plan.labels;
                let is = |key, value: &str| labels.get(key).is_some_and(|found| found == value);
                let attempt = labels.get(label::ATTEMPT)?.parse().ok().map(dsg_schemas::ids::AttemptId)?;
                (is(label::GRID, grid) && is(label::RUNNER, &runner)).then(|| Own {
                    id: id.clone(),
                    attempt,
                    labels: labels.clone(),
                })
            });
            Ok(mine.collect())
        })
    }

    fn disk(&self) -> Answer<'_, Option<Space>> {
        Box::pin(async { Ok(self.shelf().space()) })
    }
}

fn is_live(state: &State) -> bool {
    match state {
        State::Created | State::Running { .. } | State::Paused => true,
        State::Exited(_) | State::Gone => false,
    }
}

fn missing(id: &str) -> Failure {
    failure(EndReason::EngineError, format!("there is no container {id}"))
}
