//! Views to draw in tests: nothing, a usual day, a lot, and malice. Long because every view of every page is here, each written once.
use std::collections::BTreeMap;

use dsg_schemas::api::*;
use dsg_schemas::ids::*;
use dsg_schemas::policy::{MountRule, Policy};
use dsg_schemas::reason::EndReason;
use dsg_schemas::wire::log::Stream;
use dsg_schemas::wire::{Check, EngineFacts, Facts, Gpu, GpuLoad, GpuUse, Load, StoredFile, Work};
use serde_json::json;

use super::frame::{Flash, Frame};

pub const NOW_MS: u64 = 1_795_471_200_000;
const MINUTE: u64 = 60_000;

/// Put where a person, a runner or a container may write.
pub const HOSTILE: &str =
    "<img src=x onerror=alert(1)>\"'><script>alert(2)</script>\u{202e}\0\u{1b}]8;;javascript:alert(3)\u{7}&lt;";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Empty,
    Typical,
    Many,
    Hostile,
}
pub const KINDS: [(Kind, &str); 4] =
    [(Kind::Empty, "empty"), (Kind::Typical, "typical"), (Kind::Many, "many"), (Kind::Hostile, "hostile")];

pub struct Stage {
    pub viewer: Whoami,
    pub banners: Vec<String>,
    pub flash: Option<Flash>,
}

impl Stage {
    pub fn new(kind: Kind) -> Stage {
        let name = text(kind, "mara");
        let viewer =
            Whoami { name, role: Role::Admin, grid: text(kind, "lab-3"), version: "0.1.0".to_owned(), protocol: 1 };
        let banners = match kind {
            Kind::Empty | Kind::Typical => vec![],
            _ => vec![text(kind, "The disk of the server is 93 % full. Delete old jobs, or give it more space.")],
        };
        let flash = (kind != Kind::Empty).then(|| Flash { good: true, text: text(kind, "4 chunks run again.") });
        Stage { viewer, banners, flash }
    }
    pub fn frame(&self) -> Frame<'_> {
        Frame { viewer: Some(&self.viewer), banners: &self.banners, flash: self.flash.as_ref(), now_ms: NOW_MS }
    }
}

fn text(kind: Kind, usual: &str) -> String {
    if kind == Kind::Hostile { format!("{usual}{HOSTILE}") } else { usual.to_owned() }
}

fn chunk_id(job: u64, index: u32) -> ChunkId {
    ChunkId { job: JobId(job), stage: MAIN, index }
}

pub fn tally(kind: Kind) -> Tally {
    match kind {
        Kind::Empty => Tally { waiting: 1, ..Tally::default() },
        Kind::Many => Tally {
            waiting: 411_201,
            leased: 12,
            running: 96,
            storing: 4,
            succeeded: 588_600,
            failed: 87,
            ..Tally::default()
        },
        _ => Tally { waiting: 5, running: 4, storing: 1, succeeded: 10, failed: 2, ..Tally::default() },
    }
}

pub fn jobs(kind: Kind) -> Vec<JobView> {
    let usual = [
        ("galaxy-lensing-deep", JobState::Running, "mara", tally(kind)),
        ("co2-growth", JobState::Succeeded, "ben", Tally { succeeded: 22, ..Tally::default() }),
        ("protein-fold-sweep", JobState::Partial, "li", Tally { succeeded: 95, failed: 5, ..Tally::default() }),
        ("ising-critical", JobState::Held, "mara", Tally { held: 400, succeeded: 12, ..Tally::default() }),
        (
            "fails-on-purpose",
            JobState::Failed,
            "ben",
            Tally { succeeded: 1, failed: 4, cancelled: 1, ..Tally::default() },
        ),
        ("monte-carlo-pi", JobState::Cancelled, "li", Tally { succeeded: 100, cancelled: 900, ..Tally::default() }),
    ];
    let times = if kind == Kind::Many { 30 } else { 1 };
    let all = usual.iter().cycle().take(usual.len() * times).enumerate();
    let rows = all.map(|(index, (name, state, owner, chunks))| JobView {
        id: JobId(420 - index as u64),
        name: text(kind, name),
        owner: text(kind, owner),
        state: *state,
        priority: 50,
        labels: BTreeMap::from([(text(kind, "course"), text(kind, "astro-301"))]),
        image: text(kind, "ghcr.io/lab/lensing:2.4"),
        chunks: *chunks,
        submitted_ms: NOW_MS - (index as u64 + 1) * 47 * MINUTE,
        started_ms: Some(NOW_MS - (index as u64 + 1) * 46 * MINUTE),
        ended_ms: state.is_final().then_some(NOW_MS - index as u64 * 40 * MINUTE),
    });
    if kind == Kind::Empty { vec![] } else { rows.collect() }
}

