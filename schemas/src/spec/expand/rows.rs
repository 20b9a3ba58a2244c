//! `rows`: one item per row of an uploaded file.
use std::collections::BTreeSet;

use serde_json::{Map, Value};

use super::table::{Builder, Table};
use crate::limits;
use crate::spec::draft::Sources;
use crate::spec::job::{RowFormat, Rows};
use crate::spec::problem::{Found, Report, Rule};

const FROM: &str = "/chunks/rows/from";

pub fn open(rows: &Rows, sources: &Sources<'_>, used: &mut BTreeSet<String>, report: &mut Report) -> Option<Table> {
    let path = rows.from.strip_prefix("upload:")?;
    let upload = sources.uploads.get(path)?;
    let format = format(rows)?;
    used.insert(path.to_owned());
    let mut refuse = |rule, message: String| {
        report.add(Found::new(rule, FROM, message));
        None
    };
    if upload.size > limits::ROWS_BYTES {
        let message = format!("{path} has {} bytes; a file of rows may have {}", upload.size, limits::ROWS_BYTES);
        return refuse(Rule::ItemTooLarge, message);
    }
    let bytes = match (sources.read)(path) {
        Ok(bytes) => bytes,
        Err(error) => return refuse(Rule::RowsUnreadable, format!("{path} cannot be read: {error}")),
    };
    let text = match std::str::from_utf8(&bytes) {
        Ok(text) => text.strip_prefix('\u{feff}').unwrap_or(text),
        Err(error) => {
            let line = bytes[..error.valid_up_to()].iter().filter(|byte| **byte == b'\n').count() + 1;
            return refuse(Rule::RowsContent, format!("{path}, line {line}: this is not UTF-8 text"));
        }
    };
    if let Some(at) = text.find('\0') {
        let line = text[..at].matches('\n').count() + 1;
        return refuse(
            Rule::RowsContent,
            format!("{path}, line {line}: a NUL character cannot be passed to a command"),
        );
    }
    let table = match format {
        RowFormat::Csv => separated(text, b',', rows.header),
        RowFormat::Tsv => separated(text, b'\t', rows.header),
        RowFormat::Jsonl => jsonl(text),
        RowFormat::Lines => lines(text),
    };
    match table {
        Ok(table) if table.rows() == 0 => refuse(Rule::EmptySource, format!("{path} has no rows")),
        Ok(table) => Some(table),
        Err(message) => refuse(Rule::RowsContent, format!("{path}, {message}")),
    }
}

/// As said, or by the ending of the file.
pub fn format(rows: &Rows) -> Option<RowFormat> {
    let ending = rows.from.rsplit(['/', '.']).next().unwrap_or_default().to_lowercase();
    rows.format.or(match ending.as_str() {
        "csv" => Some(RowFormat::Csv),
        "tsv" | "tab" => Some(RowFormat::Tsv),
        "jsonl" | "ndjson" => Some(RowFormat::Jsonl),
        "txt" | "lst" | "list" => Some(RowFormat::Lines),
        _ => None,
    })
}

fn separated(text: &str, delimiter: u8, header: bool) -> Result<Table, String> {
    let mut reader = csv::ReaderBuilder::new().delimiter(delimiter).has_headers(false).from_reader(text.as_bytes());
    let mut builder = Builder::default();
    let mut columns: Option<Vec<String>> = None;
    for record in reader.records() {
        let record = record.map_err(|error| explain(&error))?;
        let Some(columns) = &columns else {
            let names: Vec<String> = match header {
                true => record.iter().map(|name| name.trim().to_owned()).collect(),
                false => (1..=record.len()).map(|number| format!("c{number}")).collect(),
            };
            check_header(&names)?;
            if !header {
                builder.add(&row(&names, &record));
            }
            columns = Some(names);
            continue;
        };
        builder.add(&row(columns, &record));
        fits(&builder)?;
    }
    Ok(builder.finish())
}

fn row(columns: &[String], record: &csv::StringRecord) -> Value {
    let cells = columns.iter().zip(record.iter());
    Value::Object(cells.map(|(name, cell)| (name.clone(), Value::String(cell.to_owned()))).collect::<Map<_, _>>())
}

fn check_header(names: &[String]) -> Result<(), String> {
    let mut seen = BTreeSet::new();
    for (position, name) in names.iter().enumerate() {
        if name.is_empty() {
            return Err(format!("line 1: column {} has no name", position + 1));
        }
        if !seen.insert(name) {
            return Err(format!("line 1: two columns are called `{name}`"));
        }
    }
    Ok(())
}

fn explain(error: &csv::Error) -> String {
    let line = error.position().map_or(0, csv::Position::line);
    match error.kind() {
        csv::ErrorKind::UnequalLengths { expected_len, len, .. } => {
            format!("line {line}: {len} fields where the first row has {expected_len}")
        }
        _ => format!("line {line}: {error}"),
    }
}

fn jsonl(text: &str) -> Result<Table, String> {
    let mut builder = Builder::default();
    for (number, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
        let item: Value = serde_json::from_str(line).map_err(|error| {
            let why = error.to_string();
            let why = why.split(" at line ").next().unwrap_or_default();
            format!("line {}, column {}: {why}", number + 1, error.column())
        })?;
        if line.contains("\\u0000") && has_nul(&item) {
            return Err(format!("line {}: a NUL character cannot be passed to a command", number + 1));
        }
        builder.add(&item);
        fits(&builder)?;
    }
    Ok(builder.finish())
}

fn has_nul(value: &Value) -> bool {
    match value {
        Value::String(text) => text.contains('\0'),
        Value::Array(items) => items.iter().any(has_nul),
        Value::Object(map) => map.iter().any(|(key, value)| key.contains('\0') || has_nul(value)),
        Value::Null | Value::Bool(_) | Value::Number(_) => false,
    }
}

fn lines(text: &str) -> Result<Table, String> {
    let mut builder = Builder::default();
    for line in text.lines().filter(|line| !line.trim().is_empty()) {
        builder.add(&Value::String(line.to_owned()));
        fits(&builder)?;
    }
    Ok(builder.finish())
}

fn fits(builder: &Builder) -> Result<(), String> {
    if builder.size() <= limits::TABLE_BYTES {
        return Ok(());
    }
    Err(format!("its rows have more than {} bytes as JSON lines", limits::TABLE_BYTES))
}
