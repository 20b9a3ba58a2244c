//! The only place that prints: data on stdout, talk on stderr, neither with anything that a terminal would obey.
use std::io::{self, IsTerminal, Write};
use std::sync::{Mutex, MutexGuard, PoisonError};

use dsg_schemas::api::Problem;
use indicatif::ProgressBar;
use serde::Serialize;
use serde_json::Value;

use crate::exit::Failure;

/// How data is printed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// For people: tables that fit the terminal.
    #[default]
    Table,
    /// The server's own answer, indented.
    Json,
    /// The same, one row a line.
    Ndjson,
}

/// Where a command says things.
pub struct Output {
    pub format: Format,
    /// Is there a person in front of stdout?
    pub stdout_is_terminal: bool,
    pub stderr_is_terminal: bool,
    /// May stdout hold colours?
    pub colour: bool,
    /// May stderr hold colours?
    pub colour_talk: bool,
    /// May stderr hold animation?
    pub lively: bool,
    /// Columns of the terminal; none where there is no terminal.
    pub width: Option<u16>,
    stdout: Mutex<Box<dyn Write + Send>>,
    stderr: Mutex<Box<dyn Write + Send>>,
    bar: Mutex<Option<ProgressBar>>,
    farewell: Mutex<Option<String>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Output {
    /// The process's own stdout and stderr, with `NO_COLOR`, `TERM=dumb` and `--no-color` obeyed.
    pub fn of_process(format: Format, no_color: bool) -> Output {
        let set = |name: &str| std::env::var_os(name).is_some_and(|value| !value.is_empty());
        let dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
        let stdout_is_terminal = io::stdout().is_terminal();
        let stderr_is_terminal = io::stderr().is_terminal();
        let width = match stdout_is_terminal {
            true => {
                rustix::termios::tcgetwinsize(io::stdout()).ok().map(|size| size.ws_col).filter(|width| *width >= 20)
            }
            false => None,
        };
        Output {
            format,
            stdout_is_terminal,
            stderr_is_terminal,
            colour: stdout_is_terminal && !no_color && !set("NO_COLOR") && !dumb,
            colour_talk: stderr_is_terminal && !no_color && !set("NO_COLOR") && !dumb,
            lively: stderr_is_terminal && !dumb,
            width,
            ..Output::to(format, Box::new(io::stdout()), Box::new(io::stderr()))
        }
    }

    /// To these writers, which are no terminals.
    pub fn to(format: Format, stdout: Box<dyn Write + Send>, stderr: Box<dyn Write + Send>) -> Output {
        Output {
            format,
            stdout_is_terminal: false,
            stderr_is_terminal: false,
            colour: false,
            colour_talk: false,
            lively: false,
            width: None,
            stdout: Mutex::new(stdout),
            stderr: Mutex::new(stderr),
            bar: Mutex::new(None),
            farewell: Mutex::new(None),
        }
    }

    /// A line of data.
    pub fn line(&self, text: &str) -> Result<(), Failure> {
        self.around_bar(|| {
            let mut stdout = lock(&self.stdout);
            let wrote = stdout.write_all(text.as_bytes()).and_then(|()| stdout.write_all(b"\n"));
            wrote.and_then(|()| stdout.flush()).map_err(|error| lost(&error))
        })
    }

    /// Bytes of data, exactly as they are.
    pub fn bytes(&self, bytes: &[u8]) -> Result<(), Failure> {
        self.around_bar(|| {
            let mut stdout = lock(&self.stdout);
            stdout.write_all(bytes).and_then(|()| stdout.flush()).map_err(|error| lost(&error))
        })
    }

    /// A line of talk. That nobody reads it is no reason to stop.
    pub fn say(&self, text: &str) {
        self.around_bar(|| {
            let mut stderr = lock(&self.stderr);
            let _ = writeln!(stderr, "{text}");
        });
    }

    /// One value in the format asked for; `table` prints it for people.
    pub fn value(&self, value: &Value, table: impl FnOnce(&Output) -> Result<(), Failure>) -> Result<(), Failure> {
        match self.format {
            Format::Table => table(self),
            Format::Json => self.line(&pretty(value)),
            Format::Ndjson => self.line(&value.to_string()),
        }
    }

    /// A list in the format asked for: as JSON an object with `rows`, as NDJSON a row a line.
    pub fn rows(&self, rows: &[Value], table: impl FnOnce(&Output) -> Result<(), Failure>) -> Result<(), Failure> {
        match self.format {
            Format::Table => table(self),
            Format::Json => self.line(&pretty(&serde_json::json!({ "rows": rows }))),
            Format::Ndjson => rows.iter().try_for_each(|row| self.line(&row.to_string())),
        }
    }

    /// Why the command failed; for programs the server's own problem as well, on stdout.
    pub fn failure(&self, failure: &Failure) {
        let Failure { exit: _, message, hint, problem } = failure;
        if !message.is_empty() {
            self.say(&format!("error: {}", crate::clean::text(message)));
        }
        if let Some(hint) = hint {
            self.say(&format!("hint: {}", crate::clean::text(hint)));
        }
        if let (Some(problem), Format::Json | Format::Ndjson) = (problem, self.format) {
            let problem: &Problem = problem;
            let _ = self.line(&json_text(problem, self.format));
        }
    }

    /// The bar at the bottom; log lines and talk are written above it.
    pub fn set_bar(&self, bar: Option<ProgressBar>) {
        if let Some(old) = std::mem::replace(&mut *lock(&self.bar), bar) {
            old.finish_and_clear();
        }
    }

    /// What is said when a person presses Ctrl-C from now on.
    pub fn on_interrupt(&self, farewell: Option<String>) {
        *lock(&self.farewell) = farewell;
    }

    /// Said once, when it happened.
    pub fn interrupted(&self) {
        self.set_bar(None);
        if let Some(farewell) = lock(&self.farewell).take() {
            self.say(&farewell);
        }
    }

    fn around_bar<T>(&self, write: impl FnOnce() -> T) -> T {
        let bar = lock(&self.bar).clone();
        match bar {
            Some(bar) => bar.suspend(write),
            None => write(),
        }
    }
}

fn json_text(value: &impl Serialize, format: Format) -> String {
    let value = serde_json::to_value(value).unwrap_or(Value::Null);
    match format {
        Format::Table | Format::Json => pretty(&value),
        Format::Ndjson => value.to_string(),
    }
}

fn pretty(value: &Value) -> String {
    format!("{value:#}")
}

fn lost(error: &io::Error) -> Failure {
    match error.kind() {
        io::ErrorKind::BrokenPipe => Failure::reader_gone(),
        _ => Failure::other(format!("cannot write the output: {error}")),
    }
}

#[cfg(test)]
pub mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::exit::Exit;

