//! `dsg-server`: reads the command line, serves until it is told to stop.
use std::io::IsTerminal;

use clap::Parser;
use dsg_server::cli::Options;
use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::EnvFilter;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let options = Options::parse();
    if let Some(command) = &options.command {
        return Ok(command.run(&options.data, &mut std::io::stdout().lock())?);
    }
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    // Colours are for people who look: in a journal or a file they are noise.
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(std::io::stderr().is_terminal())
        .with_writer(std::io::stderr);
    if options.log_json {
        log.json().init()
    } else {
        log.init()
    }
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    let mut server = dsg_server::start(options.config()?).await?;
    println!("DSG is at {}", server.url);
    if let Some(authority) = &server.app.authority {
        println!("Its authority's fingerprint is {}", authority.fingerprint);
    }
    if let Some(welcome) = &server.welcome {
        println!("\nLog in (once, within 15 minutes):\n  {}", welcome.login_url);
        println!("\nAdd a machine that runs chunks (up to 10, within 24 hours):\n  {}", welcome.join_command);
        println!("\nThe admin token is in {}", options.data.join("admin.token").display());
    }
    tokio::select! {
        _ = interrupt.recv() => tracing::info!("stopping"),
        _ = terminate.recv() => tracing::info!("stopping"),
        ended = server.ended() => ended?,
    }
    server.stop().await;
    Ok(())
}
