//! Prints a link that logs a browser in, once.
use clap::Args;
use dsg_schemas::api::LoginLink;

use super::{Context, Shown};
use crate::client::{Patience, understand};
use crate::exit::{Exit, Failure};
use crate::{clean, when};

#[derive(Debug, Args)]
pub struct Arguments {
    #[command(flatten)]
    pub(super) shown: Shown,
}

pub async fn run(_: Arguments, context: &Context) -> Result<Exit, Failure> {
    let attempted = "make a login link";
    let empty = serde_json::json!({});
    let value = context.client().await?.post(attempted, "/api/v1/login-links", &empty, Patience::None).await?;
    let link: LoginLink = understand(attempted, value.clone())?;
    context.output.value(&value, |output| {
        output.line(&clean::name(&link.url))?;
        let left = when::duration(link.expires_ms.saturating_sub(when::now_ms()));
        output.say(&format!("open it in a browser within {left}; it works once, for whoever has it"));
        Ok(())
    })?;
    Ok(Exit::Done)
}
