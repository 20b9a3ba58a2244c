//! Images without a registry: brought to the server out of the local engine, listed, removed.
use std::fs::{File, OpenOptions};
use std::os::fd::AsRawFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use clap::{Args, Subcommand};
use dsg_schemas::api::{Act, ImageView};
use dsg_schemas::spec::{may_be_pushed, pushed_name};
use serde_json::Value;

use super::{Context, Shown};
use crate::act;
use crate::client::understand;
use crate::exit::{Exit, Failure};
use crate::local::{Files, Local};
use crate::output::{Format, Output};
use crate::table::{number, print, text};
use crate::{upload, when};

#[derive(Debug, Args)]
pub struct Arguments {
    #[command(subcommand)]
    pub(super) command: ImageCommand,
}

#[derive(Debug, Subcommand)]
pub(super) enum ImageCommand {
    /// Bring an image of the local Docker or Podman to the server; job files then say `image: dsg/NAME`
    Push(Push),
    /// List the images that were brought
    Ls(List),
    /// Remove images that no open job uses
    Rm(Remove),
}

#[derive(Debug, Args)]
pub(super) struct Push {
    /// What it is to be called, as in fit:1
    name: String,
    /// What it is called in the local engine; the same if not given
    #[arg(long, value_name = "IMAGE")]
    from: Option<String>,
    /// The engine's own command, as in "podman" or "docker -H unix:///run/docker.sock" [default: the first that has the image]
    #[arg(long, value_name = "COMMAND")]
    engine: Option<String>,
}

#[derive(Debug, Args)]
pub(super) struct List {
    #[command(flatten)]
    pub(super) shown: Shown,
}

#[derive(Debug, Args)]
pub(super) struct Remove {
    /// Names as `dsg image ls` shows them
    #[arg(required = true)]
    names: Vec<String>,
}

impl Arguments {
    pub(super) fn format(&self) -> Format {
        match &self.command {
            ImageCommand::Ls(arguments) => arguments.shown.format,
            ImageCommand::Push(_) | ImageCommand::Rm(_) => Format::Table,
        }
    }
}

pub async fn run(arguments: Arguments, context: &Context) -> Result<Exit, Failure> {
    match arguments.command {
        ImageCommand::Push(arguments) => push(arguments, context).await,
        ImageCommand::Ls(_) => list(context).await,
        ImageCommand::Rm(arguments) => remove(arguments, context).await,
    }
}

async fn push(arguments: Push, context: &Context) -> Result<Exit, Failure> {
    let Push { name, from, engine } = arguments;
    let wanted = whole(&name)?;
    let from = from.unwrap_or_else(|| name.strip_prefix("dsg/").unwrap_or(&name).to_owned());
    let client = context.client().await?;
    let saving = tokio::task::spawn_blocking(move || saved(&from, engine.as_deref())).await;
    let (file, size) = saving.map_err(|error| Failure::other(format!("cannot save the image: {error}")))??;
    let mut files = Files::beside(Path::new("/"))?;
    files.found.insert(wanted.clone(), Local { file: open_as(&file), size });
    let uploads = upload::hashes(&context.output, &files).await?;
    upload::send(&client, &context.output, &files, &uploads).await?;
    for (name, upload) in uploads {
        let act = Act::PushImage { name: name.clone(), sha256: upload.sha256, size: upload.size };
        act::one(context, &client, &format!("bring image {name}"), &act).await?;
    }
    Ok(Exit::Done)
}

fn whole(name: &str) -> Result<String, Failure> {
    let name = if name.starts_with("dsg/") { name.to_owned() } else { format!("dsg/{name}") };
    pushed_name(&name).filter(|name| may_be_pushed(name)).ok_or_else(|| {
        Failure::new(Exit::Usage, format!("{name:?} cannot be the name of an image"))
            .hint("write small letters, digits and . _ - with a tag behind a colon, as in fit:1")
    })
}

