//! What one chunk is: its items, label, command and environment. Costs as much as its own items, whatever the job's size.
use std::collections::BTreeMap;

use serde_json::Value;

use super::expand::Items;
use super::parse::hidden;
use super::plan::Plan;
use super::reference::{Part, Reference, Which, parts};
use super::{rules, text_of};
use crate::api::ChunkPlan;
use crate::ids::JobId;
use crate::limits;

/// Where a container finds its items.
pub const ITEMS_FILE: &str = "/dsg/items.jsonl";
/// Characters of a label.
const LABEL: usize = 120;

/// What references in one chunk's texts refer to.
pub struct Scene<'p> {
    pub plan: &'p Plan,
    pub index: u32,
    pub count: u32,
    pub first: Value,
    pub last: Value,
    /// Not known before the job is submitted.
    pub job: Option<JobId>,
}

impl Plan {
    /// Label, command and environment, but for what only a submitted job has (its id, the number of the attempt).
    pub fn chunk(&self, index: u32) -> ChunkPlan {
        let scene = self.scene(index, None);
        let command = self.job.command.iter().flatten().map(|part| scene.fill(part)).collect();
        ChunkPlan { index, label: self.label(&scene), command, env: self.env(&scene, &self.job.env, "main") }
    }

    pub fn chunk_items(&self, index: u32) -> Vec<Value> {
        match &self.source {
            None | Some(Items::Nothing(_)) => Vec::new(),
            Some(Items::Table(table)) => {
                let range = self.split.range(index);
                let count = usize::try_from(range.end - range.start).unwrap_or(0);
                let lines = table.lines_from(range.start).take(count);
                lines.map(|line| serde_json::from_slice(line).unwrap_or_default()).collect()
            }
            Some(source) => self.split.range(index).map(|item| source.item(item)).collect(),
        }
    }

    pub(super) fn scene(&self, index: u32, job: Option<JobId>) -> Scene<'_> {
        let range = self.split.range(index);
        let item = |at: u64| self.source.as_ref().map_or(Value::Null, |source| source.item(at));
        let (first, last) = (item(range.start), item(range.end.saturating_sub(1)));
        Scene { plan: self, index, count: self.chunks, first, last, job }
    }

    fn label(&self, scene: &Scene<'_>) -> String {
        let text = match &self.job.chunks.label {
            Some(label) => scene.fill(label),
            None => default_label(self, scene),
        };
        let shown = text.chars().map(|c| if hidden(c) || c.is_whitespace() { ' ' } else { c });
        let shown: String = shown.collect::<String>().trim().to_owned();
        match shown.chars().count() > LABEL {
            true => shown.chars().take(LABEL - 1).chain(['…']).collect(),
            false => shown,
        }
    }

    /// The environment, in the order in which later ones win.
    pub(super) fn env(
        &self,
        scene: &Scene<'_>,
        own: &BTreeMap<String, String>,
        stage: &str,
    ) -> BTreeMap<String, String> {
        let mut env = BTreeMap::new();
        let mut set = |name: &str, value: String| env.insert(name.to_owned(), value);
        set("DSG_JOB_NAME", self.job.name.clone());
        set("DSG_STAGE", stage.to_owned());
        set("DSG_CHUNK_INDEX", scene.index.to_string());
        set("DSG_CHUNK_COUNT", scene.count.to_string());
        set("DSG_SEED", super::seed::of_chunk(&self.seed, scene.index).to_string());
        for (name, value) in &self.params {
            set(&format!("PARAM_{}", variable(name)), text_of(value));
        }
        if rules::alone(&self.job) && !scene.first.is_null() {
            let json = scene.first.to_string();
            if json.len() <= limits::ITEM_ENV_BYTES {
                set("DSG_ITEM", json);
            }
            for (name, value) in columns(&scene.first) {
                set(&format!("ITEM_{name}"), value);
            }
        }
        for (name, value) in own {
            set(name, scene.fill(value));
        }
        env
    }
}

