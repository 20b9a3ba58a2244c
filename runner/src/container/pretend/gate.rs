//! Calls that a test holds up, to look at what happens meanwhile.
use tokio::sync::watch;

/// Which calls of an engine can be held up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Call {
    Create,
    Start,
    /// Of a line, by a container.
    Write,
    /// Of a container.
    Remove,
}

#[derive(Clone, Copy, Debug, Default)]
struct Seen {
    shut: bool,
    waiting: u64,
    /// So many may pass all the same.
    let_pass: u64,
}

/// Open unless a test shuts it.
#[derive(Debug)]
pub(super) struct Gate {
    seen: watch::Sender<Seen>,
}

impl Default for Gate {
    fn default() -> Gate {
        Gate { seen: watch::Sender::new(Seen::default()) }
    }
}

impl Gate {
    pub fn shut(&self, shut: bool) {
        self.seen.send_modify(|seen| seen.shut = shut);
    }

    pub async fn pass(&self) {
        self.seen.send_modify(|seen| seen.waiting += 1);
        // The sender lives as long as we do.
        drop(self.seen.subscribe().wait_for(|seen| !seen.shut || seen.let_pass > 0).await);
        self.seen.send_modify(|seen| {
            seen.waiting -= 1;
            seen.let_pass = seen.let_pass.saturating_sub(1);
        });
    }

    pub fn let_pass(&self, count: u64) {
        self.seen.send_modify(|seen| seen.let_pass = count);
    }

    pub async fn somebody_waits(&self) {
        drop(self.seen.subscribe().wait_for(|seen| seen.shut && seen.waiting > 0).await);
    }
}
