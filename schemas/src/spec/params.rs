//! Parameters: what is declared, what `--set` says, and the typed values that come of it.
use std::collections::{BTreeMap, BTreeSet};

use regex::Regex;
use serde_json::{Number, Value};

use super::node::{Kind, Node, step};
use super::parse::{hidden, hidden_message};
use super::problem::{Found, Report, Rule};

#[derive(Default)]
pub struct Params {
    pub values: BTreeMap<String, Value>,
    /// Declared, but without a value because something about them is wrong (and was said).
    pub broken: BTreeSet<String>,
}

impl Params {
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.values.keys().chain(&self.broken).map(String::as_str)
    }
}

pub fn params(set: &BTreeMap<String, String>, report: &mut Report) -> Params {
    let mut params = Params::default();
    let declared = match report.root.get("params").map(|node| node.kind.clone()) {
        Some(Kind::Map(entries)) => entries,
        Some(Kind::Scalar { .. } | Kind::List(_)) | None => Vec::new(),
    };
    for entry in &declared {
        let pointer = format!("/params/{}", step(&entry.key));
        match value(&entry.key, &entry.node, set.get(&entry.key), &pointer, report) {
            Some(value) => params.values.insert(entry.key.clone(), value).is_none(),
            None => params.broken.insert(entry.key.clone()),
        };
    }
    for (name, value) in set {
        if !declared.iter().any(|entry| entry.key == *name) {
            let known: Vec<&str> = declared.iter().map(|entry| entry.key.as_str()).collect();
            let found =
                Found::new(Rule::SetUnknown, "", format!("--set {name}: the job file declares no param `{name}`"))
                    .at(0, 0)
                    .value(value.as_str())
                    .near(name, known.iter().copied())
                    .allowed(known);
            report.add(found);
        }
    }
    params
}

/// `None` where something is wrong; then it was reported, or the check against the schema will.
fn value(name: &str, node: &Node, set: Option<&String>, pointer: &str, report: &mut Report) -> Option<Value> {
    let kind = node.get("type")?.text()?.to_owned();
    if !matches!(kind.as_str(), "string" | "integer" | "number" | "boolean") {
        return None;
    }
    let pattern = match node.get("pattern").and_then(Node::text).map(|text| Regex::new(&format!("^(?:{text})$"))) {
        Some(Ok(pattern)) => Some(pattern),
        Some(Err(error)) => {
            let why =
                error.to_string().lines().last().unwrap_or_default().trim().trim_start_matches("error: ").to_owned();
            let message = format!("this is not a regular expression: {why}");
            report.add(Found::new(Rule::ParamDeclaration, format!("{pointer}/pattern"), message));
            return None;
        }
        None => None,
    };
    let sound = declaration(node, &kind, pointer, report);
    let (value, from) = match (set, node.get("default")) {
        (Some(text), _) => (typed(&kind, text), format!("--set {name}")),
        (None, Some(default)) => {
            let value = match kind.as_str() {
                "string" => default.as_written().map(Value::String),
                _ => default.scalar().filter(|value| fits(&kind, value)).cloned(),
            };
            (value, "the default".to_owned())
        }
        (None, None) => {
            let message = format!("`{name}` has no default and was not given");
            let hint = format!("give it with --set {name}=VALUE, or add a default");
            report.add(Found::new(Rule::ParamMissing, pointer, message).at_key().hint(hint));
            return None;
        }
    };
    let wrong = match &value {
        None => vec![Found::new(Rule::ParamValue, "", format!("{from}: `{name}` must be {}", a(&kind)))],
        Some(value) => objections(name, &from, value, node, pattern.as_ref()),
    };
    let sound = sound && wrong.is_empty();
    for found in wrong {
        report.add(match set {
            Some(text) => found.at(0, 0).value(text.as_str()),
            None => found.below(format!("{pointer}/default")),
        });
    }
    value.filter(|_| sound)
}

/// What the declaration has against a value of the right type.
fn objections(name: &str, from: &str, value: &Value, node: &Node, pattern: Option<&Regex>) -> Vec<Found> {
    let mut wrong = Vec::new();
    let refuse = |message: String| Found::new(Rule::ParamValue, "", format!("{from}: `{name}` {message}"));
    if let Some(Kind::List(items)) = node.get("enum").map(|node| &node.kind) {
        let allowed: Vec<String> = items.iter().filter_map(Node::as_written).collect();
        let same = |item: &Node| item.scalar() == Some(value) || item.as_written().is_some_and(|text| *value == text);
        if !items.iter().any(same) {
            let found = refuse("must be one of its enum".to_owned());
            let near = value.as_str().unwrap_or_default();
            wrong.push(found.near(near, allowed.iter().map(String::as_str)).allowed(allowed.clone()));
        }
    }
    for (key, sign, word) in [("minimum", 1.0, "least"), ("maximum", -1.0, "most")] {
        let limit = node.get(key).and_then(Node::scalar).and_then(Value::as_f64);
        if let (Some(limit), Some(number)) = (limit, value.as_f64())
            && number * sign < limit * sign
        {
            wrong.push(refuse(format!("must be at {word} {limit}")));
        }
    }
    if let (Some(pattern), Some(text)) = (pattern, value.as_str())
        && !pattern.is_match(text)
    {
        let form = node.get("pattern").and_then(Node::text).unwrap_or_default();
        wrong.push(refuse("must match its pattern".to_owned()).allowed([form]));
    }
    if let Some(c) = value.as_str().and_then(|text| text.chars().find(|c| hidden(*c))) {
        wrong.push(Found::new(Rule::ControlCharacter, "", format!("{from}: {}", hidden_message(c))));
    }
    wrong
}

/// Keys that say nothing about a param of this type.
fn declaration(node: &Node, kind: &str, pointer: &str, report: &mut Report) -> bool {
    let numeric = matches!(kind, "integer" | "number");
    let mut sound = true;
    for (key, fits) in [("minimum", numeric), ("maximum", numeric), ("pattern", kind == "string")] {
        if node.get(key).is_some() && !fits {
            let message = format!("`{key}` says nothing about {}", a(kind));
            report.add(Found::new(Rule::ParamDeclaration, format!("{pointer}/{key}"), message).at_key());
            sound = false;
        }
    }
    sound
}

fn fits(kind: &str, value: &Value) -> bool {
    match kind {
        "integer" => value.is_i64() || value.is_u64(),
        "number" => value.is_number(),
        "boolean" => value.is_boolean(),
        _ => value.is_string(),
    }
}

fn typed(kind: &str, text: &str) -> Option<Value> {
    match kind {
        "integer" => text.parse::<i64>().map(Value::from).or_else(|_| text.parse::<u64>().map(Value::from)).ok(),
        "number" => match typed("integer", text) {
            Some(whole) => Some(whole),
            None => text.parse::<f64>().ok().and_then(Number::from_f64).map(Value::Number),
        },
        "boolean" => match text {
            "true" => Some(Value::Bool(true)),
            "false" => Some(Value::Bool(false)),
            _ => None,
        },
        _ => Some(Value::String(text.to_owned())),
    }
}

fn a(kind: &str) -> String {
    match kind {
        "integer" => "an integer".to_owned(),
        "boolean" => "true or false".to_owned(),
        "string" => "text".to_owned(),
        other => format!("a {other}"),
    }
}
