//! Brings a document into the shape that the JSON Schema asks for, and says in plain sentences where it has another.
use jsonschema::ValidationError;
use jsonschema::error::{TypeKind, ValidationErrorKind};
use serde_json::{Map, Value, json};

use super::job::{ExitCodes, Job};
use super::node::{Kind, Node, readable, step};
use super::problem::{Found, Report, Rule};
use super::schema::STRICT;
use super::{known, text_of};
use crate::limits;
use crate::units::{Bytes, Millis};

/// The typed job. Where parts of it are wrong (and reported), they are left out, so that the rules can look at the rest.
pub fn conform(filled: &Node, report: &mut Report) -> Option<Job> {
    let schema = &STRICT.schema;
    let mut value = coerce(schema, filled, &mut String::new(), report);
    let mut wrong: Vec<Wrong> = Vec::new();
    for error in STRICT.validator.iter_errors(&value) {
        translate(&error, &value, &mut wrong);
        if wrong.len() > limits::SPEC_PROBLEMS {
            break;
        }
    }
    let hopeless = wrong.len() > limits::SPEC_PROBLEMS || report.is_full();
    let replaced = wrong.iter().any(|wrong| known::replaces_the_job(wrong.pointer.trim_start_matches('/')));
    let mut prune: Vec<(String, bool)> = report.muted().map(|pointer| (pointer.to_owned(), false)).collect();
    for Wrong { found, pointer, key_only } in wrong {
        if !(replaced && found.is_missing_key()) {
            report.add(found);
        }
        prune.push((pointer, key_only));
    }
    if hopeless {
        return None;
    }
    // What is only a key too many goes first: it moves nothing else.
    prune.sort_by_key(|(_, key_only)| !*key_only);
    for (pointer, key_only) in prune {
        report.mute(cut_out(&mut value, &pointer, key_only));
    }
    complete(&mut value, report);
    leave_out_the_incomplete(&mut value, report);
    match serde_json::from_value(value) {
        Ok(job) => Some(job),
        Err(error) => {
            if report.is_clean() {
                report.add(Found::new(Rule::WrongForm, "", format!("the job cannot be read: {error}")));
            }
            None
        }
    }
}

/// Where a required key was left out, what it stands in has to go, too.
fn leave_out_the_incomplete(value: &mut Value, report: &mut Report) {
    for _ in 0..limits::SPEC_DEPTH {
        let incomplete: Vec<String> =
            STRICT.validator.iter_errors(value).map(|error| error.instance_path().as_str().to_owned()).collect();
        if incomplete.is_empty() {
            return;
        }
        for pointer in incomplete {
            report.mute(cut_out(value, &pointer, false));
        }
        complete(value, report);
    }
}

/// Stands in for what every job must have.
fn complete(value: &mut Value, report: &mut Report) {
    if let Value::Object(map) = value {
        for (key, placeholder) in [("name", json!("job")), ("image", json!("image")), ("chunks", json!({"count": 1}))] {
            if !map.contains_key(key) {
                map.insert(key.to_owned(), placeholder);
                report.mute(format!("/{key}"));
            }
        }
    }
}

struct Wrong {
    found: Found,
    /// What to leave out, so that the rest can be looked at.
    pointer: String,
    /// It is a key that has no business there: what it stands in is sound without it.
    key_only: bool,
}

/// Removes what is wrong, or the list that it stands in; gives the place of what was removed.
fn cut_out(value: &mut Value, pointer: &str, key_only: bool) -> String {
    let steps: Vec<&str> = pointer.split('/').skip(1).collect();
    let mut taken = String::new();
    for part in &steps {
        if !key_only && value.pointer(&taken).is_some_and(Value::is_array) {
            break;
        }
        taken.push('/');
        taken.push_str(part);
    }
    if let Some((parent, key)) = taken.rsplit_once('/')
        && let Some(Value::Object(map)) = value.pointer_mut(parent)
    {
        map.remove(&key.replace("~1", "/").replace("~0", "~"));
    }
    taken
}

