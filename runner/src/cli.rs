//! The command line of the runner.
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use clap::{Args, Parser, Subcommand};
use dsg_schemas::units::Bytes;
use dsg_schemas::wire::{Facts, Load};
use tokio_util::sync::CancellationToken;

use crate::config::{Config, LoadSource, default_state};
use crate::container::Engine;
use crate::container::docker::{ConnectOptions, connect};
use crate::container::pretend::PretendEngine;
use crate::probe::{self, GpuProbe, LoadProbe};
use crate::{Invitation, join, run};

const LOAD_EVERY: Duration = Duration::from_secs(5);

/// Offers this host to a DSG grid and runs what fits, in containers of the local Docker or Podman.
#[derive(Debug, Parser)]
#[command(name = "dsg-runner", version)]
pub struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    options: Options,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Make this host known to a grid, once, and then run; from then on just `dsg-runner`.
    Join {
        /// As in https://lab:8420.
        url: String,
        /// From `dsg-server` at its first start, or from `dsg token join`.
        #[arg(long, env = "DSG_JOIN_TOKEN", hide_env_values = true)]
        token: String,
        /// What people call this runner; the host name if not given.
        #[arg(long)]
        name: Option<String>,
        /// The certificate of your lab's own authority (PEM), where the server has its certificate from there. Kept in the state
        /// folder.
        #[arg(long, value_name = "FILE")]
        ca: Option<PathBuf>,
        /// Join only; do not run.
        #[arg(long)]
        only: bool,
    },
}

#[derive(Debug, Args)]
struct Options {
    /// Where the runner keeps its identity, spool and cache [default: /var/lib/dsg-runner as root, else
    /// $XDG_STATE_HOME/dsg-runner].
    #[arg(long, env = "DSG_RUNNER_STATE", global = true)]
    state: Option<PathBuf>,
    /// The engine's socket, as in unix:///run/docker.sock; found by itself if not given.
    #[arg(long, global = true)]
    engine: Option<String>,
    /// Processor cores to offer; all of them if not given.
    #[arg(long, global = true)]
    cpus: Option<f64>,
    /// Memory to offer, as in 12GiB; all but the reserve if not given.
    #[arg(long, global = true)]
    memory: Option<Bytes>,
    /// Memory to leave to the host itself.
    #[arg(long, global = true, default_value = "512MiB")]
    reserve_memory: Bytes,
    /// Words that jobs can ask for, separated by commas.
    #[arg(long, global = true, value_delimiter = ',')]
    tags: Vec<String>,
    /// A label that jobs can ask for, as in room=cellar; may be repeated.
    #[arg(long = "label", global = true, value_name = "KEY=VALUE")]
    labels: Vec<String>,
    /// The NVML library, where it is not in its usual place.
    #[arg(long, global = true)]
    nvml_lib: Option<PathBuf>,
    /// Space for cached inputs.
    #[arg(long, global = true, default_value = "20GiB")]
    cache: Bytes,
    /// Speak plain HTTP to a server that is not on this host: everybody on the way can read and change everything.
    #[arg(long, global = true)]
    insecure_http: bool,
    /// Log as JSON lines.
    #[arg(long, global = true)]
    log_json: bool,
    /// Run nothing: pretend that every container succeeds at once, or does what its command says.
    #[arg(long, global = true)]
    pretend: bool,
}

impl Cli {
    /// The whole program.
    pub async fn main(self) -> anyhow::Result<()> {
        let Cli { command, options } = self;
        log_to_stderr(options.log_json);
        let state = options.state.clone().unwrap_or_else(default_state);
        if let Some(Command::Join { url, token, name, ca, only }) = command {
            let name = name.unwrap_or_else(host_name);
            let read = |path: &PathBuf| {
                std::fs::read_to_string(path).with_context(|| format!("cannot read the certificate {}", path.display()))
            };
            let ca_pem = ca.as_ref().map(read).transpose()?;
            let (ca_pem, insecure_http) = (ca_pem.as_deref(), options.insecure_http);
            let invitation = Invitation { server: &url, token: &token, name: &name, ca_pem, insecure_http };
            let identity = join(&state, &invitation).await?;
            println!("joined {} as runner {} ({})", identity.server, identity.name, identity.runner);
            if only {
                return Ok(());
            }
        }
        let mut config = Config::new(state, options.facts()?);
        config.cache_bytes = options.cache.0;
        let stop = stop_on_signals()?;
        let engine = options.engine(&mut config).await?;
        let result = run(config, engine.clone(), stop).await;
        engine.close().await;
        Ok(result?)
    }
}

