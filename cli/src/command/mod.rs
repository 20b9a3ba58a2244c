//! Every command, one file each (those that are typed alike share one); this one lists them and runs the one that was typed.
use clap::{Args, Parser, Subcommand};

use crate::client::Client;
use crate::config::Environment;
use crate::exit::{Exit, Failure};
use crate::output::{Format, Output};

use control::Verb;

pub mod check;
pub mod chunks;
pub mod completions;
pub mod control;
pub mod delete;
pub mod drain;
pub mod edit;
pub mod explain;
pub mod fetch;
pub mod host;
pub mod image;
pub mod jobs;
pub mod limit;
pub mod login;
pub mod logs;
pub mod open;
pub mod owners;
pub mod queue;
pub mod remove_runner;
pub mod retry;
pub mod runners;
pub mod secret;
pub mod show;
pub mod submit;
pub mod token;
pub mod wait;
pub mod whoami;

const AFTER: &str = "\
Jobs are named by number (42), chunks by job and index (42/7, 42/3,7-12).
Exit status: 0 done, 1 failure, 2 usage, 3 the job did not end well, 4 not logged in or not allowed, 5 not found,
6 server unreachable, 7 job file wrong, 8 conflict, 124 wait timed out, 130 interrupted.";

/// Run container jobs on the lab's own machines.
#[derive(Debug, Parser)]
#[command(name = "dsg", version, after_help = AFTER, max_term_width = 100, arg_required_else_help = true)]
pub struct Arguments {
    #[command(subcommand)]
    pub command: Command,
    /// No colours (NO_COLOR does the same)
    #[arg(long, global = true)]
    pub no_color: bool,
}

/// How data is printed.
#[derive(Clone, Copy, Debug, Default, Args)]
pub struct Shown {
    /// How to print data
    #[arg(short = 'o', long = "output", value_enum, default_value_t, value_name = "FORMAT")]
    pub format: Format,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Keep the address of a server and a token for it
    Login(login::Arguments),
    /// Check a job file, here and on the server
    Check(check::Arguments),
    /// Send a job file with its files, and start the job
    Submit(submit::Arguments),
    /// List jobs
    Jobs(jobs::Arguments),
    /// Show everything about a job or a chunk
    Show(show::Arguments),
    /// List the chunks of a job
    Chunks(chunks::Arguments),
    /// Print or follow the log of a chunk, or follow a whole job
    Logs(logs::Arguments),
    /// Get the results of a job
    Fetch(fetch::Arguments),
    /// Wait until a job has ended
    Wait(wait::Arguments),
    /// Say why a job or a chunk does not run
    Explain(explain::Arguments),
    /// Stop jobs for good
    Cancel(control::Arguments),
    /// Start nothing more of a job; what runs goes on
    Hold(control::Arguments),
    /// Let a held job go on
    Release(control::Arguments),
    /// Replace the job file of a held job; what did not succeed runs by the new one
    Edit(edit::Arguments),
    /// Limit how much of a job, or of an owner, runs at once
    Limit(limit::Arguments),
    /// Run chunks again
    Retry(retry::Arguments),
    /// Remove finished jobs with their logs and results
    Delete(delete::Arguments),
    /// Show what waits, and why
    Queue(queue::Arguments),
    /// Show what owners of jobs use, used and may use
    Owners(owners::Arguments),
    /// Bring images to the server without a registry
    Image(image::Arguments),
    /// Keep secrets on the server for jobs to use, and list their names
    Secret(secret::Arguments),
    /// List runners
    Runners(runners::Arguments),
    /// Let a runner finish what it runs and take nothing new, and wait for it
    Drain(drain::Arguments),
    /// Let a drained runner take work again
    Undrain(host::Arguments),
    /// Freeze what a runner runs, with its time limits; it takes nothing new
    Pause(host::Arguments),
    /// Stop what a runner runs; its chunks wait again at no cost, and it takes nothing new
    Evict(host::Arguments),
    /// Let a paused or evicted runner go on
    Resume(host::Arguments),
    /// Forget a runner that runs nothing, with its credential
    RemoveRunner(remove_runner::Arguments),
    /// Make, list and revoke tokens for people and runners
    Token(token::Arguments),
    /// Log a browser in with a link that works once
    Open(open::Arguments),
    /// Show who we are to which server
    Whoami(whoami::Arguments),
    /// Print the completions for a shell
    Completions(completions::Arguments),
}