fn resolve(schema: &Value) -> &Value {
    match schema.get("$ref").and_then(Value::as_str).and_then(|reference| reference.strip_prefix('#')) {
        Some(pointer) => STRICT.schema.pointer(pointer).unwrap_or(schema),
        None => schema,
    }
}

fn takes(schema: &Value, kind: &str) -> bool {
    let schema = resolve(schema);
    match schema.get("type") {
        Some(Value::String(word)) => word == kind || (kind == "integer" && word == "number"),
        Some(Value::Array(words)) => words.iter().any(|word| word == kind),
        _ => schema
            .get("anyOf")
            .and_then(Value::as_array)
            .is_some_and(|forms| forms.iter().any(|form| takes(form, kind))),
    }
}

fn kind_of(node: &Node) -> &'static str {
    match &node.kind {
        Kind::List(_) => "array",
        Kind::Map(_) => "object",
        Kind::Scalar { value, .. } => match value {
            Value::Null => "null",
            Value::Bool(_) => "boolean",
            Value::Number(number) if number.is_f64() => "number",
            Value::Number(_) => "integer",
            Value::String(_) | Value::Array(_) | Value::Object(_) => "string",
        },
    }
}

/// The value as the schema wants it: where text is asked for, numbers and booleans are taken as written.
fn coerce(schema: &Value, node: &Node, pointer: &mut String, report: &mut Report) -> Value {
    let place = schema.get("$ref").and_then(Value::as_str).unwrap_or_default();
    let schema = resolve(schema);
    if !schema.is_object() || schema.as_object().is_some_and(Map::is_empty) {
        return node.to_value();
    }
    let kind = kind_of(node);
    if let Some(Value::Array(forms)) = schema.get("anyOf")
        && let Some(form) = forms.iter().find(|form| takes(form, kind))
    {
        return coerce(form, node, pointer, report);
    }
    let length = pointer.len();
    match &node.kind {
        Kind::Map(entries) => {
            let mut map = Map::new();
            for entry in entries {
                pointer.push('/');
                pointer.push_str(&step(&entry.key));
                let inner = match (
                    schema.get("properties").and_then(|known| known.get(&entry.key)),
                    schema.get("additionalProperties"),
                ) {
                    (Some(inner), _) | (None, Some(inner @ Value::Object(_))) => inner,
                    (None, _) => &Value::Null,
                };
                map.insert(entry.key.clone(), coerce(inner, &entry.node, pointer, report));
                pointer.truncate(length);
            }
            Value::Object(map)
        }
        Kind::List(items) => {
            let inner = schema.get("items").unwrap_or(&Value::Null);
            let mut list = Vec::with_capacity(items.len());
            for (index, item) in items.iter().enumerate() {
                pointer.push_str(&format!("/{index}"));
                list.push(coerce(inner, item, pointer, report));
                pointer.truncate(length);
            }
            Value::Array(list)
        }
        Kind::Scalar { value: Value::Null, .. } => {
            report.add(
                Found::new(Rule::EmptyValue, pointer.as_str(), "nothing stands here")
                    .at_key()
                    .hint("write a value, or leave the key out"),
            );
            report.mute(pointer.as_str());
            Value::Null
        }
        Kind::Scalar { value, .. } => scalar(schema, place, value, node, pointer, report),
    }
}

