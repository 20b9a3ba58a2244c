//! Makes a link that logs a browser in, once: opened where there is a browser to open, printed always.
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};

use clap::Args;
use dsg_schemas::api::LoginLink;

use super::{Context, Shown};
use crate::client::{Patience, understand};
use crate::exit::{Exit, Failure};
use crate::output::{Format, Output};
use crate::{clean, when};

#[derive(Debug, Args)]
pub struct Arguments {
    /// Only print the link; without it, on a terminal with a browser at hand, it is opened as well
    #[arg(long)]
    print: bool,
    #[command(flatten)]
    pub(super) shown: Shown,
}

pub async fn run(arguments: Arguments, context: &Context) -> Result<Exit, Failure> {
    let (output, attempted) = (&context.output, "make a login link");
    let empty = serde_json::json!({});
    let value = context.client().await?.post(attempted, "/api/v1/login-links", &empty, Patience::None).await?;
    let link: LoginLink = understand(attempted, value.clone())?;
    output.value(&value, |output| {
        // It is printed even where a browser opens: whether a window really appears is not for us to see.
        output.line(&clean::name(&link.url))?;
        let left = when::duration(link.expires_ms.saturating_sub(when::now_ms()));
        match opened(output, &context.environment.browsers, &arguments, &link.url) {
            Some((browser, _)) => output.say(&format!(
                "{} opens it; if no window appears, open it yourself within {left}: it works once",
                clean::name(browser)
            )),
            None => output.say(&format!("open it in a browser within {left}; it works once, for whoever has it")),
        }
        Ok(())
    })?;
    Ok(Exit::Done)
}

/// The first browser that could be started, where a person wants one. Those that cannot are no failure: the link is printed.
fn opened<'a>(
    output: &Output,
    browsers: &'a [String],
    arguments: &Arguments,
    url: &str,
) -> Option<(&'a String, Child)> {
    if arguments.print || output.format != Format::Table || !output.stdout_is_terminal {
        return None;
    }
    browsers.iter().find_map(|browser| {
        // Of a group of its own: Ctrl-C at our terminal is not meant for it.
        let mut command = Command::new(browser);
        command.arg(url).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).process_group(0);
        Some((browser, command.spawn().ok()?))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::tests::kept;

    fn arguments(print: bool) -> Arguments {
        Arguments { print, shown: Shown::default() }
    }

    #[test]
    fn the_first_browser_that_starts_gets_the_link() {
        let folder = tempfile::tempdir().expect("a folder");
        // `touch` shows by what it leaves that it was given the link.
        let (link, browsers) = (folder.path().join("link"), ["/no/such/browser".to_owned(), "touch".to_owned()]);
        let (mut output, _, _) = kept(Format::Table);
        output.stdout_is_terminal = true;
        let link_text = link.to_str().expect("UTF-8");
        let (browser, mut child) = opened(&output, &browsers, &arguments(false), link_text).expect("a browser");
        assert_eq!(browser, "touch");
        assert!(child.wait().expect("it ends").success() && link.exists());
        assert!(opened(&output, &browsers[..1], &arguments(false), link_text).is_none(), "there is no browser");
        assert!(opened(&output, &browsers, &arguments(true), link_text).is_none(), "--print");
    }

    #[test]
    fn nothing_opens_where_a_program_reads_the_link() {
        let browsers = ["true".to_owned()];
        let (output, _, _) = kept(Format::Table);
        assert!(opened(&output, &browsers, &arguments(false), "x").is_none(), "a pipe");
        let (mut output, _, _) = kept(Format::Json);
        output.stdout_is_terminal = true;
        assert!(opened(&output, &browsers, &arguments(false), "x").is_none(), "-o json");
    }
}
