//! The log of one attempt: the last lines as text, which a script replaces by a viewer of all of them.
use dsg_schemas::api::{LogLine, LogPage};
use dsg_schemas::ids::AttemptId;
use dsg_schemas::wire::log::Stream;
use maud::{Markup, html};

use super::ansi;
use super::url::SafeUrl;
use super::words;

/// How many lines a page shows without a script.
pub const LINES: usize = 200;

/// `page`: its last lines. Absent where the log could not be read.
pub fn panel(attempt: AttemptId, number: u32, page: Option<&LogPage>) -> Markup {
    html! {
        section.panel aria-labelledby="log-title" {
            header {
                h2 #log-title { "Log of attempt " (number) }
                div.tools {
                    span #log-size.dim.small { @if let Some(page) = page { (sizes(page)) } }
                    button #log-follow.needs-js type="button" aria-pressed="false" { "Follow" }
                    button #log-times.needs-js type="button" aria-pressed="false" { "Times" }
                    a.button href=(SafeUrl::raw_log(attempt)) download { "Raw" }
                }
            }
            div.log-box {
                @match page {
                    Some(page) => (lines(attempt, page)),
                    None => div.empty { p { "The log could not be read just now. Reload the page to try again." } },
                }
                button #log-fresh.fresh.main.needs-js type="button" hidden { "New lines ↓" }
            }
            p #log-status.hidden role="status" {}
        }
    }
}

fn lines(attempt: AttemptId, page: &LogPage) -> Markup {
    let first = page.lines.first().map_or(0, |line| line.n);
    html! {
        div #log.log role="region" aria-label="Log lines" tabindex="0"
            data-log=(SafeUrl::log(attempt)) data-total=(page.total) data-ended=(page.ended) {
            @if page.lines.is_empty() && page.open.is_empty() {
                div.empty { @if page.ended { "It wrote nothing." } @else { "Nothing written yet." } }
            } @else {
                ol {
                    @if first > 0 { li."row gap" { a {} (words::counted(first, "earlier line")) ": the raw log has them" } }
                    @for line in &page.lines { (row(line)) }
                    @for line in &page.open { (row(line)) }
                }
            }
        }
    }
}

fn row(line: &LogLine) -> Markup {
    let number = line.n + 1;
    let err = line.stream == Stream::Stderr;
    html! {
        li id={ "L" (number) } class=(if err { "row err" } else { "row" }) {
            a href={ "#L" (number) } { (number) }
            b { @if err { "err" } }
            time { (words::exact(line.time_ms)) }
            span { (ansi::line(&line.text)) @if line.cut { span.dim { " … cut; the raw log has all of it" } } }
        }
    }
}

/// `12,040 lines · 1.2 MiB`.
pub fn sizes(page: &LogPage) -> Markup {
    html! {
        (words::counted(page.total, "line")) " · " (words::size(page.stdout_bytes + page.stderr_bytes))
        @if page.stderr_bytes > 0 { " (" (words::size(page.stderr_bytes)) " stderr)" }
        @if page.missing_bytes > 0 { " · " b.bad { (words::size(page.missing_bytes)) " missing in the middle" } }
    }
}