fn scalar(schema: &Value, place: &str, value: &Value, node: &Node, pointer: &str, report: &mut Report) -> Value {
    let mut refuse = |error: &dyn ToString| {
        report.add(Found::new(Rule::WrongForm, pointer, error.to_string()).value(value.clone()));
        report.mute(pointer);
    };
    match (place.rsplit('/').next().unwrap_or_default(), node.as_written()) {
        ("Duration", Some(text)) => {
            if let Err(error) = text.parse::<Millis>() {
                refuse(&error);
            }
        }
        ("Size", Some(text)) => {
            if let Err(error) = text.parse::<Bytes>() {
                refuse(&error);
            }
        }
        _ => {}
    }
    if pointer.contains("/exit_codes/")
        && let Err(error) = serde_json::from_value::<ExitCodes>(value.clone())
    {
        refuse(&error);
    }
    let text_only =
        takes(schema, "string") && (schema.get("type").is_some_and(Value::is_string) || schema.get("enum").is_some());
    let as_text = text_only || schema.get("type").is_some_and(Value::is_array);
    match (as_text, node.as_written(), value.as_f64()) {
        (true, Some(text), _) => Value::String(text),
        // JSON Schema counts 1e3 as an integer; serde does not.
        (false, _, Some(number))
            if value.is_f64() && takes(schema, "integer") && number.fract() == 0.0 && number.abs() < 9e15 =>
        {
            json!(number as i64)
        }
        _ => value.clone(),
    }
}

/// One error of the validator as problems, each with the place of what to leave out.
fn translate(error: &ValidationError<'_>, root: &Value, wrong: &mut Vec<Wrong>) {
    let pointer = error.instance_path().as_str().to_owned();
    let mut add = |found: Found, prune: &str| wrong.push(Wrong { found, pointer: prune.to_owned(), key_only: false });
    match error.kind() {
        ValidationErrorKind::AdditionalProperties { unexpected } => {
            let known = properties(error);
            for key in unexpected.iter().take(limits::SPEC_PROBLEMS + 1) {
                let place = format!("{pointer}/{}", step(key));
                wrong.push(Wrong { found: unknown_key(key, &place, &known), pointer: place, key_only: true });
            }
        }
        ValidationErrorKind::Required { property } => {
            let name = text_of(property);
            let place = format!("{pointer}/{}", step(&name));
            let prune = if pointer.is_empty() { &place } else { &pointer };
            add(Found::new(Rule::MissingKey, place.clone(), format!("`{name}` is missing")).at_key(), prune);
        }
        ValidationErrorKind::Type { kind } => add(wrong_type(&pointer, &kinds(kind), error.instance()), &pointer),
        ValidationErrorKind::Enum { options } => {
            let words: Vec<String> = options.as_array().into_iter().flatten().map(text_of).collect();
            add(not_allowed(&pointer, error.instance(), &words), &pointer);
        }
        ValidationErrorKind::Minimum { limit } => {
            add(Found::new(Rule::OutOfRange, &pointer, format!("must be at least {limit}")), &pointer);
        }
        ValidationErrorKind::Maximum { limit } => {
            add(Found::new(Rule::OutOfRange, &pointer, format!("must be at most {limit}")), &pointer);
        }
        ValidationErrorKind::MinItems { .. }
        | ValidationErrorKind::MinProperties { .. }
        | ValidationErrorKind::MinLength { .. } => {
            add(Found::new(Rule::WrongLength, &pointer, "must not be empty"), &pointer);
        }
        ValidationErrorKind::MaxItems { limit } | ValidationErrorKind::MaxLength { limit } => {
            add(Found::new(Rule::WrongLength, &pointer, format!("is longer than {limit}")), &pointer);
        }
        ValidationErrorKind::Pattern { pattern } => {
            add(Found::new(Rule::WrongForm, &pointer, "has the wrong form").allowed([pattern]), &pointer);
        }
        ValidationErrorKind::AnyOf { context } => any_of(error, context, root, wrong),
        _ => add(Found::new(Rule::WrongForm, &pointer, error.to_string()), &pointer),
    }
}

