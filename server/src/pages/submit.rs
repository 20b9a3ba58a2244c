//! Submitting: a job file, the files beside it, and everything that is wrong with it at once.
use std::collections::BTreeSet;

use dsg_schemas::api::{Checked, ChunkPlan, Problem, SpecProblem, Uploads};
use dsg_schemas::ids::JobId;
use maud::{Markup, html};

use super::frame::{Frame, Here};
use super::shown::{Shown, shortened};
use super::url::SafeUrl;
use super::words;

/// What a person typed, kept over every answer.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Draft {
    pub spec: String,
    /// `name=value`, one on each line.
    pub set: String,
    /// Complete on the server already.
    pub uploads: Uploads,
    /// Random, made with the form: the same form sent twice gives one job.
    pub request: String,
    /// The held job whose file this replaces.
    pub edit: Option<JobId>,
    /// Succeeded chunks of it run again, too.
    pub again: bool,
}

/// What came of the last try.
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    Blank,
    Checked(Checked),
    Refused(Problem),
}

pub struct Example {
    pub name: &'static str,
    pub about: &'static str,
    pub text: &'static str,
}

/// The examples of `job-specs/` that need no file beside them.
pub const EXAMPLES: [Example; 7] = [
    Example { name: "hello", about: "ten chunks say hello", text: include_str!("../../../job-specs/hello.yaml") },
    Example { name: "range", about: "windows of a range", text: include_str!("../../../job-specs/range.yaml") },
    Example {
        name: "matrix-sweep",
        about: "a sweep over two axes",
        text: include_str!("../../../job-specs/matrix-sweep.yaml"),
    },
    Example { name: "fails", about: "every kind of failure", text: include_str!("../../../job-specs/fails.yaml") },
    Example {
        name: "retry-rules",
        about: "retry by reason",
        text: include_str!("../../../job-specs/retry-rules.yaml"),
    },
    Example {
        name: "long-log",
        about: "a log worth following",
        text: include_str!("../../../job-specs/long-log.yaml"),
    },
    Example { name: "gpu", about: "on a GPU", text: include_str!("../../../job-specs/gpu.yaml") },
];

pub fn page(frame: Frame<'_>, draft: &Draft, outcome: &Outcome) -> Markup {
    let problems: &[SpecProblem] = match outcome {
        Outcome::Blank => &[],
        Outcome::Checked(checked) => &checked.problems,
        Outcome::Refused(problem) => &problem.problems,
    };
    let what = draft.edit.map_or_else(|| "Submit a job".to_owned(), |job| format!("Edit job {job}"));
    let title = if problems.is_empty() {
        what.clone()
    } else {
        format!("{} – {what}", words::counted(problems.len() as u64, "problem"))
    };
    frame.page(
        Here::Submit,
        &title,
        &["submit"],
        html! {
            div.head { div { h1 { (what) } p.dim {
                @match draft.edit {
                    None => "A job file names a container image, a command and how to split the work into chunks.",
                    Some(job) => { "Chunks of " a href=(SafeUrl::job(job)) { "job " (job) } " that have not succeeded will run by the changed file. It must split into as many chunks as before." }
                }
            } } }
            (summary(outcome, problems, draft.spec.lines().count() as u64))
            section.panel aria-label="Job file" { div.body {
                @if draft.edit.is_none() { p { "Start from an example: " @for example in &EXAMPLES { a.tag href=(SafeUrl::fixed("/submit").with("example", example.name)) title=(example.about) { (example.name) } } } }
                (form(draft))
            } }
            @if !problems.is_empty() { (source(&draft.spec, problems)) }
        },
    )
}

fn form(draft: &Draft) -> Markup {
    let uploads = serde_json::to_string(&draft.uploads).unwrap_or_default();
    html! {
        form #submit method="post" action="/submit" enctype="multipart/form-data" {
            input type="hidden" name="request" value=(Shown(&draft.request));
            @if let Some(job) = draft.edit { input type="hidden" name="edit" value=(job); }
            input type="hidden" name="uploads" value=(Shown(&uploads));
            div.field {
                label for="spec" { "Job file (YAML)" }
                // The first newline of a textarea is not part of it.
                textarea #spec name="spec" rows="22" spellcheck="false" autocapitalize="off" autocomplete="off" aria-describedby="spec-help" { "\n" (Shown(&draft.spec)) }
                p #spec-help.dim.small { "or from a file: " input #spec-file name="spec_file" type="file" accept=".yaml,.yml,.json,text/plain" aria-label="Job file from disk"; }
            }
            div.columns {
                div.field {
                    label for="files" { "Files that it names with " code { "upload:" } }
                    input #files name="files" type="file" multiple;
                    ul #uploads.small { @for (path, upload) in &draft.uploads { li { (Shown(path)) " · " (words::size(upload.size)) " · stored" } } }
                }
                div.field {
                    label for="set" { "Parameters, " code { "name=value" } " on each line" }
                    textarea #set name="set" rows="3" spellcheck="false" { "\n" (Shown(&draft.set)) }
                }
            }
            @if draft.edit.is_some() {
                p { label.check { input type="checkbox" name="again" value="yes" checked[draft.again]; " Run succeeded chunks again, too (needed if chunks now do something else than those did)" } }
            }
            div.actions {
                @if draft.edit.is_some() {
                    button.main type="submit" name="act" value="release" { "Change and release" }
                    button type="submit" name="act" value="submit" { "Change, and keep it held" }
                } @else {
                    button.main type="submit" name="act" value="submit" { "Submit" }
                }
                button type="submit" name="act" value="check" { "Check" }
                p #submit-status.dim role="status" {}
            }
        }
    }
}