pub fn chunk(kind: Kind, index: u32, state: ChunkState) -> ChunkView {
    let failed = state == ChunkState::Failed;
    ChunkView {
        id: chunk_id(420, index),
        label: text(kind, &format!("tile {index} of the northern field")),
        state,
        attempts: if failed { 2 } else { u32::from(state != ChunkState::Waiting) },
        reason: failed.then_some(EndReason::Exit),
        exit_code: failed.then_some(2),
        message: if failed {
            text(kind, "The command ended with code 2: cannot read the catalogue.")
        } else {
            String::new()
        },
        runner: (state != ChunkState::Waiting).then(|| text(kind, "gpu-box")),
        started_ms: (state != ChunkState::Waiting).then_some(NOW_MS - 9 * MINUTE),
        ended_ms: state.is_final().then_some(NOW_MS - 6 * MINUTE - u64::from(index) * 1000),
        not_before_ms: None,
    }
}

pub fn chunks(kind: Kind) -> Page<ChunkView> {
    let count = match kind {
        Kind::Empty => 0,
        Kind::Many => 200,
        _ => 12,
    };
    let state = |index: u32| match index % 12 {
        0 | 7 => ChunkState::Failed,
        1..=4 => ChunkState::Succeeded,
        5 => ChunkState::Storing,
        6 | 8 => ChunkState::Running,
        _ => ChunkState::Waiting,
    };
    let next = (kind == Kind::Many).then(|| "200".to_owned());
    Page { rows: (0..count).map(|index| chunk(kind, index, state(index))).collect(), next }
}

pub fn files(kind: Kind) -> Vec<StoredFile> {
    let sha256 = text(kind, "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08");
    let file = |name: &str, size| StoredFile {
        name: name.to_owned(),
        file: text(kind, &format!("{name}.csv")),
        size,
        sha256: sha256.clone(),
    };
    if kind == Kind::Empty { vec![] } else { vec![file("table", 48_211), file("residuals", 3 << 30)] }
}

pub fn job(kind: Kind) -> JobDetail {
    let mut rows = jobs(if kind == Kind::Empty { Kind::Typical } else { kind });
    let mut job = rows.swap_remove(0);
    job.chunks = tally(kind);
    if kind == Kind::Empty {
        (job.state, job.started_ms) = (JobState::Waiting, None);
    }
    JobDetail {
        job,
        description: text(
            kind,
            "Cut a sky survey into tiles, fit a lens model to each, join the tables, draw the figure.",
        ),
        gather: None,
        gathered: files(kind),
        parallelism: Some(40),
        revision: 2,
        held_for: None,
        held_why: None,
        gather_problem: (kind == Kind::Hostile).then(|| text(kind, "headers differ")),
        why: (kind != Kind::Typical).then(|| text(kind, "No runner is ready: the grid has none that is in touch.")),
        logs_removed: (kind == Kind::Hostile).then(|| removed(kind)),
        outputs_removed: None,
        failures: if kind == Kind::Empty {
            BTreeMap::new()
        } else {
            BTreeMap::from([(EndReason::Exit, 4), (EndReason::RunnerLost, 1)])
        },
        eta_ms: (kind != Kind::Empty).then_some((NOW_MS + 11 * MINUTE, NOW_MS + 16 * MINUTE)),
        spec_text: text(
            kind,
            "name: galaxy-lensing\nimage: ghcr.io/lab/lensing:2.4\ncommand: [fit, \"{{item.tile}}\"]\nchunks: {count: 22}\n",
        ),
        spec: json!({"name": text(kind, "galaxy-lensing"), "chunks": {"count": 22}, "priority": 50}),
    }
}

fn removed(kind: Kind) -> Removed {
    let why = text(kind, "older than 30d (--keep-logs)");
    Removed { at_ms: NOW_MS - 60 * MINUTE, why, count: 22, bytes: 5 << 20 }
}

