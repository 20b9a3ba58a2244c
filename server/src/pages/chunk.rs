//! One chunk: every attempt at it, what it left, its log, and why it waits.
use dsg_schemas::api::{AttemptView, ChunkDetail, ChunkState, Explanation, LogPage};
use dsg_schemas::ids::{MAIN, stage_name};
use dsg_schemas::reason::EndReason;
use dsg_schemas::wire::GpuUse;
use maud::{Markup, html};

use super::act::Act;
use super::frame::{Frame, Here};
use super::shown::{Shown, shortened};
use super::url::SafeUrl;
use super::{job, log, pill, words};

/// `owner`: of the job. `attempt`: the number of the one whose log is shown; the last one if left out.
pub fn page(
    frame: Frame<'_>,
    detail: &ChunkDetail,
    owner: &str,
    attempt: Option<u32>,
    lines: Option<&LogPage>,
) -> Markup {
    let chunk = &detail.chunk;
    let name = match chunk.id.stage {
        MAIN => format!("Chunk {}", chunk.id.index),
        stage => format!("{} step", shown_stage(stage_name(stage))),
    };
    let shown = chosen(&detail.history, attempt);
    frame.page(
        Here::Jobs,
        &format!("{name} of job {}", chunk.id.job),
        &["log"],
        html! {
            (head(frame, detail, owner, &name))
            div #explanation data-live { @if let Some(explanation) = &detail.explanation { (explained(explanation)) } }
            (attempts(frame.now_ms, detail, shown))
            // Another attempt means another log: the script loads the page anew.
            div #log-of data-live-reload=[shown.map(|shown| shown.id)] { @if let Some(shown) = shown { (log::panel(frame.now_ms, &log_place(detail, shown, attempt), shown.log_removed.as_ref(), lines)) } }
            div #outputs data-live { @if let Some(shown) = shown && !shown.outputs.is_empty() {
                section.panel aria-labelledby="outputs-title" {
                    header { h2 #outputs-title { "Outputs of attempt " (shown.number) } @if shown.accepted { span.dim.small { "accepted: these count" } } @else { span.dim.small { "not accepted: these do not count" } } }
                    @if let Some(removed) = &shown.outputs_removed { div.empty { p { "The outputs of this job were " (job::gone(frame.now_ms, "file", removed)) } } } @else { (job::files(&shown.outputs)) }
                }
            } }
            (what(detail))
        },
    )
}

/// `attempt` as in the address of the page, so that turning its pages stays with it.
fn log_place(detail: &ChunkDetail, shown: &AttemptView, attempt: Option<u32>) -> log::Place {
    let asked = attempt.map(|number| number.to_string()).unwrap_or_default();
    let url = SafeUrl::chunk(detail.chunk.id).with("attempt", &asked);
    log::Place { attempt: shown.id, number: shown.number, url }
}

fn shown_stage(name: &str) -> String {
    let mut characters = name.chars();
    characters.next().map(|first| first.to_uppercase().to_string()).unwrap_or_default() + characters.as_str()
}

/// The attempt that was asked for, else the newest.
pub fn chosen(history: &[AttemptView], number: Option<u32>) -> Option<&AttemptView> {
    let asked = number.and_then(|number| history.iter().find(|attempt| attempt.number == number));
    asked.or(history.last())
}

fn head(frame: Frame<'_>, detail: &ChunkDetail, owner: &str, name: &str) -> Markup {
    let chunk = &detail.chunk;
    html! {
        div #head.head data-live {
            div {
                nav.crumbs aria-label="Path" { ol {
                    li { a href="/jobs" { "Jobs" } }
                    li { a href=(SafeUrl::job(chunk.id.job)) { (chunk.id.job) " " (Shown(&shortened(&detail.job_name, 60))) } }
                    li { (name) }
                } }
                h1 { (name) @if !chunk.label.is_empty() && chunk.label != chunk.id.index.to_string() { span.dim { (Shown(&shortened(&chunk.label, 120))) } } " " (pill::chunk(chunk.state)) }
                p { (job::what_happened(frame.now_ms, chunk)) }
            }
            @if chunk.state.is_final() && frame.may_act_on(owner) {
                div.actions { (Act { to: SafeUrl::chunk_retry(chunk.id), act: "retry", label: "Retry this chunk" }.button()) }
            }
        }
    }
}

pub fn explained(explanation: &Explanation) -> Markup {
    html! {
        div.notice.(if explanation.never { "wrong" } else { "wait" }) {
            p { @if explanation.never { b { "No runner of this grid can ever run it. " } } (Shown(&words::sentence(&explanation.summary))) }
            @if !explanation.runners.is_empty() {
                details { summary { "What each of " (words::counted(explanation.runners.len() as u64, "runner")) " says" }
                    ul { @for one in &explanation.runners { li { b { (Shown(&one.runner)) } ": " (Shown(&one.reason)) } } }
                }
            }
        }
    }
}

fn attempts(now_ms: u64, detail: &ChunkDetail, shown: Option<&AttemptView>) -> Markup {
    html! {
        section #attempts.panel data-live aria-labelledby="attempts-title" {
            header { h2 #attempts-title { "Attempts" } }
            @if detail.history.is_empty() { div.empty { p { "None yet." } } } @else {
                div.scroll { table {
                    thead { tr { th.number { "No." } th { "End" } th { "Runner" } th { "Started" } th { "Ran" } th.number { "Peak memory" } th.number.wide-only { "CPU time" } th.number.wide-only { "Read, written" } th.wide-only { "GPUs" } th { "Log" } } }
                    tbody { @for attempt in detail.history.iter().rev() { (row(now_ms, detail, attempt, shown.is_some_and(|shown| shown.id == attempt.id))) } }
                } }
            }
        }
    }
}

