//! Finding and opening the engine, and learning once what it is and can do.
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::atomic::{AtomicBool, AtomicUsize};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bollard::{API_DEFAULT_VERSION, Docker};
use dsg_schemas::reason::EndReason;
use dsg_schemas::wire::EngineFacts;
use serde_json::Value;
use tokio::net::UnixStream;
use tokio::process::{Child, Command};

use super::failure::{Trouble, chain};
use super::find::{Place, places};
use super::gpu::gpu_ways;
use super::hardening::Ceilings;
use super::plain::Plain;
use super::platform::Platform;
use super::{DockerEngine, Kind, Registries};
use crate::container::Failure;
use crate::container::watch::Watches;

/// A call that is not answered by then will not be: a busy engine with a hundred containers answers in seconds.
const SHORT: Duration = Duration::from_secs(60);
/// For streams and waits. Each of them has its own end; this only keeps the client from making one up.
const LONG_SECONDS: u64 = 30 * 86_400;
/// How long a service that we start ourselves may take to listen.
const SERVICE_START: Duration = Duration::from_secs(20);

#[derive(Clone, Debug, Default)]
pub struct ConnectOptions {
    /// `unix:///path`; `None`: look for one.
    pub engine: Option<String>,
    /// The runner's own folder, for the socket of a Podman service that it starts itself.
    pub state: PathBuf,
    /// Credentials for pulls.
    pub registries: Registries,
}

/// Opens the first engine that answers.
pub async fn connect(options: &ConnectOptions) -> Result<DockerEngine, Failure> {
    connect_within(options, SHORT).await
}

/// The same, with another deadline for calls that answer soon: for tests that cannot wait a minute for an engine that hangs.
pub async fn connect_within(options: &ConnectOptions, deadline: Duration) -> Result<DockerEngine, Failure> {
    let places = places(options.engine.as_deref(), &|name| std::env::var(name).ok()).map_err(no_engine)?;
    let mut tried = Vec::new();
    for place in &places {
        match open(&place.socket, None, deadline, options).await {
            Ok(engine) => return Ok(engine),
            Err(trouble) => tried.push(told(place, &trouble)),
        }
    }
    let asked = places.len() == 1;
    if !asked && let Some(podman) = program("podman") {
        let socket = options.state.join("podman.sock");
        let socket = std::path::absolute(&socket).unwrap_or(socket);
        // One that a killed runner left behind.
        if let Ok(engine) = open(&socket, None, deadline, options).await {
            return Ok(engine);
        }
        let service = start_service(&podman, &socket).await.map_err(no_engine)?;
        return open(&socket, Some(service), deadline, options)
            .await
            .map_err(|trouble| trouble.failed("open our own Podman service"));
    }
    let next = if asked {
        "start that engine, or let the runner look for one by leaving the address out"
    } else {
        "install and start Docker or Podman, or name its socket with --engine unix:///path"
    };
    Err(no_engine(format!("failed to find a container engine: {}; {next}", tried.join("; "))))
}

fn no_engine(message: String) -> Failure {
    Failure { reason: EndReason::EngineError, message, engine_gone: true }
}

fn told(place: &Place, trouble: &Trouble) -> String {
    let path = place.socket.display().to_string();
    let why = trouble.text().replace(&format!("{path}: "), "");
    let hint = if why.contains("ermission denied") {
        " (may this user use it? add it to the socket's group, or run as root)"
    } else {
        ""
    };
    format!("{path} ({}): {why}{hint}", place.from)
}

async fn open(
    socket: &Path,
    service: Option<Child>,
    deadline: Duration,
    options: &ConnectOptions,
) -> Result<DockerEngine, Trouble> {
    let plain = Plain { socket: socket.to_owned(), deadline };
    let version = plain.get("/version").await?;
    let info = plain.get("/info").await?;
    let address = socket.display().to_string();
    let handle = |seconds| Docker::connect_with_unix(&address, seconds, API_DEFAULT_VERSION).map_err(Trouble::from);
    let short = handle(deadline.as_secs().max(1))?.negotiate_version().await?;
    let long = handle(LONG_SECONDS)?.negotiate_version().await?;
    let (kind, facts) = facts_of(&version, &info);
    supported(kind, &facts)?;
    let data_root = info["DockerRootDir"].as_str().map(PathBuf::from).filter(|path| path.is_absolute());
    Ok(DockerEngine {
        kind,
        platform: Platform::read(&version["Os"], &version["Arch"]),
        gpu_ways: gpu_ways(kind, &facts.version),
        short,
        long,
        plain,
        data_root,
        ceilings: Ceilings::found(engine_process(socket).await.flatten()),
        outlived: info["LiveRestoreEnabled"].as_bool().unwrap_or(false),
        no_init: AtomicBool::new(false),
        gpu_way: AtomicUsize::new(0),
        pulls: Arc::new(Mutex::new(HashMap::new())),
        registries: options.registries.clone(),
        images: Mutex::default(),
        watches: Watches::new(),
        service: tokio::sync::Mutex::new(service),
    })
}

/// Who listens there, where that is a process that we can see. The outer `None`: nobody does.
pub(super) async fn engine_process(socket: &Path) -> Option<Option<i32>> {
    let stream = UnixStream::connect(socket).await.ok()?;
    Some(stream.peer_cred().ok().and_then(|who| who.pid()).filter(|process| *process > 0))
}