pub fn failed(kind: Kind) -> Vec<ChunkView> {
    if kind == Kind::Empty {
        vec![]
    } else {
        vec![chunk(kind, 0, ChunkState::Failed), chunk(kind, 7, ChunkState::Failed)]
    }
}

fn attempt(kind: Kind, number: u32, reason: Option<EndReason>) -> AttemptView {
    AttemptView {
        id: AttemptId(900 + u64::from(number)),
        number,
        revision: number,
        raised_memory_bytes: (number > 1).then_some(4 << 30),
        raised_run_ms: (number > 1).then_some(90 * MINUTE),
        runner: RunnerId(3),
        runner_name: text(kind, "gpu-box"),
        phase: if reason.is_some() { "ended" } else { "running" }.to_owned(),
        note: if reason.is_some() { String::new() } else { text(kind, "pulling image, 3 of 7 layers") },
        leased_ms: NOW_MS - 10 * MINUTE,
        started_ms: Some(NOW_MS - 9 * MINUTE),
        ended_ms: reason.map(|_| NOW_MS - 4 * MINUTE),
        run_ms: reason.map(|_| 5 * MINUTE + 211),
        reason,
        message: reason.map_or_else(String::new, |_| text(kind, "The command ended with code 2.")),
        exit_code: reason.map(|_| 2),
        signal: None,
        peak_memory_bytes: Some(713 << 20),
        cpu_ms: Some(281_000),
        read_bytes: Some(3 << 30),
        written_bytes: Some(40 << 20),
        gpu_use: vec![gpu_use(text(kind, "GPU-5c2d7a10-11e0-4a7e"))],
        gpus: vec![text(kind, "GPU-5c2d7a10-11e0-4a7e")],
        image_id: Some(text(kind, "sha256:0123456789abcdef")),
        outputs: files(kind),
        log_removed: None,
        outputs_removed: (kind == Kind::Hostile && number == 1).then(|| removed(kind)),
        accepted: false,
    }
}

fn gpu_use(uuid: String) -> GpuUse {
    GpuUse {
        uuid,
        busy_percent_average: Some(83),
        busy_percent_most: Some(100),
        memory_bytes_average: Some(9 << 30),
        memory_bytes_most: Some(11 << 30),
    }
}

pub fn chunk_detail(kind: Kind) -> ChunkDetail {
    let explanation = Explanation {
        summary: text(kind, "It needs 1 GPU with 24 GiB; the largest free one has 16 GiB."),
        runners: vec![RunnerReason { runner: text(kind, "gpu-box"), reason: text(kind, "all 2 GPUs are held") }],
        never: kind == Kind::Hostile,
    };
    let history = match kind {
        Kind::Empty => vec![],
        Kind::Many => (1..=12).map(|number| attempt(kind, number, Some(EndReason::Exit))).collect(),
        _ => vec![attempt(kind, 1, Some(EndReason::Exit)), attempt(kind, 2, None)],
    };
    let state = match kind {
        Kind::Empty => ChunkState::Waiting,
        Kind::Many => ChunkState::Failed,
        _ => ChunkState::Running,
    };
    ChunkDetail {
        chunk: chunk(kind, 7, state),
        job_name: text(kind, "galaxy-lensing-deep"),
        items: if kind == Kind::Empty { vec![] } else { vec![json!({"tile": text(kind, "n07"), "seed": 7})] },
        asked: Asked { cpus_milli: 1500, memory_bytes: 2 << 30, gpus: 1 },
        command: if kind == Kind::Empty { vec![] } else { vec!["fit".to_owned(), text(kind, "n 07")] },
        history,
        explanation: matches!(kind, Kind::Empty | Kind::Hostile).then_some(explanation),
    }
}

