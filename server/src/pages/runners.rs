//! Runners: what each has, what it does, and why it takes no work if it takes none.
use dsg_schemas::api::{Role, RunnerState, RunnerView};
use dsg_schemas::spec::Arch;
use dsg_schemas::wire::{Check, Gpu, GpuLoad};
use maud::{Markup, html};

use super::act::Act;
use super::frame::{Frame, Here};
use super::shown::{Shown, shortened};
use super::url::SafeUrl;
use super::{bar, pill, words};

/// `join`: the command that adds a runner, without its token.
pub fn page(frame: Frame<'_>, runners: &[RunnerView], join: &str) -> Markup {
    frame.page(
        Here::Runners,
        "Runners",
        &[],
        html! {
            div.head { div { h1 { "Runners" } } @if frame.may(Role::Admin) { div.actions { a.button href="/tokens#create" { "Add a runner" } } } }
            div #runners data-live {
                @if runners.is_empty() { section.panel { (none_yet(join, frame.may(Role::Admin))) } } @else {
                    div.cards { @for runner in runners { (card(frame, runner)) } }
                }
            }
        },
    )
}

pub fn none_yet(join: &str, may_make_tokens: bool) -> Markup {
    html! {
        div.empty {
            h3 { "No runners yet" }
            p { "A runner is a Linux host with Docker or Podman. On it, run:" }
            pre tabindex="0" { (Shown(join)) }
            @if may_make_tokens { p { "The server printed the whole command, token included, when it first started. A new token: " a href="/tokens#create" { "Tokens" } ", or " code { "dsg token join" } "." } }
            @else { p { "An administrator of this grid can give you the token." } }
        }
    }
}

fn card(frame: Frame<'_>, runner: &RunnerView) -> Markup {
    let facts = &runner.facts;
    html! {
        article.panel id={ "runner-" (runner.id) } aria-label=(Shown(&runner.name)) {
            header { h2 { (Shown(&shortened(&runner.name, 60))) } (pill::runner(runner.state)) }
            div.body {
                p.small.dim { "Seen " (words::time_or_dash(frame.now_ms, runner.last_seen_ms)) @if !runner.version.is_empty() { " · runner " (Shown(&runner.version)) } @if !facts.engine.kind.is_empty() { " · " (engine(runner)) } }
                @if !runner.why.is_empty() { div.notice.(if by_person(runner.state) { "" } else { "wait" }) { p { (Shown(&words::sentence(&runner.why))) } } }
                div.meters { (meters(runner)) }
                @for gpu in &facts.gpus { (gpu_block(runner, gpu)) }
                @if let Some(note) = &facts.gpu_note { p.small.dim { (Shown(&words::sentence(note))) } }
                (holds(runner))
                @if !facts.tags.is_empty() || !facts.labels.is_empty() {
                    p { @for tag in &facts.tags { span.tag { (Shown(tag)) } } @for (key, value) in &facts.labels { span.tag { (Shown(key)) "=" (Shown(value)) } } }
                }
                @if !facts.policy.is_empty() { p.small { "Its owner allows: " (Shown(&facts.policy.words().join("; "))) } }
                (checks(runner))
                @if frame.may(Role::Operator) { (actions(runner)) }
            }
        }
    }
}

fn engine(runner: &RunnerView) -> Markup {
    let engine = &runner.facts.engine;
    html! { (Shown(&engine.kind)) " " (Shown(&engine.version)) @if engine.rootless { ", rootless" } }
}

/// What is reserved says whether more fits; what is used says whether the reservations are honest.
fn meters(runner: &RunnerView) -> Markup {
    let (facts, load) = (&runner.facts, &runner.load);
    let cpu = format!(
        "{} of {} reserved · {:.0} % busy",
        words::cores(runner.used_cpus_milli),
        words::cores(facts.cpus_milli),
        load.cpu_percent
    );
    let memory = format!(
        "{} of {} reserved · {} in use",
        words::size(runner.used_memory_bytes),
        words::size(facts.memory_bytes),
        words::size(load.memory_used_bytes)
    );
    html! {
        (bar::share("Cores", runner.used_cpus_milli, facts.cpus_milli, &cpu))
        (bar::share("Memory", runner.used_memory_bytes, facts.memory_bytes, &memory))
        @if load.disk_free_bytes > 0 { div.meter { span { "Disk" } span.plain { (words::size(load.disk_free_bytes)) " free" } } }
    }
}

fn gpu_block(runner: &RunnerView, gpu: &Gpu) -> Markup {
    let load = runner.load.gpus.iter().find(|load| load.uuid == gpu.uuid);
    let memory_used = load.and_then(|load| load.memory_used_bytes).unwrap_or(0);
    html! {
        div.gpu {
            h3 title=(Shown(&gpu.uuid)) { "GPU " (gpu.index) " · " (Shown(&gpu.model)) }
            p.small.dim {
                (held(runner, gpu))
                @if let Some(capability) = &gpu.compute_capability { " · compute " (Shown(capability)) }
                @if let Some(driver) = &gpu.driver { " · driver " (Shown(driver)) }
                // Of an instance nobody knows how busy it is; its GPU has a temperature all the same.
                @if let Some(celsius) = load.filter(|load| load.busy_percent.is_none()).and_then(|load| load.celsius) { " · " (celsius) " °C" }
            }
            div.meters {
                @if let Some(busy) = load.and_then(|load| load.busy_percent) { (bar::share("Busy", u64::from(busy), 100, &gpu_busy(busy, load))) }
                (bar::share("VRAM", memory_used, gpu.memory_bytes, &format!("{} of {}", words::size(memory_used), words::size(gpu.memory_bytes))))
            }
            @if let Some(why) = &gpu.unhealthy { div.notice.wrong { p { "Not used: " (Shown(why)) } } }
        }
    }
}