impl DockerEngine {
    pub(super) async fn ask_facts(&self) -> Result<EngineFacts, Failure> {
        let ask = async { Ok::<_, Trouble>((self.plain.get("/version").await?, self.plain.get("/info").await?)) };
        let (version, info) = ask.await.map_err(|trouble| trouble.failed("ask the engine who it is"))?;
        Ok(facts_of(&version, &info).1)
    }
}

/// Who it is. Podman tells its own version only among the components; the top-level one follows Docker's numbering in some.
fn facts_of(version: &Value, info: &Value) -> (Kind, EngineFacts) {
    let components = version["Components"].as_array().map(Vec::as_slice).unwrap_or_default();
    let podman = components.iter().find(|one| one["Name"].as_str() == Some("Podman Engine"));
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let security = info["SecurityOptions"].as_array().map(Vec::as_slice).unwrap_or_default();
    let rootless = info["Rootless"].as_bool().unwrap_or(false)
        || security.iter().any(|option| option.as_str().is_some_and(|option| option.contains("name=rootless")));
    let (kind, name, number) = match podman {
        Some(podman) => (Kind::Podman, "podman", text(&podman["Version"])),
        None => (Kind::Docker, "docker", text(&version["Version"])),
    };
    let facts = EngineFacts {
        kind: name.to_owned(),
        version: number,
        api_version: text(&version["ApiVersion"]),
        rootless,
        cgroup_version: info["CgroupVersion"].as_str().and_then(|number| number.parse().ok()),
    };
    (kind, facts)
}

/// Older ones were never tried: a clear refusal beats wrong results.
fn supported(kind: Kind, facts: &EngineFacts) -> Result<(), Trouble> {
    let (have, need, name) = match kind {
        Kind::Docker => (numbers(&facts.api_version), (1, 41), "Docker's API"),
        Kind::Podman => (numbers(&facts.version), (4, 3), "Podman"),
    };
    if have >= need {
        return Ok(());
    }
    let (major, minor) = need;
    Err(Trouble::Strange(format!(
        "{name} is at {}.{}, and DSG needs {major}.{minor} or newer (Docker 20.10, Podman 4.3)",
        have.0, have.1
    )))
}

/// The first two numbers of a version.
pub(super) fn numbers(version: &str) -> (u32, u32) {
    let mut parts = version.split(|c: char| !c.is_ascii_digit()).filter_map(|part| part.parse().ok());
    (parts.next().unwrap_or(0), parts.next().unwrap_or(0))
}

fn program(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|folder| folder.join(name)).find(|file| file.is_file())
}

/// Podman has no daemon of its own; where its socket unit is not enabled, this is what the unit would do.
async fn start_service(podman: &Path, socket: &Path) -> Result<Child, String> {
    let failed = |why: String| {
        format!("failed to start {} system service: {why}; try systemctl enable --now podman.socket", podman.display())
    };
    if let Some(folder) = socket.parent() {
        tokio::fs::create_dir_all(folder).await.map_err(|error| failed(format!("{}: {error}", folder.display())))?;
    }
    let mut service = Command::new(podman);
    // Its container monitors leave files where it was started.
    service.current_dir(socket.parent().unwrap_or(Path::new("/")));
    let mut service = service
        .args(["system", "service", "-t", "0"])
        .arg(format!("unix://{}", socket.display()))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        // Not part of our terminal's group: Ctrl-C stops the runner, which then decides.
        .process_group(0)
        .spawn()
        .map_err(|error| failed(chain(&error)))?;
    let began = tokio::time::Instant::now();
    let plain = Plain { socket: socket.to_owned(), deadline: Duration::from_secs(5) };
    loop {
        if let Ok(Some(status)) = service.try_wait() {
            return Err(failed(format!("it ended with {status}")));
        }
        match plain.get("/version").await {
            Ok(_) => return Ok(service),
            Err(trouble) if began.elapsed() > SERVICE_START => return Err(failed(trouble.text().to_owned())),
            Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn podman_is_known_by_its_component_and_old_engines_are_refused() {
        let version = json!({"Version": "4.3.1", "ApiVersion": "1.41", "Components": [{"Name": "Podman Engine", "Version": "4.3.1"}]});
        let (kind, facts) = facts_of(&version, &json!({"Rootless": true, "CgroupVersion": "2"}));
        assert_eq!((kind, facts.rootless, facts.cgroup_version), (Kind::Podman, true, Some(2)));
        assert_eq!(supported(kind, &facts), Ok(()));
        let version = json!({"Version": "20.10.24+dfsg1", "ApiVersion": "1.41", "Components": [{"Name": "Engine"}]});
        let (kind, facts) = facts_of(&version, &json!({"SecurityOptions": ["name=seccomp,profile=default"]}));
        assert_eq!((kind, facts.rootless, supported(kind, &facts)), (Kind::Docker, false, Ok(())));
        let old = EngineFacts { api_version: "1.40".into(), ..facts };
        assert!(supported(Kind::Docker, &old).is_err());
        let old = EngineFacts { version: "3.4.4".into(), ..old };
        assert!(supported(Kind::Podman, &old).is_err());
    }

    #[tokio::test]
    async fn an_engine_that_is_not_there_is_told_with_its_address() {
        let options =
            ConnectOptions { engine: Some("unix:///nowhere/engine.sock".into()), ..ConnectOptions::default() };
        let failure = connect(&options).await.err().expect("nobody listens");
        assert!(failure.engine_gone);
        assert!(failure.message.contains("/nowhere/engine.sock (--engine): "), "{}", failure.message);
    }
}
