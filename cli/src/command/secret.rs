//! Secrets that the server keeps for jobs. Their values are read from stdin or a file, never from the command line, and never shown.
use std::io::{IsTerminal, Read};
use std::path::PathBuf;

use clap::{Args, Subcommand};
use dsg_schemas::api::{Acted, SecretView};
use dsg_schemas::limits::SECRET_BYTES_MOST;
use reqwest::Method;
use serde_json::Value;

use super::{Context, Shown};
use crate::client::{Patience, accepted, encode, understand};
use crate::exit::{Exit, Failure};
use crate::output::{Format, Output};
use crate::table::{print, text};
use crate::{ask, clean, when};

#[derive(Debug, Args)]
pub struct Arguments {
    #[command(subcommand)]
    command: SecretCommand,
}

#[derive(Debug, Subcommand)]
enum SecretCommand {
    /// Keep a value under a name, or another one than before; read from stdin
    Set(Set),
    /// List names; values are never shown
    Ls(List),
    /// Remove secrets; what needs one waits
    Rm(Remove),
}

#[derive(Debug, Args)]
struct Set {
    /// As job files name it: secrets: [{name: NAME}]
    name: String,
    /// Read the value from this file
    #[arg(long, value_name = "FILE")]
    from_file: Option<PathBuf>,
}

#[derive(Debug, Args)]
struct List {
    #[command(flatten)]
    shown: Shown,
}

#[derive(Debug, Args)]
struct Remove {
    /// Names as `dsg secret ls` shows them
    #[arg(required = true)]
    names: Vec<String>,
}

impl Arguments {
    pub(super) fn format(&self) -> Format {
        match &self.command {
            SecretCommand::Ls(arguments) => arguments.shown.format,
            SecretCommand::Set(_) | SecretCommand::Rm(_) => Format::Table,
        }
    }
}

pub async fn run(arguments: Arguments, context: &Context) -> Result<Exit, Failure> {
    match arguments.command {
        SecretCommand::Set(arguments) => set(arguments, context).await,
        SecretCommand::Ls(_) => list(context).await,
        SecretCommand::Rm(arguments) => remove(arguments, context).await,
    }
}

async fn set(arguments: Set, context: &Context) -> Result<Exit, Failure> {
    let Set { name, from_file } = arguments;
    let client = context.client().await?;
    let value = value(&context.output, &name, from_file)?;
    if value.ends_with(b"\n") && value.iter().filter(|byte| **byte == b'\n').count() == 1 {
        context.output.say("the value ends with a newline, which is part of it; printf '%s' writes none");
    }
    let (attempted, path) = (format!("set secret {name}"), format!("/api/v1/secrets/{}", encode(&name)));
    let build = || {
        let call = client.request(Method::PUT, &path).header("content-type", "application/octet-stream");
        call.body(value.clone())
    };
    let (status, body) = client.exchange(&attempted, Patience::Brief, build).await?;
    said(context, &attempted, accepted(&attempted, status, &body)?)
}

/// Byte for byte what comes; only what is typed has no end of its line.
fn value(output: &Output, name: &str, from_file: Option<PathBuf>) -> Result<Vec<u8>, Failure> {
    let read = |what: &str, from: &mut dyn Read| {
        let mut value = Vec::new();
        // One byte more than there may be, so that the server says it.
        let bound = SECRET_BYTES_MOST as u64 + 1;
        let done = from.take(bound).read_to_end(&mut value);
        done.map(|_| value).map_err(|error| Failure::other(format!("cannot read {what}: {error}")))
    };
    match from_file {
        Some(path) => {
            let shown = path.display().to_string();
            let mut file =
                std::fs::File::open(&path).map_err(|error| Failure::other(format!("cannot read {shown}: {error}")))?;
            read(&shown, &mut file)
        }
        None if std::io::stdin().is_terminal() => {
            let typed = ask::secret(output, &format!("Value of {name} (it is not shown):"))?;
            Ok(typed.trim_end_matches(['\r', '\n']).as_bytes().to_vec())
        }
        None => read("stdin", &mut std::io::stdin().lock()),
    }
}

async fn list(context: &Context) -> Result<Exit, Failure> {
    let attempted = "list the secrets";
    let rows: Vec<Value> = context.client().await?.get_as(attempted, "/api/v1/secrets").await?;
    context.output.rows(&rows, |output| {
        let views: Result<Vec<SecretView>, Failure> =
            rows.iter().map(|row| understand(attempted, row.clone())).collect();
        let row = |view: &SecretView| {
            let state = view.locked.clone().unwrap_or_else(|| "can be used".to_owned());
            vec![text(&view.name), text(&view.set_by), text(when::ago(when::now_ms(), Some(view.set_ms))), text(state)]
        };
        print(output, &["name", "set by", "set", "state"], views?.iter().map(row).collect())
    })?;
    Ok(Exit::Done)
}

async fn remove(arguments: Remove, context: &Context) -> Result<Exit, Failure> {
    let client = context.client().await?;
    for name in arguments.names {
        let (attempted, path) = (format!("remove secret {name}"), format!("/api/v1/secrets/{}", encode(&name)));
        let build = || client.request(Method::DELETE, &path);
        let (status, body) = client.exchange(&attempted, Patience::Brief, build).await?;
        said(context, &attempted, accepted(&attempted, status, &body)?)?;
    }
    Ok(Exit::Done)
}

fn said(context: &Context, attempted: &str, answer: Value) -> Result<Exit, Failure> {
    let acted: Acted = understand(attempted, answer)?;
    context.output.say(&clean::text(&acted.message));
    Ok(Exit::Done)
}
