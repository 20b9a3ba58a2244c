//! One table of the file: each key is asked for by its name and type, and what nobody asked for is unknown.
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::ops::Range;

use dsg_schemas::api::SpecProblem;
use dsg_schemas::spec::did_you_mean;
use serde_json::json;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::keys::{KEYS, NOT_HERE};
use super::place::place;

/// What was found wrong so far, and which keys were asked for.
pub struct Notes<'t> {
    pub text: &'t str,
    pub problems: RefCell<Vec<SpecProblem>>,
    pub asked: RefCell<Vec<String>>,
}

impl Notes<'_> {
    pub fn add(&self, rule: &str, path: &str, at: &Range<usize>, message: impl Into<String>) -> Said<'_> {
        let (line, column) = place(self.text, at.start);
        self.problems.borrow_mut().push(SpecProblem {
            rule: rule.to_owned(),
            line,
            column,
            path: path.to_owned(),
            message: message.into(),
            value: None,
            allowed: Vec::new(),
            hint: None,
        });
        Said(&self.problems)
    }
}

/// A problem that was just said, for what there is to add.
pub struct Said<'n>(&'n RefCell<Vec<SpecProblem>>);

impl Said<'_> {
    pub fn hint(self, hint: Option<String>) -> Self {
        if let Some(last) = self.0.borrow_mut().last_mut() {
            last.hint = hint;
        }
        self
    }
    pub fn allowed<T: ToString>(self, words: &[T]) -> Self {
        if let Some(last) = self.0.borrow_mut().last_mut() {
            last.allowed = words.iter().map(ToString::to_string).collect();
        }
        self
    }
    pub fn value(self, value: &str) -> Self {
        if let Some(last) = self.0.borrow_mut().last_mut() {
            last.value = Some(json!(value));
        }
        self
    }
}

pub struct Section<'n, 't> {
    notes: &'n Notes<'t>,
    path: String,
    /// As the keys below are named in the documentation.
    known_as: String,
    table: Option<&'n DeTable<'t>>,
    asked: RefCell<Vec<&'static str>>,
    /// Where the owner chose it.
    name: String,
}

impl<'n, 't> Section<'n, 't> {
    pub fn new(notes: &'n Notes<'t>, table: &'n DeTable<'t>) -> Self {
        let (path, known_as, asked) = (String::new(), String::new(), RefCell::default());
        Section { notes, path, known_as, table: Some(table), asked, name: String::new() }
    }

    fn joined(path: &str, key: &str) -> String {
        if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") }
    }

    fn value(&self, key: &'static str) -> Option<&'n Spanned<DeValue<'t>>> {
        self.asked.borrow_mut().push(key);
        self.notes.asked.borrow_mut().push(Self::joined(&self.known_as, key));
        let (_, value) = self.table?.iter().find(|(known, _)| known.get_ref() == key)?;
        Some(value)
    }

