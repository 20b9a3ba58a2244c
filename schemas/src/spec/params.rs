//! Parameters: what is declared, what `--set` says, and the typed values that come of it.
use std::collections::{BTreeMap, BTreeSet};

use regex::Regex;
use serde_json::{Number, Value};

use super::node::{Kind, Node, step};
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
    let pattern = match node.get("pattern").and_then(Node::text) {
        Some(text) => match Regex::new(&format!("^(?:{text})$")) {
            Ok(pattern) => Some(pattern),
            Err(error) => {
                let why = error.to_string().lines().last().unwrap_or_default().trim().to_owned();
                let message = format!("this is not a regular expression: {why}");
                report.add(Found::new(Rule::ParamDeclaration, format!("{pointer}/pattern"), message));
                return None;
            }
        },
        None => None,
    };
    let mut sound = declaration(node, &kind, pointer, report);
    let (value, at, from) = match (set, node.get("default")) {
        (Some(text), _) => (typed(&kind, text), String::new(), format!("--set {name}")),
        (None, Some(default)) => {
            let value = match kind.as_str() {
                "string" => default.as_written().map(Value::String),
                _ => default.scalar().filter(|value| fits(&kind, value)).cloned(),
            };
            (value, format!("{pointer}/default"), "the default".to_owned())
        }
        (None, None) => {
            let message = format!("`{name}` has no default and was not given");
            let hint = format!("give it with --set {name}=VALUE, or add a default");
            report.add(Found::new(Rule::ParamMissing, pointer, message).at_key().hint(hint));
            return None;
        }
    };
    let wrong = |rule, message: String| {
        let found = Found::new(rule, at.clone(), format!("{from}: {message}"));
        match set {
            Some(text) => found.at(0, 0).value(text.as_str()),
            None => found,
        }
    };
    let Some(value) = value else {
        report.add(wrong(Rule::ParamValue, format!("`{name}` must be {}", a(&kind))));
        return None;
    };
    if let Some(Kind::List(items)) = node.get("enum").map(|node| &node.kind) {
        let allowed: Vec<String> = items.iter().filter_map(Node::as_written).collect();
        let same = |item: &Node| item.scalar() == Some(&value) || item.as_written().is_some_and(|text| value == text);
        if !items.iter().any(same) {
            let near = value.as_str().unwrap_or_default().to_owned();
            let found = wrong(Rule::ParamValue, format!("`{name}` must be one of its enum"));
            report.add(found.near(&near, allowed.iter().map(String::as_str)).allowed(allowed.clone()));
            sound = false;
        }
    }
    for (key, sign) in [("minimum", 1.0), ("maximum", -1.0)] {
        let limit = node.get(key).and_then(Node::scalar).and_then(Value::as_f64);
        if let (Some(limit), Some(number)) = (limit, value.as_f64())
            && number * sign < limit * sign
        {
            report.add(wrong(
                Rule::ParamValue,
                format!("`{name}` must be at {} {limit}", if sign > 0.0 { "least" } else { "most" }),
            ));
            sound = false;
        }
    }
    if let (Some(pattern), Some(text)) = (pattern, value.as_str())
        && !pattern.is_match(text)
    {
        let form = node.get("pattern").and_then(Node::text).unwrap_or_default().to_owned();
        report.add(wrong(Rule::ParamValue, format!("`{name}` must match its pattern")).allowed([form]));
        sound = false;
    }
    if let Some(c) = value.as_str().and_then(|text| text.chars().find(|c| super::parse::hidden(*c))) {
        report.add(wrong(Rule::ControlCharacter, super::parse::hidden_message(c)));
        sound = false;
    }
    sound.then_some(value)
}

/// Keys that say nothing about a param of this type.
fn declaration(node: &Node, kind: &str, pointer: &str, report: &mut Report) -> bool {
    let numeric = matches!(kind, "integer" | "number");
    let mut sound = true;
    for (key, fits) in [("minimum", numeric), ("maximum", numeric), ("pattern", kind == "string")] {
        if node.get(key).is_some() && !fits {
            let message = format!("`{key}` has no meaning for a {kind}");
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