fn held(runner: &RunnerView, gpu: &Gpu) -> String {
    let most = gpu.most_shares();
    match runner.shared_gpus.get(&gpu.uuid) {
        Some(count) => format!("shared by {} of at most {most}", words::counted(u64::from(*count), "chunk")),
        None if runner.used_gpus.contains(&gpu.uuid) => "held by a chunk".to_owned(),
        None if most > 1 => format!("free; {most} chunks may share it"),
        None => "free".to_owned(),
    }
}

fn gpu_busy(busy: u32, load: Option<&GpuLoad>) -> String {
    match load.and_then(|load| load.celsius) {
        Some(celsius) => format!("{busy} % · {celsius} °C"),
        None => format!("{busy} %"),
    }
}

const HOLDS_SHOWN: usize = 12;

fn holds(runner: &RunnerView) -> Markup {
    html! {
        p { @if runner.holds.is_empty() { span.dim { "Runs nothing now." } } @else {
            "Holds " (words::counted(runner.holds.len() as u64, "chunk")) ": "
            @for holding in runner.holds.iter().take(HOLDS_SHOWN) { a.tag href=(SafeUrl::chunk(holding.chunk)) { (holding.chunk) } }
            @if runner.holds.len() > HOLDS_SHOWN { span.dim { "and " (runner.holds.len() - HOLDS_SHOWN) " more" } }
        } }
    }
}

fn checks(runner: &RunnerView) -> Markup {
    let facts = &runner.facts;
    let broken = facts.checks.iter().filter(|check| !check.passed).count();
    html! {
        details data-key="facts" {
            summary { @if facts.checks.is_empty() { "About this host" } @else if broken > 0 { span.bad { (broken) " of " (words::counted(facts.checks.len() as u64, "check")) " failed" } } @else { "All " (words::counted(facts.checks.len() as u64, "check")) " passed" } }
            ul.checks { @for check in &facts.checks {
                li { b.bad[!check.passed] { @if check.passed { "✓ " } @else { "✗ failed: " } } (Shown(&check.name)) @if !check.note.is_empty() { span.dim { " – " (Shown(&check.note)) } } (remedy(check)) }
            } }
            p.small.dim {
                (Shown(&facts.os)) @if !facts.kernel.is_empty() { " · " (Shown(&facts.kernel)) }
                @match facts.arch { Some(Arch::Amd64) => " · amd64", Some(Arch::Arm64) => " · arm64", None => "" }
                @if let Some(version) = facts.engine.cgroup_version { " · cgroup v" (version) }
                " · id " (runner.id)
            }
        }
    }
}

fn by_person(state: RunnerState) -> bool {
    matches!(state, RunnerState::Draining | RunnerState::Paused | RunnerState::Evicted)
}

/// What a failed check keeps away, and what its owner can do.
fn remedy(check: &Check) -> Markup {
    html! {
        @if !check.passed {
            @if let Some(work) = &check.blocks { p.small { "Blocks " (Shown(&work.words())) "." } }
            @if !check.repair.is_empty() { p.small { (Shown(&words::sentence(&check.repair))) } }
        }
    }
}

fn actions(runner: &RunnerView) -> Markup {
    let act = |act, label| Act { to: SafeUrl::runner_act(runner.id), act, label };
    html! {
        div.actions {
            @if runner.state == RunnerState::Draining { (act("undrain", "Take work again").button()) } @else {
                (act("drain", "Drain the runner").ask("drain", "Drain", "It finishes what it holds and takes nothing new, until somebody says otherwise.", false))
            }
            @if matches!(runner.state, RunnerState::Paused | RunnerState::Evicted) { (act("resume", "Resume the runner").button()) }
            @if runner.state != RunnerState::Paused {
                (act("pause", "Pause the runner").ask("pause", "Pause", "What it runs is frozen where it is, keeps its memory, and its time limits stand still; it takes nothing new, until somebody resumes it.", false))
            }
            @if runner.state != RunnerState::Evicted {
                (act("evict", "Evict what it runs").ask("evict", "Evict", "What it runs is stopped and waits again, at no cost; it takes nothing new, until somebody resumes it.", true))
            }
            @if !runner.holds.is_empty() {
                (act("remove_force", "Take everything from it and remove it").ask("remove_force", "Remove by force", "For a host that is no longer trusted: its chunks wait again at no cost, its credential is forgotten, and what it still says counts no more. Its containers have to be stopped on that host.", true))
            }
            @if runner.holds.is_empty() && (by_person(runner.state) || matches!(runner.state, RunnerState::Ended | RunnerState::Unreachable | RunnerState::New)) {
                (act("remove", "Remove the runner").ask("remove", "Remove", "Its credential is forgotten; to come back it has to join again.", true))
            }
        }
    }
}
