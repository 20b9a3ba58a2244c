//! One job: how far, what failed, what came out, and what can be done about it.
use std::collections::BTreeMap;

use dsg_schemas::api::{ChunkState, ChunkView, JobDetail, JobState, Page, Removed};
use dsg_schemas::ids::JobId;
use dsg_schemas::reason::EndReason;
use dsg_schemas::wire::StoredFile;
use maud::{Markup, html};

use super::act::Act;
use super::frame::{Frame, Here};
use super::shown::{Shown, shortened};
use super::url::SafeUrl;
use super::{bar, pill, words};

/// What the address asks for of the chunks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// A state, or `active` or `ended`; empty for all.
    pub state: String,
    pub cursor: String,
}

/// `failed`: the first few failed chunks, whatever the filter says.
pub fn page(
    frame: Frame<'_>,
    detail: &JobDetail,
    failed: &[ChunkView],
    filter: &Filter,
    chunks: &Page<ChunkView>,
) -> Markup {
    let job = &detail.job;
    let title = format!("{} · job {}", shortened(&job.name, 60), job.id);
    frame.page(
        Here::Jobs,
        &title,
        &["map"],
        html! {
            (head(frame, detail))
            @if let Some(why) = &detail.why { div #why.notice.(if job.state == JobState::Failed { "wrong" } else { "wait" }) data-live { p { (Shown(&words::sentence(why))) } } }
            (progress(frame.now_ms, detail))
            (results(detail))
            (failures(frame.now_ms, detail, failed))
            section.panel.needs-js aria-labelledby="map-title" {
                header { h2 #map-title { "Map of the chunks" } span.dim.small { "arrow keys and Enter work, too" } }
                div.map { canvas #map data-map=(SafeUrl::map(job.id)) data-job=(SafeUrl::job(job.id)) tabindex="0" role="img" aria-label=(bar::sentence(&job.chunks)) {} output #map-info for="map" {} }
            }
            (chunk_list(frame.now_ms, detail, filter, chunks))
            (spec(detail))
        },
    )
}

fn head(frame: Frame<'_>, detail: &JobDetail) -> Markup {
    let job = &detail.job;
    html! {
        div #head.head data-live {
            div {
                nav.crumbs aria-label="Path" { ol { li { a href="/jobs" { "Jobs" } } li { (job.id) } } }
                h1 { (Shown(&job.name)) " " (pill::job(job.state)) }
                @if !detail.description.is_empty() { p.dim { (Shown(&detail.description)) } }
            }
            @if frame.may_act_on(&job.owner) { (actions(detail)) }
        }
    }
}

/// The count on a button is the count of chunks that it concerns.
fn actions(detail: &JobDetail) -> Markup {
    let job = &detail.job;
    let tally = &job.chunks;
    let act = |act, label| Act { to: SafeUrl::job_act(job.id), act, label };
    let open = tally.total() - tally.ended();
    let again = tally.failed + tally.cancelled;
    let gather_failed = detail.gather_problem.is_some()
        || detail
            .gather
            .as_ref()
            .is_some_and(|gather| matches!(gather.state, ChunkState::Failed | ChunkState::Cancelled));
    let cancel = match open {
        0 => "Cancel the job".to_owned(),
        open => format!("Cancel {}", words::counted(open, "chunk")),
    };
    let (failed, all) = (
        format!("Retry {}", words::counted(again, "failed chunk")),
        format!("Run all {} again", words::counted(tally.total(), "chunk")),
    );
    html! {
        div.actions {
            // With the outputs of the others gone, only all of it can be run again.
            @if detail.outputs_removed.is_some() && tally.succeeded > 0 {} @else if again > 0 { (act("retry_failed", &failed).button()) } @else if gather_failed { (act("retry_failed", "Gather again").button()) }
            @match job.state {
                JobState::Held => {
                    (act("release", "Release").button())
                    @if tally.active() == 0 { a.button href=(SafeUrl::fixed("/submit").with("edit", &job.id.to_string())) { "Edit" } }
                }
                JobState::Waiting | JobState::Running if tally.waiting > 0 => (act("hold", "Hold").button()),
                _ => {}
            }
            @if job.state.is_final() {
                (act("retry_all", &all).ask("all", "Run again", "Succeeded chunks run again, too; their outputs are replaced.", false))
                (act("delete", "Delete the job").ask("delete", "Delete", "The job goes, with its logs and outputs. This cannot be undone.", true))
            } @else {
                (act("cancel", &cancel).ask("cancel", "Cancel", "What runs is stopped, and nothing more of the job starts.", true))
            }
        }
    }
}

fn progress(now_ms: u64, detail: &JobDetail) -> Markup {
    let job = &detail.job;
    let tally = &job.chunks;
    html! {
        section #progress.panel data-live aria-label="Progress" { div.body {
            p { b { (words::number(tally.ended())) " of " (words::counted(tally.total(), "chunk")) " ended" } span.dim { " · " (words::percent(tally.ended(), tally.total())) } }
            (bar::progress(tally, true))
            ul.legend { @for state in bar::ORDER { @if tally.of(state) > 0 {
                li class=(state.word()) { i {} a href=(SafeUrl::job(job.id).with("state", state.word()).at("chunks")) { (words::number(tally.of(state))) " " (state.word()) } }
            } } }
            dl.facts {
                div { dt { "Submitted" } dd { (words::time(now_ms, job.submitted_ms)) " by " (Shown(&job.owner)) } }
                div { dt { @if job.state.is_final() { "Took" } @else { "Running for" } } dd { (words::elapsed(now_ms, job.started_ms, job.ended_ms)) } }
                @if !job.state.is_final() { div { dt { "Chunks through" } dd { (eta(now_ms, detail.eta_ms)) } } }
                @if let Some(ended_ms) = job.ended_ms { div { dt { "Ended" } dd { (words::time(now_ms, ended_ms)) } } }
                div { dt { "Image" } dd.mono.anywhere { (Shown(&job.image)) } }
                div { dt { "Priority" } dd { (job.priority) } }
                @if let Some(limit) = detail.parallelism { div { dt { "At once" } dd { "at most " (words::counted(limit.into(), "chunk")) } } }
                @for (what, noun, removed) in [("Logs", "log", &detail.logs_removed), ("Outputs", "file", &detail.outputs_removed)] { @if let Some(removed) = removed { div { dt { (what) } dd { (gone(now_ms, noun, removed)) } } } }
                @if detail.revision > 1 { div { dt { "Job file" } dd { "revision " (detail.revision) } } }
                @if !job.labels.is_empty() { div { dt { "Labels" } dd { @for (key, value) in &job.labels { span.tag { (Shown(key)) "=" (Shown(value)) } } } } }
            }
        } }
    }
}

