//! The command line of the runner.
use std::collections::BTreeMap;
use std::io::IsTerminal;
use std::os::unix::fs::DirBuilderExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use clap::{Args, Parser, Subcommand, ValueEnum};
use dsg_schemas::units::{Bytes, Millis};
use dsg_schemas::wire::Facts;
use tokio_util::sync::CancellationToken;

use crate::config::{CACHE_BYTES, Config, LoadSource, default_state};
use crate::container::Engine;
use crate::container::docker::{ConnectOptions, connect};
use crate::container::pretend::PretendEngine;
use crate::probe::{self, GpuProbe, LoadProbe};
use crate::settings::{self, Settings};
use crate::{Invitation, doctor, join, run, selftest};

/// Left to the host where its owner says nothing.
const RESERVE_MEMORY: Bytes = Bytes(512 << 20);

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
    /// Try what a runner tries at its start, and say what is wrong and what to do about it. Changes nothing; may be run before join,
    /// and beside a runner that runs.
    Doctor {
        /// How to print it.
        #[arg(short = 'o', long = "output", value_name = "FORM", default_value = "table")]
        form: Form,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Form {
    Table,
    Json,
}

/// What stands here comes before the variable, and the variable before the file.
#[derive(Debug, Args)]
struct Options {
    /// Settings and the owner's policy [default: /etc/dsg/runner.toml as root, else $XDG_CONFIG_HOME/dsg/runner.toml, if it is there].
    #[arg(long, env = "DSG_RUNNER_CONFIG", global = true, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Where the runner keeps its identity, spool and cache [default: /var/lib/dsg-runner as root, else
    /// $XDG_STATE_HOME/dsg-runner].
    #[arg(long, env = "DSG_RUNNER_STATE", global = true)]
    state: Option<PathBuf>,
    /// The engine's socket, as in unix:///run/docker.sock; found by itself if not given.
    #[arg(long, env = "DSG_RUNNER_ENGINE", global = true)]
    engine: Option<String>,
    /// Processor cores to offer; all but the reserve if not given.
    #[arg(long, env = "DSG_RUNNER_CPUS", global = true)]
    cpus: Option<f64>,
    /// Memory to offer, as in 12GiB; all but the reserve if not given.
    #[arg(long, env = "DSG_RUNNER_MEMORY", global = true)]
    memory: Option<Bytes>,
    /// Processor cores to leave to the host itself [default: 0].
    #[arg(long, env = "DSG_RUNNER_RESERVE_CPUS", global = true)]
    reserve_cpus: Option<f64>,
    /// Memory to leave to the host itself [default: 512MiB].
    #[arg(long, env = "DSG_RUNNER_RESERVE_MEMORY", global = true)]
    reserve_memory: Option<Bytes>,
    /// Disk to leave to the host itself: with less free, nothing new is taken [default: 0B].
    #[arg(long, env = "DSG_RUNNER_RESERVE_DISK", global = true)]
    reserve_disk: Option<Bytes>,
    /// Words that jobs can ask for, separated by commas.
    #[arg(long, env = "DSG_RUNNER_TAGS", global = true, value_delimiter = ',')]
    tags: Vec<String>,
    /// A label that jobs can ask for, as in room=cellar; may be repeated.
    #[arg(long = "label", env = "DSG_RUNNER_LABELS", global = true, value_name = "KEY=VALUE", value_delimiter = ',')]
    labels: Vec<String>,
    /// The NVML library, where it is not in its usual place.
    #[arg(long, env = "DSG_RUNNER_NVML_LIB", global = true)]
    nvml_lib: Option<PathBuf>,
    /// Space for cached inputs [default: 20GiB].
    #[arg(long, env = "DSG_RUNNER_CACHE", global = true)]
    cache: Option<Bytes>,
    /// Take nothing that cannot be over after so long, as in 4h; then stop what is left, and end [default: no end].
    #[arg(long, env = "DSG_RUNNER_LIFETIME", global = true)]
    lifetime: Option<Millis>,
    /// End after so long without an attempt, as in 10m [default: no end].
    #[arg(long, env = "DSG_RUNNER_IDLE_TIMEOUT", global = true)]
    idle_timeout: Option<Millis>,
    /// Where secrets lie while their containers run; must be in memory (tmpfs) [default: /run/dsg-runner as root, else
    /// $XDG_RUNTIME_DIR/dsg-runner; /dev/shm/dsg-runner-UID where only that is in memory].
    #[arg(long, env = "DSG_RUNNER_SECRETS_DIR", global = true, value_name = "DIR")]
    secrets_dir: Option<PathBuf>,
    /// Speak plain HTTP to a server that is not on this host: everybody on the way can read and change everything.
    #[arg(long, env = "DSG_RUNNER_INSECURE_HTTP", global = true)]
    insecure_http: bool,
    /// Log as JSON lines.
    #[arg(long, env = "DSG_RUNNER_LOG_JSON", global = true)]
    log_json: bool,
    /// Run nothing: pretend that every container succeeds at once, or does what its command says.
    #[arg(long, env = "DSG_RUNNER_PRETEND", global = true)]
    pretend: bool,
}

impl Cli {
    /// The whole program.
    pub async fn main(self) -> anyhow::Result<()> {
        let Cli { command, mut options } = self;
        let variables = std::env::vars_os().filter_map(|(name, _)| name.into_string().ok());
        if let Some(why) = settings::unknown_variable(variables) {
            bail!("{why}");
        }
        let settings = settings::read(options.config.as_deref())?;
        options.fill_in(&settings);
        let doctor = match &command {
            Some(Command::Doctor { form }) => Some(*form),
            Some(Command::Join { .. }) | None => None,
        };
        // A report speaks for itself.
        log_to_stderr(options.log_json, if doctor.is_some() { "error" } else { "info" });
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
        config.policy = settings.local_policy(&config.state)?;
        config.cache_bytes = options.cache.map_or(CACHE_BYTES, |cache| cache.0);
        config.disk_reserve_bytes = options.reserve_disk.unwrap_or_default().0;
        for (flag, time) in [("--lifetime", options.lifetime), ("--idle-timeout", options.idle_timeout)] {
            if time == Some(Millis(0)) {
                bail!("with {flag} 0s the runner would end at once; leave it out where there is to be no end");
            }
        }
        config.marks = settings.marks;
        config.registries = settings.registries.clone();
        if let Some(place) = &options.secrets_dir {
            config.secrets.clone_from(place);
        }
        config.owner = settings.owner.clone();
        config.lifetime = options.lifetime.map(|time| Duration::from_millis(time.0));
        config.idle_timeout = options.idle_timeout.map(|time| Duration::from_millis(time.0));
        let stop = stop_on_signals()?;
        if let Some(form) = doctor {
            return examine(&options, config, form, stop).await;
        }
        let engine = options.engine(&mut config).await?;
        let result = run(config, engine.clone(), stop).await;
        engine.close().await;
        Ok(result?)
    }
}

impl Options {
    /// From the file what neither a flag nor a variable says.
    fn fill_in(&mut self, settings: &Settings) {
        let milli = |cores: u64| cores as f64 / 1000.0;
        self.engine = self.engine.take().or_else(|| settings.engine.clone());
        self.nvml_lib = self.nvml_lib.take().or_else(|| settings.nvml_lib.clone());
        self.cpus = self.cpus.or(settings.cpus_milli.map(milli));
        self.memory = self.memory.or(settings.memory);
        self.reserve_cpus = self.reserve_cpus.or(settings.reserve_cpus_milli.map(milli));
        self.reserve_memory = self.reserve_memory.or(settings.reserve_memory);
        self.reserve_disk = self.reserve_disk.or(settings.reserve_disk);
        self.lifetime = self.lifetime.or(settings.lifetime);
        self.idle_timeout = self.idle_timeout.or(settings.idle_timeout);
        self.secrets_dir = self.secrets_dir.take().or_else(|| settings.secrets_dir.clone());
        self.cache = self.cache.or(settings.cache);
        self.insecure_http |= settings.insecure_http.unwrap_or(false);
        self.log_json |= settings.log_json.unwrap_or(false);
        if self.tags.is_empty() {
            self.tags = settings.tags.clone().unwrap_or_default();
        }
        if self.labels.is_empty() {
            self.labels = settings.labels.iter().map(|(key, value)| format!("{key}={value}")).collect();
        }
    }

    /// What is offered, before engine and GPUs are looked at.
    fn facts(&self) -> anyhow::Result<Facts> {
        let mut facts = probe::host();
        let cores = |flag: &str, given: f64, least: f64| match given.is_finite() && given >= least && given <= 4096.0 {
            true => Ok((given * 1000.0).round() as u64),
            false => bail!("{flag} {given} is not a number of cores; write for instance {flag} 3.5"),
        };
        let reserve = cores("--reserve-cpus", self.reserve_cpus.unwrap_or(0.0), 0.0)?;
        facts.cpus_milli = match self.cpus {
            Some(cpus) => cores("--cpus", cpus, 0.001)?,
            None => facts.cpus_milli.saturating_sub(reserve),
        };
        let reserve = self.reserve_memory.unwrap_or(RESERVE_MEMORY).0;
        facts.memory_bytes = match self.memory {
            Some(Bytes(bytes)) => bytes,
            None => facts.memory_bytes.saturating_sub(reserve),
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
        let (engine, state, registries) = (self.engine.clone(), config.state.clone(), config.registries.clone());
        Ok(Arc::new(connect(&ConnectOptions { engine, state, registries }).await?))
    }
}

fn load_source(gpus: Arc<GpuProbe>) -> LoadSource {
    let probe = LoadProbe::new(gpus);
    Arc::new(move || probe.sample(0))
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

/// Prints the report; an error where something failed, so that the program ends with 1.
async fn examine(options: &Options, mut config: Config, form: Form, stop: CancellationToken) -> anyhow::Result<()> {
    let nonce = doctor::nonce()?;
    // Where only the program podman is installed, a service of our own is started: not in the folder of a runner.
    let state = config.state.clone();
    let own = std::env::temp_dir().join(format!("dsg-doctor-{nonce}"));
    if !state.join("podman.sock").exists() {
        std::fs::DirBuilder::new()
            .mode(0o700)
            .create(&own)
            .with_context(|| format!("cannot make {}", own.display()))?;
        config.state.clone_from(&own);
    }
    let engine = options.engine(&mut config).await;
    config.state = state;
    let found = engine.as_ref().map(|engine| &**engine).map_err(|error| format!("{error:#}"));
    let report = tokio::select! {
        report = doctor::examine(&config, found, &nonce) => Some(report),
        () = stop.cancelled() => None,
    };
    if let Ok(engine) = &engine {
        if report.is_none() {
            selftest::sweep(&**engine, &nonce).await;
        }
        engine.close().await;
    }
    // It may never have been made.
    drop(std::fs::remove_dir_all(own));
    let Some(report) = report else { bail!("stopped before all was tried") };
    match form {
        Form::Table => print!("{}", doctor::table(&report)),
        Form::Json => print!("{}", doctor::json(&report)?),
    }
    match report.failures() {
        0 => Ok(()),
        failures => bail!("{failures} of {} checks failed", report.checks.len()),
    }
}

fn log_to_stderr(json: bool, least: &str) {
    let filter = tracing_subscriber::EnvFilter::try_from_env("DSG_LOG").unwrap_or_else(|_| least.into());
    // Colours are for people who look: in a journal or a file they are noise.
    let subscriber = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(std::io::stderr().is_terminal())
        .with_writer(std::io::stderr);
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
    use std::collections::BTreeSet;

    use clap::CommandFactory;

    use super::*;
    use crate::settings::KEYS;

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

    #[test]
    fn a_flag_comes_before_the_file() {
        let file = settings::parse(
            "cpus = 2\nmemory = \"2GiB\"\ntags = [\"file\"]\nlabels = {room = \"cellar\"}\nlog_json = true\n[reserve]\ndisk = \"1GiB\"\n",
        );
        let file = file.expect("a right file");
        let filled = |words: &[&str]| {
            let mut options = Cli::try_parse_from(words).expect("flags").options;
            options.fill_in(&file);
            options
        };
        let by_file = filled(&["dsg-runner"]);
        let facts = by_file.facts().expect("fine");
        assert_eq!((facts.cpus_milli, facts.memory_bytes, facts.tags), (2000, 2 << 30, vec!["file".to_owned()]));
        assert_eq!((by_file.log_json, by_file.reserve_disk), (true, Some(Bytes(1 << 30))));
        assert_eq!(facts.labels["room"], "cellar");
        let by_flag = filled(&["dsg-runner", "--cpus", "1", "--tags", "flag", "--reserve-disk", "2GiB"]);
        let facts = by_flag.facts().expect("fine");
        assert_eq!((facts.cpus_milli, facts.memory_bytes, facts.tags), (1000, 2 << 30, vec!["flag".to_owned()]));
        assert_eq!(by_flag.reserve_disk, Some(Bytes(2 << 30)));
    }

    #[test]
    fn the_reserve_is_not_offered() {
        let offered = |words: &[&str]| Cli::try_parse_from(words).expect("flags").options.facts().expect("fine");
        let (all, rest) =
            (probe::host(), offered(&["dsg-runner", "--reserve-cpus", "0.5", "--reserve-memory", "1GiB"]));
        assert_eq!((all.cpus_milli - rest.cpus_milli, all.memory_bytes - rest.memory_bytes), (500, 1 << 30));
    }

    #[test]
    fn the_documented_flags_and_variables_are_those_there_are() {
        let command = Cli::command();
        let text = |word: &std::ffi::OsStr| word.to_string_lossy().into_owned();
        let taken: BTreeSet<(String, String)> = command
            .get_arguments()
            .filter_map(|argument| Some((argument.get_long()?.to_owned(), argument.get_env().map(text)?)))
            .collect();
        let without: Vec<&str> = command
            .get_arguments()
            .filter(|argument| argument.get_env().is_none())
            .filter_map(|argument| argument.get_long())
            .collect();
        assert_eq!(without, [""; 0], "each has a variable");
        let documented: BTreeSet<(String, String)> = KEYS
            .iter()
            .filter(|key| !key.flag.is_empty())
            .map(|key| (key.flag.to_owned(), key.variable.to_owned()))
            .collect();
        assert_eq!(taken, documented);
    }
}
