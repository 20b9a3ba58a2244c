//! How a command ends: the exit status, and what is said when it fails.
use std::fmt;

use dsg_schemas::api::Problem;

/// The exit statuses; scripts rely on them, so they never change their meaning.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    Done,
    /// Something went wrong that has no status of its own.
    Failed,
    /// What was typed makes no sense.
    Usage,
    /// The command worked, but the job did not end well.
    JobFailed,
    /// Not logged in, or not allowed.
    Auth,
    NotFound,
    Unreachable,
    /// The job file is wrong.
    Invalid,
    /// It is not in a state in which that can be done.
    Conflict,
    WaitTimeout,
    Interrupted,
}

impl Exit {
    pub const ALL: [Exit; 11] = [
        Exit::Done,
        Exit::Failed,
        Exit::Usage,
        Exit::JobFailed,
        Exit::Auth,
        Exit::NotFound,
        Exit::Unreachable,
        Exit::Invalid,
        Exit::Conflict,
        Exit::WaitTimeout,
        Exit::Interrupted,
    ];

    pub fn code(self) -> u8 {
        match self {
            Exit::Done => 0,
            Exit::Failed => 1,
            Exit::Usage => 2,
            Exit::JobFailed => 3,
            Exit::Auth => 4,
            Exit::NotFound => 5,
            Exit::Unreachable => 6,
            Exit::Invalid => 7,
            Exit::Conflict => 8,
            Exit::WaitTimeout => 124,
            Exit::Interrupted => 130,
        }
    }

    /// What a status of the server means for a script.
    pub fn of_status(status: u16) -> Exit {
        match status {
            401 | 403 => Exit::Auth,
            404 | 410 => Exit::NotFound,
            409 | 412 => Exit::Conflict,
            422 => Exit::Invalid,
            429 | 502 | 503 | 504 => Exit::Unreachable,
            _ => Exit::Failed,
        }
    }
}

/// Why a command could not be done: what was attempted, why it failed, what to do next.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub struct Failure {
    pub exit: Exit,
    pub message: String,
    pub hint: Option<String>,
    /// The server's own words, where it said no: programs get them as they came.
    pub problem: Option<Box<Problem>>,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl Failure {
    pub fn new(exit: Exit, message: impl Into<String>) -> Failure {
        Failure { exit, message: message.into(), hint: None, problem: None }
    }
    pub fn other(message: impl Into<String>) -> Failure {
        Failure::new(Exit::Failed, message)
    }
    pub fn usage(message: impl Into<String>) -> Failure {
        Failure::new(Exit::Usage, message)
    }
    /// The reader of our output is gone (`dsg jobs | head -1`): nothing to say, and no failure.
    pub fn reader_gone() -> Failure {
        Failure::new(Exit::Done, "")
    }
    pub fn hint(mut self, hint: impl Into<String>) -> Failure {
        self.hint = Some(hint.into());
        self
    }
    /// A file that could not be read or written.
    pub fn file(attempted: &str, path: &std::path::Path, error: &std::io::Error) -> Failure {
        Failure::other(format!("cannot {attempted} {}: {error}", path.display()))
    }
    /// A refusal by the server.
    pub fn refused(attempted: &str, problem: Problem) -> Failure {
        let exit = if problem.problems.is_empty() { Exit::of_status(problem.status) } else { Exit::Invalid };
        let why = if problem.detail.is_empty() { &problem.title } else { &problem.detail };
        let mut failure = Failure::new(exit, format!("cannot {attempted}: {why}"));
        failure.hint = match problem.status {
            401 => Some("log in again with `dsg login URL`".to_owned()),
            _ => None,
        };
        failure.problem = Some(Box::new(problem));
        failure
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_statuses_are_what_scripts_rely_on() {
        let codes: Vec<u8> = Exit::ALL.into_iter().map(Exit::code).collect();
        assert_eq!(codes, [0, 1, 2, 3, 4, 5, 6, 7, 8, 124, 130]);
    }

    #[test]
    fn a_refusal_becomes_a_status_and_a_sentence() {
        let cases = [(401, 4), (403, 4), (404, 5), (409, 8), (422, 7), (503, 6), (500, 1), (400, 1)];
        for (status, code) in cases {
            let problem = Problem {
                code: "x".to_owned(),
                title: "no".to_owned(),
                status,
                detail: String::new(),
                problems: Vec::new(),
            };
            let failure = Failure::refused("cancel job 42", problem);
            assert_eq!(failure.exit.code(), code, "{status}");
            assert_eq!(failure.message, "cannot cancel job 42: no");
        }
    }
}