    /// A writer that keeps what it got.
    #[derive(Clone, Default)]
    pub struct Kept(Arc<Mutex<Vec<u8>>>);
    impl Kept {
        pub fn text(&self) -> String {
            String::from_utf8(lock(&self.0).clone()).expect("UTF-8")
        }
    }
    impl Write for Kept {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            lock(&self.0).extend_from_slice(bytes);
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    pub fn kept(format: Format) -> (Output, Kept, Kept) {
        let (stdout, stderr) = (Kept::default(), Kept::default());
        (Output::to(format, Box::new(stdout.clone()), Box::new(stderr.clone())), stdout, stderr)
    }

    #[test]
    fn each_format_prints_the_same_rows() {
        let rows = [serde_json::json!({"id": 1}), serde_json::json!({"id": 2})];
        let cases = [
            (Format::Table, "for people\n"),
            (Format::Json, "{\n  \"rows\": [\n    {\n      \"id\": 1\n    },\n    {\n      \"id\": 2\n    }\n  ]\n}\n"),
            (Format::Ndjson, "{\"id\":1}\n{\"id\":2}\n"),
        ];
        for (format, text) in cases {
            let (output, stdout, stderr) = kept(format);
            output.rows(&rows, |output| output.line("for people")).expect("printed");
            assert_eq!(stdout.text(), text);
            assert_eq!(stderr.text(), "");
        }
    }

    #[test]
    fn a_reader_that_left_is_no_failure_but_a_full_disk_is() {
        struct Broken(io::ErrorKind);
        impl Write for Broken {
            fn write(&mut self, _: &[u8]) -> io::Result<usize> {
                Err(self.0.into())
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        for (kind, exit) in [(io::ErrorKind::BrokenPipe, Exit::Done), (io::ErrorKind::StorageFull, Exit::Failed)] {
            let output = Output::to(Format::Table, Box::new(Broken(kind)), Box::new(Broken(kind)));
            output.say("nobody reads this");
            let failure = output.line("data").expect_err("must fail");
            assert_eq!((failure.exit, failure.message.is_empty()), (exit, exit == Exit::Done));
        }
    }

    #[test]
    fn failures_are_said_on_stderr_without_escape_codes() {
        let (output, stdout, stderr) = kept(Format::Table);
        output.failure(&Failure::other("no such \u{1b}[2J job").hint("look at `dsg jobs`"));
        assert_eq!(stdout.text(), "");
        assert_eq!(stderr.text(), "error: no such \\u{1b}[2J job\nhint: look at `dsg jobs`\n");
    }
}
