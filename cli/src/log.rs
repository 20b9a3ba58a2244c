//! Log lines: read as pages or followed while they grow, and printed.
use std::collections::BTreeMap;
use std::time::Duration;

use dsg_schemas::api::{LogLine, LogPage};
use dsg_schemas::ids::AttemptId;
use dsg_schemas::wire::log::Stream;
use futures_util::StreamExt;
use reqwest::Method;
use tokio::time::{sleep, timeout};

use crate::clean;
use crate::client::{self, Client, Patience, SILENCE};
use crate::event_stream::Parser;
use crate::exit::{Exit, Failure};
use crate::output::{Format, Output};
use crate::when;

/// What is printed of a log, and how.
#[derive(Clone, Debug, Default)]
pub struct Style {
    /// Only this stream.
    pub only: Option<Stream>,
    pub timestamps: bool,
    /// Escape codes reach the terminal as they are.
    pub raw: bool,
    /// In front of each line.
    pub prefix: String,
}

/// Prints lines in order, each once, however often the server sends them.
pub struct Printer<'a> {
    output: &'a Output,
    style: Style,
    next: u64,
    /// What was last seen behind the last newline of each stream.
    open: BTreeMap<Stream, LogLine>,
}

impl<'a> Printer<'a> {
    pub fn new(output: &'a Output, style: Style) -> Printer<'a> {
        Printer { output, style, next: 0, open: BTreeMap::new() }
    }

    /// The line to ask for next.
    pub fn next(&self) -> u64 {
        self.next
    }

    /// The end of a query for lines of the stream that is printed.
    fn stream(&self) -> &'static str {
        match self.style.only {
            Some(Stream::Stdout) => "&stream=stdout",
            Some(Stream::Stderr) => "&stream=stderr",
            None => "",
        }
    }

    pub fn page(&mut self, page: &LogPage) -> Result<(), Failure> {
        for line in &page.lines {
            if line.n >= self.next {
                self.next = line.n + 1;
                self.line(line)?;
            }
        }
        self.next = self.next.max(page.next);
        self.open = page.open.iter().map(|line| (line.stream, line.clone())).collect();
        Ok(())
    }

    /// After the last page: what stands behind the last newline, and what is missing or may be.
    pub fn finish(&mut self, page: &LogPage) -> Result<(), Failure> {
        for line in std::mem::take(&mut self.open).into_values() {
            self.line(&line)?;
        }
        if page.missing_bytes > 0 {
            self.output.say(&format!(
                "{}{} of this log are missing in its middle",
                self.style.prefix,
                when::size(page.missing_bytes)
            ));
        }
        if page.unheard {
            let why = "its runner has not said that this is all";
            self.output.say(&format!("{}this log may go on: {why}", self.style.prefix));
        }
        Ok(())
    }

    fn line(&self, line: &LogLine) -> Result<(), Failure> {
        let Style { only, timestamps, raw, prefix } = &self.style;
        if only.is_some_and(|only| only != line.stream) {
            return Ok(());
        }
        if self.output.format != Format::Table {
            return self.output.line(&serde_json::to_string(line).map_err(|error| Failure::other(error.to_string()))?);
        }
        let time = if *timestamps { format!("{} ", when::stamp(line.time_ms)) } else { String::new() };
        let text = match self.output.stdout_is_terminal && !raw {
            true => clean::log_line(&line.text, self.output.colour),
            false => line.text.as_str().into(),
        };
        self.output.line(&format!("{prefix}{time}{text}{}", if line.cut { " […]" } else { "" }))
    }
}

fn at(attempt: AttemptId) -> String {
    format!("/api/v1/attempts/{attempt}/log")
}

/// Prints what there is.
pub async fn print(
    client: &Client,
    attempt: AttemptId,
    tail: Option<u64>,
    printer: &mut Printer<'_>,
) -> Result<LogPage, Failure> {
    let attempted = format!("read the log of attempt {attempt}");
    let stream = printer.stream();
    let mut query = match tail {
        Some(lines) => format!("?tail={lines}{stream}"),
        None => format!("?from={}{stream}", printer.next()),
    };
    loop {
        let page: LogPage = client.get_as(&attempted, &format!("{}{query}", at(attempt))).await?;
        let before = printer.next();
        printer.page(&page)?;
        if printer.next() >= page.total || printer.next() == before {
            return Ok(page);
        }
        query = format!("?from={}{stream}", printer.next());
    }
}

