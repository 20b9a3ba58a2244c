//! `dsg-runner`: see [`dsg_runner::cli`].
use std::process::ExitCode;

use clap::Parser;
use dsg_runner::cli::Cli;

fn main() -> ExitCode {
    let cli = Cli::parse();
    // Two threads: one may be busy with a file while the other keeps the lease.
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let result = runtime.map_err(anyhow::Error::from).and_then(|runtime| {
        let result = runtime.block_on(cli.main());
        // What still runs on other threads must not hold up the end.
        runtime.shutdown_background();
        result
    });
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("dsg-runner: {error:#}");
            ExitCode::FAILURE
        }
    }
}