/// In a file that is gone when we are. By its id, so that the archive bears no name that could mean another image on a runner.
fn saved(image: &str, engine: Option<&str>) -> Result<(File, u64), Failure> {
    let (engine, id) = found(image, engine)?;
    let path = std::env::temp_dir().join(format!("dsg-image-{}", std::process::id()));
    let file = OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(&path);
    let file = file.map_err(|error| Failure::file("make", &path, &error))?;
    std::fs::remove_file(&path).map_err(|error| Failure::file("unlink", &path, &error))?;
    let out = file.try_clone().map_err(|error| Failure::file("write", &path, &error))?;
    let said = command(&engine).args(["save", &id]).stdin(Stdio::null()).stdout(out).output();
    let said = said.map_err(|error| Failure::other(format!("cannot run {engine}: {error}")))?;
    if !said.status.success() {
        return Err(Failure::other(format!("{engine} save {id} failed: {}", last_line(&said.stderr))));
    }
    let size = file.metadata().map_err(|error| Failure::file("measure", &path, &error))?.len();
    Ok((file, size))
}

/// The engine's command, and the image's id there.
fn found(image: &str, engine: Option<&str>) -> Result<(String, String), Failure> {
    let mut tried = Vec::new();
    for engine in engine.map_or(vec!["docker", "podman"], |engine| vec![engine]) {
        let said =
            command(engine).args(["image", "inspect", "--format", "{{.Id}}", image]).stdin(Stdio::null()).output();
        match said {
            Ok(said) if said.status.success() => {
                let id = String::from_utf8_lossy(&said.stdout).trim().to_owned();
                return Ok((engine.to_owned(), id));
            }
            Ok(said) => tried.push(format!("{engine}: {}", last_line(&said.stderr))),
            Err(error) => tried.push(format!("{engine}: {error}")),
        }
    }
    let failure = Failure::new(Exit::NotFound, format!("no local engine has the image {image} ({})", tried.join("; ")));
    Err(failure
        .hint("build or pull it first, say what it is called there with --from, or name the engine with --engine"))
}

fn command(engine: &str) -> Command {
    let mut words = engine.split_whitespace();
    let mut command = Command::new(words.next().unwrap_or_default());
    command.args(words);
    command
}

fn last_line(said: &[u8]) -> String {
    String::from_utf8_lossy(said).trim().lines().last().unwrap_or("it says nothing").to_owned()
}

/// The name of a file that has none any more, while it is open.
fn open_as(file: &File) -> PathBuf {
    PathBuf::from(format!("/dev/fd/{}", file.as_raw_fd()))
}

async fn list(context: &Context) -> Result<Exit, Failure> {
    let rows: Vec<Value> = context.client().await?.get_as("list the images", "/api/v1/images").await?;
    context.output.rows(&rows, |output| table(output, &rows))?;
    if rows.is_empty() {
        context.output.say("nobody has brought an image yet; `dsg image push NAME` does");
    }
    Ok(Exit::Done)
}

fn table(output: &Output, rows: &[Value]) -> Result<(), Failure> {
    let images: Result<Vec<ImageView>, Failure> =
        rows.iter().map(|row| understand("list the images", row.clone())).collect();
    let now_ms = when::now_ms();
    let row = |image: &ImageView| {
        vec![
            text(&image.name),
            number(when::size(image.size)),
            text(image.sha256.get(..12).unwrap_or_default()),
            text(&image.pushed_by),
            text(when::ago(now_ms, Some(image.pushed_ms))),
        ]
    };
    print(output, &["image", "size", "sha256", "by", "pushed"], images?.iter().map(row).collect())
}

async fn remove(arguments: Remove, context: &Context) -> Result<Exit, Failure> {
    let client = context.client().await?;
    for name in &arguments.names {
        let name = whole(name)?;
        act::one(context, &client, &format!("remove image {name}"), &Act::RemoveImage { name: name.clone() }).await?;
    }
    Ok(Exit::Done)
}
