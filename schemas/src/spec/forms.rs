//! The few keys with a short form (`gpus: 1`, `batch: 10`, `"64..78"`, one gather step) or a shape of their own (`matrix`).
use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{DeserializeOwned, Error};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::{Map, Value};

use super::job::{Batch, ExitCodes, Gather, Gpus, Matrix, MaxFailed};
use crate::reason::EndReason;

fn whole<T: DeserializeOwned, E: Error>(value: Value) -> Result<T, E> {
    serde_json::from_value(value).map_err(E::custom)
}

/// `gpus: 1` or the long form.
pub fn gpus<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Gpus>, D::Error> {
    match Value::deserialize(deserializer)? {
        Value::Null => Ok(None),
        value @ Value::Number(_) => Ok(Some(Gpus { count: whole(value)?, ..Gpus::default() })),
        value => whole(value).map(Some),
    }
}

pub fn gpus_schema(generator: &mut SchemaGenerator) -> Schema {
    let long = generator.subschema_for::<Gpus>();
    json_schema!({"anyOf": [{"type": "integer", "minimum": 0, "maximum": 1024}, long]})
}

/// `batch: 10` or the long form.
pub fn batch<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Batch>, D::Error> {
    match Value::deserialize(deserializer)? {
        Value::Null => Ok(None),
        value @ Value::Number(_) => Ok(Some(Batch { items: Some(whole(value)?), into: None })),
        value => whole(value).map(Some),
    }
}

pub fn batch_schema(generator: &mut SchemaGenerator) -> Schema {
    let long = generator.subschema_for::<Batch>();
    json_schema!({"anyOf": [{"type": "integer", "minimum": 1}, long]})
}

/// One step or a list of steps.
pub fn gather<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Gather>, D::Error> {
    match Value::deserialize(deserializer)? {
        value @ Value::Array(_) => whole(value),
        value => whole(value).map(|step| vec![step]),
    }
}

pub fn gather_schema(generator: &mut SchemaGenerator) -> Schema {
    let step = generator.subschema_for::<Gather>();
    json_schema!({"anyOf": [step, {"type": "array", "items": step, "minItems": 1, "maxItems": 100}]})
}

/// One reason or a list of reasons.
pub fn reasons<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<EndReason>, D::Error> {
    match Value::deserialize(deserializer)? {
        value @ Value::Array(_) => whole(value),
        value => whole(value).map(|reason| vec![reason]),
    }
}

pub fn reasons_schema(generator: &mut SchemaGenerator) -> Schema {
    let reason = generator.subschema_for::<EndReason>();
    json_schema!({"anyOf": [reason, {"type": "array", "items": reason, "minItems": 1}]})
}

impl Serialize for ExitCodes {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if self.first == self.last {
            serializer.serialize_u8(self.first)
        } else {
            serializer.collect_str(&format_args!("{}..{}", self.first, self.last))
        }
    }
}

impl<'de> Deserialize<'de> for ExitCodes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<ExitCodes, D::Error> {
        let value = Value::deserialize(deserializer)?;
        let code = |text: &str| text.parse::<u8>().ok();
        let range = match &value {
            Value::Number(number) => number.as_u64().and_then(|n| u8::try_from(n).ok()).map(|n| (n, n)),
            Value::String(text) => match text.split_once("..") {
                Some((first, last)) => code(first).zip(code(last)),
                None => code(text).map(|n| (n, n)),
            },
            Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => None,
        };
        match range {
            Some((first, last)) if first <= last => Ok(ExitCodes { first, last }),
            _ => Err(D::Error::custom(format!("{value} is no exit code; write 75 or \"64..78\""))),
        }
    }
}

impl JsonSchema for ExitCodes {
    fn schema_name() -> Cow<'static, str> {
        "ExitCodes".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"anyOf": [
            {"type": "integer", "minimum": 0, "maximum": 255},
            {"type": "string", "pattern": "^[0-9]{1,3}([.][.][0-9]{1,3})?$"}
        ]})
    }
}

impl Serialize for MaxFailed {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            MaxFailed::Count(count) => serializer.serialize_u32(*count),
            MaxFailed::Percent(percent) => serializer.collect_str(&format_args!("{percent}%")),
        }
    }
}

impl<'de> Deserialize<'de> for MaxFailed {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<MaxFailed, D::Error> {
        let value = Value::deserialize(deserializer)?;
        let found = match &value {
            Value::Number(number) => number.as_u64().and_then(|n| u32::try_from(n).ok()).map(MaxFailed::Count),
            Value::String(text) => text.strip_suffix('%').and_then(|part| part.parse().ok()).map(MaxFailed::Percent),
            Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => None,
        };
        match found {
            Some(MaxFailed::Percent(part)) if !(0.0..=100.0).contains(&part) => None,
            found => found,
        }
        .ok_or_else(|| D::Error::custom(format!("{value} is no number of chunks; write 3 or \"5%\"")))
    }
}

impl JsonSchema for MaxFailed {
    fn schema_name() -> Cow<'static, str> {
        "MaxFailed".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"anyOf": [
            {"type": "integer", "minimum": 0, "maximum": 1_000_000},
            {"type": "string", "pattern": "^[0-9]{1,3}([.][0-9]{1,6})?%$"}
        ]})
    }
}

impl Serialize for Matrix {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = Map::new();
        for (name, values) in &self.axes {
            map.insert(name.clone(), Value::Array(values.clone()));
        }
        for (name, list) in [("exclude", &self.exclude), ("include", &self.include)] {
            if !list.is_empty() {
                map.insert(name.to_owned(), list.iter().cloned().map(Value::Object).collect());
            }
        }
        map.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Matrix {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Matrix, D::Error> {
        let mut matrix = Matrix::default();
        for (name, value) in Map::<String, Value>::deserialize(deserializer)? {
            match name.as_str() {
                "exclude" => matrix.exclude = whole(value)?,
                "include" => matrix.include = whole(value)?,
                _ => matrix.axes.push((name, whole(value)?)),
            }
        }
        Ok(matrix)
    }
}

impl JsonSchema for Matrix {
    fn schema_name() -> Cow<'static, str> {
        "Matrix".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        let combinations = json_schema!({"type": "array", "items": {"type": "object"}});
        json_schema!({
            "description": "Axes by name, each a list; exclude takes combinations away, then include adds to them.",
            "type": "object",
            "minProperties": 1,
            "properties": {"exclude": combinations, "include": combinations},
            "additionalProperties": {"type": "array", "minItems": 1}
        })
    }
}
