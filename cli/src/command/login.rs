//! Keeps the address of a server and a token for it, once both were found good.
use std::fs;
use std::path::PathBuf;

use clap::Args;
use dsg_schemas::api::{CreateToken, CreatedToken, Role, TokenKind, Whoami};
use reqwest::Url;

use super::Context;
use crate::client::{self, Client};
use crate::config::{self, Config};
use crate::exit::{Exit, Failure};
use crate::output::Output;
use crate::trust::{self, Fingerprint, Secret};
use crate::{ask, browser, clean};

#[derive(Debug, Args)]
pub struct Arguments {
    /// The server, as in https://lab:8420, or a login link that it printed
    url: String,
    /// The token; better typed when asked for, or given on stdin: others may see a command line
    #[arg(long, value_name = "TOKEN")]
    token: Option<String>,
    /// The sha256 of the server's own authority, as the server prints it at its start
    #[arg(long, value_name = "HEX", conflicts_with = "ca")]
    fingerprint: Option<String>,
    /// The authority of the server's certificate, as a PEM file
    #[arg(long, value_name = "FILE")]
    ca: Option<PathBuf>,
}

pub async fn run(arguments: Arguments, context: &Context) -> Result<Exit, Failure> {
    let output = &context.output;
    let path = context.environment.config_path()?;
    let typed = client::parse_url(&arguments.url)?;
    let link = browser::is_login_link(&typed).then(|| typed.clone());
    let base = if link.is_some() { origin(&typed) } else { typed };
    if base.scheme() == "http" && !client::is_loopback(&base) {
        output.say("warning: plain http; everybody between here and there can read the token and take your place");
    }
    let given = match (&arguments.token, &link) {
        (Some(text), _) => Some(token_of(text)?),
        (None, Some(_)) => None,
        (None, None) => Some(token_of(&ask::secret(output, &format!("Token for {base} (it is not shown):"))?)?),
    };
    let promised = match &arguments.fingerprint {
        Some(text) => {
            Some(Fingerprint::parse(text).ok_or_else(|| Failure::usage("a fingerprint is 64 hexadecimal digits"))?)
        }
        None => given.as_ref().and_then(Secret::fingerprint),
    };
    let ca_pem = authority(output, &base, arguments.ca.as_deref(), promised).await?;
    let url = base.as_str().trim_end_matches('/').to_owned();
    let token = match (given, link) {
        (Some(token), _) => token.without_fingerprint(),
        (None, Some(link)) => token_by_link(&link, ca_pem.as_deref()).await?,
        (None, None) => return Err(Failure::usage("a token is needed")),
    };
    let login = Config { url, token, ca_pem };
    let who: Whoami = Client::new(&login).await?.get_as("log in", "/api/v1/whoami").await?;
    config::write(&path, &login)?;
    let (name, role) = (clean::name(&who.name), role_word(who.role));
    output.say(&format!("logged in to {} as {name} ({role}); kept in {}", login.url, path.display()));
    Ok(Exit::Done)
}

fn token_of(text: &str) -> Result<Secret, Failure> {
    let token = Secret::parse(text).ok_or_else(|| Failure::usage("that is no token; tokens begin with dsg_u_"))?;
    match token.bearer().get(..6) {
        Some("dsg_j_") => {
            Err(Failure::usage("this token lets a runner join (`dsg-runner join`), it is not for people"))
        }
        _ => Ok(token),
    }
}

fn origin(url: &Url) -> Url {
    let mut base = url.clone();
    base.set_query(None);
    base.set_fragment(None);
    let above = base.path().trim_end_matches('/').trim_end_matches("login").to_owned();
    base.set_path(&above);
    base
}

/// The authority to believe from now on; none where the system knows the server's certificate.
async fn authority(
    output: &Output,
    base: &Url,
    file: Option<&std::path::Path>,
    promised: Option<Fingerprint>,
) -> Result<Option<String>, Failure> {
    if base.scheme() != "https" {
        return Ok(None);
    }
    if let Some(path) = file {
        let text = fs::read_to_string(path).map_err(|error| Failure::file("read", path, &error))?;
        let der = trust::der(&text)
            .ok_or_else(|| Failure::usage(format!("{} holds no certificate in PEM form", path.display())))?;
        return Ok(Some(trust::pem(&der)));
    }
    if let Some(promised) = promised {
        return trust::matching(&client::presented_authority(base).await?, &promised).map(Some);
    }
    match client::is_known_to_system(base).await {
        Ok(()) => return Ok(None),
        Err(failure) if client::is_trust(&failure.message) => {}
        Err(failure) => return Err(failure),
    }
    let presented = client::presented_authority(base).await?;
    let seen = client::fingerprint_of(&presented)
        .ok_or_else(|| Failure::other("the server presented something that is no certificate"))?;
    if !ask::someone_is_there(output) {
        return Err(Failure::new(
            Exit::Auth,
            format!("the certificate of {base} is not known here; its authority is {seen}"),
        )
        .hint("compare that with what the server printed at its start, then add --fingerprint"));
    }
    output.say(&format!("{base} uses an authority of its own, with the fingerprint\n  {seen}\nCompare it with what the server printed at its start."));
    ask::confirm(output, "trust it from now on", false)?;
    trust::matching(&presented, &seen).map(Some)
}

/// A link logs in once; for the next time we need a token of our own, with the same rights.
async fn token_by_link(link: &Url, ca_pem: Option<&str>) -> Result<Secret, Failure> {
    let session = browser::open_session(link, ca_pem).await?;
    let who: Whoami = session.get("log in", "/api/v1/whoami").await?;
    let kind = match who.role {
        Role::Viewer => TokenKind::Viewer,
        Role::Submitter => TokenKind::Submitter,
        Role::Operator => TokenKind::Operator,
        Role::Admin => TokenKind::Admin,
        Role::Runner => return Err(Failure::new(Exit::Auth, "this link logs in a runner")),
    };
    let wish = CreateToken { kind, name: who.name, hours: None, uses: None };
    let made: CreatedToken = session.post("make a token for this machine", "/api/v1/tokens", &wish).await?;
    let secret =
        Secret::parse(&made.secret).ok_or_else(|| Failure::other("the server gave a token that makes no sense"))?;
    Ok(secret.without_fingerprint())
}

pub fn role_word(role: Role) -> &'static str {
    match role {
        Role::Viewer => "viewer",
        Role::Submitter => "submitter",
        Role::Operator => "operator",
        Role::Admin => "admin",
        Role::Runner => "runner",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_login_link_names_its_server() {
        let link = client::parse_url("https://lab:8420/login?code=dsg_l_abc").expect("a link");
        assert!(browser::is_login_link(&link));
        assert_eq!(origin(&link).as_str(), "https://lab:8420/");
        let below = client::parse_url("https://lab/dsg/login?code=x").expect("a link");
        assert_eq!(origin(&below).as_str(), "https://lab/dsg/");
        assert!(!browser::is_login_link(&client::parse_url("https://lab:8420/").expect("a URL")));
    }

    #[test]
    fn a_join_token_is_not_taken_for_a_persons() {
        assert_eq!(token_of("dsg_j_abc").expect_err("refused").exit, Exit::Usage);
        assert_eq!(token_of("hunter2").expect_err("refused").exit, Exit::Usage);
        assert_eq!(token_of("dsg_u_abc\n").expect("a token").bearer(), "dsg_u_abc");
    }
}
