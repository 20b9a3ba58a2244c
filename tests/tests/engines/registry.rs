//! Images from a real registry on loopback: what it has, what it has newer, what it has not, and what happens when it is down.
use std::fs::{File, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result, ensure};
use dsg_schemas::api::{Act, ChunkState, JobState};
use dsg_schemas::reason::EndReason;
use dsg_tests::client::Client;
use dsg_tests::lab::Lab;

use super::stdout;

/// `ada:lab-only` and `ada:guess` as clients keep them, and the first one's password as a registry does.
const LOGIN: &str = "YWRhOmxhYi1vbmx5";
const WRONG: &str = "YWRhOmd1ZXNz";
const HASH: &str = "$2y$05$abcdefghijklmnopqrstuuRXGGEelSA1ue7vuQcHHDcpjSWLLc1xS";

pub async fn docker_pulls(socket: &str) -> Result<()> {
    let mut lab = Lab::start().await?;
    let Some(registry) = Registry::start(&lab).await? else { return Ok(()) };
    lab.add_runner("ada", &["--engine", socket, "--cpus", "2", "--memory", "1GiB"]).await?;
    // Docker takes plain HTTP from loopback by itself.
    let tools = Tools { engine: format!("docker -H {socket}"), push: "push", image: registry.image("shell") };
    images_are_pulled_as_asked(&lab.client, registry, &tools).await?;
    docker_logs_in(socket).await.context("a registry that wants a login")
}

async fn docker_logs_in(socket: &str) -> Result<()> {
    let mut lab = Lab::start().await?;
    let Some(registry) = Registry::start_closed(&lab).await? else { return Ok(()) };
    let login = lab.path("login");
    std::fs::create_dir(&login)?;
    write_login(&login.join("config.json"), &registry.address)?;
    let engine = format!("docker --config {} -H {socket}", login.display());
    let tools = Tools { engine, push: "push", image: registry.image("shell") };
    credentials_open_a_registry(&mut lab, registry, &tools, socket).await
}

pub async fn podman_pulls() -> Result<()> {
    let mut lab = Lab::start().await?;
    let Some(registry) = Registry::start(&lab).await? else { return Ok(()) };
    let engine = std::env::var("DSG_TEST_PODMAN_COMMAND").context("DSG_TEST_PODMAN_COMMAND is not set")?;
    // Podman wants TLS, on loopback as well, unless its configuration says otherwise: that of a service of our own, on the same storage.
    let (marked, socket) = (lab.path("registries.conf"), lab.path("podman.sock"));
    std::fs::write(&marked, format!("[[registry]]\nlocation = \"{}\"\ninsecure = true\n", registry.address))?;
    let address = format!("unix://{}", socket.display());
    let mut service = command(&engine, &["system", "service", "-t", "0", &address])?;
    service.env("CONTAINERS_REGISTRIES_CONF", &marked).stdin(Stdio::null());
    let said = File::create(lab.path("podman.log"))?;
    let service = service.stdout(said.try_clone()?).stderr(said).spawn().context("starting podman's service")?;
    let _service = Ending(service);
    let up = lab.client.eventually("podman's service answers", |_| {
        let socket = socket.clone();
        async move { Ok(UnixStream::connect(socket).is_ok().then_some(())) }
    });
    up.await?;
    lab.add_runner("ada", &["--engine", &address, "--cpus", "2", "--memory", "1GiB"]).await?;
    let tools = Tools { engine, push: "push --tls-verify=false", image: registry.image("shell") };
    images_are_pulled_as_asked(&lab.client, registry, &tools).await
}

fn write_login(file: &Path, address: &str) -> Result<()> {
    let text = format!("{{\"auths\": {{\"{address}\": {{\"auth\": \"{LOGIN}\"}}}}}}");
    std::fs::write(file, text)?;
    Ok(std::fs::set_permissions(file, Permissions::from_mode(0o600))?)
}

