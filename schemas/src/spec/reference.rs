//! `{{ dotted.path }}` in a text: finding references, and saying what they refer to.

/// A piece of a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part<'t> {
    Text(&'t str),
    /// What stands between the braces, trimmed.
    Reference(&'t str),
}

/// `{{` without `}}`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unclosed;

pub fn parts(text: &str) -> Result<Vec<Part<'_>>, Unclosed> {
    let mut parts = Vec::new();
    let mut rest = text;
    while let Some(open) = rest.find("{{") {
        if open > 0 {
            parts.push(Part::Text(&rest[..open]));
        }
        let inside = &rest[open + 2..];
        let close = inside.find("}}").ok_or(Unclosed)?;
        parts.push(Part::Reference(inside[..close].trim()));
        rest = &inside[close + 2..];
    }
    if !rest.is_empty() {
        parts.push(Part::Text(rest));
    }
    Ok(parts)
}

/// What a reference refers to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reference<'t> {
    Param(&'t str),
    ChunkIndex,
    ChunkCount,
    ItemsFile,
    /// An item and its column: `None` is the item itself.
    Item(Which, Option<&'t str>),
    JobId,
    JobName,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Which {
    /// The only one of its chunk.
    Only,
    First,
    Last,
}

pub const KNOWN: [&str; 10] = [
    "params.NAME",
    "chunk.index",
    "chunk.count",
    "chunk.items_file",
    "chunk.first.COLUMN",
    "chunk.last.COLUMN",
    "item",
    "item.COLUMN",
    "job.id",
    "job.name",
];

impl<'t> Reference<'t> {
    pub fn read(inside: &'t str) -> Option<Reference<'t>> {
        let column = |which, rest: &'t str| match rest {
            "" => Some(Reference::Item(which, None)),
            _ => rest.strip_prefix('.').filter(|rest| !rest.is_empty()).map(|rest| Reference::Item(which, Some(rest))),
        };
        match inside {
            "chunk.index" => return Some(Reference::ChunkIndex),
            "chunk.count" => return Some(Reference::ChunkCount),
            "chunk.items_file" => return Some(Reference::ItemsFile),
            "job.id" => return Some(Reference::JobId),
            "job.name" => return Some(Reference::JobName),
            _ => {}
        }
        if let Some(name) = inside.strip_prefix("params.").filter(|name| !name.is_empty()) {
            return Some(Reference::Param(name));
        }
        for (prefix, which) in [("item", Which::Only), ("chunk.first", Which::First), ("chunk.last", Which::Last)] {
            if let Some(found) = inside.strip_prefix(prefix).and_then(|rest| column(which, rest)) {
                return Some(found);
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_fall_into_parts() {
        let cases: [(&str, &[Part<'_>]); 5] = [
            ("plain", &[Part::Text("plain")]),
            ("", &[]),
            ("{{ a.b }}", &[Part::Reference("a.b")]),
            ("x{{a}}{{b}}y", &[Part::Text("x"), Part::Reference("a"), Part::Reference("b"), Part::Text("y")]),
            ("{a} ${B}", &[Part::Text("{a} ${B}")]),
        ];
        for (text, expected) in cases {
            assert_eq!(parts(text).as_deref(), Ok(expected), "{text}");
        }
        assert_eq!(parts("a {{b"), Err(Unclosed));
    }

    #[test]
    fn references_are_a_closed_set() {
        let cases = [
            ("params.n", Some(Reference::Param("n"))),
            ("item", Some(Reference::Item(Which::Only, None))),
            ("item.a b.c", Some(Reference::Item(Which::Only, Some("a b.c")))),
            ("chunk.first.x", Some(Reference::Item(Which::First, Some("x")))),
            ("chunk.last", Some(Reference::Item(Which::Last, None))),
            ("items", None),
            ("item.", None),
            ("params.", None),
            ("chunk", None),
            ("stages.a.b", None),
            ("", None),
        ];
        for (inside, expected) in cases {
            assert_eq!(Reference::read(inside), expected, "{inside}");
        }
    }
}