/// What a rule removed, when, and which rule it was.
pub fn gone(now_ms: u64, noun: &str, removed: &Removed) -> Markup {
    html! { b { "removed" } " " (words::time(now_ms, removed.at_ms)) ": " (words::counted(removed.count, noun)) ", " (words::size(removed.bytes)) ", " (Shown(&removed.why)) }
}

/// A range, because a single number would promise too much.
fn eta(now_ms: u64, eta_ms: Option<(u64, u64)>) -> Markup {
    html! { @match eta_ms {
        None => span.dim { "too early to say" },
        Some((low, high)) => {
            "in " (words::duration(low.saturating_sub(now_ms) / 1000 * 1000)) " to " (words::duration(high.saturating_sub(now_ms) / 1000 * 1000))
        }
    } }
}

fn results(detail: &JobDetail) -> Markup {
    let job = &detail.job;
    html! {
        @if !detail.gathered.is_empty() || detail.gather.is_some() || detail.gather_problem.is_some() {
            section #results.panel data-live aria-labelledby="results-title" {
                header { h2 #results-title { "Results" } a href=(SafeUrl::manifest(job.id)) download={ "job-" (job.id) "-manifest.jsonl" } { "Manifest of all chunks" } }
                @if let Some(problem) = &detail.gather_problem { div.body { div.notice.wrong { p { "Gathering failed: " (Shown(&words::sentence(problem))) } } } }
                @if let Some(gather) = &detail.gather {
                    div.body { p { a href=(SafeUrl::chunk(gather.id)) { "Gather step" } " " (pill::chunk(gather.state)) @if !gather.message.is_empty() { " " (Shown(&gather.message)) } } }
                }
                @if !detail.gathered.is_empty() { (files(&detail.gathered)) }
            }
        }
    }
}

/// Stored files, with links to fetch them.
pub fn files(files: &[StoredFile]) -> Markup {
    html! {
        div.scroll { table {
            thead { tr { th { "File" } th { "Output" } th.number { "Size" } th.wide-only { "SHA-256" } } }
            tbody { @for file in files {
                tr {
                    td { a href=(SafeUrl::blob(&file.sha256).with("name", &file.file)) download=(Shown(&file.file)) { (Shown(&file.file)) } }
                    td { (Shown(&file.name)) }
                    td.number { (words::size(file.size)) }
                    td.wide-only.mono.dim title=(Shown(&file.sha256)) { (Shown(&shortened(&file.sha256, 12))) }
                }
            } }
        } }
    }
}

