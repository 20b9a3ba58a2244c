//! What waits, in the order in which it will start, and why it has not.
use dsg_schemas::api::{OwnerView, Page, QueueEntry};
use maud::{Markup, html};

use super::frame::{Frame, Here};
use super::shown::{Shown, shortened};
use super::url::SafeUrl;
use super::words;

/// `before`: entries on the pages before this one.
pub fn page(frame: Frame<'_>, found: &Page<QueueEntry>, before: usize, owners: &[OwnerView]) -> Markup {
    let entries = &found.rows;
    let waiting: u64 = entries.iter().map(|entry| entry.waiting).sum();
    frame.page(
        Here::Queue,
        "Queue",
        &[],
        html! {
            h1 { "Queue" }
            section #queue.panel data-live aria-label="Queue" {
                @if entries.is_empty() {
                    div.empty { h3 { "Nothing waits" } p { "Every chunk of every job has a runner, or has ended." } }
                } @else {
                    header { span { (words::counted(waiting, "chunk")) " in " (words::counted(entries.len() as u64, "group")) @if found.next.is_some() || before > 0 { " on this page" } } span.dim.small { "higher priority first, then fair shares between owners, then age" } }
                    div.scroll { table {
                        thead { tr { th.number { "#" } th { "Job" } th.number { "Waiting" } th { "Each needs" } th { "Why it waits" } th.number.wide-only { "Priority" } th.wide-only { "Owner" } } }
                        tbody { @for (place, entry) in entries.iter().enumerate() { (row(before + place + 1, entry)) } }
                    } }
                    @if found.next.is_some() || before > 0 {
                        nav.more aria-label="Pages" {
                            @if before > 0 { a href="/queue" { "First page" } }
                            @if let Some(next) = &found.next { a.button href=(SafeUrl::fixed("/queue").with("cursor", next)) { "Next page" } }
                        }
                    }
                }
            }
            (shares(owners))
        },
    )
}

/// Who comes next among those with work of the same priority, and why.
fn shares(owners: &[OwnerView]) -> Markup {
    html! {
        @if !owners.is_empty() {
            section #shares.panel data-live aria-labelledby="shares-title" {
                header { h2 #shares-title { "Shares" } span.dim.small { "who had least comes first: what runs now and the average of the past together" } }
                div.scroll { table {
                    thead { tr { th { "Owner" } th.number { "CPUs now" } th.number { "GPUs now" } th.number { "CPUs on average" } th { "Limit" } } }
                    tbody { @for owner in owners {
                        tr data-key={ "owner-" (Shown(&owner.owner)) } {
                            td { @if owner.owner == "*" { "everyone without a limit of their own" } @else { (Shown(&shortened(&owner.owner, 40))) } }
                            td.number { (words::cores(owner.used_cpus_milli)) }
                            td.number { (owner.used_gpus) }
                            td.number { (words::cores(owner.average_cpus_milli)) }
                            td { (limit(owner)) }
                        }
                    } }
                } }
            }
        }
    }
}

fn limit(owner: &OwnerView) -> Markup {
    html! { @match (owner.limit_cpus_milli, owner.limit_gpus) {
        (None, None) => span.dim { "none" },
        (cpus, gpus) => {
            @if let Some(cpus) = cpus { (words::cores(cpus)) " CPUs" }
            @if cpus.is_some() && gpus.is_some() { ", " }
            @if let Some(gpus) = gpus { (words::counted(gpus.into(), "GPU")) }
        }
    } }
}

fn row(place: usize, entry: &QueueEntry) -> Markup {
    let explanation = &entry.explanation;
    html! {
        tr data-key={ "queue-" (entry.first.job) "-" (entry.first.stage) "-" (entry.first.index) } {
            td.number.dim { (place) }
            td { a.name href=(SafeUrl::job(entry.job)) { (Shown(&shortened(&entry.job_name, 60))) } div.small.dim { "next: " a href=(SafeUrl::chunk(entry.first)) { (entry.first) } } }
            td.number { (words::number(entry.waiting)) }
            td { (Shown(&entry.needs)) }
            td {
                @if explanation.never { b.bad { "No runner can ever run this. " } }
                (Shown(&words::sentence(&explanation.summary)))
                @if !explanation.runners.is_empty() {
                    details { summary.small { "Runner by runner" }
                        ul { @for one in &explanation.runners { li { b { (Shown(&one.runner)) } ": " (Shown(&one.reason)) } } }
                    }
                }
            }
            td.number.wide-only { (entry.priority) }
            td.wide-only { (Shown(&shortened(&entry.owner, 40))) }
        }
    }
}
