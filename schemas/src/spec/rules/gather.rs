//! Gather steps: which keys go with which mode, what they join, and that the container comes last.
use crate::spec::job::{Gather, GatherMode, Job};
use crate::spec::problem::{Found, Report, Rule};

use super::{both, env, image, memory, names, outputs, retry, timeouts};

/// What the gather's container finds, beside the job's inputs.
pub const RESERVED_PATHS: [&str; 3] = ["/in/manifest.jsonl", "/in/joined", "/in/chunks"];
const RESERVED_NAMES: [&str; 2] = ["manifest", "chunks"];

pub fn run(job: &Job) -> Option<&Gather> {
    job.gather.iter().find(|step| step.mode == GatherMode::Run)
}

pub fn takes_name(job: &Job, name: &str) -> bool {
    RESERVED_NAMES.contains(&name) || job.gather.iter().any(|step| step.output.as_deref() == Some(name))
}

pub fn check(job: &Job, report: &mut Report) {
    let listed = report.root.get("gather").is_some_and(|node| matches!(node.kind, crate::spec::node::Kind::List(_)));
    let pointer = |at: usize| if listed { format!("/gather/{at}") } else { "/gather".to_owned() };
    let outputs: Vec<(String, &str)> = job
        .gather
        .iter()
        .enumerate()
        .filter_map(|(at, step)| Some((format!("{}/output", pointer(at)), step.output.as_deref()?)))
        .collect();
    names::unique("output", &outputs, report);
    for (at, step) in job.gather.iter().enumerate() {
        let place = pointer(at);
        match step.mode {
            GatherMode::Concat | GatherMode::Csv => join(&place, step, job, report),
            GatherMode::Run => {
                container(&place, step, job, report);
                if at + 1 != job.gather.len() {
                    let message = "`mode: run` must be the last step, and there can be one only";
                    report.add(Found::new(Rule::GatherOrder, format!("{place}/mode"), message));
                }
            }
        }
    }
}

fn join(place: &str, step: &Gather, job: &Job, report: &mut Report) {
    let Gather { mode: _, from, output, when: _, image, command, script, env, resources, timeouts, retry, outputs } =
        step;
    let foreign = [
        ("image", image.is_some()),
        ("command", command.is_some()),
        ("script", script.is_some()),
        ("env", !env.is_empty()),
        ("resources", resources.is_some()),
        ("timeouts", timeouts.is_some()),
        ("retry", retry.is_some()),
        ("outputs", !outputs.is_empty()),
    ];
    for (key, _) in foreign.iter().filter(|(_, given)| *given) {
        let message = format!("`{key}` goes with `mode: run` only; the server joins files itself");
        report.add(Found::new(Rule::GatherKeys, format!("{place}/{key}"), message).at_key());
    }
    if output.is_none() {
        report.add(Found::new(Rule::GatherKeys, place, "needs `output`: the name of the joined file").at_key());
    }
    if let Some(name) = output.as_deref().filter(|name| RESERVED_NAMES.contains(name)) {
        report.add(Found::new(
            Rule::NameTwice,
            format!("{place}/output"),
            format!("`{name}` is the name of something that DSG adds"),
        ));
    }
    let known = || job.outputs.iter().map(|output| output.name.as_str());
    match from {
        None => report.add(
            Found::new(Rule::GatherKeys, place, "needs `from`: the output of the chunks to join")
                .allowed(known())
                .at_key(),
        ),
        Some(from) if !known().any(|name| name == from) && !report.is_doubtful("/outputs") => {
            let found = Found::new(Rule::GatherFrom, format!("{place}/from"), format!("there is no output `{from}`"));
            report.add(found.near(from, known()).allowed(known()));
        }
        Some(_) => {}
    }
}

fn container(place: &str, step: &Gather, job: &Job, report: &mut Report) {
    let Gather { mode: _, from, output, when: _, image, command, script, env, resources, timeouts, retry, outputs } =
        step;
    for (key, given) in [("from", from.is_some()), ("output", output.is_some())] {
        if given {
            let message = format!("`{key}` goes with `mode: concat` and `mode: csv`; a container has `outputs`");
            report.add(Found::new(Rule::GatherKeys, format!("{place}/{key}"), message).at_key());
        }
    }
    both(place, command.is_some(), script.is_some(), report);
    if command.is_none() && script.is_none() {
        report.add(Found::new(Rule::GatherKeys, place, "`mode: run` needs `command` or `script`").at_key());
    }
    if let Some(image) = image {
        image::check(&format!("{place}/image"), image, report);
    }
    env::check(&format!("{place}/env"), env, report);
    if let Some(resources) = resources {
        memory(&format!("{place}/resources"), resources, retry.as_ref().unwrap_or(&job.retry), report);
    }
    if let Some(timeouts) = timeouts {
        timeouts::each(&format!("{place}/timeouts"), timeouts, report);
        if timeouts.job.is_some() {
            let message = "`job` is about the whole job; it goes into the job's own `timeouts`";
            report.add(Found::new(Rule::GatherKeys, format!("{place}/timeouts/job"), message).at_key());
        }
    }
    if let Some(retry) = retry {
        retry::check(&format!("{place}/retry"), retry, report);
    }
    outputs::check(&format!("{place}/outputs"), outputs, job, report);
}
