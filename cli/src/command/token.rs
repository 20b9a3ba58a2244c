//! Makes, lists and revokes tokens for people and runners.
use clap::{Args, Subcommand, ValueEnum};
use dsg_schemas::api::{CreateToken, CreatedToken, TokenKind, TokenView};
use serde_json::Value;

use super::{Context, Shown};
use crate::client::{Patience, encode, understand};
use crate::exit::{Exit, Failure};
use crate::output::Output;
use crate::table::{number, print, text};
use crate::{clean, when};

#[derive(Debug, Args)]
pub struct Arguments {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Make a token with which runners join
    Join(Join),
    /// Make a token for a person or a program
    Create(Create),
    /// List tokens; secrets are never shown again
    List(List),
    /// Make tokens worthless
    Revoke(Revoke),
}

#[derive(Debug, Args)]
struct Join {
    /// How many runners may join with it
    #[arg(long, default_value_t = 1)]
    uses: u32,
    /// How long it is good for
    #[arg(long, default_value_t = 1)]
    hours: u64,
    /// What it is for
    #[arg(long, default_value = "join")]
    name: String,
    #[command(flatten)]
    shown: Shown,
}

#[derive(Debug, Args)]
struct Create {
    /// Whom it stands for: the owner of the jobs that it submits
    name: String,
    #[arg(long, value_enum, default_value_t = Person::Submitter)]
    role: Person,
    /// How long it is good for; without it, until it is revoked
    #[arg(long)]
    hours: Option<u64>,
    #[command(flatten)]
    shown: Shown,
}

/// What a person may do; each may do what the ones before it may.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum Person {
    /// Look at everything
    Viewer,
    /// Submit, and act on one's own jobs
    Submitter,
    /// Act on all jobs and runners
    Operator,
    /// Make and revoke tokens
    Admin,
}

#[derive(Debug, Args)]
struct List {
    #[command(flatten)]
    shown: Shown,
}

#[derive(Debug, Args)]
struct Revoke {
    /// Ids of tokens, from `dsg token list`
    #[arg(required = true)]
    ids: Vec<String>,
    #[command(flatten)]
    shown: Shown,
}

impl Arguments {
    pub(super) fn shown(&self) -> Shown {
        match &self.what {
            What::Join(arguments) => arguments.shown,
            What::Create(arguments) => arguments.shown,
            What::List(arguments) => arguments.shown,
            What::Revoke(arguments) => arguments.shown,
        }
    }
}

pub async fn run(arguments: Arguments, context: &Context) -> Result<Exit, Failure> {
    match arguments.what {
        What::Join(Join { uses, hours, name, shown: _ }) => {
            create(context, &CreateToken { kind: TokenKind::Join, name, hours: Some(hours), uses: Some(uses) }).await
        }
        What::Create(Create { name, role, hours, shown: _ }) => {
            let kind = match role {
                Person::Viewer => TokenKind::Viewer,
                Person::Submitter => TokenKind::Submitter,
                Person::Operator => TokenKind::Operator,
                Person::Admin => TokenKind::Admin,
            };
            create(context, &CreateToken { kind, name, hours, uses: None }).await
        }
        What::List(_) => list(context).await,
        What::Revoke(Revoke { ids, shown: _ }) => revoke(context, &ids).await,
    }
}

async fn create(context: &Context, wish: &CreateToken) -> Result<Exit, Failure> {
    let attempted = "make a token";
    // Sent once: a second one would be a token that nobody knows of.
    let value = context.client().await?.post(attempted, "/api/v1/tokens", wish, Patience::None).await?;
    let made: CreatedToken = understand(attempted, value.clone())?;
    context.output.value(&value, |output| {
        output.line(&clean::name(&made.secret))?;
        output.say(&format!("this is shown once; it is used with\n  {}", clean::name(&made.command)));
        Ok(())
    })?;
    Ok(Exit::Done)
}

async fn list(context: &Context) -> Result<Exit, Failure> {
    let (rows, _) = context.client().await?.rows("list the tokens", "/api/v1/tokens", usize::MAX).await?;
    context.output.rows(&rows, |output| table(output, &rows, when::now_ms()))?;
    Ok(Exit::Done)
}

fn table(output: &Output, rows: &[Value], now_ms: u64) -> Result<(), Failure> {
    let tokens: Result<Vec<TokenView>, Failure> =
        rows.iter().map(|row| understand("list the tokens", row.clone())).collect();
    let row = |token: &TokenView| {
        let expires = token.expires_ms.map_or_else(
            || "never".to_owned(),
            |then| if then <= now_ms { "expired".to_owned() } else { format!("in {}", when::duration(then - now_ms)) },
        );
        vec![
            text(&token.id),
            text(kind_word(token.kind)),
            text(&token.name),
            number(token.uses_left.map_or_else(|| "-".to_owned(), |uses| uses.to_string())),
            text(expires),
            text(when::ago(now_ms, token.last_used_ms)),
            text(when::ago(now_ms, Some(token.created_ms))),
        ]
    };
    let heading = ["id", "kind", "name", "uses left", "expires", "used", "made"];
    print(output, &heading, tokens?.iter().map(row).collect())
}

async fn revoke(context: &Context, ids: &[String]) -> Result<Exit, Failure> {
    let client = context.client().await?;
    for id in ids {
        client.delete(&format!("revoke token {id}"), &format!("/api/v1/tokens/{}", encode(id))).await?;
        context.output.say(&format!("token {} is revoked", clean::name(id)));
    }
    Ok(Exit::Done)
}

fn kind_word(kind: TokenKind) -> &'static str {
    match kind {
        TokenKind::Viewer => "viewer",
        TokenKind::Submitter => "submitter",
        TokenKind::Operator => "operator",
        TokenKind::Admin => "admin",
        TokenKind::Join => "join",
    }
}