fn row(now_ms: u64, detail: &ChunkDetail, attempt: &AttemptView, current: bool) -> Markup {
    html! {
        tr data-key={ "attempt-" (attempt.number) } aria-current=[current.then_some("true")] {
            td.number { (attempt.number) @if attempt.revision > 1 { div.dim.small { "file " (attempt.revision) } } }
            td { (end(attempt)) }
            td { (Shown(&attempt.runner_name)) }
            td.nowrap { (words::time(now_ms, attempt.started_ms.unwrap_or(attempt.leased_ms))) }
            td.nowrap { @match attempt.run_ms { Some(ms) => (words::duration(ms)), None => (words::elapsed(now_ms, attempt.started_ms, attempt.ended_ms)) }
                @if let Some(ms) = attempt.raised_run_ms { div.dim.small { "limit raised to " (words::duration(ms)) } }
            }
            td.number {
                (amount(attempt.peak_memory_bytes.map(words::size)))
                @if attempt.peak_memory_bytes.is_some() && attempt.raised_memory_bytes.is_none() && detail.asked.memory_bytes > 0 {
                    div.dim.small { "of " (words::size(detail.asked.memory_bytes)) }
                }
                @if let Some(bytes) = attempt.raised_memory_bytes { div.dim.small { "limit raised to " (words::size(bytes)) } }
            }
            td.number.wide-only {
                (amount(attempt.cpu_ms.map(words::duration)))
                @if let Some(cores) = cores(attempt) { div.dim.small { (cores) " of " (f64::from(u32::try_from(detail.asked.cpus_milli).unwrap_or(u32::MAX)) / 1000.0) " cores" } }
            }
            td.number.wide-only {
                (amount(attempt.read_bytes.map(words::size)))
                @if let Some(bytes) = attempt.written_bytes { div { (words::size(bytes)) } }
            }
            td.wide-only { @if attempt.gpus.is_empty() { span.dim { "–" } } @for gpu in &attempt.gpus { div.mono.small title=(Shown(gpu)) { (Shown(&shortened(gpu, 12))) }
                @for seen in attempt.gpu_use.iter().filter(|seen| seen.uuid == *gpu) { div.dim.small { (gpu_use(seen)) } }
            } }
            td { a href=(SafeUrl::chunk(detail.chunk.id).with("attempt", &attempt.number.to_string()).at("log-title")) { "Log" } " · " a href=(SafeUrl::raw_log(attempt.id)) download { "raw" } }
        }
    }
}

/// How many cores it kept busy, on average.
fn cores(attempt: &AttemptView) -> Option<String> {
    let (cpu, ran) = (attempt.cpu_ms?, attempt.run_ms.filter(|ms| *ms > 0)?);
    Some(format!("{:.1}", cpu as f64 / ran as f64))
}

fn gpu_use(seen: &GpuUse) -> String {
    let busy = match (seen.busy_percent_average, seen.busy_percent_most) {
        (Some(average), Some(most)) => format!("busy {average} %, at most {most} %"),
        _ => "how busy is not known".to_owned(),
    };
    match seen.memory_bytes_most {
        Some(most) => format!("{busy}; memory at most {}", words::size(most)),
        None => busy,
    }
}

fn amount(text: Option<String>) -> Markup {
    html! { @match text { Some(text) => (text), None => span.dim { "–" } } }
}

fn end(attempt: &AttemptView) -> Markup {
    html! {
        @match attempt.reason {
            Some(EndReason::Succeeded) => { (pill::chunk(ChunkState::Succeeded)) @if attempt.accepted { span.dim.small { " accepted" } } }
            Some(reason) => {
                span.tag { (reason.word()) }
                @if let Some(code) = attempt.exit_code { " exit code " (code) }
                @if let Some(signal) = attempt.signal { " signal " (signal) }
            }
            None => (pill::phase(&attempt.phase)),
        }
        @if !attempt.note.is_empty() && attempt.reason.is_none() { div.dim.small { (Shown(&attempt.note)) } }
        @if !attempt.message.is_empty() { div.small { (Shown(&shortened(&words::sentence(&attempt.message), 1000))) } }
        @if let Some(image) = &attempt.image_id { div.dim.small.mono title=(Shown(image)) { (Shown(&shortened(image, 19))) } }
    }
}

fn what(detail: &ChunkDetail) -> Markup {
    html! {
        section.panel aria-labelledby="what-title" {
            header { h2 #what-title { "What it runs" } }
            div.body {
                h3 { "Command" }
                @if detail.command.is_empty() { p.dim { "The image's own, or the job's script." } } @else { pre tabindex="0" { (Shown(&command(&detail.command))) } }
                @if !detail.items.is_empty() {
                    details { summary { (words::counted(detail.items.len() as u64, "item")) } pre tabindex="0" { @for item in &detail.items { (Shown(&item.to_string())) "\n" } } }
                }
            }
        }
    }
}

/// As one could type it into a shell.
fn command(words: &[String]) -> String {
    let plain =
        |word: &str| !word.is_empty() && word.chars().all(|c| c.is_ascii_alphanumeric() || "-_./:=,@%+".contains(c));
    let quoted =
        words.iter().map(|word| if plain(word) { word.clone() } else { format!("'{}'", word.replace('\'', r"'\''")) });
    quoted.collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::command;

    #[test]
    fn a_command_is_shown_as_a_shell_takes_it() {
        let words = ["python3", "/in/a b.py", "it's", "", "$HOME", "--n=3"].map(str::to_owned);
        assert_eq!(command(&words), r"python3 '/in/a b.py' 'it'\''s' '' '$HOME' --n=3");
    }
}
