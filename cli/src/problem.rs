//! The problems of a job file, printed as a compiler prints them.
use std::fmt::Write;

use dsg_schemas::api::SpecProblem;

use crate::clean;

/// A line is shown this wide at most, around the place that is meant.
const SHOWN: usize = 120;
const VALUE: usize = 80;

/// All problems with the lines they are about.
///
/// ```text
/// job.yaml:12:11: chunks.range.stop: must be more than start
///    |
/// 12 |     stop: 0
///    |           ^
///    = found: 0
///    = hint: ranges end before their stop
/// ```
pub fn render(file: &str, source: &str, problems: &[SpecProblem], colour: bool) -> String {
    let mut text = String::new();
    for problem in problems {
        one(&mut text, file, source, problem, colour);
        text.push('\n');
    }
    let count = problems.len();
    let _ = write!(text, "{} is not right: {count} problem{}", clean::name(file), if count == 1 { "" } else { "s" });
    text
}

fn one(text: &mut String, file: &str, source: &str, problem: &SpecProblem, colour: bool) {
    let SpecProblem { rule: _, line, column, path, message, value, allowed, hint } = problem;
    let place = match line {
        0 => clean::name(file).into_owned(),
        _ => format!("{}:{line}:{column}", clean::name(file)),
    };
    let (bold, red, plain) = if colour { ("\u{1b}[1m", "\u{1b}[1;31m", "\u{1b}[0m") } else { ("", "", "") };
    let path = if path.is_empty() { String::new() } else { format!("{}: ", clean::name(path)) };
    let _ = writeln!(text, "{bold}{place}:{plain} {path}{red}{}{plain}", clean::name(message));
    let gutter = line.to_string().len();
    let shown = usize::try_from(*line).ok().and_then(|line| source.lines().nth(line.checked_sub(1)?));
    if let Some(shown) = shown {
        let (shown, before) = window(shown, *column as usize);
        let _ = writeln!(text, "{:gutter$} |", "");
        let _ = writeln!(text, "{line} | {shown}");
        let _ = writeln!(text, "{:gutter$} | {before}{red}^{plain}", "");
    }
    let mut note = |word: &str, what: &str| {
        let _ = writeln!(text, "{:gutter$} = {word}: {}", "", clean::name(what));
    };
    if let Some(value) = value {
        note("found", &shorten(&value.to_string()));
    }
    if !allowed.is_empty() {
        note("allowed", &allowed.join(", "));
    }
    if let Some(hint) = hint {
        note("hint", hint);
    }
}

/// The line around a column, and what to print to get below that column. Tabs stay tabs in both, so that they line up.
fn window(line: &str, column: usize) -> (String, String) {
    let harmless =
        |c: char| if c != '\t' && clean::name(c.encode_utf8(&mut [0; 4])) != c.to_string() { '\u{fffd}' } else { c };
    let line: Vec<char> = line.chars().map(harmless).collect();
    let at = column.saturating_sub(1).min(line.len());
    let from = if line.len() > SHOWN { at.saturating_sub(SHOWN / 2) } else { 0 };
    let to = (from + SHOWN).min(line.len());
    let (left, right) = (if from > 0 { "…" } else { "" }, if to < line.len() { "…" } else { "" });
    let shown: String = line[from..to].iter().collect();
    let before: String = line[from..at].iter().map(|c| if *c == '\t' { '\t' } else { ' ' }).collect();
    let indent = if from > 0 { " " } else { "" };
    (format!("{left}{shown}{right}"), format!("{indent}{before}"))
}

fn shorten(text: &str) -> String {
    match text.char_indices().nth(VALUE) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problem(line: u64, column: u64) -> SpecProblem {
        SpecProblem {
            rule: "unknown_key".to_owned(),
            line,
            column,
            path: "chunks.rang".to_owned(),
            message: "there is no such key".to_owned(),
            value: Some("rang".into()),
            allowed: vec!["count".to_owned(), "range".to_owned()],
            hint: Some("did you mean `range`?".to_owned()),
        }
    }

    #[test]
    fn a_problem_points_at_its_place() {
        let source = "name: x\nchunks:\n\trang: 5\n";
        let expected = "\
job.yaml:3:2: chunks.rang: there is no such key
  |
3 | \trang: 5
  | \t^
  = found: \"rang\"
  = allowed: count, range
  = hint: did you mean `range`?

job.yaml is not right: 1 problem";
        assert_eq!(render("job.yaml", source, &[problem(3, 2)], false), expected);
    }

    #[test]
    fn a_problem_without_a_place_is_said_without_one() {
        let mut given = problem(0, 0);
        (given.value, given.allowed, given.hint) = (None, Vec::new(), None);
        let expected = "job.yaml: chunks.rang: there is no such key\n\njob.yaml is not right: 1 problem";
        assert_eq!(render("job.yaml", "x", &[given], false), expected);
    }

    #[test]
    fn places_beyond_the_file_and_long_lines_do_no_harm() {
        for (line, column) in [(1, 9999), (99, 1), (u64::MAX, u64::MAX), (1, 0)] {
            assert!(render("f", "short", &[problem(line, column)], false).contains("no such key"));
        }
        let long = format!("{}X{}", "a".repeat(500), "b".repeat(500));
        let text = render("f", &long, &[problem(1, 501)], false);
        let lines: Vec<&str> = text.lines().collect();
        let place = |line: &str, wanted: char| line.chars().position(|c| c == wanted);
        assert_eq!(place(lines[2], 'X'), place(lines[3], '^'));
        assert!(lines[2].chars().count() < 140);
    }

    #[test]
    fn nothing_in_a_file_reaches_the_terminal_as_a_command() {
        let mut given = problem(1, 1);
        given.message = "bad \u{1b}[2J".to_owned();
        given.value = Some("\u{9b}2J".into());
        let text = render("f\u{1b}]0;x\u{7}", "a\u{1b}[2Jb", &[given], false);
        assert!(!text.chars().any(|c| c.is_control() && c != '\n'), "{text:?}");
    }
}
