//! Shows everything about a job or a chunk.
use clap::Args;
use dsg_schemas::api::{Asked, AttemptView, ChunkDetail, ChunkState, JobDetail, Removed};
use dsg_schemas::reason::EndReason;
use dsg_schemas::wire::GpuUse;

use super::{Context, Shown};
use crate::client::understand;
use crate::exit::{Exit, Failure};
use crate::output::Output;
use crate::select::Selection;
use crate::table::{Field, job_word, number, pairs, print, text};
use crate::{chosen, progress, when};

/// Gathered files that are listed; the rest is counted.
const FILES: usize = 20;

#[derive(Debug, Args)]
pub struct Arguments {
    /// A job (42) or a chunk (42/7)
    what: Selection,
    /// Only the job file, as it was sent
    #[arg(long)]
    spec: bool,
    #[command(flatten)]
    pub(super) shown: Shown,
}

pub async fn run(arguments: Arguments, context: &Context) -> Result<Exit, Failure> {
    let Arguments { what, spec, shown: _ } = arguments;
    let (client, output) = (context.client().await?, &context.output);
    let Some(chunks) = &what.chunks else {
        let attempted = format!("show {what}");
        let value = client.get(&attempted, &format!("/api/v1/jobs/{}", what.job)).await?;
        let detail: JobDetail = understand(&attempted, value.clone())?;
        match spec {
            true => output.bytes(detail.spec_text.as_bytes())?,
            false => output.value(&value, |output| job(output, &detail, when::now_ms()))?,
        }
        return Ok(Exit::Done);
    };
    if spec {
        return Err(Failure::usage("--spec shows the file of a job, not of a chunk"));
    }
    if chunks.count() != 1 {
        return Err(Failure::usage("name a job or one chunk").hint(format!("dsg chunks {what}")));
    }
    for id in chunks.ids(what.job) {
        let (detail, value) = chosen::detail(&client, &id).await?;
        output.value(&value, |output| chunk(output, &detail, when::now_ms()))?;
    }
    Ok(Exit::Done)
}

fn job(output: &Output, detail: &JobDetail, now_ms: u64) -> Result<(), Failure> {
    let JobDetail {
        job,
        description,
        gather,
        gathered,
        gather_problem,
        why,
        failures,
        eta_ms,
        spec_text: _,
        spec: _,
        held_for: _,
        parallelism,
        revision,
        held_why: _,
        logs_removed,
        outputs_removed,
    } = detail;
    let gone =
        |noun: &str, removed: &Option<Removed>| removed.as_ref().map(|removed| gone(noun, removed)).unwrap_or_default();
    let labels: Vec<String> = job.labels.iter().map(|(name, value)| format!("{name}={value}")).collect();
    let reasons: Vec<String> = failures.iter().map(|(reason, count)| format!("{count} {reason}")).collect();
    let mut files: Vec<String> =
        gathered.iter().take(FILES).map(|file| format!("{} ({})", file.file, when::size(file.size))).collect();
    if gathered.len() > FILES {
        files.push(format!("and {} more", gathered.len() - FILES));
    }
    let list = [
        ("job", job.id.to_string()),
        ("name", job.name.clone()),
        ("about", description.clone()),
        ("state", job_word(job.state).to_owned()),
        ("why", why.clone().unwrap_or_default()),
        ("chunks", format!("{}: {}", job.chunks.total(), progress::words(&job.chunks, *eta_ms, now_ms))),
        ("failures", reasons.join(", ")),
        ("owner", job.owner.clone()),
        ("priority", job.priority.to_string()),
        ("at once", parallelism.map(|limit| format!("at most {limit} chunks")).unwrap_or_default()),
        ("job file", if *revision > 1 { format!("revision {revision}") } else { String::new() }),
        ("labels", labels.join(", ")),
        ("image", job.image.clone()),
        ("submitted", format!("{} ({})", when::stamp(job.submitted_ms), when::ago(now_ms, Some(job.submitted_ms)))),
        ("started", job.started_ms.map(when::stamp).unwrap_or_default()),
        ("ended", job.ended_ms.map(when::stamp).unwrap_or_default()),
        ("took", job.started_ms.map(|start| when::span(now_ms, Some(start), job.ended_ms)).unwrap_or_default()),
        (
            "gather",
            gather.as_ref().map(|chunk| format!("{} {}", chunk.state.word(), chunk.message)).unwrap_or_default(),
        ),
        ("gathered", files.join("\n")),
        ("logs", gone("log", logs_removed)),
        ("outputs", gone("file", outputs_removed)),
        ("problem", gather_problem.clone().unwrap_or_default()),
    ];
    pairs(output, &list)
}