/// Prints lines as they come, over broken connections and restarts of the server, until the attempt has ended. `alive` is called
/// whenever something came.
pub async fn follow(
    client: &Client,
    attempt: AttemptId,
    printer: &mut Printer<'_>,
    mut alive: impl FnMut(),
) -> Result<(), Failure> {
    let mut pause = Duration::from_millis(200);
    let mut told = false;
    loop {
        let before = printer.next();
        match stream(client, attempt, printer, &mut alive).await {
            Ok(true) => return Ok(()),
            Ok(false) => {}
            Err(failure) if failure.exit == Exit::Unreachable => {
                if pause > Duration::from_secs(2) && !std::mem::replace(&mut told, true) {
                    printer.output.say(&format!("{failure}; trying again"));
                }
            }
            Err(failure) => return Err(failure),
        }
        if printer.next() > before {
            (pause, told) = (Duration::from_millis(200), false);
        }
        sleep(pause).await;
        pause = (pause * 2).min(Duration::from_secs(10));
    }
}

/// One connection. True once the log has ended.
async fn stream(
    client: &Client,
    attempt: AttemptId,
    printer: &mut Printer<'_>,
    alive: &mut impl FnMut(),
) -> Result<bool, Failure> {
    let attempted = format!("follow the log of attempt {attempt}");
    let path = format!("{}/follow?from={}{}", at(attempt), printer.next(), printer.stream());
    let response = client.send(&attempted, Patience::Brief, || client.request(Method::GET, &path)).await?;
    let mut bytes = response.bytes_stream();
    let mut parser = Parser::default();
    while let Ok(Some(Ok(piece))) = timeout(SILENCE, bytes.next()).await {
        for event in parser.push(&piece)? {
            let value = serde_json::from_str(&event.data).map_err(|error| {
                Failure::other(format!("cannot {attempted}: this dsg does not understand the server's answer: {error}"))
            })?;
            let page: LogPage = client::understand(&attempted, value)?;
            alive();
            printer.page(&page)?;
            if page.ended && printer.next() >= page.total {
                printer.finish(&page)?;
                return Ok(true);
            }
        }
    }
    Ok(false)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::tests::kept;

    fn line(n: u64, stream: Stream, text: &str) -> LogLine {
        LogLine { n, time_ms: 1_700_000_000_000 + n, stream, text: text.to_owned(), cut: false }
    }

    fn page(lines: Vec<LogLine>, open: Vec<LogLine>) -> LogPage {
        let next = lines.last().map_or(0, |line| line.n + 1);
        LogPage {
            lines,
            next,
            total: next,
            stdout_bytes: 0,
            stderr_bytes: 0,
            open,
            ended: true,
            missing_bytes: 0,
            unheard: false,
        }
    }

    #[test]
    fn lines_come_once_and_the_open_end_comes_last() {
        let (output, stdout, stderr) = kept(Format::Table);
        let mut printer = Printer::new(&output, Style { prefix: "[7@ada] ".to_owned(), ..Style::default() });
        let first =
            page(vec![line(0, Stream::Stdout, "a"), line(1, Stream::Stderr, "b")], vec![line(2, Stream::Stdout, "ha")]);
        let again = page(
            vec![line(1, Stream::Stderr, "b"), line(2, Stream::Stdout, "half")],
            vec![line(3, Stream::Stdout, "end")],
        );
        printer.page(&first).expect("printed");
        printer.page(&again).expect("printed");
        printer.finish(&LogPage { missing_bytes: 2048, unheard: true, ..page(vec![], vec![]) }).expect("printed");
        assert_eq!(stdout.text(), "[7@ada] a\n[7@ada] b\n[7@ada] half\n[7@ada] end\n");
        assert_eq!(
            stderr.text(),
            "[7@ada] 2.00 KiB of this log are missing in its middle\n[7@ada] this log may go on: its runner has not said that this is all\n"
        );
    }

    #[test]
    fn streams_and_times_are_chosen() {
        let (output, stdout, _) = kept(Format::Table);
        let style = Style { only: Some(Stream::Stderr), timestamps: true, ..Style::default() };
        let mut printer = Printer::new(&output, style);
        printer.page(&page(vec![line(0, Stream::Stdout, "a"), line(1, Stream::Stderr, "b")], vec![])).expect("printed");
        assert_eq!(stdout.text(), "2023-11-14T22:13:20.001Z b\n");
    }

    #[test]
    fn escape_codes_are_harmless_on_a_terminal_and_whole_in_a_pipe() {
        let given = "\u{1b}]0;title\u{7}\u{1b}[31mred";
        let cases = [(false, false, given), (true, false, "\u{1b}[31mred\u{1b}[0m"), (true, true, given)];
        for (terminal, raw, expected) in cases {
            let (mut output, stdout, _) = kept(Format::Table);
            (output.stdout_is_terminal, output.colour) = (terminal, terminal);
            let mut printer = Printer::new(&output, Style { raw, ..Style::default() });
            printer.page(&page(vec![line(0, Stream::Stdout, given)], vec![])).expect("printed");
            assert_eq!(stdout.text(), format!("{expected}\n"));
        }
    }
}
