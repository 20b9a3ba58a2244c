//! The first page: is the grid well, what runs, what waits.
use dsg_schemas::api::{JobView, Overview, Role, RunnerState, RunnerView};
use maud::{Markup, html};

use super::frame::{Frame, Here};
use super::jobs;
use super::pill;
use super::runners;
use super::shown::{Shown, shortened};
use super::url::SafeUrl;
use super::{bar, words};

/// `join`: the command that adds a runner, without its token.
pub fn page(frame: Frame<'_>, overview: &Overview, join: &str) -> Markup {
    let ready = overview.runners.iter().filter(|runner| runner.state == RunnerState::Ready).count() as u64;
    let unfinished: Vec<&JobView> = overview.jobs.iter().filter(|job| !job.state.is_final()).collect();
    frame.page(
        Here::Overview,
        "Overview",
        &[],
        html! {
            h1 { "Overview" }
            div #tiles.tiles data-live {
                a.tile href="/runners" { b { (words::number(ready)) } span { "of " (words::counted(overview.runners.len() as u64, "runner")) " ready" } }
                a.tile href="/jobs?state=running" { b { (words::number(overview.active)) } span { "chunks running" } }
                a.tile href="/queue" { b { (words::number(overview.waiting)) } span { "chunks waiting" } }
                (capacity(&overview.runners))
            }
            section #overview-jobs.panel data-live aria-labelledby="jobs-title" {
                header {
                    h2 #jobs-title { @if unfinished.is_empty() { "Recent jobs" } @else { "Jobs" } }
                    a href="/jobs" { "All jobs" }
                }
                @if overview.jobs.is_empty() { (jobs::none_yet(frame.may(Role::Submitter))) } @else {
                    (jobs::table(frame.now_ms, overview.jobs.iter()))
                }
                @if !overview.removed_last_day.is_empty() { div.more { span.dim.small { "Removed by rule in the last day: " (Shown(&overview.removed_last_day)) } } }
            }
            section #overview-runners.panel data-live aria-labelledby="runners-title" {
                header { h2 #runners-title { "Runners" } a href="/runners" { "All about them" } }
                @if overview.runners.is_empty() { (runners::none_yet(join, frame.may(Role::Admin))) } @else { (runner_table(frame.now_ms, &overview.runners)) }
            }
        },
    )
}

/// Reserved against offered, over the runners that are in touch.
fn capacity(all: &[RunnerView]) -> Markup {
    let away = |state| matches!(state, RunnerState::Ended | RunnerState::Unreachable | RunnerState::New);
    let here = || all.iter().filter(|runner| !away(runner.state));
    let (used, cpus) = here().fold((0, 0), |sum, one| (sum.0 + one.used_cpus_milli, sum.1 + one.facts.cpus_milli));
    let gpus: usize = here().map(|one| one.facts.gpus.len()).sum();
    let gpus_used: usize = here().map(|one| one.used_gpus.len()).sum();
    html! {
        a.tile href="/runners" { b { (words::cores(used)) } span { "of " (words::cores(cpus)) " cores in use" } }
        a.tile href="/runners" { b { (gpus_used) } span { "of " (gpus) " GPUs in use" } }
    }
}

fn runner_table(now_ms: u64, all: &[RunnerView]) -> Markup {
    html! {
        div.scroll { table {
            thead { tr { th { "Runner" } th { "State" } th { "Chunks" } th { "Cores reserved" } th { "Memory reserved" } th.wide-only { "GPUs" } th.wide-only { "Last seen" } } }
            tbody { @for runner in all {
                tr data-key={ "runner-" (runner.id) } {
                    td { a.name href=(SafeUrl::runner(runner.id)) { (Shown(&shortened(&runner.name, 60))) } }
                    td { (pill::runner(runner.state)) @if !runner.why.is_empty() { div.dim.small { (Shown(&runner.why)) } } }
                    td.number { (runner.holds.len()) }
                    td { (bar::share("", runner.used_cpus_milli, runner.facts.cpus_milli, &format!("{} of {}", words::cores(runner.used_cpus_milli), words::cores(runner.facts.cpus_milli)))) }
                    td { (bar::share("", runner.used_memory_bytes, runner.facts.memory_bytes, &format!("{} of {}", words::size(runner.used_memory_bytes), words::size(runner.facts.memory_bytes)))) }
                    td.wide-only { @if runner.facts.gpus.is_empty() { span.dim { "–" } } @else { (runner.used_gpus.len()) " of " (runner.facts.gpus.len()) } }
                    td.wide-only.nowrap { (words::time_or_dash(now_ms, runner.last_seen_ms)) }
                }
            } }
        } }
    }
}