/// Of several forms the one that was meant is the one of the right type; if there is none, all types are said.
fn any_of(
    error: &ValidationError<'_>,
    context: &[Vec<ValidationError<'static>>],
    root: &Value,
    wrong: &mut Vec<Wrong>,
) {
    let here = error.instance_path().as_str();
    let type_of = |form: &[ValidationError<'static>]| {
        form.iter().find_map(|inner| match inner.kind() {
            ValidationErrorKind::Type { kind } if inner.instance_path().as_str() == here => Some(kinds(kind)),
            ValidationErrorKind::Enum { options }
                if inner.instance_path().as_str() == here && !error.instance().is_string() =>
            {
                options.as_array().and_then(|words| words.first()).map(|_| vec!["string".to_owned()])
            }
            _ => None,
        })
    };
    match context.iter().find(|form| type_of(form).is_none()) {
        Some(form) => form.iter().for_each(|inner| translate(inner, root, wrong)),
        None => {
            let types: Vec<String> = context.iter().filter_map(|form| type_of(form)).flatten().collect();
            let found = wrong_type(here, &types, error.instance());
            wrong.push(Wrong { found, pointer: here.to_owned(), key_only: false });
        }
    }
}

fn kinds(kind: &TypeKind) -> Vec<String> {
    match kind {
        TypeKind::Single(one) => vec![one.to_string()],
        TypeKind::Multiple(several) => several.iter().map(|one| one.to_string()).collect(),
    }
}

fn wrong_type(pointer: &str, types: &[String], value: &Value) -> Found {
    let word = |kind: &str| match kind {
        "string" => "text",
        "array" => "a list",
        "object" => "a map of keys",
        "integer" => "an integer",
        "number" => "a number",
        "boolean" => "true or false",
        _ => "something else",
    };
    let mut wanted: Vec<&str> = types.iter().map(|kind| word(kind)).collect();
    wanted.dedup();
    let found = Found::new(Rule::WrongType, pointer, format!("must be {}", wanted.join(" or ")));
    match value {
        Value::String(text) if types.iter().any(|kind| kind == "array") => found.hint(format!("write [{text}]")),
        Value::String(text) if text.contains("{{") => {
            found.hint("only a param can stand here, alone: \"{{params.x}}\"")
        }
        _ => found,
    }
}

fn not_allowed(pointer: &str, value: &Value, words: &[String]) -> Found {
    let word = text_of(value);
    match known::word(&readable(pointer), &word) {
        Some(hint) => {
            Found::new(Rule::NotSupported, pointer, format!("`{word}` is not supported by this version")).hint(hint)
        }
        None => Found::new(Rule::NotAllowed, pointer, "must be one of the words allowed here")
            .near(&word, words.iter().map(String::as_str)),
    }
    .allowed(words)
}

fn unknown_key(key: &str, pointer: &str, known: &[String]) -> Found {
    let found = match known::key(&readable(pointer)) {
        Some(hint) => {
            return Found::new(Rule::NotSupported, pointer, format!("`{key}` is not supported by this version"))
                .at_key()
                .hint(hint);
        }
        None => Found::new(Rule::UnknownKey, pointer, format!("there is no key `{key}` here")).at_key(),
    };
    let found = found.near(key, known.iter().map(String::as_str));
    let found = match (found.has_hint(), elsewhere(key)) {
        (false, Some(place)) => found.hint(format!("did you mean `{place}`?")),
        _ => found,
    };
    found.allowed(known)
}

/// The keys of the object in which an unknown one stands.
fn properties(error: &ValidationError<'_>) -> Vec<String> {
    let path = error.schema_path().as_str();
    let parent = path.rsplit_once('/').map_or("", |(parent, _)| parent);
    let object = STRICT.schema.pointer(parent).and_then(|schema| schema.get("properties")).and_then(Value::as_object);
    object.map(|keys| keys.keys().cloned().collect()).unwrap_or_default()
}

/// `memory` at the top is meant as `resources.memory`.
fn elsewhere(key: &str) -> Option<String> {
    let top = STRICT.schema.get("properties")?.as_object()?;
    if top.contains_key(key) {
        return Some(key.to_owned());
    }
    top.iter().find_map(|(name, schema)| {
        let inner = resolve(schema).get("properties")?.as_object()?;
        inner.contains_key(key).then(|| format!("{name}.{key}"))
    })
}