fn default_label(plan: &Plan, scene: &Scene<'_>) -> String {
    let short = |item: &Value| match item {
        Value::Object(map) => {
            let word = |key: &str| map.get(key).map(text_of);
            match (word("path").and(word("from")), word("name")) {
                (Some(from), _) => from,
                (None, Some(name)) => name,
                (None, None) => {
                    map.iter().map(|(key, value)| format!("{key}={}", text_of(value))).collect::<Vec<_>>().join(" ")
                }
            }
        }
        value => text_of(value),
    };
    match (scene.first.is_null(), rules::alone(&plan.job) || scene.first == scene.last) {
        (true, _) => scene.index.to_string(),
        (false, true) => short(&scene.first),
        (false, false) => format!("{} … {}", short(&scene.first), short(&scene.last)),
    }
}

/// The variables of an item, without those that are too long, and without names that stand for several columns: which of them
/// would be meant, nobody can know.
fn columns(item: &Value) -> BTreeMap<String, String> {
    let Value::Object(map) = item else {
        return [("VALUE".to_owned(), text_of(item))].into_iter().filter(|(_, value)| fits(value)).collect();
    };
    let shared = shared_variables(map.keys().map(String::as_str));
    let each = map.iter().map(|(name, value)| (variable(name), text_of(value)));
    each.filter(|(name, value)| fits(value) && !shared.contains_key(name)).collect()
}

fn fits(value: &str) -> bool {
    value.len() <= limits::ITEM_ENV_BYTES
}

/// Variables that several of these columns would become, with the columns.
pub fn shared_variables<'c>(columns: impl Iterator<Item = &'c str>) -> BTreeMap<String, Vec<&'c str>> {
    let mut all: BTreeMap<String, Vec<&str>> = BTreeMap::new();
    columns.for_each(|column| all.entry(variable(column)).or_default().push(column));
    all.retain(|_, columns| columns.len() > 1);
    all
}

/// `learning-rate` to `LEARNING_RATE`.
pub fn variable(name: &str) -> String {
    name.chars().map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_uppercase() } else { '_' }).collect()
}

impl Scene<'_> {
    /// A text with its references filled in. They were checked; one that is unknown all the same stays as it is.
    pub fn fill(&self, text: &str) -> String {
        self.fill_with(text, |value| value)
    }

    /// A path: what is put in can leave no folder and match nothing by itself.
    pub fn fill_path(&self, text: &str) -> String {
        self.fill_with(text, |value| {
            let plain: String =
                value.chars().map(|c| if "/*?\\".contains(c) || c.is_control() { '_' } else { c }).collect();
            if plain.chars().all(|c| c == '.') { "_".repeat(plain.len().max(1)) } else { plain }
        })
    }

    fn fill_with(&self, text: &str, change: impl Fn(String) -> String) -> String {
        if !text.contains("{{") {
            return text.to_owned();
        }
        let mut out = String::new();
        for part in parts(text).unwrap_or_else(|_| vec![Part::Text(text)]) {
            match part {
                Part::Text(text) => out.push_str(text),
                Part::Reference(inside) => match self.value(inside) {
                    Some(value) => out.push_str(&change(value)),
                    None => out.push_str(&format!("{{{{{inside}}}}}")),
                },
            }
        }
        out
    }

    fn value(&self, inside: &str) -> Option<String> {
        match Reference::read(inside)? {
            Reference::Param(name) => self.plan.params.get(name).map(text_of),
            Reference::ChunkIndex => Some(self.index.to_string()),
            Reference::ChunkCount => Some(self.count.to_string()),
            Reference::ItemsFile => Some(ITEMS_FILE.to_owned()),
            Reference::JobId => self.job.map(|job| job.to_string()),
            Reference::JobName => Some(self.plan.job.name.clone()),
            Reference::Item(Which::Only | Which::First, column) => cell(&self.first, column),
            Reference::Item(Which::Last, column) => cell(&self.last, column),
        }
    }
}

fn cell(item: &Value, column: Option<&str>) -> Option<String> {
    match (item, column) {
        (Value::Object(map), Some(column)) => map.get(column).map(text_of),
        (item, None) => Some(text_of(item)),
        (item, Some("value")) => Some(text_of(item)),
        (_, Some(_)) => None,
    }
}
