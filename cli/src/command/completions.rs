//! Prints completions for a shell.
use clap::{Args, CommandFactory};
use clap_complete::Shell;

use super::Context;
use crate::exit::{Exit, Failure};

#[derive(Debug, Args)]
#[command(after_help = "For bash: dsg completions bash > ~/.local/share/bash-completion/completions/dsg")]
pub struct Arguments {
    shell: Shell,
}

pub fn run(arguments: Arguments, context: &Context) -> Result<Exit, Failure> {
    let mut script = Vec::new();
    clap_complete::generate(arguments.shell, &mut super::Arguments::command(), "dsg", &mut script);
    context.output.bytes(&script)?;
    Ok(Exit::Done)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Environment;
    use crate::output::Format;
    use crate::output::tests::kept;

    #[test]
    fn every_shell_gets_a_script_with_our_commands() {
        for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
            let (output, stdout, _) = kept(Format::Table);
            let context = Context { output, environment: Environment::default() };
            run(Arguments { shell }, &context).expect("printed");
            for command in ["submit", "fetch", "remove-runner"] {
                assert!(stdout.text().contains(command), "{command} in {shell}");
            }
        }
    }
}
