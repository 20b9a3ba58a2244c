//! Problems of the file, printed as `dsg check` prints those of a job file.
use std::fmt::Write;
use std::path::Path;

use dsg_schemas::api::SpecProblem;

pub fn all(path: &Path, text: &str, problems: &[SpecProblem]) -> String {
    let count = problems.len();
    let mut out = format!("{} is not right: {count} problem{}\n", path.display(), if count == 1 { "" } else { "s" });
    for problem in problems {
        // Writing to a string cannot fail.
        let _ = one(&mut out, path, text, problem);
    }
    out.trim_end().to_owned()
}

fn one(out: &mut String, path: &Path, text: &str, problem: &SpecProblem) -> std::fmt::Result {
    let SpecProblem { rule: _, line, column, path: key, message, value, allowed, hint } = problem;
    let key = if key.is_empty() { String::new() } else { format!("{key}: ") };
    writeln!(out, "\n{}:{line}:{column}: {key}{message}", path.display())?;
    let gutter = line.to_string().len();
    // Whoever writes a password there shall not find it in the journal.
    let secret = key.starts_with("registry.");
    let shown = usize::try_from(*line).ok().and_then(|line| text.lines().nth(line.checked_sub(1)?));
    if let Some(shown) = shown.filter(|_| !secret) {
        let before = shown.chars().take(*column as usize - 1);
        let before: String = before.map(|c| if c == '\t' { '\t' } else { ' ' }).collect();
        writeln!(out, "{:gutter$} |\n{line} | {shown}\n{:gutter$} | {before}^", "", "")?;
    }
    if let Some(value) = value {
        writeln!(out, "{:gutter$} = found: {value}", "")?;
    }
    if !allowed.is_empty() {
        writeln!(out, "{:gutter$} = allowed: {}", "", allowed.join(", "))?;
    }
    match hint {
        Some(hint) => writeln!(out, "{:gutter$} = hint: {hint}", ""),
        None => Ok(()),
    }
}
