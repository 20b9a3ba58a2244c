//! Images from a real registry on loopback: what it has, what it has newer, what it has not, and what happens when it is down.
use std::fs::File;
use std::os::unix::net::UnixStream;
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result, ensure};
use dsg_schemas::api::{Act, ChunkState, JobState};
use dsg_schemas::reason::EndReason;
use dsg_tests::client::Client;
use dsg_tests::lab::Lab;

use super::stdout;

pub async fn docker_pulls(socket: &str) -> Result<()> {
    let mut lab = Lab::start().await?;
    let Some(registry) = Registry::start(&lab).await? else { return Ok(()) };
    lab.add_runner("ada", &["--engine", socket, "--cpus", "2", "--memory", "1GiB"]).await?;
    // Docker takes plain HTTP from loopback by itself.
    let tools = Tools { engine: format!("docker -H {socket}"), push: "push", image: registry.image("shell") };
    images_are_pulled_as_asked(&lab.client, registry, &tools).await
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
        if let Ok(why) = std::env::var("DSG_SKIP_REGISTRY") {
            eprintln!("SKIPPED: nothing was pulled from a registry: {why}");
            return Ok(None);
        }
        let (config, data, log) = (lab.path("registry.yml"), lab.path("registry"), lab.path("registry.log"));
        let storage = format!("storage: {{filesystem: {{rootdirectory: '{}'}}}}", data.display());
        std::fs::write(&config, format!("version: 0.1\nhttp: {{addr: '127.0.0.1:0'}}\n{storage}\n"))?;
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
