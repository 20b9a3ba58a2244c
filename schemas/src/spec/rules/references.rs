//! Where references may stand, and whether what they refer to will exist when the chunk starts.
use crate::spec::expand::{Expanded, Shape};
use crate::spec::job::{Batch, Job};
use crate::spec::problem::{Found, Report, Rule, did_you_mean};
use crate::spec::reference::{Part, Reference, Which, parts};

/// What is known where a text is filled in.
#[derive(Clone, Copy, PartialEq, Eq)]
enum At {
    /// command, entrypoint, env, output paths of the chunks.
    Chunk,
    /// The label: the same for every job that is submitted from this file.
    Label,
    /// command, env, output paths of the gather's container.
    Gather,
    /// Everywhere else: only params, which are in already.
    Nowhere,
}

/// Every text of the job with a reference in it. Without `expanded`, what items look like is not known.
pub fn references(job: &Job, expanded: Option<&Expanded>, report: &mut Report) {
    let Ok(value) = serde_json::to_value(job) else { return };
    let single = report.root.get("gather").is_some_and(|node| matches!(node.kind, crate::spec::node::Kind::Map(_)));
    let mut texts = Vec::new();
    collect(&value, String::new(), &mut texts);
    for (pointer, text) in texts {
        if report.is_full() {
            return;
        }
        // One gather step is written without a list.
        let pointer = if single { pointer.replacen("/gather/0", "/gather", 1) } else { pointer };
        if let Some(at) = at(&pointer) {
            one(&pointer, &text, at, job, expanded, report);
        }
    }
}

fn collect(value: &serde_json::Value, pointer: String, texts: &mut Vec<(String, String)>) {
    match value {
        serde_json::Value::String(text) if text.contains("{{") => texts.push((pointer, text.clone())),
        serde_json::Value::Array(items) => {
            items.iter().enumerate().for_each(|(at, item)| collect(item, format!("{pointer}/{at}"), texts));
        }
        serde_json::Value::Object(map) => map
            .iter()
            .for_each(|(key, value)| collect(value, format!("{pointer}/{}", crate::spec::node::step(key)), texts)),
        _ => {}
    }
}

fn at(pointer: &str) -> Option<At> {
    let steps: Vec<&str> = pointer.split('/').skip(1).filter(|step| step.parse::<usize>().is_err()).collect();
    match steps[..] {
        ["params", ..] | ["script"] | ["gather", "script"] => None,
        ["command" | "entrypoint"] | ["env", _] | ["outputs", "path"] => Some(At::Chunk),
        ["chunks", "label"] => Some(At::Label),
        ["gather", "command"] | ["gather", "env", _] | ["gather", "outputs", "path"] => Some(At::Gather),
        _ => Some(At::Nowhere),
    }
}

fn one(pointer: &str, text: &str, at: At, job: &Job, expanded: Option<&Expanded>, report: &mut Report) {
    for part in parts(text).unwrap_or_default() {
        let Part::Reference(inside) = part else { continue };
        let Some(reference) = Reference::read(inside) else { continue };
        let not_here = |why: &str| {
            Found::new(Rule::ReferenceNotHere, pointer, format!("`{{{{{inside}}}}}` cannot stand here: {why}"))
        };
        let found = match (at, reference) {
            (_, Reference::Param(_)) => None,
            (At::Nowhere, _) => Some(
                not_here("only params can")
                    .hint("chunk, item and job can stand in command, entrypoint, env, output paths and the label"),
            ),
            (At::Label, Reference::JobId | Reference::JobName | Reference::ItemsFile) => {
                Some(not_here("a label tells chunks of one job apart"))
            }
            (At::Gather, Reference::JobId | Reference::JobName) => None,
            (At::Gather, _) => {
                Some(not_here("the gather has no chunks of its own").hint("read the manifest at $DSG_INPUT_MANIFEST"))
            }
            (_, Reference::Item(which, column)) => item(pointer, inside, which, column, job, expanded),
            (
                _,
                Reference::ChunkIndex
                | Reference::ChunkCount
                | Reference::ItemsFile
                | Reference::JobId
                | Reference::JobName,
            ) => None,
        };
        if let Some(found) = found {
            report.add(found);
        }
    }
}

fn item(
    pointer: &str,
    inside: &str,
    which: Which,
    column: Option<&str>,
    job: &Job,
    expanded: Option<&Expanded>,
) -> Option<Found> {
    let unknown = |why: String| Some(Found::new(Rule::UnknownReference, pointer, format!("`{{{{{inside}}}}}`: {why}")));
    if which == Which::Only && !alone(job) {
        let why = "with `batch`, a chunk has several items".to_owned();
        return unknown(why).map(|found| found.hint("use chunk.first.COLUMN, chunk.last.COLUMN or chunk.items_file"));
    }
    let (all, some, values) = match &expanded?.shape {
        Shape::Nothing => {
            return unknown("`count` makes chunks without items".to_owned()).map(|found| found.hint("use chunk.index"));
        }
        Shape::Columns { all, some, values } => (all, some, *values),
    };
    let column = match column {
        None => return None,
        Some("value") if values => return None,
        Some(column) => column,
    };
    if all.contains(column) {
        return None;
    }
    let prefix = match which {
        Which::Only => "item",
        Which::First => "chunk.first",
        Which::Last => "chunk.last",
    };
    let known: Vec<&str> = if values { vec!["value"] } else { all.iter().map(String::as_str).collect() };
    let found = if some.contains(column) {
        unknown(format!("only some items have `{column}`"))
    } else {
        unknown(format!("items have no `{column}`"))
    };
    let allowed: Vec<String> = known.iter().take(50).map(|name| format!("{prefix}.{name}")).collect();
    let near = did_you_mean(column, known).map(|near| format!("did you mean `{prefix}.{near}`?"));
    found.map(|found| match near {
        Some(hint) => found.hint(hint).allowed(allowed),
        None => found.allowed(allowed),
    })
}

/// Whether each chunk has one item.
pub fn alone(job: &Job) -> bool {
    matches!(job.chunks.batch, None | Some(Batch { items: Some(1), .. }))
}
