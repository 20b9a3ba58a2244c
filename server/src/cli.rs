//! The command line of `dsg-server`.
use std::net::SocketAddr;
use std::path::PathBuf;

use clap::Parser;
use dsg_schemas::limits::{LEASE_MAX_MS, LEASE_MIN_MS};
use dsg_schemas::units::{Bytes, Millis};

use crate::command::Command;
use crate::config::{Config, LOG_GRACE_MS, Tls};
use crate::retention::Rules;
use crate::watermark::{CRITICAL, LOW, Mark, Measure};

/// The server of DSG: takes jobs, splits them into chunks, gives them to runners, and shows what happens.
#[derive(Debug, Parser)]
#[command(name = "dsg-server", version)]
pub struct Options {
    #[command(subcommand)]
    pub command: Option<Command>,
    /// Where everything is kept
    #[arg(long, env = "DSG_DATA", default_value = "dsg-data", value_name = "DIR", global = true)]
    pub data: PathBuf,
    /// Address and port to listen on
    #[arg(long, env = "DSG_LISTEN", default_value = "0.0.0.0:8420", value_name = "ADDRESS")]
    pub listen: SocketAddr,
    /// A name or address under which people and runners reach the server; may be given more than once, the first one is shown
    #[arg(long = "public-name", env = "DSG_PUBLIC_NAME", value_delimiter = ',', value_name = "NAME")]
    pub public_names: Vec<String>,
    /// Certificate chain (PEM) in place of the server's own
    #[arg(long, requires = "tls_key", value_name = "FILE")]
    pub tls_cert: Option<PathBuf>,
    /// Key of the certificate (PEM)
    #[arg(long, requires = "tls_cert", value_name = "FILE")]
    pub tls_key: Option<PathBuf>,
    /// No TLS; only with a loopback address to listen on
    #[arg(long, conflicts_with = "tls_cert")]
    pub plain_http: bool,
    /// No TLS on any address: everybody on the network can read tokens; the dashboard says so
    #[arg(long, conflicts_with = "tls_cert")]
    pub insecure_http: bool,
    /// The key with which secrets are sealed, made at the first start [default: DATA/secrets.key]; elsewhere, a copy of DATA alone opens
    /// none of them
    #[arg(long, env = "DSG_SECRETS_KEY", value_name = "FILE")]
    pub secrets_key: Option<PathBuf>,
    /// Memory for the store's cache; what is not in it is mostly still in that of the system
    #[arg(long, default_value_t = 8, value_name = "MIB", value_parser = clap::value_parser!(u32).range(1..=65_536))]
    pub cache_mib: u32,
    /// After how long what somebody used counts half when the next one is chosen, as in 12h; 0s: only what they use now counts
    #[arg(long, env = "DSG_FAIR_SHARE_HALF_LIFE", default_value = "1d", value_name = "TIME")]
    pub fair_share_half_life: Millis,
    /// How long a runner may be silent before its chunks are given to others; shorter finds lost runners sooner, but takes a slow
    /// network for one
    #[arg(long, env = "DSG_LEASE", default_value = "60s", value_name = "TIME", value_parser = lease)]
    pub lease: Millis,
    /// With less free space no files are uploaded, and a banner says so: a share of the disk, an amount, or the lesser of both
    #[arg(long, env = "DSG_DISK_LOW", default_value_t = LOW, value_name = "MARK")]
    pub disk_low: Mark,
    /// With less free space nothing new starts; what runs goes on
    #[arg(long, env = "DSG_DISK_CRITICAL", default_value_t = CRITICAL, value_name = "MARK")]
    pub disk_critical: Mark,
    #[command(flatten)]
    pub keep: Keep,
    /// Log as JSON lines
    #[arg(long)]
    pub log_json: bool,
}

/// What is removed by itself. Times count from the end of a job; without any of these everything stays until somebody deletes it.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "What is removed by itself")]
pub struct Keep {
    /// Remove the logs of jobs that ended so long ago, as in 30d
    #[arg(long, env = "DSG_KEEP_LOGS", value_name = "TIME")]
    pub keep_logs: Option<Millis>,
    /// Remove the outputs of jobs that ended so long ago
    #[arg(long, env = "DSG_KEEP_OUTPUTS", value_name = "TIME")]
    pub keep_outputs: Option<Millis>,
    /// Remove jobs that ended so long ago, with everything that belongs to them
    #[arg(long, env = "DSG_KEEP_JOBS", value_name = "TIME")]
    pub keep_jobs: Option<Millis>,
    /// Jobs that did not succeed keep everything so many times as long
    #[arg(long, env = "DSG_KEEP_FAILED", default_value_t = 2, value_name = "TIMES", value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub keep_failed: u32,
    /// Above this size of the logs and outputs of ended jobs together, the oldest lose theirs, those that succeeded first, as in 500GiB
    #[arg(long, env = "DSG_KEEP_SIZE", value_name = "SIZE")]
    pub keep_size: Option<Bytes>,
}

