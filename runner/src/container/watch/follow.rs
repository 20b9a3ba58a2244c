//! Following one container's cgroup from its first moment to its last.
//!
//! The kernel is asked to say when it runs out of memory there: on v1 through an eventfd, which also fires once when the cgroup
//! goes away, on v2 through a priority event on `memory.events`. Counters are sampled besides, often at first and then twice a
//! second, because they vanish with the cgroup.
use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rustix::event::{EventfdFlags, eventfd};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::sync::watch;
use tokio::time::{Instant, sleep};

use super::births::{Births, News};
use super::cgroup::{Cgroup, find};
use super::{Order, Seen};

/// How long after the start the cgroup may still appear.
const LATE: Duration = Duration::from_millis(500);
const SAMPLE_FIRST: Duration = Duration::from_millis(5);
const SAMPLE_MOST: Duration = Duration::from_millis(500);
/// How long the kernel may take, after the files are gone, to fire the event of their removal.
const REMOVAL: Duration = Duration::from_millis(200);

/// Ends when the cgroup is gone, or when nobody keeps the watch any more.
pub(super) async fn follow(
    root: PathBuf,
    births: Arc<Births>,
    id: String,
    process: Option<u32>,
    mut orders: watch::Receiver<Order>,
    tell: watch::Sender<Seen>,
) {
    if let Some(cgroup) = appear(&root, births.news(), &id, process, &mut orders).await {
        if let Some(folder) = cgroup.place() {
            births.learn(folder);
        }
        let signal = Signal::on(&cgroup);
        watch_counters(&cgroup, signal, &mut orders, &tell).await;
    }
    tell.send_modify(|seen| seen.over = true);
}

async fn appear(
    root: &Path,
    mut news: News,
    id: &str,
    process: Option<u32>,
    orders: &mut watch::Receiver<Order>,
) -> Option<Cgroup> {
    let mut started_at = None;
    loop {
        if let Some(cgroup) = find(root, id, process) {
            return Some(cgroup);
        }
        orders.has_changed().ok()?;
        if *orders.borrow() == Order::Started {
            let since: &mut Instant = started_at.get_or_insert_with(Instant::now);
            if since.elapsed() > LATE {
                return None;
            }
        }
        news.next().await;
    }
}

/// What can happen while a container is followed.
enum Event {
    Signal(u64),
    Sample,
    Forgotten,
}

async fn watch_counters(
    cgroup: &Cgroup,
    mut signal: Signal,
    orders: &mut watch::Receiver<Order>,
    tell: &watch::Sender<Seen>,
) {
    let mut pause = SAMPLE_FIRST;
    let mut signals = 0;
    let mut gauges = cgroup.gauges();
    loop {
        let counters = gauges.read();
        // The files go before the event of their removal comes: one event more than that is a kill.
        let there = cgroup.exists();
        tell.send_modify(|seen| {
            seen.armed |= there && signal.works();
            seen.oom |= counters.oom_kills.is_some_and(|kills| kills > 0) || (there && signals > 0) || signals > 1;
            seen.peak_memory_bytes = seen.peak_memory_bytes.max(counters.peak_memory_bytes);
            seen.cpu_ms = seen.cpu_ms.max(counters.cpu_ms);
            seen.read_bytes = seen.read_bytes.max(counters.read_bytes);
            seen.written_bytes = seen.written_bytes.max(counters.written_bytes);
        });
        if !there {
            while signal.tells_removal() && signals < 2 {
                let more = tokio::time::timeout(REMOVAL, signal.next()).await.unwrap_or(0);
                signals += more;
                tell.send_modify(|seen| seen.oom |= signals > 1);
                if more == 0 {
                    return;
                }
            }
            return;
        }
        let event = tokio::select! {
            count = signal.next() => Event::Signal(count),
            () = sleep(pause) => Event::Sample,
            changed = orders.changed() => if changed.is_ok() { Event::Sample } else { Event::Forgotten },
        };
        match event {
            Event::Signal(count) => signals += count,
            Event::Sample => pause = (pause * 2).min(SAMPLE_MOST),
            Event::Forgotten => return,
        }
    }
}

/// The kernel's own word that something happened in a cgroup.
enum Signal {
    /// Counts: one for each time that memory ran out, one for the end of the cgroup.
    V1(AsyncFd<OwnedFd>, #[expect(dead_code, reason = "the kernel asks for it to stay open")] File),
    V2(AsyncFd<File>),
    /// Not allowed, or the kernel cannot: counters alone must do.
    None,
}

impl Signal {
    fn on(cgroup: &Cgroup) -> Signal {
        let made = match cgroup {
            Cgroup::V1 { memory, .. } => Signal::on_v1(memory),
            Cgroup::V2 { folder } => Signal::on_v2(folder),
        };
        made.unwrap_or_else(|error| {
            if error.kind() != ErrorKind::NotFound {
                tracing::debug!(%error, "the kernel does not announce OOM kills here; counters are sampled");
            }
            Signal::None
        })
    }

    fn on_v1(memory: &Path) -> std::io::Result<Signal> {
        let event = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        let control = File::open(memory.join("memory.oom_control"))?;
        let mut register = OpenOptions::new().write(true).open(memory.join("cgroup.event_control"))?;
        register.write_all(format!("{} {}", event.as_raw_fd(), control.as_raw_fd()).as_bytes())?;
        Ok(Signal::V1(announced(event, Interest::READABLE)?, control))
    }

    fn on_v2(folder: &Path) -> std::io::Result<Signal> {
        let events = File::open(folder.join("memory.events"))?;
        let mut first = [0; 512];
        events.read_at(&mut first, 0)?;
        Ok(Signal::V2(announced(events, Interest::PRIORITY)?))
    }

    fn works(&self) -> bool {
        match self {
            Signal::V1(..) | Signal::V2(_) => true,
            Signal::None => false,
        }
    }

    fn tells_removal(&self) -> bool {
        matches!(self, Signal::V1(..))
    }

    /// How many events there were; 0 says only: look again. Never returns where there is no signal.
    async fn next(&mut self) -> u64 {
        match self {
            Signal::V1(event, _) => loop {
                let Ok(mut ready) = event.readable().await else { return std::future::pending().await };
                let mut count = [0; 8];
                match ready.try_io(|event| Ok(rustix::io::read(event.get_ref(), &mut count)?)) {
                    Ok(Ok(_)) => return u64::from_ne_bytes(count),
                    Ok(Err(_)) => return std::future::pending().await,
                    Err(_would_block) => {}
                }
            },
            Signal::V2(events) => {
                let Ok(mut ready) = events.ready_mut(Interest::PRIORITY).await else {
                    return std::future::pending().await;
                };
                // Reading acknowledges; what it says is read with the other counters.
                let mut text = [0; 512];
                let read = ready.get_inner().read_at(&mut text, 0);
                ready.clear_ready();
                if read.is_err() { std::future::pending().await } else { 0 }
            }
            Signal::None => std::future::pending().await,
        }
    }
}

#[expect(
    deprecated,
    reason = "the new call is unsafe for the sake of types that may lie about their descriptor; these own theirs"
)]
pub(super) fn announced<T: AsRawFd>(descriptor: T, interest: Interest) -> std::io::Result<AsyncFd<T>> {
    AsyncFd::with_interest(descriptor, interest)
}
