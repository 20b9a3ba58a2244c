//! The JSON Schema of a job file, made from the types: a strict one to check with, and one for editors.
use std::sync::LazyLock;

use jsonschema::{PatternOptions, Validator};
use schemars::schema_for;
use serde_json::{Map, Value, json};

use super::Job;

pub struct Strict {
    pub schema: Value,
    pub validator: Validator,
}

/// Checks a job after params were put in.
pub static STRICT: LazyLock<Strict> = LazyLock::new(|| {
    let mut schema = base();
    fold_choices(&mut schema);
    let validator = jsonschema::options()
        .with_pattern_options(PatternOptions::regex())
        .build(&schema)
        .expect("the schema is made from our own types, and a test builds it");
    Strict { schema, validator }
});

/// JSON Schema 2020-12 for editors: also takes `"{{params.x}}"` where a number or a boolean is asked for.
pub fn schema() -> Value {
    let mut schema = base();
    for_each_schema(&mut schema, &mut |schema| {
        let numeric = matches!(schema.get("type").and_then(Value::as_str), Some("integer" | "number" | "boolean"));
        if numeric || schema.contains_key("pattern") {
            let keep = |key: &str| matches!(key, "description" | "default" | "title");
            let (outside, inside): (Map<String, Value>, Map<String, Value>) =
                std::mem::take(schema).into_iter().partition(|(key, _)| keep(key));
            *schema = outside;
            schema.insert("anyOf".to_owned(), json!([inside, {"$ref": "#/$defs/Reference"}]));
        }
    });
    // Words of a command are taken as written, numbers too.
    for_each_schema(&mut schema, &mut |schema| {
        if schema.get("type") == Some(&json!("array")) && schema.get("items") == Some(&json!({"type": "string"})) {
            schema.insert("items".to_owned(), json!({"type": ["string", "number", "boolean"]}));
        }
    });
    let reference = json!({
        "description": "A reference to a parameter: it takes the parameter's type.",
        "type": "string",
        "pattern": "^[{][{] *params[.][a-z][a-z0-9_-]* *[}][}]$"
    });
    if let Some(defs) = schema.get_mut("$defs").and_then(Value::as_object_mut) {
        defs.insert("Reference".to_owned(), reference);
    }
    if let Some(root) = schema.as_object_mut() {
        root.insert("$id".to_owned(), json!("https://dsg.invalid/schemas/job.schema.json"));
    }
    schema
}

/// What serde takes beside what people may write: `null` for an absent key goes out, numbers as text come in.
fn base() -> Value {
    let mut schema = schema_for!(Job).to_value();
    for_each_schema(&mut schema, &mut |schema| {
        schema.remove("format");
        if let Some(Value::Array(types)) = schema.get_mut("type") {
            types.retain(|word| word != "null");
            if let [one] = &types[..] {
                let one = one.clone();
                schema.insert("type".to_owned(), one);
            }
        }
        if let Some(Value::Array(forms)) = schema.get_mut("anyOf") {
            forms.retain(|form| *form != json!({"type": "null"}));
            if let [Value::Object(one)] = &forms[..] {
                let one = one.clone();
                schema.remove("anyOf");
                schema.extend(one);
            }
        }
        if schema.get("default").is_some_and(|default| default.is_object()) {
            schema.remove("default");
        }
        if schema.get("additionalProperties") == Some(&json!({"type": "string"})) {
            schema.insert("additionalProperties".to_owned(), json!({"type": ["string", "number", "boolean"]}));
        }
        if let Some(Value::String(text)) = schema.get_mut("description") {
            *text = text.replace('\n', " ");
        }
    });
    schema
}

/// `oneOf` of documented constants is for editors; to check, one `enum` gives one message.
fn fold_choices(schema: &mut Value) {
    for_each_schema(schema, &mut |schema| {
        let Some(Value::Array(forms)) = schema.get("oneOf") else { return };
        let words: Vec<Value> = forms
            .iter()
            .flat_map(|form| match (form.get("const"), form.get("enum")) {
                (Some(word), _) => vec![word.clone()],
                (None, Some(Value::Array(words))) => words.clone(),
                (None, _) => Vec::new(),
            })
            .collect();
        schema.remove("oneOf");
        schema.insert("type".to_owned(), json!("string"));
        schema.insert("enum".to_owned(), Value::Array(words));
    });
}

/// Visits every schema in a schema, the inner ones first.
fn for_each_schema(schema: &mut Value, visit: &mut impl FnMut(&mut Map<String, Value>)) {
    let Value::Object(map) = schema else { return };
    for (key, value) in map.iter_mut() {
        match (key.as_str(), value) {
            ("properties" | "$defs", Value::Object(inner)) => {
                inner.values_mut().for_each(|inner| for_each_schema(inner, visit))
            }
            ("anyOf" | "oneOf", Value::Array(inner)) => {
                inner.iter_mut().for_each(|inner| for_each_schema(inner, visit))
            }
            ("items" | "additionalProperties", inner) => for_each_schema(inner, visit),
            _ => {}
        }
    }
    visit(map);
}
