//! How a server is set up; the command line and tests make one.
use std::net::SocketAddr;
use std::path::PathBuf;

use dsg_core::HALF_LIFE_MS;
use dsg_schemas::limits::LEASE_MS;

use crate::retention::Rules;
use crate::watermark::{CRITICAL, LOW, Mark, Measure};

#[derive(Clone, Debug)]
pub struct Config {
    /// Everything that the server keeps lies below this.
    pub data: PathBuf,
    pub listen: SocketAddr,
    /// Names under which people and runners reach the server, beside its own.
    pub public_names: Vec<String>,
    pub tls: Tls,
    /// Where the key lies with which secrets are sealed; made there if it is missing. `None`: `DATA/secrets.key`.
    pub secrets_key: Option<PathBuf>,
    pub cache_bytes: usize,
    /// After how long a past use counts half in the order of owners; 0: only the present counts.
    pub fair_share_half_life_ms: u64,
    /// What is removed by itself, and when.
    pub keep: Rules,
    /// Below this much free space nothing is uploaded, and below the other one nothing starts.
    pub disk_low: Mark,
    pub disk_critical: Mark,
    pub measure: Measure,
    /// How long a runner may be silent before its chunks wait again.
    pub lease_ms: u64,
    /// How long after an attempt's end its last log lines are waited for.
    pub log_grace_ms: u64,
}

/// Then the log is closed, so that nobody waits for what a lost runner may never bring. What it brings later is taken all the same.
pub const LOG_GRACE_MS: u64 = 60_000;

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Tls {
    /// With certificates of its own making.
    Own,
    /// With certificates from these PEM files.
    Files { cert: PathBuf, key: PathBuf },
    /// Plain HTTP.
    Off,
}

impl Config {
    /// As the command line would make it: TLS on all interfaces.
    pub fn new(data: impl Into<PathBuf>) -> Config {
        Config {
            data: data.into(),
            listen: SocketAddr::from(([0, 0, 0, 0], 8420)),
            public_names: Vec::new(),
            tls: Tls::Own,
            secrets_key: None,
            cache_bytes: 8 << 20,
            fair_share_half_life_ms: HALF_LIFE_MS,
            keep: Rules::default(),
            disk_low: LOW,
            disk_critical: CRITICAL,
            measure: Measure::of_the_system(),
            lease_ms: LEASE_MS,
            log_grace_ms: LOG_GRACE_MS,
        }
    }

    /// For tests and demos: plain HTTP on a free port of the loopback.
    pub fn local(data: impl Into<PathBuf>) -> Config {
        Config { listen: SocketAddr::from(([127, 0, 0, 1], 0)), tls: Tls::Off, ..Config::new(data) }
    }
}
