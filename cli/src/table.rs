//! Tables and key-value lists that fit the terminal.
use comfy_table::{Attribute, Cell, CellAlignment, Color, ContentArrangement, Table};
use dsg_schemas::api::{ChunkState, JobState, RunnerState};

use crate::clean;
use crate::exit::Failure;
use crate::output::Output;

/// What a cell holds.
pub enum Field {
    Text(String),
    /// To the right.
    Number(String),
    /// A state word with the colour of its meaning.
    State(&'static str, Mood),
}

/// What a state means for a person. The word says the same: colour never stands alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mood {
    Good,
    Bad,
    Busy,
    Quiet,
}

pub fn text(text: impl ToString) -> Field {
    Field::Text(text.to_string())
}
pub fn number(number: impl ToString) -> Field {
    Field::Number(number.to_string())
}
pub fn job_state(state: JobState) -> Field {
    Field::State(job_word(state), job_mood(state))
}
pub fn chunk_state(state: ChunkState) -> Field {
    Field::State(state.word(), chunk_mood(state))
}
pub fn runner_state(state: RunnerState) -> Field {
    match state {
        RunnerState::Ready => Field::State("ready", Mood::Good),
        RunnerState::Draining => Field::State("draining", Mood::Busy),
        RunnerState::Paused => Field::State("paused", Mood::Busy),
        RunnerState::Evicted => Field::State("evicted", Mood::Busy),
        RunnerState::Blocked => Field::State("blocked", Mood::Bad),
        RunnerState::Ended => Field::State("ended", Mood::Quiet),
        RunnerState::Unreachable => Field::State("unreachable", Mood::Bad),
        RunnerState::New => Field::State("new", Mood::Quiet),
    }
}

pub fn job_word(state: JobState) -> &'static str {
    match state {
        JobState::Waiting => "waiting",
        JobState::Held => "held",
        JobState::Running => "running",
        JobState::Gathering => "gathering",
        JobState::Succeeded => "succeeded",
        JobState::Partial => "partial",
        JobState::Failed => "failed",
        JobState::Cancelled => "cancelled",
    }
}

fn job_mood(state: JobState) -> Mood {
    match state {
        JobState::Waiting | JobState::Held | JobState::Cancelled => Mood::Quiet,
        JobState::Running | JobState::Gathering => Mood::Busy,
        JobState::Succeeded => Mood::Good,
        JobState::Partial | JobState::Failed => Mood::Bad,
    }
}

fn chunk_mood(state: ChunkState) -> Mood {
    match state {
        ChunkState::Waiting | ChunkState::Held | ChunkState::Cancelled | ChunkState::Skipped => Mood::Quiet,
        ChunkState::Leased | ChunkState::Running | ChunkState::Storing => Mood::Busy,
        ChunkState::Succeeded => Mood::Good,
        ChunkState::Failed => Mood::Bad,
    }
}

/// Prints a table: a heading, then rows. Nothing but the heading is printed for no rows, so that scripts see the same shape.
pub fn print(output: &Output, heading: &[&str], rows: Vec<Vec<Field>>) -> Result<(), Failure> {
    let mut table = Table::new();
    table.load_style(comfy_table::presets::NOTHING);
    match output.width {
        Some(width) => table.set_width(width).set_content_arrangement(ContentArrangement::Dynamic),
        None => table.set_content_arrangement(ContentArrangement::Disabled),
    };
    if output.colour {
        table.enforce_styling();
    } else {
        table.force_no_tty();
    }
    let is_number = |column: usize| rows.first().is_some_and(|row| matches!(row.get(column), Some(Field::Number(_))));
    table.set_header(heading.iter().enumerate().map(|(column, word)| {
        let cell = Cell::new(word).add_attribute(Attribute::Bold);
        if is_number(column) { cell.set_alignment(CellAlignment::Right) } else { cell }
    }));
    for row in rows {
        table.add_row(row.into_iter().map(|field| cell(output, field)));
    }
    for column in table.column_iter_mut() {
        column.set_padding((0, 2));
    }
    table.lines().try_for_each(|line| output.line(line.trim_end()))
}

fn cell(output: &Output, field: Field) -> Cell {
    match field {
        Field::Text(text) => Cell::new(clean::name(&text)),
        Field::Number(text) => Cell::new(clean::name(&text)).set_alignment(CellAlignment::Right),
        Field::State(word, mood) => match (output.colour, mood) {
            (false, _) | (_, Mood::Quiet) => Cell::new(word),
            (true, Mood::Good) => Cell::new(word).fg(Color::Green),
            (true, Mood::Bad) => Cell::new(word).fg(Color::Red).add_attribute(Attribute::Bold),
            (true, Mood::Busy) => Cell::new(word).fg(Color::Cyan),
        },
    }
}

/// Prints `key   value` lines; values of several lines are indented; empty ones are left out.
pub fn pairs(output: &Output, pairs: &[(&str, String)]) -> Result<(), Failure> {
    let widest = pairs.iter().filter(|(_, value)| !value.is_empty()).map(|(key, _)| key.len()).max().unwrap_or(0);
    for (key, value) in pairs.iter().filter(|(_, value)| !value.is_empty()) {
        for (index, line) in clean::text(value).lines().enumerate() {
            let key = if index == 0 { key } else { "" };
            output.line(format!("{key:widest$}  {line}").trim_end())?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::Format;
    use crate::output::tests::kept;

    fn rows() -> Vec<Vec<Field>> {
        vec![
            vec![number(7), text("a name of some length"), job_state(JobState::Failed)],
            vec![number(1042), text("e\u{1b}[2Jvil"), job_state(JobState::Succeeded)],
        ]
    }

    #[test]
    fn a_table_in_a_pipe_is_plain_and_never_wrapped() {
        let (output, stdout, _) = kept(Format::Table);
        print(&output, &["id", "name", "state"], rows()).expect("printed");
        let expected = "  id  name                   state
   7  a name of some length  failed
1042  e\\u{1b}[2Jvil          succeeded
";
        assert_eq!(stdout.text(), expected);
    }

    #[test]
    fn a_table_on_a_narrow_terminal_fits_it() {
        let (mut output, stdout, _) = kept(Format::Table);
        output.width = Some(30);
        print(&output, &["id", "name", "state"], rows()).expect("printed");
        for line in stdout.text().lines() {
            assert!(line.chars().count() <= 30, "{line:?}");
        }
    }

    #[test]
    fn colours_come_only_when_wanted() {
        let (mut output, stdout, _) = kept(Format::Table);
        output.colour = true;
        print(&output, &["id", "name", "state"], rows()).expect("printed");
        assert!(stdout.text().contains("\u{1b}["));
        let (output, stdout, _) = kept(Format::Table);
        print(&output, &["id", "name", "state"], rows()).expect("printed");
        assert!(!stdout.text().contains('\u{1b}'));
    }

    #[test]
    fn pairs_align_and_leave_out_what_is_empty() {
        let (output, stdout, _) = kept(Format::Table);
        let list = [("job", "42".to_owned()), ("nothing", String::new()), ("why", "one\ntwo".to_owned())];
        pairs(&output, &list).expect("printed");
        assert_eq!(stdout.text(), "job  42\nwhy  one\n     two\n");
    }
}
