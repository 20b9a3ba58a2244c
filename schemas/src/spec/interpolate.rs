//! Puts parameters into the document, and says where references may stand.
use serde_json::Value;

use super::node::{Kind, Node, step};
use super::params::Params;
use super::parse::{hidden, hidden_message};
use super::problem::{Found, Report, Rule};
use super::reference::{KNOWN, Part, Reference, parts};
use super::text_of;

/// Replaces `{{params.x}}` everywhere but in scripts and in `params` itself. A scalar that is one reference takes the
/// type of the param.
pub fn put(params: &Params, report: &mut Report) -> Node {
    let mut root = report.root.clone();
    let mut pointer = String::new();
    walk(&mut root, &mut pointer, params, report);
    root
}

fn walk(node: &mut Node, pointer: &mut String, params: &Params, report: &mut Report) {
    if report.is_full() {
        return;
    }
    if let Some(c) = node.text().and_then(|text| text.chars().find(|c| hidden(*c))) {
        report.add(Found::new(Rule::ControlCharacter, pointer.as_str(), hidden_message(c)).value(Value::Null));
        report.mute(pointer.as_str());
        return;
    }
    let length = pointer.len();
    match &mut node.kind {
        Kind::Scalar { value, spelling } => {
            if let Value::String(text) = value
                && text.contains("{{")
                && !untouched(pointer)
                && let Some(new) = filled(text, pointer, params, report)
            {
                *value = new;
                *spelling = None;
            }
        }
        Kind::List(items) => {
            for (index, item) in items.iter_mut().enumerate() {
                pointer.push_str(&format!("/{index}"));
                walk(item, pointer, params, report);
                pointer.truncate(length);
            }
        }
        Kind::Map(entries) => {
            for entry in entries {
                pointer.push('/');
                pointer.push_str(&step(&entry.key));
                walk(&mut entry.node, pointer, params, report);
                pointer.truncate(length);
            }
        }
    }
}

fn untouched(pointer: &str) -> bool {
    pointer.starts_with("/params/") || is_script(pointer)
}

pub fn is_script(pointer: &str) -> bool {
    pointer == "/script" || (pointer.starts_with("/gather/") && pointer.ends_with("/script"))
}

/// The text with params put in; `None` if there is nothing to change or something is wrong.
fn filled(text: &str, pointer: &str, params: &Params, report: &mut Report) -> Option<Value> {
    let Ok(parts) = parts(text) else {
        let message = "`{{` is not closed by `}}`";
        report.add(
            Found::new(Rule::ReferenceUnclosed, pointer, message)
                .hint("braces of your own can stand in `script`, which is left alone"),
        );
        report.mute(pointer);
        return None;
    };
    let mut out = String::new();
    let mut changed = false;
    for part in &parts {
        match part {
            Part::Text(text) => out.push_str(text),
            Part::Reference(inside) => match Reference::read(inside) {
                Some(Reference::Param(name)) => match params.values.get(name) {
                    Some(value) if parts.len() == 1 => return Some(value.clone()),
                    Some(value) => {
                        out.push_str(&text_of(value));
                        changed = true;
                    }
                    None => {
                        unknown_param(name, pointer, params, report);
                        report.mute(pointer);
                        return None;
                    }
                },
                Some(_) => out.push_str(&format!("{{{{{inside}}}}}")),
                None => {
                    report.add(unknown(inside, pointer));
                    report.mute(pointer);
                    return None;
                }
            },
        }
    }
    changed.then_some(Value::String(out))
}

fn unknown_param(name: &str, pointer: &str, params: &Params, report: &mut Report) {
    if !params.broken.contains(name) {
        let found = Found::new(Rule::UnknownReference, pointer, format!("there is no param `{name}`"))
            .near(name, params.names())
            .allowed(params.names().map(|name| format!("params.{name}")));
        report.add(found);
    }
}

fn unknown(inside: &str, pointer: &str) -> Found {
    let found = Found::new(Rule::UnknownReference, pointer, format!("`{{{{{inside}}}}}` refers to nothing"));
    let found = match inside.split('.').next() {
        Some("stages") => found.hint("stages are not supported by this version"),
        Some("secrets") => {
            found.hint("a secret is never put into a text; the container reads the file /run/secrets/NAME")
        }
        Some("env") => found.hint("environment variables can be read in `script`, as $NAME"),
        _ => found.near(inside, KNOWN),
    };
    found.allowed(KNOWN)
}