/// The runner has them in a file of its own; without it, it says which one it looked at.
async fn credentials_open_a_registry(lab: &mut Lab, registry: Registry, tools: &Tools, engine: &str) -> Result<()> {
    let (auth, settings) = (lab.path("auth.json"), lab.path("runner.toml"));
    write_login(&auth, &registry.address)?;
    let text = format!("[registry.\"{}\"]\ncredentials_file = \"{}\"\n", registry.address, auth.display());
    std::fs::write(&settings, text)?;
    std::fs::set_permissions(&settings, Permissions::from_mode(0o600))?;
    let settings = settings.display().to_string();
    let more = ["--engine", engine, "--config", &settings, "--cpus", "2", "--memory", "1GiB"];
    lab.add_runner("ada", &more).await?;
    let image = format!("{}:1", tools.image);
    tools.publish("closed")?;
    tools.run(&["rmi", &image])?;
    ensure!(says(&lab.client, &image, "missing").await? == "closed\n", "it is let in");
    std::fs::write(&auth, format!("{{\"auths\": {{\"{}\": {{\"auth\": \"{WRONG}\"}}}}}}", registry.address))?;
    let job = lab.client.submit(&job(&image, "always")).await?;
    lab.client.ended(job).await?;
    let chunk = lab.client.chunk_at(job, 0).await?;
    let message = &chunk.chunk.message;
    ensure!(chunk.chunk.reason == Some(EndReason::ImageNotFound), "{chunk:?}");
    ensure!(message.contains(&auth.display().to_string()) && !message.contains("guess"), "{message}");
    ensure!(!lab.log("ada.log").contains("lab-only"), "a password is in the log");
    Ok(())
}

async fn images_are_pulled_as_asked(client: &Client, registry: Registry, tools: &Tools) -> Result<()> {
    let (image, kept) = (format!("{}:1", tools.image), format!("{}:kept", tools.image));
    tools.publish("first")?;
    tools.run(&["rmi", &image])?;
    ensure!(tools.run(&["inspect", &image]).is_err(), "{image} is still there, so that a pull would prove nothing");
    ensure!(says(client, &image, "missing").await? == "first\n", "it is pulled where it is not");

    tools.run(&["tag", &image, &kept])?;
    tools.publish("second")?;
    tools.run(&["tag", &kept, &image])?;
    ensure!(says(client, &image, "missing").await? == "first\n", "what is there is used");
    ensure!(says(client, &image, "always").await? == "second\n", "the newer one is pulled");

    let (no_tag, no_repository) = (format!("{}:2", tools.image), registry.image("nothing:1"));
    is_not_found(client, &no_tag).await.context("a tag that the registry does not have")?;
    is_not_found(client, &no_repository).await.context("a repository that the registry does not have")?;

    drop(registry);
    is_tried_again(client, &no_tag).await.context("a registry that is down")
}

fn job(image: &str, policy: &str) -> String {
    format!(
        "name: pulls\nimage: '{image}'\npull_policy: {policy}\nresources: {{cpus: 0.25, memory: 32MiB}}\n\
         chunks: {{count: 1}}\ncommand: [sh, -c, 'echo $EDITION']\n"
    )
}

async fn says(client: &Client, image: &str, policy: &str) -> Result<String> {
    let job = client.submit(&job(image, policy)).await?;
    let detail = client.ended(job).await?;
    let chunk = client.chunk_at(job, 0).await?;
    ensure!(detail.job.state == JobState::Succeeded, "{policy}: {chunk:?}");
    Ok(String::from_utf8(stdout(client, &chunk).await?)?)
}

async fn is_not_found(client: &Client, image: &str) -> Result<()> {
    let job = client.submit(&job(image, "missing")).await?;
    client.ended(job).await?;
    let chunk = client.chunk_at(job, 0).await?;
    ensure!(chunk.chunk.reason == Some(EndReason::ImageNotFound) && chunk.history.len() == 1, "{chunk:?}");
    ensure!(chunk.chunk.message.contains(image), "{chunk:?}");
    Ok(())
}

/// It may be up again soon: the attempt is the grid's loss, and the chunk lives on.
async fn is_tried_again(client: &Client, image: &str) -> Result<()> {
    let job = client.submit(&job(image, "missing")).await?;
    let tried = client.eventually("the first attempt has ended", |client| async move {
        let chunk = client.chunk_at(job, 0).await?;
        Ok(chunk.history.first().is_some_and(|attempt| attempt.reason.is_some()).then_some(chunk))
    });
    let chunk = tried.await?;
    let attempt = &chunk.history[0];
    ensure!(attempt.reason == Some(EndReason::PullFailed) && attempt.message.contains(image), "{chunk:?}");
    ensure!(matches!(chunk.chunk.state, ChunkState::Waiting | ChunkState::Leased), "{chunk:?}");
    client.act(Act::Cancel { job }).await?;
    let detail = client.ended(job).await?;
    ensure!(detail.job.state == JobState::Cancelled, "{detail:?}");
    Ok(())
}