impl Keep {
    fn rules(&self) -> Rules {
        let Keep { keep_logs, keep_outputs, keep_jobs, keep_failed, keep_size } = self;
        Rules {
            logs: *keep_logs,
            outputs: *keep_outputs,
            jobs: *keep_jobs,
            failed_times: *keep_failed,
            size: *keep_size,
        }
    }
}

fn lease(text: &str) -> Result<Millis, String> {
    let lease: Millis = text.parse().map_err(|error| format!("{error}"))?;
    if (LEASE_MIN_MS..=LEASE_MAX_MS).contains(&lease.0) {
        return Ok(lease);
    }
    let (least, most) = (Millis(LEASE_MIN_MS), Millis(LEASE_MAX_MS));
    Err(format!("a lease lasts from {least} to {most}: shorter, and every hiccup of a network costs attempts"))
}

#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "--plain-http needs a loopback address, as in --listen 127.0.0.1:8420; {0} can be reached by others: leave the flag out, or say --insecure-http"
)]
pub struct NotLoopback(pub SocketAddr);

impl Options {
    pub fn config(&self) -> Result<Config, NotLoopback> {
        if self.plain_http && !self.listen.ip().is_loopback() {
            return Err(NotLoopback(self.listen));
        }
        let tls = match (&self.tls_cert, &self.tls_key) {
            (Some(cert), Some(key)) => Tls::Files { cert: cert.clone(), key: key.clone() },
            _ if self.plain_http || self.insecure_http => Tls::Off,
            _ => Tls::Own,
        };
        Ok(Config {
            data: self.data.clone(),
            listen: self.listen,
            public_names: self.public_names.clone(),
            tls,
            secrets_key: self.secrets_key.clone(),
            cache_bytes: (self.cache_mib as usize) << 20,
            fair_share_half_life_ms: self.fair_share_half_life.0,
            keep: self.keep.rules(),
            disk_low: self.disk_low,
            disk_critical: self.disk_critical,
            measure: Measure::of_the_system(),
            lease_ms: self.lease.0,
            log_grace_ms: LOG_GRACE_MS,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Config, String> {
        let options = Options::try_parse_from(line.split(' ')).map_err(|error| error.to_string())?;
        options.config().map_err(|error| error.to_string())
    }

    #[test]
    fn tls_is_on_unless_somebody_insists() {
        assert_eq!(parse("dsg-server").map(|config| (config.tls, config.listen.port())), Ok((Tls::Own, 8420)));
        assert_eq!(parse("dsg-server --insecure-http").map(|config| config.tls), Ok(Tls::Off));
        assert_eq!(parse("dsg-server --plain-http --listen 127.0.0.1:0").map(|config| config.tls), Ok(Tls::Off));
        assert!(parse("dsg-server --plain-http").is_err_and(|error| error.contains("loopback")));
        assert!(parse("dsg-server --tls-cert x").is_err(), "a certificate needs its key");
        let names =
            parse("dsg-server --public-name lab --public-name lab.example.org").map(|config| config.public_names);
        assert_eq!(names, Ok(vec!["lab".to_owned(), "lab.example.org".to_owned()]));
    }

    #[test]
    fn nothing_is_removed_unless_somebody_says_so() {
        let keep = |line: &str| parse(line).map(|config| config.keep);
        assert_eq!(keep("dsg-server"), Ok(Rules::default()));
        let all = "dsg-server --keep-logs 30d --keep-outputs 90d --keep-jobs 365d --keep-failed 3 --keep-size 1GiB";
        let day = 86_400_000;
        let rules = Rules {
            logs: Some(Millis(30 * day)),
            outputs: Some(Millis(90 * day)),
            jobs: Some(Millis(365 * day)),
            failed_times: 3,
            size: Some(Bytes(1 << 30)),
        };
        assert_eq!(keep(all), Ok(rules));
        assert!(keep("dsg-server --keep-logs 30").is_err_and(|error| error.contains("not a duration")));
        assert!(keep("dsg-server --keep-failed 0").is_err());
    }

    #[test]
    fn a_lease_is_neither_a_blink_nor_a_day() {
        assert_eq!(parse("dsg-server").map(|config| config.lease_ms), Ok(60_000));
        assert_eq!(parse("dsg-server --lease 3s").map(|config| config.lease_ms), Ok(3_000));
        for wrong in ["1s", "2h", "soon"] {
            assert!(parse(&format!("dsg-server --lease {wrong}")).is_err(), "{wrong}");
        }
    }
}