/// `removed 2026-11-25T…: 12 logs, 3.00 MiB, older than 30d (--keep-logs)`.
fn gone(noun: &str, removed: &Removed) -> String {
    let Removed { at_ms, why, count, bytes } = removed;
    let ending = if *count == 1 { "" } else { "s" };
    format!(
        "removed {}: {count} {noun}{ending}, {}, {}",
        when::stamp(*at_ms),
        when::size(*bytes),
        crate::clean::name(why)
    )
}

fn chunk(output: &Output, detail: &ChunkDetail, now_ms: u64) -> Result<(), Failure> {
    let ChunkDetail { chunk, job_name, items, command, asked, history, explanation } = detail;
    let items: Vec<String> = items.iter().map(|item| item.to_string()).collect();
    let waits = chunk.not_before_ms.filter(|then| *then > now_ms && chunk.state == ChunkState::Waiting);
    let list = [
        ("chunk", chunk.id.to_string()),
        ("label", chunk.label.clone()),
        ("job", job_name.clone()),
        ("state", chunk.state.word().to_owned()),
        ("reason", chunk.reason.map(|reason| reason_of(reason, chunk.exit_code, None)).unwrap_or_default()),
        ("message", chunk.message.clone()),
        ("waits", explanation.as_ref().map(|explanation| explanation.summary.clone()).unwrap_or_default()),
        ("retry in", waits.map(|then| when::duration(then - now_ms)).unwrap_or_default()),
        ("items", items.join("\n")),
        ("command", command.join(" ")),
        ("asked for", asked_for(*asked)),
    ];
    pairs(output, &list)?;
    if history.is_empty() {
        return Ok(());
    }
    output.line("")?;
    let heading =
        ["attempt", "runner", "phase", "end", "started", "ran", "memory", "cpu", "read", "written", "gpu", "message"];
    print(output, &heading, history.iter().map(|attempt| row(attempt, now_ms)).collect())?;
    if let Some(attempt) = history.last() {
        let kinds = [("logs", "log", &attempt.log_removed), ("outputs", "file", &attempt.outputs_removed)];
        for (what, noun, removed) in kinds {
            if let Some(removed) = removed {
                output.line(&format!("{what} of its job {}", gone(noun, removed)))?;
            }
        }
    }
    let left = |attempt: &&AttemptView| attempt.accepted && !attempt.outputs.is_empty();
    for attempt in history.iter().filter(left).filter(|attempt| attempt.outputs_removed.is_none()) {
        output.line("")?;
        let files =
            attempt.outputs.iter().map(|file| vec![text(&file.name), text(&file.file), number(when::size(file.size))]);
        print(output, &["output", "file", "size"], files.collect())?;
    }
    Ok(())
}

fn asked_for(asked: Asked) -> String {
    let Asked { cpus_milli, memory_bytes, gpus } = asked;
    if memory_bytes == 0 {
        // A server that does not tell yet.
        return String::new();
    }
    let gpus = if gpus > 0 { format!(", {gpus} GPU{}", if gpus > 1 { "s" } else { "" }) } else { String::new() };
    format!("{} CPUs, {}{gpus}", cpus_milli as f64 / 1000.0, when::size(memory_bytes))
}

