//! Shows who we are to which server, and both versions.
use clap::Args;
use dsg_schemas::api::Whoami;

use super::login::role_word;
use super::{Context, Shown};
use crate::client::{Client, understand};
use crate::exit::{Exit, Failure};
use crate::table;

#[derive(Debug, Args)]
pub struct Arguments {
    #[command(flatten)]
    pub(super) shown: Shown,
}

pub async fn run(_: Arguments, context: &Context) -> Result<Exit, Failure> {
    let login = context.environment.login_or_fail()?;
    let attempted = "ask who we are";
    let value = Client::new(&login).await?.get(attempted, "/api/v1/whoami").await?;
    let who: Whoami = understand(attempted, value.clone())?;
    context.output.value(&value, |output| {
        let version = env!("CARGO_PKG_VERSION");
        let pairs = [
            ("name", who.name.clone()),
            ("role", role_word(who.role).to_owned()),
            ("server", login.url.clone()),
            ("grid", who.grid.clone()),
            ("version", format!("{} (this dsg: {version})", who.version)),
        ];
        table::pairs(output, &pairs)
    })?;
    Ok(Exit::Done)
}