pub fn log(kind: Kind) -> LogPage {
    let line =
        |n: u64, stream, text: String| LogLine { n, time_ms: NOW_MS - 100_000 + n * 250, stream, text, cut: false };
    let lines: Vec<LogLine> = match kind {
        Kind::Empty => vec![],
        Kind::Many => (11_840..12_040).map(|n| line(n, Stream::Stdout, format!("step {n} of 20000"))).collect(),
        _ => vec![
            line(0, Stream::Stdout, text(kind, "loading the catalogue")),
            line(1, Stream::Stderr, text(kind, "\u{1b}[33mwarning\u{1b}[0m: 12 tiles have no flat field")),
            line(2, Stream::Stdout, text(kind, "10 %\r40 %\r\u{1b}[1;32m100 %\u{1b}[0m fitted")),
        ],
    };
    let total = lines.last().map_or(0, |line| line.n + 1);
    let missing_bytes = if kind == Kind::Many { 936 << 20 } else { 0 };
    LogPage {
        lines,
        next: total,
        total,
        stdout_bytes: total * 21,
        stderr_bytes: total,
        open: vec![],
        ended: kind == Kind::Empty,
        missing_bytes,
        unheard: kind == Kind::Many,
    }
}

pub fn runners(kind: Kind) -> Vec<RunnerView> {
    let gpu = |index: u32| Gpu {
        uuid: text(kind, &format!("GPU-{index}")),
        index,
        model: text(kind, "NVIDIA RTX A5000"),
        memory_bytes: 24 << 30,
        driver: Some("550.54".to_owned()),
        compute_capability: Some("8.6".to_owned()),
        unhealthy: (index == 1).then(|| text(kind, "the self-test saw 3 ECC errors")),
        shares: if index == 0 { 4 } else { 0 },
    };
    let one = |number: u64, name: &str, state, why: &str, gpus: Vec<Gpu>| RunnerView {
        id: RunnerId(number),
        name: text(kind, name),
        state,
        why: text(kind, why),
        version: "0.1.0".to_owned(),
        load: Load {
            cpu_percent: 71.5,
            memory_used_bytes: 39 << 30,
            disk_free_bytes: 61 << 30,
            gpus: gpus
                .iter()
                .map(|gpu| GpuLoad {
                    uuid: gpu.uuid.clone(),
                    busy_percent: Some(97),
                    memory_used_bytes: Some(19 << 30),
                    celsius: Some(74),
                })
                .collect(),
        },
        facts: facts(kind, gpus),
        last_seen_ms: (state != RunnerState::New).then_some(NOW_MS - number * 4000),
        used_cpus_milli: 12_500,
        used_memory_bytes: 40 << 30,
        used_gpus: vec![text(kind, "GPU-0")],
        shared_gpus: [(text(kind, "GPU-0"), 2)].into(),
        holds: (0..5).map(|index| Holding { attempt: AttemptId(index), chunk: chunk_id(420, index as u32) }).collect(),
    };
    match kind {
        Kind::Empty => vec![],
        _ => vec![
            one(1, "gpu-box", RunnerState::Ready, "", vec![gpu(0), gpu(1)]),
            one(2, "office-pc-04", RunnerState::Draining, "drained by mara", vec![]),
            one(
                3,
                "old-server",
                RunnerState::Blocked,
                "3 failures of the engine in a row: no space left on device",
                vec![],
            ),
            one(4, "laptop-li", RunnerState::Unreachable, "silent for 3 min", vec![]),
        ],
    }
}

fn facts(kind: Kind, gpus: Vec<Gpu>) -> Facts {
    Facts {
        arch: Some(dsg_schemas::spec::Arch::Amd64),
        os: text(kind, "Debian GNU/Linux 12 (bookworm)"),
        kernel: text(kind, "6.1.0-26-amd64"),
        cpus_milli: 16_000,
        memory_bytes: 64 << 30,
        disk_bytes: 400 << 30,
        engine: EngineFacts {
            kind: text(kind, "podman"),
            version: "5.4.1".to_owned(),
            api_version: "1.41".to_owned(),
            rootless: true,
            cgroup_version: Some(2),
        },
        gpu_note: gpus.is_empty().then(|| text(kind, "no NVIDIA driver on this host")),
        gpus,
        tags: vec![text(kind, "fast-disk")],
        labels: BTreeMap::from([(text(kind, "room"), text(kind, "4.17"))]),
        ends_ms: None,
        policy: Policy {
            images: Some(vec![text(kind, "ghcr.io/lab/**")]),
            mounts: BTreeMap::from([(text(kind, "datasets"), MountRule::default())]),
            ..Policy::default()
        },
        checks: vec![
            Check { name: "run".to_owned(), passed: true, note: text(kind, "a container ran"), ..Check::default() },
            Check {
                name: "network".to_owned(),
                passed: kind != Kind::Many,
                note: text(kind, "a container with a network has eth0"),
                blocks: (kind == Kind::Many).then_some(Work::Network),
                repair: if kind == Kind::Many { "let the engine have a network".to_owned() } else { String::new() },
            },
        ],
    }
}

