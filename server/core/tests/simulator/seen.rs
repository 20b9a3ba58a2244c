//! What happened in simulated worlds: one in which these do not happen proves nothing.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    pub events: u64,
    pub starts: u64,
    pub successes: u64,
    pub lost: u64,
    pub server_restarts: u64,
    pub failed_commits: u64,
    pub slow_commits: u64,
    pub sleeps: u64,
    pub host_failures: u64,
    pub deaths: u64,
    pub copies_refused: u64,
    pub jobs: u64,
    pub rests: u64,
    /// Answers that told of a pause, and orders to stop what is evicted.
    pub pauses: u64,
    pub evictions: u64,
    pub edits: u64,
    pub expired: u64,
    /// Of earlier lives, back in memory.
    pub rows_loaded: u64,
    pub blocks_loaded: u64,
    pub simulated_s: u64,
}

impl Seen {
    pub fn add(&mut self, other: &Seen) {
        for ((_, mine), (_, theirs)) in self.counts_mut().into_iter().zip(other.clone().counts_mut()) {
            *mine += *theirs;
        }
    }

    /// What never happened.
    pub fn missing(&mut self, least: u64) -> Vec<&'static str> {
        let few = self.counts_mut().into_iter().filter(|(_, count)| **count < least);
        few.map(|(name, _)| name).collect()
    }

    fn counts_mut(&mut self) -> [(&'static str, &mut u64); 20] {
        let Seen {
            events,
            starts,
            successes,
            lost,
            server_restarts,
            failed_commits,
            slow_commits,
            sleeps,
            host_failures,
            deaths,
            copies_refused,
            jobs,
            rests,
            pauses,
            evictions,
            edits,
            expired,
            rows_loaded,
            blocks_loaded,
            simulated_s,
        } = self;
        [
            ("events", events),
            ("starts", starts),
            ("successes", successes),
            ("jobs that lost an attempt", lost),
            ("server restarts", server_restarts),
            ("failed commits", failed_commits),
            ("slow commits", slow_commits),
            ("sleeps", sleeps),
            ("host failures", host_failures),
            ("deaths of hosts", deaths),
            ("copies refused", copies_refused),
            ("jobs", jobs),
            ("rests of sick runners", rests),
            ("answers that told of a pause", pauses),
            ("orders to stop what is evicted", evictions),
            ("edits", edits),
            ("expired", expired),
            ("rows of earlier lives loaded", rows_loaded),
            ("blocks of earlier lives loaded", blocks_loaded),
            ("simulated seconds", simulated_s),
        ]
    }
}