fn summary(outcome: &Outcome, problems: &[SpecProblem], lines: u64) -> Markup {
    html! {
        @match outcome {
            Outcome::Blank => {}
            Outcome::Checked(checked) if checked.ok => (plan(checked)),
            Outcome::Checked(_) => (listed(problems, lines, "Nothing was submitted. Correct these and check again.")),
            Outcome::Refused(problem) => (listed(problems, lines, if problem.detail.is_empty() { &problem.title } else { &problem.detail })),
        }
    }
}

fn listed(problems: &[SpecProblem], lines: u64, lead: &str) -> Markup {
    html! {
        section #problems.notice.wrong tabindex="-1" autofocus role="alert" aria-labelledby="problems-title" {
            h2 #problems-title { @if problems.is_empty() { "It was refused" } @else { (words::counted(problems.len() as u64, "problem")) " in the job file" } }
            p { (Shown(&words::sentence(lead))) }
            ul.problems { @for problem in problems { li { (one(problem, lines)) } } }
        }
    }
}

/// The place may lie behind the last line, where something is missing at the end.
fn one(problem: &SpecProblem, lines: u64) -> Markup {
    html! {
        @if problem.line > 0 && lines > 0 { a href={ "#line-" (problem.line.min(lines)) } data-line=(problem.line) data-column=(problem.column) { "Line " (problem.line) ":" (problem.column) } " " }
        @if !problem.path.is_empty() { code { (Shown(&problem.path)) } " " }
        (Shown(&problem.message))
        @if let Some(value) = &problem.value { span.dim { " It says " code { (Shown(&shortened(&value.to_string(), 120))) } "." } }
        @if !problem.allowed.is_empty() { span.dim { " Allowed: " @for word in &problem.allowed { code.tag { (Shown(word)) } } } }
        @if let Some(hint) = &problem.hint { div { (Shown(hint)) } }
    }
}

fn plan(checked: &Checked) -> Markup {
    html! {
        section #plan.panel tabindex="-1" aria-labelledby="plan-title" {
            header { h2 #plan-title { "This would run " (words::counted(checked.chunks, "chunk")) } span.dim.small { "the job file is correct" } }
            div.body {
                p.dim { "Nothing was submitted yet." }
                @for warning in &checked.warnings { div.notice.wait { p { (Shown(warning)) } } }
                @for chunk in &checked.first { (planned(chunk)) }
            }
        }
    }
}

fn planned(chunk: &ChunkPlan) -> Markup {
    html! {
        details { summary { "Chunk " (chunk.index) @if !chunk.label.is_empty() && chunk.label != chunk.index.to_string() { ": " (Shown(&shortened(&chunk.label, 80))) } }
            @if !chunk.command.is_empty() { pre tabindex="0" { (Shown(&chunk.command.join(" "))) } }
            pre tabindex="0" { @for (name, value) in &chunk.env { (Shown(name)) "=" (Shown(value)) "\n" } }
        }
    }
}

/// Lines beyond this are left out of the listing unless something is wrong with them.
const LINES: usize = 2000;

fn source(spec: &str, problems: &[SpecProblem]) -> Markup {
    let last = spec.lines().count() as u64;
    let wrong: BTreeSet<u64> = problems.iter().map(|problem| problem.line.min(last)).collect();
    html! {
        section.panel aria-labelledby="source-title" {
            header { h2 #source-title { "Your file, with what is wrong" } }
            div.body { div.source tabindex="0" role="region" aria-label="Job file with line numbers" {
                @for (index, line) in spec.lines().enumerate() {
                    @let number = index as u64 + 1;
                    @if index < LINES || wrong.contains(&number) {
                        div id={ "line-" (number) } .hit[wrong.contains(&number)] { span { (number) } span { (Shown(line)) } }
                        @if wrong.contains(&number) { @for problem in problems.iter().filter(|problem| problem.line.min(last) == number) { p { (Shown(&problem.message)) } } }
                    }
                }
            } }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_example_has_a_name_and_chunks() {
        for example in &EXAMPLES {
            assert!(example.text.contains("\nname:") && example.text.contains("\nchunks:"), "{}", example.name);
        }
    }
}
