//! The items of a job, each computed when it is asked for.
use std::collections::BTreeSet;

use serde_json::{Number, Value, json};

use super::matrix::Combinations;
use super::range::{Numbers, Windows};
use super::table::Table;

#[derive(Clone, Debug)]
pub enum Items {
    /// `count`: chunks without items.
    Nothing(u64),
    Numbers(Numbers),
    Windows(Windows),
    List(Vec<Value>),
    Matrix(Combinations),
    Table(Table),
}

/// What can be said of all items, so that references can be checked before any runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Shape {
    Nothing,
    /// Columns that every item has, and those that only some have. Without columns: each item is one value.
    Columns {
        all: BTreeSet<String>,
        some: BTreeSet<String>,
        values: bool,
    },
}

impl Items {
    pub fn len(&self) -> u64 {
        match self {
            Items::Nothing(count) => *count,
            Items::Numbers(numbers) => numbers.count,
            Items::Windows(windows) => windows.count,
            Items::List(items) => items.len() as u64,
            Items::Matrix(combinations) => combinations.len(),
            Items::Table(table) => table.rows(),
        }
    }

    pub fn item(&self, index: u64) -> Value {
        match self {
            Items::Nothing(_) => Value::Null,
            Items::Numbers(numbers) => numbers.value(index),
            Items::Windows(windows) => windows.window(index),
            Items::List(items) => {
                usize::try_from(index).ok().and_then(|index| items.get(index)).cloned().unwrap_or_default()
            }
            Items::Matrix(combinations) => combinations.item(index),
            Items::Table(table) => table.item(index),
        }
    }

    pub fn shape(&self) -> Shape {
        let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        match self {
            Items::Nothing(_) => Shape::Nothing,
            Items::Numbers(_) => Shape::Columns { all: BTreeSet::new(), some: BTreeSet::new(), values: true },
            Items::Windows(_) => {
                Shape::Columns { all: names(&["start", "stop"]), some: BTreeSet::new(), values: false }
            }
            Items::List(items) => shape_of(items.iter()),
            Items::Matrix(combinations) => combinations.shape(),
            Items::Table(table) => table.shape.clone(),
        }
    }
}

/// Follows the shape of many items, one at a time.
#[derive(Default)]
pub struct ShapeSoFar {
    all: Option<BTreeSet<String>>,
    any: BTreeSet<String>,
    values: bool,
    objects: bool,
}

impl ShapeSoFar {
    pub fn add(&mut self, item: &Value) {
        match item {
            Value::Object(map) => {
                self.objects = true;
                match &mut self.all {
                    Some(all) if all.len() == map.len() && all.iter().all(|key| map.contains_key(key)) => return,
                    Some(all) => all.retain(|key| map.contains_key(key)),
                    none => *none = Some(map.keys().cloned().collect()),
                }
                if self.any.len() < 10_000 {
                    self.any.extend(map.keys().cloned());
                }
            }
            _ => self.values = true,
        }
    }

    pub fn shape(self) -> Shape {
        let mixed = self.values && self.objects;
        let all = if mixed { BTreeSet::new() } else { self.all.unwrap_or_default() };
        let some = self.any.difference(&all).cloned().collect();
        Shape::Columns { all, some, values: self.values && !mixed }
    }
}

pub fn shape_of<'v>(items: impl Iterator<Item = &'v Value>) -> Shape {
    let mut so_far = ShapeSoFar::default();
    items.for_each(|item| so_far.add(item));
    so_far.shape()
}

pub fn real(value: f64) -> Value {
    Number::from_f64(value).map_or(Value::Null, Value::Number)
}

pub fn whole(value: i128) -> Value {
    match (i64::try_from(value), u64::try_from(value)) {
        (Ok(value), _) => json!(value),
        (Err(_), Ok(value)) => json!(value),
        (Err(_), Err(_)) => Value::Null,
    }
}
