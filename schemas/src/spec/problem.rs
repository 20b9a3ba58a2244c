//! What can be wrong with a job file: the closed list of rules, and the collector that gives each problem its place.
use serde_json::Value;

use super::node::{self, Node};
use crate::api::SpecProblem;
use crate::limits;

macro_rules! rules {
    ($($name:ident = $word:literal,)*) => {
        /// Every rule there is. `schemas/bad/<word>.yaml` breaks it, and the file beside it holds what is then said.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Rule { $($name),* }
        impl Rule {
            pub const ALL: &[Rule] = &[$(Rule::$name),*];
            pub fn word(self) -> &'static str {
                match self { $(Rule::$name => $word),* }
            }
        }
    };
}
rules! {
    // the text
    TooLarge = "too_large",
    TooDeep = "too_deep",
    NotYaml = "not_yaml",
    DuplicateKey = "duplicate_key",
    SeveralDocuments = "several_documents",
    MergeKey = "merge_key",
    Tag = "tag",
    NotFinite = "not_finite",
    ControlCharacter = "control_character",
    UnquotedReference = "unquoted_reference",
    TooManyProblems = "too_many_problems",
    // its shape
    UnknownKey = "unknown_key",
    MissingKey = "missing_key",
    EmptyValue = "empty_value",
    WrongType = "wrong_type",
    NotAllowed = "not_allowed",
    OutOfRange = "out_of_range",
    WrongLength = "wrong_length",
    WrongForm = "wrong_form",
    NotSupported = "not_supported",
    // params and references
    SetUnknown = "set_unknown",
    ParamMissing = "param_missing",
    ParamValue = "param_value",
    ParamDeclaration = "param_declaration",
    UnknownReference = "unknown_reference",
    ReferenceNotHere = "reference_not_here",
    ReferenceUnclosed = "reference_unclosed",
    // names, paths, values
    Name = "name",
    NameTwice = "name_twice",
    Image = "image",
    CommandAndScript = "command_and_script",
    EnvName = "env_name",
    EnvReserved = "env_reserved",
    User = "user",
    ContainerPath = "container_path",
    PathReserved = "path_reserved",
    PathTwice = "path_twice",
    SecretUnknown = "secret_unknown",
    OutputGlob = "output_glob",
    UploadForm = "upload_form",
    UploadPath = "upload_path",
    UploadMissing = "upload_missing",
    UploadCount = "upload_count",
    TimeoutTwice = "timeout_twice",
    TimeoutZero = "timeout_zero",
    RetryRule = "retry_rule",
    // chunks
    ChunkSource = "chunk_source",
    RangeForm = "range_form",
    EmptySource = "empty_source",
    TooManyChunks = "too_many_chunks",
    Batch = "batch",
    Matrix = "matrix",
    Glob = "glob",
    RowsFormat = "rows_format",
    RowsContent = "rows_content",
    RowsUnreadable = "rows_unreadable",
    ItemTooLarge = "item_too_large",
    // gather
    GatherKeys = "gather_keys",
    GatherOrder = "gather_order",
    GatherFrom = "gather_from",
}

/// A problem on its way: where it is comes from the pointer, unless a line was given.
#[derive(Clone, Debug)]
pub struct Found {
    rule: Rule,
    pointer: String,
    message: String,
    value: Option<Value>,
    allowed: Vec<String>,
    hint: Option<String>,
    at: Option<(u64, u64)>,
    at_key: bool,
}

