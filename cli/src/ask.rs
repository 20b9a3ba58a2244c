//! Questions to the person at the terminal; never where there is none.
use std::io::{self, BufRead, IsTerminal};

use rustix::termios::{LocalModes, OptionalActions, tcgetattr, tcsetattr};

use crate::exit::Failure;
use crate::output::Output;

pub fn someone_is_there(output: &Output) -> bool {
    output.stderr_is_terminal && io::stdin().is_terminal()
}

/// Yes only if somebody says so; without a terminal it needs `--yes`.
pub fn confirm(output: &Output, question: &str, yes: bool) -> Result<(), Failure> {
    if yes {
        return Ok(());
    }
    if !someone_is_there(output) {
        return Err(Failure::usage(format!("{question}: add --yes where nobody can be asked")));
    }
    output.say(&format!("{question}? Type yes: "));
    match line()?.trim() {
        "yes" | "y" => Ok(()),
        _ => Err(Failure::other("nothing was done")),
    }
}

/// A secret: typed without being shown, or read from a pipe.
pub fn secret(output: &Output, prompt: &str) -> Result<String, Failure> {
    let stdin = io::stdin();
    if !stdin.is_terminal() {
        return line();
    }
    output.say(prompt);
    let Ok(before) = tcgetattr(&stdin) else { return line() };
    let mut silent = before.clone();
    silent.local_modes.remove(LocalModes::ECHO);
    let _ = tcsetattr(&stdin, OptionalActions::Flush, &silent);
    let typed = line();
    let _ = tcsetattr(&stdin, OptionalActions::Flush, &before);
    typed
}

fn line() -> Result<String, Failure> {
    let mut text = String::new();
    match io::stdin().lock().read_line(&mut text) {
        Ok(_) => Ok(text),
        Err(error) => Err(Failure::other(format!("cannot read from stdin: {error}"))),
    }
}
