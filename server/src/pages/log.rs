//! The log of one attempt: the last lines as text, which a script replaces by a viewer of all of them.
use dsg_schemas::api::{LogLine, LogPage, Removed};
use dsg_schemas::ids::AttemptId;
use dsg_schemas::wire::log::Stream;
use maud::{Markup, html};

use super::ansi;
use super::url::SafeUrl;
use super::{job, words};

/// How many lines a page shows without a script.
pub const LINES: usize = 200;

/// Which lines are shown to those without a script, and where the others are.
#[derive(Clone, Debug)]
pub struct Place {
    pub attempt: AttemptId,
    pub number: u32,
    /// Of the page that shows the log.
    pub url: SafeUrl,
}

/// `removed`: by a rule; then there is nothing to show but that. `page`: some of its lines, the last ones unless others were asked for.
/// Absent where the log could not be read.
pub fn panel(now_ms: u64, place: &Place, removed: Option<&Removed>, page: Option<&LogPage>) -> Markup {
    let Place { attempt, number, url: _ } = place;
    if let Some(removed) = removed {
        return html! {
            section.panel aria-labelledby="log-title" {
                header { h2 #log-title { "Log of attempt " (number) } }
                div.empty { p { "The logs of this job were " (job::gone(now_ms, "log", removed)) } }
            }
        };
    }
    html! {
        section.panel aria-labelledby="log-title" {
            header {
                h2 #log-title { "Log of attempt " (number) }
                div.tools {
                    span #log-size.dim.small { @if let Some(page) = page { (sizes(page)) } }
                    button #log-follow.needs-js type="button" aria-pressed="false" { "Follow" }
                    button #log-times.needs-js type="button" aria-pressed="false" { "Times" }
                    a.button href=(SafeUrl::raw_log(*attempt)) download { "Raw" }
                    a.small href=(SafeUrl::raw_log(*attempt).with("stream", "stdout")) download { "stdout" }
                    a.small href=(SafeUrl::raw_log(*attempt).with("stream", "stderr")) download { "stderr" }
                }
            }
            div.log-box {
                @match page {
                    Some(page) => (lines(place, page)),
                    None => div.empty { p { "The log could not be read just now. Reload the page to try again." } },
                }
                button #log-fresh.fresh.main.needs-js type="button" hidden { "New lines ↓" }
            }
            p #log-status.hidden role="status" {}
        }
    }
}

fn lines(place: &Place, page: &LogPage) -> Markup {
    let first = page.lines.first().map_or(0, |line| line.n);
    let after = page.lines.last().map_or(0, |line| line.n + 1);
    let is_end = after >= page.total;
    let from = |line: u64| place.url.clone().with("from", &line.to_string()).at("log-title");
    html! {
        div #log.log role="region" aria-label="Log lines" tabindex="0"
            data-log=(SafeUrl::log(place.attempt)) data-total=(page.total) data-ended=(page.ended) {
            @if page.lines.is_empty() && page.open.is_empty() {
                div.empty { @if page.ended { "It wrote nothing." } @else { "Nothing written yet." } }
            } @else {
                ol {
                    @if first > 0 { li."row gap" { a {} a href=(from(first.saturating_sub(LINES as u64))) { (words::counted(first, "earlier line")) } } }
                    @for line in &page.lines { (row(line)) }
                    @if is_end { @for line in &page.open { (row(line)) } }
                    @else { li."row gap" { a {} a href=(from(after)) { (words::counted(page.total - after, "later line")) } } }
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
        @if page.unheard { " · " b.bad { "its runner has not said that this is all" } }
    }
}
