//! `dsg`: what a person types to check, submit, watch and fetch jobs.
use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    let arguments = dsg_cli::Arguments::parse();
    ExitCode::from(dsg_cli::run(arguments).code())
}