impl Found {
    pub fn new(rule: Rule, pointer: impl Into<String>, message: impl Into<String>) -> Found {
        Found {
            rule,
            pointer: pointer.into(),
            message: message.into(),
            value: None,
            allowed: Vec::new(),
            hint: None,
            at: None,
            at_key: false,
        }
    }
    pub fn hint(mut self, hint: impl Into<String>) -> Found {
        self.hint = Some(hint.into());
        self
    }
    pub fn allowed<T: ToString>(mut self, allowed: impl IntoIterator<Item = T>) -> Found {
        self.allowed = allowed.into_iter().map(|word| word.to_string()).collect();
        self
    }
    pub fn value(mut self, value: impl Into<Value>) -> Found {
        self.value = Some(value.into());
        self
    }
    pub fn at(mut self, line: u64, column: u64) -> Found {
        self.at = Some((line, column));
        self
    }
    /// The place, where it is known only later.
    pub fn below(mut self, pointer: String) -> Found {
        self.pointer = pointer;
        self
    }
    /// Point to the key, not to its value.
    pub fn at_key(mut self) -> Found {
        self.at_key = true;
        self
    }
    /// Adds "did you mean" if one of the known words is near.
    pub fn near<'w>(self, word: &str, known: impl IntoIterator<Item = &'w str>) -> Found {
        match did_you_mean(word, known) {
            Some(best) if self.hint.is_none() => self.hint(format!("did you mean `{best}`?")),
            _ => self,
        }
    }

    pub fn has_hint(&self) -> bool {
        self.hint.is_some()
    }
    pub fn is_missing_key(&self) -> bool {
        self.rule == Rule::MissingKey
    }

    pub fn place_in(self, root: Option<&Node>) -> SpecProblem {
        let Found { rule, pointer, message, value, allowed, hint, at, at_key } = self;
        let found = root.map(|root| (root.at(&pointer).is_some(), root.nearest(&pointer)));
        let (line, column) = at.unwrap_or(match found {
            Some((_, (node, key))) if at_key || node.place.line == 0 => (key.line, key.column),
            Some((_, (node, _))) => (node.place.line, node.place.column),
            None => (0, 0),
        });
        let value = value.or_else(|| match found {
            Some((true, (node, _))) if !at_key => node.scalar().filter(|value| !value.is_null()).cloned(),
            _ => None,
        });
        let path = node::readable(&pointer);
        SpecProblem {
            rule: rule.word().to_owned(),
            line,
            column,
            path,
            message,
            value: value.filter(|value| !value.is_null()).map(short),
            allowed,
            hint,
        }
    }
}

/// Long texts are cut: a problem is for reading.
fn short(value: Value) -> Value {
    match value {
        Value::String(text) if text.chars().count() > 120 => {
            Value::String(text.chars().take(119).chain(['…']).collect())
        }
        value => value,
    }
}

pub fn did_you_mean<'w>(word: &str, known: impl IntoIterator<Item = &'w str>) -> Option<&'w str> {
    let lower = word.to_lowercase();
    known
        .into_iter()
        .map(|candidate| (strsim::damerau_levenshtein(&lower, &candidate.to_lowercase()), candidate))
        .filter(|(distance, candidate)| *distance <= 1.max(candidate.chars().count().max(lower.chars().count()) / 3))
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// Collects problems. Below a muted place nothing more is said: what stands there is wrong already.
pub struct Report {
    pub root: Node,
    problems: Vec<SpecProblem>,
    muted: Vec<String>,
    pub warnings: Vec<String>,
}

impl Report {
    pub fn new(root: Node) -> Report {
        Report { root, problems: Vec::new(), muted: Vec::new(), warnings: Vec::new() }
    }

    pub fn add(&mut self, found: Found) {
        if !self.is_full() && !self.is_muted(&found.pointer) {
            let problem = found.place_in(Some(&self.root));
            if !self.problems.contains(&problem) {
                self.problems.push(problem);
            }
            if self.is_full() {
                let message = format!("there are more than {} problems; the rest is not listed", limits::SPEC_PROBLEMS);
                self.problems.push(Found::new(Rule::TooManyProblems, "", message).place_in(None));
            }
        }
    }

    /// Nobody reads on, and a hostile file could go on for ever.
    pub fn is_full(&self) -> bool {
        self.problems.len() >= limits::SPEC_PROBLEMS
    }

    pub fn mute(&mut self, pointer: impl Into<String>) {
        self.muted.push(pointer.into());
    }

    pub fn muted(&self) -> impl Iterator<Item = &str> {
        self.muted.iter().map(String::as_str)
    }

    pub fn is_muted(&self, pointer: &str) -> bool {
        self.muted.iter().any(|muted| within(pointer, muted))
    }

    /// Something at or below this place is wrong already.
    pub fn is_doubtful(&self, pointer: &str) -> bool {
        self.is_muted(pointer) || self.muted.iter().any(|muted| within(muted, pointer))
    }

    pub fn count(&self) -> usize {
        self.problems.len()
    }

    /// Something was said about what stands under this top-level key.
    pub fn has_problem_in(&self, key: &str) -> bool {
        self.problems.iter().any(|problem| problem.path.split('.').next() == Some(key))
    }

    pub fn is_clean(&self) -> bool {
        self.problems.is_empty()
    }

    pub fn into_problems(mut self) -> Vec<SpecProblem> {
        self.problems.sort_by(|a, b| (a.line, a.column, &a.path).cmp(&(b.line, b.column, &b.path)));
        self.problems
    }
}

fn within(pointer: &str, folder: &str) -> bool {
    pointer.strip_prefix(folder).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}
