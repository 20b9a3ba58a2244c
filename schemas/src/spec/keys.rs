//! The table of all keys in docs/job-spec.md, made from the schema.
use serde_json::{Map, Value};

use super::schema::STRICT;

/// One row for each key: its place, type, default and meaning.
pub fn key_table() -> String {
    let mut out = String::from("| key | type | default | meaning |\n| --- | --- | --- | --- |\n");
    rows(&STRICT.schema, "", &mut out);
    out
}

fn resolve(schema: &Value) -> &Value {
    let pointer = schema.get("$ref").and_then(Value::as_str).and_then(|reference| reference.strip_prefix('#'));
    pointer.and_then(|pointer| STRICT.schema.pointer(pointer)).unwrap_or(schema)
}

fn rows(object: &Value, prefix: &str, out: &mut String) {
    let object = resolve(object);
    let required: Vec<&str> =
        object.get("required").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str).collect();
    for (key, schema) in object.get("properties").and_then(Value::as_object).unwrap_or(&Map::new()) {
        let place = if prefix.is_empty() { key.clone() } else { format!("{prefix}.{key}") };
        let default = match schema.get("default") {
            Some(default) => format!("`{}`", super::text_of(default)),
            None if required.contains(&key.as_str()) => "required".to_owned(),
            None => String::new(),
        };
        let meaning = schema
            .get("description")
            .or_else(|| resolve(schema).get("description"))
            .and_then(Value::as_str)
            .unwrap_or_default();
        let row = format!(
            "| `{place}` | {} | {default} | {} |\n",
            kind(schema).replace('|', "\\|"),
            meaning.replace('|', "\\|")
        );
        out.push_str(&row);
        inner(schema, &place, out);
    }
}

/// The keys below a key. What `gather` shares with the job itself is not said twice.
fn inner(schema: &Value, place: &str, out: &mut String) {
    if matches!(place, "gather.resources" | "gather.timeouts" | "gather.retry" | "gather.outputs") {
        return;
    }
    let schema = resolve(schema);
    let forms = schema.get("anyOf").and_then(Value::as_array);
    if let Some(object) = forms.into_iter().flatten().find(|form| resolve(form).get("properties").is_some()) {
        rows(object, place, out);
    } else if schema.get("properties").is_some() {
        rows(schema, place, out);
    } else if let Some(items) = schema.get("items").filter(|items| resolve(items).get("properties").is_some()) {
        rows(items, &format!("{place}[]"), out);
    } else if let Some(values) =
        schema.get("additionalProperties").filter(|values| resolve(values).get("properties").is_some())
    {
        rows(values, &format!("{place}.NAME"), out);
    }
}

fn kind(schema: &Value) -> String {
    let reference = schema.get("$ref").and_then(Value::as_str).unwrap_or_default();
    match reference.rsplit('/').next().unwrap_or_default() {
        "Duration" => return "duration, as in `90s` or `2h30m`".to_owned(),
        "Size" => return "size, as in `512MiB` or `1.5GB`".to_owned(),
        _ => {}
    }
    let schema = resolve(schema);
    if let Some(words) = schema.get("enum").and_then(Value::as_array) {
        return words.iter().map(|word| format!("`{}`", super::text_of(word))).collect::<Vec<_>>().join(", ");
    }
    if let Some(forms) = schema.get("anyOf").and_then(Value::as_array) {
        return forms.iter().map(kind).collect::<Vec<_>>().join(", or ");
    }
    let word = match schema.get("type") {
        Some(Value::String(word)) => word.as_str(),
        Some(_) => "string",
        None => return "any value".to_owned(),
    };
    match word {
        "string" => "text".to_owned(),
        "boolean" => "`true` or `false`".to_owned(),
        "array" => match schema.get("items").map(kind) {
            Some(items) if items.starts_with('`') => format!("list of words: {items}"),
            Some(items) => format!("list of: {items}"),
            None => "list".to_owned(),
        },
        "object" => match schema.get("additionalProperties").filter(|values| values.is_object()) {
            Some(values) if resolve(values).get("properties").is_none() => format!("map of names to: {}", kind(values)),
            Some(_) | None => "map".to_owned(),
        },
        number => format!("{number}{}", bounds(schema)),
    }
}

fn bounds(schema: &Value) -> String {
    match (schema.get("minimum"), schema.get("maximum")) {
        (Some(least), Some(most)) => format!(", {least} to {most}"),
        (Some(least), None) => format!(", at least {least}"),
        (None, Some(most)) => format!(", at most {most}"),
        (None, None) => String::new(),
    }
}