    /// The key's text in a form of its own, or a problem.
    fn read<T>(
        &self,
        key: &'static str,
        wanted: &str,
        read: impl Fn(&DeValue<'t>) -> Option<Result<T, String>>,
    ) -> Option<T> {
        let value = self.value(key)?;
        let path = Self::joined(&self.path, key);
        match read(value.get_ref()) {
            Some(Ok(value)) => Some(value),
            Some(Err(why)) => {
                self.notes.add("wrong_form", &path, &value.span(), why);
                None
            }
            None => {
                self.notes.add("wrong_type", &path, &value.span(), format!("must be {wanted}"));
                None
            }
        }
    }

    pub fn text(&self, key: &'static str) -> Option<String> {
        self.read(key, "text in quotes", |value| Some(Ok(value.as_str()?.to_owned())))
    }

    /// A text with a form of its own, as sizes have.
    pub fn parsed<T: std::str::FromStr<Err: ToString>>(&self, key: &'static str, wanted: &str) -> Option<T> {
        self.read(key, wanted, |value| Some(value.as_str()?.parse().map_err(|error: T::Err| error.to_string())))
    }

    pub fn truth(&self, key: &'static str) -> Option<bool> {
        self.read(key, "true or false", |value| value.as_bool().map(Ok))
    }

    pub fn cores(&self, key: &'static str, least: f64) -> Option<u64> {
        self.read(key, "a number of cores, as in 3.5", |value| {
            let number = number(value)?;
            let fine = number.is_finite() && number >= least && number <= 4096.0;
            let wrong = || format!("must be a number of cores from {least} to 4096");
            Some(if fine { Ok((number * 1000.0).round() as u64) } else { Err(wrong()) })
        })
    }

    pub fn count(&self, key: &'static str, range: std::ops::RangeInclusive<u64>) -> Option<u64> {
        self.read(key, "a whole number", |value| {
            let number = value.as_integer()?.to_string().parse::<u64>();
            let (least, most) = (range.start(), range.end());
            let wrong = || format!("must be a whole number from {least} to {most}");
            Some(number.ok().filter(|number| range.contains(number)).ok_or_else(wrong))
        })
    }

    /// A number for all, or a table of numbers under names that the owner chose.
    pub fn count_or_counts(
        &self,
        key: &'static str,
        range: std::ops::RangeInclusive<u32>,
    ) -> (Option<u32>, BTreeMap<String, u32>) {
        let Some(value) = self.value(key) else { return (None, BTreeMap::new()) };
        let path = Self::joined(&self.path, key);
        let count = |path: &str, value: &Spanned<DeValue<'t>>| {
            let number = value.get_ref().as_integer().and_then(|number| number.to_string().parse().ok());
            let number = number.filter(|number| range.contains(number));
            if number.is_none() {
                let (least, most) = (range.start(), range.end());
                let wanted = format!("must be a whole number from {least} to {most}, or a table of them");
                self.notes.add("wrong_form", path, &value.span(), wanted);
            }
            number
        };
        match value.get_ref().as_table() {
            Some(table) => {
                let of = table.iter().filter_map(|(name, value)| {
                    let place = Self::joined(&path, name.get_ref());
                    Some((name.get_ref().to_string(), count(&place, value)?))
                });
                (None, of.collect())
            }
            None => (count(&path, value), BTreeMap::new()),
        }
    }

    /// A list of texts; each is looked at by itself. `known`: the only ones there are.
    pub fn words(
        &self,
        key: &'static str,
        known: &[&str],
        check: impl Fn(&str) -> Result<(), String>,
    ) -> Option<Vec<String>> {
        let value = self.value(key)?;
        let path = Self::joined(&self.path, key);
        let Some(items) = value.get_ref().as_array() else {
            let hint = value.get_ref().as_str().map(|text| format!("write [{text:?}]"));
            self.notes.add("wrong_type", &path, &value.span(), "must be a list of texts").hint(hint);
            return None;
        };
        let mut words = Vec::new();
        for (index, item) in items.iter().enumerate() {
            let place = format!("{path}[{index}]");
            let Some(word) = item.get_ref().as_str() else {
                self.notes.add("wrong_type", &place, &item.span(), "must be text in quotes");
                continue;
            };
            if !known.is_empty() && !known.contains(&word) {
                let hint = did_you_mean(word, known.iter().copied()).map(|near| format!("did you mean `{near}`?"));
                let said = self.notes.add("not_allowed", &place, &item.span(), "must be one of the words allowed here");
                said.value(word).allowed(known).hint(hint);
            } else if let Err(why) = check(word) {
                self.notes.add("wrong_form", &place, &item.span(), why).value(word);
            } else {
                words.push(word.to_owned());
            }
        }
        Some(words)
    }

    /// A table below, also where it is not there: what it may hold is asked for in any case.
    pub fn section(&self, key: &'static str) -> Section<'n, 't> {
        let (path, known_as) = (Self::joined(&self.path, key), Self::joined(&self.known_as, key));
        let value = self.value(key);
        self.notes.asked.borrow_mut().pop();
        let table = value.and_then(|value| self.as_table(&path, value));
        Section { notes: self.notes, path, known_as, table, asked: RefCell::default(), name: String::new() }
    }

    pub fn is_there(&self) -> bool {
        self.table.is_some()
    }