fn failures(now_ms: u64, detail: &JobDetail, failed: &[ChunkView]) -> Markup {
    html! {
        @if !failed.is_empty() || !detail.failures.is_empty() {
            section #failures.panel data-live aria-labelledby="failures-title" {
                header { h2 #failures-title { "Failures" } (reasons(&detail.failures)) }
                @if !failed.is_empty() {
                    (chunk_table(now_ms, failed))
                    @if detail.job.chunks.failed > failed.len() as u64 {
                        div.more { a href=(SafeUrl::job(detail.job.id).with("state", "failed").at("chunks")) { "All " (words::number(detail.job.chunks.failed)) " failed chunks" } }
                    }
                } @else { div.body { p.dim { "Attempts failed, but no chunk did: their retries helped, or are still to come." } } }
            }
        }
    }
}

fn reasons(failures: &BTreeMap<EndReason, u64>) -> Markup {
    html! {
        @if !failures.is_empty() {
            span.small { span.dim { "attempts ended by " } @for (reason, count) in failures { span.tag { (reason.word()) " × " (words::number(*count)) } } }
        }
    }
}

fn chunk_list(now_ms: u64, detail: &JobDetail, filter: &Filter, chunks: &Page<ChunkView>) -> Markup {
    let job = detail.job.id;
    html! {
        section #chunks.panel data-live aria-labelledby="chunks-title" {
            header {
                h2 #chunks-title { "Chunks" }
                nav.tabs aria-label="State of the chunks" { (tab(job, "", detail.job.chunks.total(), filter)) @for state in ChunkState::ALL {
                    @if detail.job.chunks.of(state) > 0 || filter.state == state.word() { (tab(job, state.word(), detail.job.chunks.of(state), filter)) }
                } }
            }
            @if chunks.rows.is_empty() { div.empty { p { "No chunk is in this state now." } } } @else { (chunk_table(now_ms, &chunks.rows)) }
            @if chunks.next.is_some() || !filter.cursor.is_empty() {
                nav.more aria-label="Pages" {
                    @if !filter.cursor.is_empty() { a href=(list_url(job, &filter.state).at("chunks")) { "First page" } }
                    @if let Some(next) = &chunks.next { a.button href=(list_url(job, &filter.state).with("cursor", next).at("chunks")) { "Next page" } }
                }
            }
        }
    }
}

fn list_url(job: JobId, state: &str) -> SafeUrl {
    SafeUrl::job(job).with("state", state)
}

/// `word`: a state, or nothing for all.
fn tab(job: JobId, word: &str, count: u64, filter: &Filter) -> Markup {
    let name = if word.is_empty() { "all" } else { word };
    html! { a href=(list_url(job, word).at("chunks")) aria-current=[(filter.state == word).then_some("true")] { (name) " " (words::number(count)) } }
}

fn chunk_table(now_ms: u64, chunks: &[ChunkView]) -> Markup {
    html! {
        div.scroll { table {
            thead { tr { th.number { "Chunk" } th { "Label" } th { "State" } th { "What happened" } th.number.wide-only { "Attempts" } th.wide-only { "Runner" } th { "Took" } } }
            tbody { @for chunk in chunks {
                tr data-key={ "chunk-" (chunk.id.stage) "-" (chunk.id.index) } data-href=(SafeUrl::chunk(chunk.id)) {
                    td.number { a href=(SafeUrl::chunk(chunk.id)) { (chunk.id.index) } }
                    td { (Shown(&shortened(&chunk.label, 80))) }
                    td { (pill::chunk(chunk.state)) }
                    td { (what_happened(now_ms, chunk)) }
                    td.number.wide-only { (chunk.attempts) }
                    td.wide-only { @match &chunk.runner { Some(runner) => (Shown(runner)), None => span.dim { "–" } } }
                    td.nowrap { (words::elapsed(now_ms, chunk.started_ms, chunk.ended_ms)) }
                }
            } }
        } }
    }
}

/// The reason, the code and the sentence, as far as there are any.
pub fn what_happened(now_ms: u64, chunk: &ChunkView) -> Markup {
    html! {
        @if let Some(reason) = chunk.reason && reason != EndReason::Succeeded { span.tag { (reason.word()) @if let Some(code) = chunk.exit_code { " " (code) } } " " }
        (Shown(&shortened(&words::sentence(&chunk.message), 240)))
        @if let Some(then_ms) = chunk.not_before_ms && !chunk.state.is_final() { span.dim { " tried again " (words::time(now_ms, then_ms)) } }
    }
}

fn spec(detail: &JobDetail) -> Markup {
    let understood = serde_json::to_string_pretty(&detail.spec).unwrap_or_default();
    html! {
        section.panel aria-labelledby="spec-title" {
            header { h2 #spec-title { "Job file" } a href=(SafeUrl::fixed("/submit").with("like", &detail.job.id.to_string())) { "Submit one like it" } }
            div.body {
                details { summary { "As written" } pre tabindex="0" { (Shown(&detail.spec_text)) } }
                details { summary { "As understood, with defaults and parameters put in" } pre tabindex="0" { (Shown(&understood)) } }
            }
        }
    }
}
