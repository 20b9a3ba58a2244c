//! The list of jobs, with filters in the address.
use dsg_schemas::api::{JobView, Page, Role};
use maud::{Markup, html};

use super::frame::{Frame, Here};
use super::shown::{Shown, shortened};
use super::url::SafeUrl;
use super::{bar, pill, words};

/// What the address asks for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// A state, or `open` or `ended`; empty for all.
    pub state: String,
    pub owner: String,
    pub text: String,
    pub cursor: String,
}

impl Filter {
    fn is_empty(&self) -> bool {
        self.state.is_empty() && self.owner.is_empty() && self.text.is_empty()
    }
    fn url(&self) -> SafeUrl {
        SafeUrl::fixed("/jobs").with("state", &self.state).with("owner", &self.owner).with("text", &self.text)
    }
}

pub fn page(frame: Frame<'_>, filter: &Filter, jobs: &Page<JobView>) -> Markup {
    let words = ["open", "ended"].into_iter().chain(pill::JOB_STATES.map(pill::job_word));
    frame.page(
        Here::Jobs,
        "Jobs",
        &[],
        html! {
            div.head {
                div { h1 { "Jobs" } }
                @if frame.may(Role::Submitter) { div.actions { a.button.main href="/submit" { "Submit a job" } } }
            }
            form.filters method="get" action="/jobs" role="search" {
                label { "Name or label" input name="text" type="search" value=(Shown(&filter.text)) size="18" data-slash; }
                label { "Owner" input name="owner" value=(Shown(&filter.owner)) size="12"; }
                label { "State" select name="state" {
                    option value="" { "all" }
                    @for word in words { option value=(word) selected[filter.state == word] { (word) } }
                } }
                button type="submit" { "Filter" }
                @if !filter.is_empty() { a.button href="/jobs" { "Show all" } }
            }
            section #jobs.panel data-live aria-label="Jobs" {
                @if jobs.rows.is_empty() {
                    @if filter.is_empty() && filter.cursor.is_empty() { (none_yet(frame.may(Role::Submitter))) } @else {
                        div.empty { h3 { "No job matches" } p { a href="/jobs" { "Show all jobs" } } }
                    }
                } @else {
                    (table(frame.now_ms, jobs.rows.iter()))
                    (more(filter, jobs.next.as_deref()))
                }
            }
        },
    )
}

fn more(filter: &Filter, next: Option<&str>) -> Markup {
    html! {
        @if next.is_some() || !filter.cursor.is_empty() {
            nav.more aria-label="Pages" {
                @if !filter.cursor.is_empty() { a href=(filter.url()) { "First page" } }
                @if let Some(next) = next { a.button href=(filter.url().with("cursor", next)) { "Next page" } }
            }
        }
    }
}

pub fn none_yet(may_submit: bool) -> Markup {
    html! {
        div.empty {
            h3 { "No jobs yet" }
            @if may_submit {
                p { "A job names a container image, a command and how to split the work. Try one of the " a href="/submit?example=hello" { "examples" } ", or from a terminal:" }
                pre { "dsg submit job.yaml --follow" }
            } @else { p { "They appear here once somebody submits one." } }
        }
    }
}

pub fn table<'a>(now_ms: u64, jobs: impl Iterator<Item = &'a JobView>) -> Markup {
    html! {
        div.scroll { table {
            thead { tr { th.number.wide-only { "Id" } th { "Name" } th { "State" } th { "Chunks" } th.wide-only { "Owner" } th.wide-only { "Submitted" } th.wide-only { "Took" } } }
            tbody { @for job in jobs { (row(now_ms, job)) } }
        } }
    }
}

fn row(now_ms: u64, job: &JobView) -> Markup {
    let tally = &job.chunks;
    html! {
        tr data-key={ "job-" (job.id) } data-href=(SafeUrl::job(job.id)) {
            td.number.dim.wide-only { (job.id) }
            td {
                a.name href=(SafeUrl::job(job.id)) { (Shown(&shortened(&job.name, 80))) }
                div.dim.small.wide-only { (Shown(&shortened(&job.image, 60))) @for (key, value) in job.labels.iter().take(4) { " " span.tag { (Shown(&shortened(key, 24))) "=" (Shown(&shortened(value, 24))) } } }
            }
            td { (pill::job(job.state)) }
            td.progress-cell {
                (bar::progress(tally, false))
                div.small.dim {
                    (words::number(tally.ended())) " of " (words::number(tally.total()))
                    @if tally.failed > 0 { " · " span.bad { (words::number(tally.failed)) " failed" } }
                    @if tally.active() > 0 { " · " (words::number(tally.active())) " running" }
                }
            }
            td.wide-only { (Shown(&shortened(&job.owner, 40))) }
            td.wide-only.nowrap { (words::time(now_ms, job.submitted_ms)) }
            td.nowrap.wide-only { (words::elapsed(now_ms, job.started_ms, job.ended_ms)) }
        }
    }
}