impl Command {
    pub(crate) fn format(&self) -> Format {
        match self {
            Command::Login(_) | Command::Completions(_) => Format::Table,
            Command::Check(arguments) => arguments.shown.format,
            Command::Submit(arguments) => arguments.shown.format,
            Command::Jobs(arguments) => arguments.shown.format,
            Command::Show(arguments) => arguments.shown.format,
            Command::Chunks(arguments) => arguments.shown.format,
            Command::Logs(arguments) => arguments.shown.format,
            Command::Fetch(arguments) => arguments.format,
            Command::Wait(arguments) => arguments.shown.format,
            Command::Explain(arguments) => arguments.shown.format,
            Command::Cancel(arguments) => arguments.shown.format,
            Command::Hold(arguments) => arguments.shown.format,
            Command::Release(arguments) => arguments.shown.format,
            Command::Edit(arguments) => arguments.shown.format,
            Command::Limit(arguments) => arguments.shown().format,
            Command::Owners(arguments) => arguments.shown.format,
            Command::Retry(arguments) => arguments.shown.format,
            Command::Delete(arguments) => arguments.shown.format,
            Command::Queue(arguments) => arguments.shown.format,
            Command::Image(arguments) => arguments.format(),
            Command::Secret(arguments) => arguments.format(),
            Command::Runners(arguments) => arguments.shown.format,
            Command::Drain(arguments) => arguments.shown.format,
            Command::Undrain(arguments) => arguments.shown.format,
            Command::Pause(arguments) => arguments.shown.format,
            Command::Evict(arguments) => arguments.shown.format,
            Command::Resume(arguments) => arguments.shown.format,
            Command::RemoveRunner(arguments) => arguments.shown.format,
            Command::Token(arguments) => arguments.shown().format,
            Command::Open(arguments) => arguments.shown.format,
            Command::Whoami(arguments) => arguments.shown.format,
        }
    }
}

/// What every command gets.
pub struct Context {
    pub output: Output,
    pub environment: Environment,
}

impl Context {
    /// The server that we are logged in to.
    pub async fn client(&self) -> Result<Client, Failure> {
        Client::new(&self.environment.login_or_fail()?).await
    }
}

/// Runs the command that was typed, on the terminal that it was typed on.
pub fn run(arguments: Arguments) -> Exit {
    let output = Output::of_process(arguments.command.format(), arguments.no_color);
    let context = Context { output, environment: Environment::of_process() };
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            context.output.failure(&Failure::other(format!("cannot start: {error}")));
            return Exit::Failed;
        }
    };
    let exit = runtime.block_on(async {
        tokio::select! {
            exit = execute(arguments.command, &context) => exit,
            _ = tokio::signal::ctrl_c() => {
                context.output.interrupted();
                Exit::Interrupted
            }
        }
    });
    // A file that is being hashed or a question that waits for its answer must not keep us.
    runtime.shutdown_background();
    exit
}

/// Runs a command in a given context: its failure is said there, its end returned.
pub async fn execute(command: Command, context: &Context) -> Exit {
    match dispatch(command, context).await {
        Ok(exit) => exit,
        Err(failure) => {
            context.output.set_bar(None);
            context.output.failure(&failure);
            failure.exit
        }
    }
}

async fn dispatch(command: Command, context: &Context) -> Result<Exit, Failure> {
    match command {
        Command::Login(arguments) => login::run(arguments, context).await,
        Command::Check(arguments) => check::run(arguments, context).await,
        Command::Submit(arguments) => submit::run(arguments, context).await,
        Command::Jobs(arguments) => jobs::run(arguments, context).await,
        Command::Show(arguments) => show::run(arguments, context).await,
        Command::Chunks(arguments) => chunks::run(arguments, context).await,
        Command::Logs(arguments) => logs::run(arguments, context).await,
        Command::Fetch(arguments) => fetch::run(arguments, context).await,
        Command::Wait(arguments) => wait::run(arguments, context).await,
        Command::Explain(arguments) => explain::run(arguments, context).await,
        Command::Cancel(arguments) => control::run(Verb::Cancel, arguments, context).await,
        Command::Hold(arguments) => control::run(Verb::Hold, arguments, context).await,
        Command::Release(arguments) => control::run(Verb::Release, arguments, context).await,
        Command::Edit(arguments) => edit::run(arguments, context).await,
        Command::Limit(arguments) => limit::run(arguments, context).await,
        Command::Owners(arguments) => owners::run(arguments, context).await,
        Command::Retry(arguments) => retry::run(arguments, context).await,
        Command::Delete(arguments) => delete::run(arguments, context).await,
        Command::Queue(arguments) => queue::run(arguments, context).await,
        Command::Image(arguments) => image::run(arguments, context).await,
        Command::Secret(arguments) => secret::run(arguments, context).await,
        Command::Runners(arguments) => runners::run(arguments, context).await,
        Command::Drain(arguments) => drain::run(arguments, context).await,
        Command::Undrain(arguments) => host::run(host::Verb::Undrain, arguments, context).await,
        Command::Pause(arguments) => host::run(host::Verb::Pause, arguments, context).await,
        Command::Evict(arguments) => host::run(host::Verb::Evict, arguments, context).await,
        Command::Resume(arguments) => host::run(host::Verb::Resume, arguments, context).await,
        Command::RemoveRunner(arguments) => remove_runner::run(arguments, context).await,
        Command::Token(arguments) => token::run(arguments, context).await,
        Command::Open(arguments) => open::run(arguments, context).await,
        Command::Whoami(arguments) => whoami::run(arguments, context).await,
        Command::Completions(arguments) => completions::run(arguments, context),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_arguments_contradict_each_other_nowhere() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn the_document_knows_every_command() {
        let document = include_str!("../../../docs/cli.md");
        for command in Arguments::command().get_subcommands() {
            let name = command.get_name();
            assert!(document.contains(&format!("`{name}")), "docs/cli.md does not mention {name}");
        }
    }
}