    fn as_table(&self, path: &str, value: &'n Spanned<DeValue<'t>>) -> Option<&'n DeTable<'t>> {
        let table = value.get_ref().as_table();
        if table.is_none() {
            self.notes.add("wrong_type", path, &value.span(), "must be a table of keys");
        }
        table
    }

    /// Tables under names that the owner chose.
    pub fn named<T>(&self, read: impl Fn(&Section<'n, 't>, &Range<usize>) -> Option<T>) -> Vec<(String, T)> {
        let known_as = Self::joined(&self.known_as, "NAME");
        let mut found = Vec::new();
        for (key, value) in self.table.into_iter().flatten() {
            let path = Self::joined(&self.path, key.get_ref());
            if let Some(table) = self.as_table(&path, value) {
                let known_as = known_as.clone();
                let (asked, name) = (RefCell::default(), key.get_ref().to_string());
                let section = Section { notes: self.notes, path, known_as, table: Some(table), asked, name };
                let read = read(&section, &key.span());
                found.extend(read.map(|read| (section.name, read)));
            }
        }
        found
    }

    /// Texts under names that the owner chose.
    pub fn pairs(&self, key: &'static str) -> Vec<(String, String)> {
        let Some(value) = self.value(key) else { return Vec::new() };
        let path = Self::joined(&self.path, key);
        let mut pairs = Vec::new();
        for (name, value) in self.as_table(&path, value).into_iter().flatten() {
            match value.get_ref().as_str() {
                Some(text) => pairs.push((name.get_ref().to_string(), text.to_owned())),
                None => {
                    let place = Self::joined(&path, name.get_ref());
                    self.notes.add("wrong_type", &place, &value.span(), "must be text in quotes");
                }
            }
        }
        pairs
    }

    pub fn missing(&self, key: &str, at: &Range<usize>) {
        self.notes.add("missing_key", &Self::joined(&self.path, key), at, format!("`{key}` is missing"));
    }

    /// Of a table under a name that the owner chose.
    pub fn is_named(&self, form: fn(&str) -> bool) -> bool {
        form(&self.name)
    }

    pub fn wrong(&self, at: &Range<usize>, why: &str) {
        self.notes.add("name", &self.path, at, why);
    }

    /// What was not asked for is refused: a rule that nobody knows would protect nobody.
    pub fn finish(&self) {
        let asked = self.asked.borrow();
        for (key, _) in self.table.into_iter().flatten() {
            let name: &str = key.get_ref();
            if asked.contains(&name) {
                continue;
            }
            let (path, known_as) = (Self::joined(&self.path, name), Self::joined(&self.known_as, name));
            if let Some((_, hint)) = NOT_HERE.iter().find(|(known, _)| *known == known_as) {
                let message = format!("there is no `{name}` here");
                self.notes.add("not_supported", &path, &key.span(), message).hint(Some((*hint).to_owned()));
                continue;
            }
            let near = did_you_mean(name, asked.iter().copied()).map(str::to_owned).or_else(|| elsewhere(name));
            let hint = near.map(|near| format!("did you mean `{near}`?"));
            let said = self.notes.add("unknown_key", &path, &key.span(), format!("there is no key `{name}` here"));
            said.allowed(&asked).hint(hint);
        }
    }
}

/// `images` at the top is meant as `policy.images`.
fn elsewhere(name: &str) -> Option<String> {
    let paths = || KEYS.iter().map(|key| key.path).filter(|path| !path.is_empty());
    let ends = |path: &&str| path.rsplit('.').next() == Some(name);
    let begins = |path: &&str| path.split('.').rev().skip(1).any(|part| part == name);
    let whole = paths().find(ends).map(str::to_owned);
    whole.or_else(|| {
        let path = paths().find(begins)?;
        let parts: Vec<&str> = path.split('.').take_while(|part| *part != name).collect();
        Some(parts.into_iter().chain([name]).collect::<Vec<_>>().join("."))
    })
}

fn number(value: &DeValue<'_>) -> Option<f64> {
    let text = match value {
        DeValue::Integer(number) => number.to_string(),
        DeValue::Float(number) => number.to_string(),
        _ => return None,
    };
    text.parse().ok()
}
