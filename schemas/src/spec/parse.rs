//! YAML text to a [`Node`], with budgets: the only place that knows the YAML library.
use std::fmt;

use serde::de::{Deserialize, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde_json::Value;
use serde_saphyr::{Error, Location, Spanned};

use super::node::{Entry, Kind, Node, Place};
use super::problem::{Found, Rule};
use crate::limits;

/// The document, or the first thing that keeps it from being one (a parser cannot go on after it).
pub fn parse(text: &str) -> Result<Node, Box<Found>> {
    if text.len() > limits::SPEC_BYTES {
        let message = format!("the job file has {} bytes; at most {} are taken", text.len(), limits::SPEC_BYTES);
        let found = Found::new(Rule::TooLarge, "", message).hint("put long lists into a file and use `chunks.rows`");
        return Err(Box::new(found));
    }
    characters(text)?;
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    if text.lines().all(|line| line.trim_start().is_empty() || line.trim_start().starts_with('#')) {
        let found = Found::new(Rule::NotYaml, "", "the job file is empty");
        return Err(Box::new(found.hint("docs/job-spec.md begins with a short one")));
    }
    let options = serde_saphyr::options! {
        strict_booleans: true,
        leading_zero_numbers_as_strings: true,
        underscored_numbers_as_strings: true,
        reject_unsupported_tags: true,
        non_finite_float_policy: serde_saphyr::NonFiniteFloatPolicy::Reject,
        merge_keys: serde_saphyr::MergeKeyPolicy::Error,
        duplicate_keys: serde_saphyr::DuplicateKeyPolicy::Error,
        with_snippet: false,
        budget: serde_saphyr::budget! {
            max_nodes: limits::SPEC_NODES,
            max_events: limits::SPEC_NODES * 4,
            max_aliases: 100,
            max_anchors: 100,
            max_depth: limits::SPEC_DEPTH,
            max_documents: 1,
            max_total_scalar_bytes: limits::SPEC_BYTES,
            max_recorded_anchor_bytes: limits::SPEC_BYTES / 8,
        },
    };
    match serde_saphyr::from_str_with_options::<Spanned<Raw>>(text, options) {
        Ok(raw) => Ok(node(raw, text)),
        Err(error) => Err(Box::new(explain(&error, text))),
    }
}

/// Characters that a person cannot see, or that make text look like other text, are not taken.
fn characters(text: &str) -> Result<(), Box<Found>> {
    for (number, line) in text.split('\n').enumerate() {
        for (column, c) in line.strip_suffix('\r').unwrap_or(line).chars().enumerate() {
            if hidden(c) && !(number == 0 && column == 0 && c == '\u{feff}') {
                let found = Found::new(Rule::ControlCharacter, "", hidden_message(c)).hint("remove it");
                return Err(Box::new(found.at(number as u64 + 1, column as u64 + 1)));
            }
        }
    }
    Ok(())
}

/// Control characters but tab and line feed, and those that turn the direction of writing around.
pub fn hidden(c: char) -> bool {
    (c.is_control() && !matches!(c, '\t' | '\n'))
        || matches!(c, '\u{200e}' | '\u{200f}' | '\u{061c}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
}

pub fn hidden_message(c: char) -> String {
    format!("the invisible character U+{:04X} is not taken", u32::from(c))
}

fn place(location: Location) -> Place {
    Place { line: location.line(), column: location.column() }
}

fn node(raw: Spanned<Raw>, text: &str) -> Node {
    let span = raw.defined.span();
    let kind = match raw.value {
        Raw::Scalar(value @ (Value::Number(_) | Value::Bool(_))) => {
            let written = span.byte_offset().zip(span.byte_len()).and_then(|(from, length)| {
                let from = usize::try_from(from).ok()?;
                text.get(from..from + usize::try_from(length).ok()?)
            });
            // A span may reach over a comment behind the scalar; a plain number or boolean has no white space in it.
            let spelling = written.and_then(|text| text.split_whitespace().next()).map(Box::from);
            Kind::Scalar { value, spelling }
        }
        Raw::Scalar(value) => Kind::Scalar { value, spelling: None },
        Raw::List(items) => Kind::List(items.into_iter().map(|item| node(item, text)).collect()),
        Raw::Map(entries) => Kind::Map(
            entries
                .into_iter()
                .map(|(key, value)| Entry { place: place(key.referenced), key: key.value, node: node(value, text) })
                .collect(),
        ),
    };
    Node { place: place(raw.referenced), kind }
}

fn explain(error: &Error, text: &str) -> Found {
    let error = error.without_snippet();
    let at = error.location().map(place).unwrap_or_default();
    let line = usize::try_from(at.line).ok().and_then(|line| text.lines().nth(line.saturating_sub(1))).unwrap_or("");
    let found = match error {
        Error::DuplicateMappingKey { key, .. } => {
            let name = key.as_deref().unwrap_or("this key");
            Found::new(Rule::DuplicateKey, "", format!("`{name}` stands here a second time")).hint("keep one of them")
        }
        Error::MultipleDocuments { .. } => {
            Found::new(Rule::SeveralDocuments, "", "the job file holds several YAML documents (`---`)")
                .hint("write one file per job")
        }
        Error::MergeKeyNotAllowed { .. } => {
            Found::new(Rule::MergeKey, "", "merge keys (`<<`) are not taken").hint("write the keys out")
        }
        Error::NonFiniteFloat { value, .. } => {
            Found::new(Rule::NotFinite, "", format!("{value} is not a number to count with"))
        }
        Error::Budget { breach, .. } => too_much(breach),
        Error::AliasReplayLimitExceeded { .. }
        | Error::AliasExpansionLimitExceeded { .. }
        | Error::AliasReplayStackDepthExceeded { .. }
        | Error::AliasReplayCounterOverflow { .. } => {
            Found::new(Rule::TooLarge, "", "anchors and aliases make this job file too large")
                .hint("write the values out")
        }
        Error::AliasError { error, .. } => return explain(error, text),
        other if unquoted_braces(line) => {
            let _ = other;
            Found::new(
                Rule::UnquotedReference,
                "",
                "a reference must stand in quotes, or YAML takes its braces for a map",
            )
            .hint("put quotes round it, as in \"{{params.n}}\"")
        }
        other => {
            let message = other.to_string();
            let first = message.lines().next().unwrap_or("this is not YAML").to_owned();
            match (first.contains("tag"), first.contains("nesting") || first.contains("recursion")) {
                (true, _) => {
                    Found::new(Rule::Tag, "", "YAML tags (`!name`) are not taken").hint("write the plain value")
                }
                (_, true) => Found::new(Rule::TooDeep, "", "the values are nested too deeply"),
                _ => Found::new(Rule::NotYaml, "", first),
            }
        }
    };
    found.at(at.line, at.column)
}

fn too_much(breach: &serde_saphyr::budget::BudgetBreach) -> Found {
    use serde_saphyr::budget::BudgetBreach;
    match breach {
        BudgetBreach::Depth { .. } => {
            Found::new(Rule::TooDeep, "", format!("more than {} levels of nesting", limits::SPEC_DEPTH))
        }
        BudgetBreach::Documents { .. } => {
            Found::new(Rule::SeveralDocuments, "", "the job file holds several YAML documents (`---`)")
                .hint("write one file per job")
        }
        _ => Found::new(
            Rule::TooLarge,
            "",
            format!("the job file holds more than {} values, or too much text, aliases counted", limits::SPEC_NODES),
        )
        .hint("put long lists into a file and use `chunks.rows`"),
    }
}

/// `key: {{a}}`, `[{{a}}]`, `- {{a}}`
fn unquoted_braces(line: &str) -> bool {
    line.match_indices("{{").any(|(at, _)| {
        let before = line[..at].trim_end();
        before.is_empty() || before.ends_with([':', ',', '[', '-', '{'])
    })
}

enum Raw {
    Scalar(Value),
    List(Vec<Spanned<Raw>>),
    Map(Vec<(Spanned<String>, Spanned<Raw>)>),
}

impl<'de> Deserialize<'de> for Raw {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Raw, D::Error> {
        deserializer.deserialize_any(RawVisitor)
    }
}

struct RawVisitor;

impl<'de> Visitor<'de> for RawVisitor {
    type Value = Raw;
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a YAML value")
    }
    fn visit_bool<E>(self, value: bool) -> Result<Raw, E> {
        Ok(Raw::Scalar(value.into()))
    }
    fn visit_i64<E>(self, value: i64) -> Result<Raw, E> {
        Ok(Raw::Scalar(value.into()))
    }
    fn visit_u64<E>(self, value: u64) -> Result<Raw, E> {
        Ok(Raw::Scalar(value.into()))
    }
    fn visit_i128<E: serde::de::Error>(self, value: i128) -> Result<Raw, E> {
        Err(E::custom(format!("{value} has too many digits; put quotes round it if it is a name")))
    }
    fn visit_u128<E: serde::de::Error>(self, value: u128) -> Result<Raw, E> {
        Err(E::custom(format!("{value} has too many digits; put quotes round it if it is a name")))
    }
    fn visit_f64<E: serde::de::Error>(self, value: f64) -> Result<Raw, E> {
        match serde_json::Number::from_f64(value) {
            Some(number) => Ok(Raw::Scalar(Value::Number(number))),
            None => Err(E::custom("not a finite number")),
        }
    }
    fn visit_str<E>(self, value: &str) -> Result<Raw, E> {
        Ok(Raw::Scalar(value.into()))
    }
    fn visit_unit<E>(self) -> Result<Raw, E> {
        Ok(Raw::Scalar(Value::Null))
    }
    fn visit_none<E>(self) -> Result<Raw, E> {
        Ok(Raw::Scalar(Value::Null))
    }
    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Raw, D::Error> {
        deserializer.deserialize_any(RawVisitor)
    }
    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Raw, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = list.next_element()? {
            items.push(item);
        }
        Ok(Raw::List(items))
    }
    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Raw, A::Error> {
        let mut entries: Vec<(Spanned<String>, Spanned<Raw>)> = Vec::new();
        while let Some((key, value)) = map.next_entry::<Spanned<String>, Spanned<Raw>>()? {
            if key.value.len() > 1024 {
                return Err(A::Error::custom("a key has more than 1024 bytes"));
            }
            entries.push((key, value));
        }
        Ok(Raw::Map(entries))
    }
}