pub fn overview(kind: Kind) -> Overview {
    Overview {
        grid: text(kind, "lab-3"),
        version: "0.1.0".to_owned(),
        now_ms: NOW_MS,
        revision: 7,
        banners: vec![],
        runners: runners(kind),
        jobs: jobs(kind).into_iter().take(20).collect(),
        waiting: tally(kind).waiting,
        active: tally(kind).active(),
        removed_last_day: if kind == Kind::Typical { "logs of 3 jobs, all of 1 job".to_owned() } else { String::new() },
    }
}

pub fn queue(kind: Kind) -> Vec<QueueEntry> {
    let entry = |index: u64| QueueEntry {
        job: JobId(420 - index),
        job_name: text(kind, "galaxy-lensing-deep"),
        owner: text(kind, "mara"),
        priority: 50,
        first: chunk_id(420 - index, 12),
        waiting: 411_201 / (index + 1),
        needs: text(kind, "2 cpus, 4GiB, 1 gpu"),
        explanation: Explanation {
            summary: text(
                kind,
                "gpu-box could run it, but both its GPUs are held; the oldest chunk there started 9 min ago.",
            ),
            runners: vec![RunnerReason { runner: text(kind, "office-pc-04"), reason: text(kind, "it has no GPU") }],
            never: index == 1,
        },
    };
    match kind {
        Kind::Empty => vec![],
        Kind::Many => (0..100).map(entry).collect(),
        _ => vec![entry(0), entry(1)],
    }
}

pub fn owners(kind: Kind) -> Vec<OwnerView> {
    let one = |owner: String, limit_cpus_milli, limit_gpus| OwnerView {
        owner,
        used_cpus_milli: 12_500,
        used_gpus: 2,
        average_cpus_milli: 3_141,
        limit_cpus_milli,
        limit_gpus,
    };
    match kind {
        Kind::Empty => vec![],
        _ => vec![
            one(text(kind, "mara"), None, None),
            one(text(kind, "otto"), Some(16_000), Some(1)),
            one("*".into(), Some(8_000), None),
        ],
    }
}

pub fn problems(kind: Kind) -> Vec<SpecProblem> {
    let problem = |line, path: &str| SpecProblem {
        rule: "unknown_key".to_owned(),
        line,
        column: 3,
        path: text(kind, path),
        message: text(kind, "There is no key `cpu` here."),
        value: Some(json!(text(kind, "2"))),
        allowed: vec![text(kind, "cpus"), "memory".to_owned()],
        hint: Some(text(kind, "Did you mean `cpus`?")),
    };
    vec![problem(3, "resources.cpu"), problem(0, "params.n")]
}

pub fn tokens(kind: Kind) -> Vec<TokenView> {
    let token = |index: u64, kind_of| TokenView {
        id: text(kind, &format!("t{index}")),
        kind: kind_of,
        name: text(kind, "lab-3"),
        created_ms: NOW_MS - index * 90 * MINUTE,
        expires_ms: (index > 0).then_some(NOW_MS + index * 600 * MINUTE),
        uses_left: (kind_of == TokenKind::Join).then_some(4),
        last_used_ms: (index == 0).then_some(NOW_MS - MINUTE),
    };
    if kind == Kind::Empty {
        vec![]
    } else {
        vec![token(0, TokenKind::Admin), token(1, TokenKind::Join), token(2, TokenKind::Submitter)]
    }
}

pub fn secrets(kind: Kind) -> Vec<SecretView> {
    let secret = |name: &str, locked: Option<&str>| SecretView {
        name: text(kind, name),
        set_by: text(kind, "mara"),
        set_ms: NOW_MS - 90 * MINUTE,
        locked: locked.map(|why| text(kind, why)),
    };
    if kind == Kind::Empty {
        vec![]
    } else {
        vec![
            secret("site-key", Some("it was sealed with key 0a1b2c3d, which the server does not have")),
            secret("token", None),
        ]
    }
}