/// `83 % of 2, 11 GiB`: how busy on average, and the most memory on one of them.
fn gpu_use(all: &[GpuUse]) -> String {
    let busy: Vec<u32> = all.iter().filter_map(|one| one.busy_percent_average).collect();
    let memory = all.iter().filter_map(|one| one.memory_bytes_most).max().map(when::size);
    let count = u32::try_from(busy.len()).unwrap_or(u32::MAX);
    let percent = busy.iter().sum::<u32>().checked_div(count).map(|percent| format!("{percent} %"));
    let parts: Vec<String> = [percent, memory].into_iter().flatten().collect();
    if parts.is_empty() { "-".to_owned() } else { parts.join(", ") }
}

fn row(attempt: &AttemptView, now_ms: u64) -> Vec<Field> {
    let end = attempt.reason.map(|reason| reason_of(reason, attempt.exit_code, attempt.signal));
    let ran = attempt.run_ms.map_or_else(|| when::span(now_ms, attempt.started_ms, attempt.ended_ms), when::duration);
    let said = if attempt.message.is_empty() { &attempt.note } else { &attempt.message };
    vec![
        number(attempt.number),
        text(&attempt.runner_name),
        text(&attempt.phase),
        text(end.unwrap_or_else(|| "-".to_owned())),
        text(attempt.started_ms.map_or_else(|| "-".to_owned(), when::stamp)),
        text(ran),
        number(attempt.peak_memory_bytes.map_or_else(|| "-".to_owned(), when::size)),
        number(attempt.cpu_ms.map_or_else(|| "-".to_owned(), when::duration)),
        number(attempt.read_bytes.map_or_else(|| "-".to_owned(), when::size)),
        number(attempt.written_bytes.map_or_else(|| "-".to_owned(), when::size)),
        text(gpu_use(&attempt.gpu_use)),
        text(said),
    ]
}

/// `exit 3`, `signal 11`, `oom`.
pub fn reason_of(reason: EndReason, exit_code: Option<i32>, signal: Option<i32>) -> String {
    match (reason, exit_code, signal) {
        (EndReason::Exit, Some(code), _) => format!("exit {code}"),
        (EndReason::Signal, _, Some(signal)) => format!("signal {signal}"),
        _ => reason.word().to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::Format;
    use crate::output::tests::kept;

    #[test]
    fn a_job_reads_well() {
        let value = serde_json::json!({
            "id": 42, "name": "radium", "owner": "marie", "state": "partial", "priority": 50, "labels": {"lab": "b12"},
            "image": "debian:12",
            "chunks": {"waiting": 0, "held": 0, "leased": 0, "running": 0, "storing": 0, "succeeded": 99, "failed": 1,
                       "cancelled": 0, "skipped": 0},
            "submitted_ms": 0, "started_ms": 2000, "ended_ms": 62_000,
            "description": "", "gather": null, "gathered": [{"name": "table", "file": "t.csv", "size": 2048, "sha256": "x"}],
            "gather_problem": null, "why": "1 chunk failed", "failures": {"exit": 2, "oom": 1}, "eta_ms": null,
            "spec_text": "", "spec": {}
        });
        let (output, stdout, _) = kept(Format::Table);
        job(&output, &serde_json::from_value(value).expect("a job"), 62_000).expect("printed");
        let expected = "\
job        42
name       radium
state      partial
why        1 chunk failed
chunks     100: 99 succeeded, 1 failed
failures   2 exit, 1 oom
owner      marie
priority   50
labels     lab=b12
image      debian:12
submitted  1970-01-01T00:00:00.000Z (1m 02s ago)
started    1970-01-01T00:00:02.000Z
ended      1970-01-01T00:01:02.000Z
took       1m 00s
gathered   t.csv (2.00 KiB)
";
        assert_eq!(stdout.text(), expected);
    }

    #[test]
    fn reasons_carry_their_numbers() {
        assert_eq!(reason_of(EndReason::Exit, Some(3), None), "exit 3");
        assert_eq!(reason_of(EndReason::Signal, None, Some(11)), "signal 11");
        assert_eq!(reason_of(EndReason::Oom, Some(137), Some(9)), "oom");
    }
}
