//! A YAML document as a tree in which every value knows its place in the text.
use serde_json::Value;

/// Line and column, from 1; 0 where there is none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    pub line: u64,
    pub column: u64,
}

#[derive(Clone, Debug)]
pub struct Node {
    pub place: Place,
    pub kind: Kind,
}

#[derive(Clone, Debug)]
pub enum Kind {
    /// `spelling`: how a number or boolean was written (`1.10`, `0x1F`), where it is not text anyway.
    Scalar {
        value: Value,
        spelling: Option<Box<str>>,
    },
    List(Vec<Node>),
    Map(Vec<Entry>),
}

#[derive(Clone, Debug)]
pub struct Entry {
    pub key: String,
    pub place: Place,
    pub node: Node,
}

impl Node {
    pub fn text(&self) -> Option<&str> {
        match &self.kind {
            Kind::Scalar { value: Value::String(text), .. } => Some(text),
            Kind::Scalar { .. } | Kind::List(_) | Kind::Map(_) => None,
        }
    }

    pub fn scalar(&self) -> Option<&Value> {
        match &self.kind {
            Kind::Scalar { value, .. } => Some(value),
            Kind::List(_) | Kind::Map(_) => None,
        }
    }

    pub fn entry(&self, key: &str) -> Option<&Entry> {
        match &self.kind {
            Kind::Map(entries) => entries.iter().find(|entry| entry.key == key),
            Kind::Scalar { .. } | Kind::List(_) => None,
        }
    }

    pub fn get(&self, key: &str) -> Option<&Node> {
        self.entry(key).map(|entry| &entry.node)
    }

    /// The value at a JSON pointer, with the place of its key where it has one.
    pub fn at(&self, pointer: &str) -> Option<(&Node, Place)> {
        let mut here = (self, self.place);
        for step in pointer.split('/').skip(1) {
            here = match &here.0.kind {
                Kind::Map(_) => here.0.entry(&plain(step)).map(|entry| (&entry.node, entry.place))?,
                Kind::List(items) => items.get(step.parse::<usize>().ok()?).map(|node| (node, node.place))?,
                Kind::Scalar { .. } => return None,
            };
        }
        Some(here)
    }

    /// The nearest value on the way to a pointer.
    pub fn nearest(&self, pointer: &str) -> (&Node, Place) {
        let mut pointer = pointer;
        loop {
            match (self.at(pointer), pointer.rfind('/')) {
                (Some(found), _) => return found,
                (None, Some(cut)) => pointer = &pointer[..cut],
                (None, None) => return (self, self.place),
            }
        }
    }

    pub fn to_value(&self) -> Value {
        match &self.kind {
            Kind::Scalar { value, .. } => value.clone(),
            Kind::List(items) => items.iter().map(Node::to_value).collect(),
            Kind::Map(entries) => {
                Value::Object(entries.iter().map(|entry| (entry.key.clone(), entry.node.to_value())).collect())
            }
        }
    }

    /// A scalar as the person wrote it, in place of what YAML makes of it.
    pub fn as_written(&self) -> Option<String> {
        match &self.kind {
            Kind::Scalar { spelling: Some(spelling), .. } => Some(spelling.to_string()),
            Kind::Scalar { value: Value::String(text), .. } => Some(text.clone()),
            Kind::Scalar { value: Value::Null, .. } | Kind::List(_) | Kind::Map(_) => None,
            Kind::Scalar { value, .. } => Some(value.to_string()),
        }
    }
}

/// One step of a JSON pointer, escaped.
pub fn step(key: &str) -> String {
    if key.contains(['~', '/']) { key.replace('~', "~0").replace('/', "~1") } else { key.to_owned() }
}

fn plain(step: &str) -> String {
    step.replace("~1", "/").replace("~0", "~")
}

/// A pointer for people: `/inputs/0/path` is `inputs[0].path`.
pub fn readable(pointer: &str) -> String {
    let mut text = String::new();
    for step in pointer.split('/').skip(1) {
        if !step.is_empty() && step.bytes().all(|byte| byte.is_ascii_digit()) {
            text.push_str(&format!("[{step}]"));
        } else {
            if !text.is_empty() {
                text.push('.');
            }
            text.push_str(&plain(step));
        }
    }
    text
}
