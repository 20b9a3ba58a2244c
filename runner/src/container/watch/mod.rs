//! What the kernel says about a container while it lives: whether it killed for memory, and how much memory and CPU was used.
//! Engines are not enough: Podman never tells of an OOM kill on cgroup v1, Docker sometimes not on v2, and 137 alone proves nothing.
mod births;
mod cgroup;
mod follow;
mod kernel_log;

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::watch;

use births::Births;
use follow::follow;
use kernel_log::KernelLog;

/// How long an exit may wait for the last word of its watch. The cgroup is usually gone milliseconds after the process.
const LAST_WORD: Duration = Duration::from_millis(400);

/// What is known so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Seen {
    /// Every kill since the cgroup exists would have been noticed.
    armed: bool,
    oom: bool,
    peak_memory_bytes: Option<u64>,
    cpu_ms: Option<u64>,
    read_bytes: Option<u64>,
    written_bytes: Option<u64>,
    /// The cgroup is gone, or was never found: nothing more will come.
    over: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Verdict {
    pub oom: Option<bool>,
    pub peak_memory_bytes: Option<u64>,
    pub cpu_ms: Option<u64>,
    pub read_bytes: Option<u64>,
    pub written_bytes: Option<u64>,
}

/// Sent to the task that follows one container.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Order {
    /// Look for its cgroup: it is about to be started.
    Expect,
    /// It has been started; if the cgroup is not there soon, it never will be.
    Started,
}

struct Followed {
    orders: watch::Sender<Order>,
    seen: watch::Receiver<Seen>,
}

/// The watches of one engine, by whole container id.
pub(super) struct Watches {
    root: PathBuf,
    births: Arc<Births>,
    followed: Mutex<HashMap<String, Followed>>,
    log: Arc<KernelLog>,
}

impl Watches {
    pub(super) fn new() -> Watches {
        Watches {
            root: PathBuf::from("/sys/fs/cgroup"),
            births: Arc::new(Births::new()),
            followed: Mutex::new(HashMap::new()),
            log: Arc::new(KernelLog::open()),
        }
    }

    /// To be called before start.
    pub(super) fn expect(&self, id: &str) {
        self.begin(id, Order::Expect, None);
    }

    pub(super) fn started(&self, id: &str) {
        let followed = self.followed.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(one) = followed.get(id) {
            let _ = one.orders.send(Order::Started);
        }
    }

    /// A running container that an earlier life of this program started. Harmless where it is watched already.
    pub(super) fn adopt(&self, id: &str, process: Option<u32>) {
        self.begin(id, Order::Started, process);
    }

    fn begin(&self, id: &str, order: Order, process: Option<u32>) {
        let mut followed = self.followed.lock().unwrap_or_else(PoisonError::into_inner);
        if followed.contains_key(id) {
            return;
        }
        let (orders, taken) = watch::channel(order);
        let (tell, seen) = watch::channel(Seen::default());
        followed.insert(id.to_owned(), Followed { orders, seen });
        tokio::spawn(follow(self.root.clone(), self.births.clone(), id.to_owned(), process, taken, tell));
    }

    pub(super) fn forget(&self, id: &str) {
        self.followed.lock().unwrap_or_else(PoisonError::into_inner).remove(id);
    }

    /// What each has used so far.
    pub(super) fn cpu_ms(&self) -> Vec<(String, u64)> {
        let followed = self.followed.lock().unwrap_or_else(PoisonError::into_inner);
        followed.iter().filter_map(|(id, one)| Some((id.clone(), one.seen.borrow().cpu_ms?))).collect()
    }

    /// What is known of an ended container.
    pub(super) async fn verdict(&self, id: &str, code: i32) -> Verdict {
        let seen = self.followed.lock().unwrap_or_else(PoisonError::into_inner).get(id).map(|one| one.seen.clone());
        let seen = match seen {
            // After an exit with 0 nobody was killed who mattered, and nothing is worth waiting for.
            Some(seen) if code == 0 => *seen.borrow(),
            Some(mut seen) => {
                let over = tokio::time::timeout(LAST_WORD, seen.wait_for(|seen| seen.over || seen.oom)).await;
                let known = over.ok().and_then(Result::ok).map(|seen| *seen);
                known.unwrap_or_else(|| *seen.borrow())
            }
            None => Seen::default(),
        };
        let oom = match seen.oom || (code != 0 && self.logged(id).await) {
            true => Some(true),
            false => seen.armed.then_some(false),
        };
        let Seen { peak_memory_bytes, cpu_ms, read_bytes, written_bytes, .. } = seen;
        Verdict { oom, peak_memory_bytes, cpu_ms, read_bytes, written_bytes }
    }

    async fn logged(&self, id: &str) -> bool {
        let (log, id) = (self.log.clone(), id.to_owned());
        tokio::task::spawn_blocking(move || log.names(&id)).await.unwrap_or(false)
    }
}