/// Ends with the test.
struct Ending(Child);

impl Drop for Ending {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

struct Registry {
    address: String,
    _process: Ending,
}

impl Registry {
    /// `None`: left out, said loudly.
    async fn start(lab: &Lab) -> Result<Option<Registry>> {
        Registry::start_with(lab, "").await
    }

    /// One that lets in nobody but ada.
    async fn start_closed(lab: &Lab) -> Result<Option<Registry>> {
        let users = lab.path("htpasswd");
        std::fs::write(&users, format!("ada:{HASH}\n"))?;
        let more = format!("auth: {{htpasswd: {{realm: lab, path: '{}'}}}}\n", users.display());
        Registry::start_with(lab, &more).await
    }

    async fn start_with(lab: &Lab, more: &str) -> Result<Option<Registry>> {
        if let Ok(why) = std::env::var("DSG_SKIP_REGISTRY") {
            eprintln!("SKIPPED: nothing was pulled from a registry: {why}");
            return Ok(None);
        }
        let (config, data, log) = (lab.path("registry.yml"), lab.path("registry"), lab.path("registry.log"));
        let storage = format!("storage: {{filesystem: {{rootdirectory: '{}'}}}}", data.display());
        std::fs::write(&config, format!("version: 0.1\nhttp: {{addr: '127.0.0.1:0'}}\n{storage}\n{more}"))?;
        let mut command = Command::new("docker-registry");
        command.arg("serve").arg(&config).stdin(Stdio::null()).stdout(Stdio::null()).stderr(File::create(&log)?);
        let process =
            command.spawn().context("starting docker-registry; tests/lab/install docker-registry brings it")?;
        let process = Ending(process);
        let address = lab.client.eventually("the registry says where it listens", |_| {
            let said = lab.log("registry.log");
            async move { listens_at(&said).with_context(|| format!("it says: {said}")).map(Some) }
        });
        Ok(Some(Registry { address: address.await?, _process: process }))
    }

    fn image(&self, name: &str) -> String {
        format!("{}/{name}", self.address)
    }
}

fn listens_at(said: &str) -> Option<String> {
    Some(said.split_once("listening on ")?.1.split_once('"')?.0.to_owned())
}

/// The engine's own program, beside the runner.
struct Tools {
    engine: String,
    push: &'static str,
    /// Without a tag.
    image: String,
}

impl Tools {
    fn run(&self, arguments: &[&str]) -> Result<String> {
        let done = command(&self.engine, arguments)?.stdin(Stdio::null()).output()?;
        let why = String::from_utf8_lossy(&done.stderr);
        ensure!(done.status.success(), "{} {arguments:?}: {}: {why}", self.engine, done.status);
        Ok(String::from_utf8(done.stdout)?.trim().to_owned())
    }

    /// An image that knows which edition it is, as tag 1 here and in the registry.
    fn publish(&self, edition: &str) -> Result<()> {
        let (image, change) = (format!("{}:1", self.image), format!("ENV EDITION={edition}"));
        let container = self.run(&["create", "--network", "none", "dsg-shell:1", "true"])?;
        self.run(&["commit", "--change", &change, &container, &image])?;
        self.run(&["rm", &container])?;
        let push: Vec<&str> = self.push.split(' ').chain([image.as_str()]).collect();
        self.run(&push).map(drop)
    }
}

/// The engines of the tests are used again, so nothing is left in them.
impl Drop for Tools {
    fn drop(&mut self) {
        for tag in ["1", "kept"] {
            let _ = self.run(&["rmi", "--force", &format!("{}:{tag}", self.image)]);
        }
    }
}

fn command(engine: &str, arguments: &[&str]) -> Result<Command> {
    let mut words = engine.split(' ');
    let mut command = Command::new(words.next().context("no engine")?);
    command.args(words).args(arguments);
    Ok(command)
}