impl Options {
    /// What is offered, before engine and GPUs are looked at.
    fn facts(&self) -> anyhow::Result<Facts> {
        let mut facts = probe::host();
        if let Some(cpus) = self.cpus {
            if !(cpus.is_finite() && cpus > 0.0 && cpus <= 4096.0) {
                bail!("--cpus {cpus} is not a number of cores; write for instance --cpus 3.5");
            }
            facts.cpus_milli = (cpus * 1000.0).round() as u64;
        }
        facts.memory_bytes = match self.memory {
            Some(Bytes(bytes)) => bytes,
            None => facts.memory_bytes.saturating_sub(self.reserve_memory.0),
        };
        facts.tags = self.tags.clone();
        facts.labels = labels(&self.labels)?;
        Ok(facts)
    }

    /// The engine, and what belongs to it: real containers are proven to run, pretended ones need no proof.
    async fn engine(&self, config: &mut Config) -> anyhow::Result<Arc<dyn Engine>> {
        if self.pretend {
            config.load = load_source(Arc::new(GpuProbe::none()));
            return Ok(Arc::new(PretendEngine::new()));
        }
        let gpus = Arc::new(GpuProbe::open(self.nvml_lib.as_deref()));
        let found = gpus.gpus();
        if let (false, Some(note)) = (found.gpus.is_empty(), &found.note) {
            tracing::warn!("{note}");
        }
        let source = gpus.clone();
        config.gpus = Some(Arc::new(move || source.gpus()));
        (config.facts.gpus, config.facts.gpu_note) = (found.gpus, found.note);
        config.load = load_source(gpus);
        config.selftest = true;
        Ok(Arc::new(connect(&ConnectOptions { engine: self.engine.clone(), state: config.state.clone() }).await?))
    }
}

/// A sample is good for some seconds, however often the runner syncs.
fn load_source(gpus: Arc<GpuProbe>) -> LoadSource {
    let probe = LoadProbe::new(gpus);
    let last: Mutex<Option<(Instant, Load)>> = Mutex::new(None);
    Arc::new(move || {
        let mut last = last.lock().unwrap_or_else(PoisonError::into_inner);
        match &*last {
            Some((at, load)) if at.elapsed() < LOAD_EVERY => load.clone(),
            Some(_) | None => last.insert((Instant::now(), probe.sample(0))).1.clone(),
        }
    })
}

fn host_name() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    if name.trim().is_empty() { "runner".to_owned() } else { name.trim().to_owned() }
}

fn labels(given: &[String]) -> anyhow::Result<BTreeMap<String, String>> {
    let pair = |text: &String| match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => bail!("--label {text} is not KEY=VALUE; write for instance --label room=cellar"),
    };
    given.iter().map(pair).collect()
}

fn log_to_stderr(json: bool) {
    let filter = tracing_subscriber::EnvFilter::try_from_env("DSG_LOG").unwrap_or_else(|_| "info".into());
    let subscriber = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    let set = if json { subscriber.json().try_init() } else { subscriber.with_target(false).try_init() };
    // An error says that whoever embeds us logs already.
    drop(set);
}

fn stop_on_signals() -> anyhow::Result<CancellationToken> {
    use tokio::signal::unix::{SignalKind, signal};
    let stop = CancellationToken::new();
    for kind in [SignalKind::terminate(), SignalKind::interrupt()] {
        let mut signals = signal(kind).context("cannot listen for signals")?;
        let stop = stop.clone();
        tokio::spawn(async move {
            while signals.recv().await.is_some() {
                stop.cancel();
            }
        });
    }
    Ok(stop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_become_facts_or_a_sentence() {
        let facts = |words: &[&str]| Cli::try_parse_from(words).map_err(anyhow::Error::from)?.options.facts();
        let given = ["dsg-runner", "--cpus", "2.5", "--memory", "1GiB", "--tags", "a,b", "--label", "room=x=y"];
        let facts_given = facts(&given).expect("fine");
        assert_eq!((facts_given.cpus_milli, facts_given.memory_bytes), (2500, 1 << 30));
        assert_eq!(facts_given.tags, ["a", "b"]);
        assert_eq!(facts_given.labels, [("room".to_owned(), "x=y".to_owned())].into());
        for wrong in [["dsg-runner", "--cpus", "nan"], ["dsg-runner", "--cpus", "0"], ["dsg-runner", "--label", "room"]]
        {
            assert!(facts(&wrong).is_err(), "{wrong:?}");
        }
        assert!(facts(&["dsg-runner", "--memory", "much"]).is_err());
    }
}
