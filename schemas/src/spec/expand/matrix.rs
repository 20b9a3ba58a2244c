//! `matrix`: every combination of the axes, found by arithmetic; exclude first, then include, with GitHub's meaning.
use std::collections::BTreeSet;

use serde_json::{Map, Value};

use super::items::Shape;
use crate::limits;
use crate::spec::job::Matrix;
use crate::spec::problem::{Found, Report, Rule};

/// Comparisons that `exclude` and `include` may cost at submit.
const WORK: u64 = 5_000_000;

#[derive(Clone, Debug)]
pub struct Combinations {
    matrix: Matrix,
    /// Combinations of the axes, before exclude and include.
    base: u64,
    /// Those that exclude leaves, where there is one.
    kept: Option<Vec<u32>>,
    /// Positions of includes that fit no combination, and so make their own.
    added: Vec<usize>,
}

/// Without a report: a matrix that was accepted before.
pub fn open(matrix: &Matrix, report: Option<&mut Report>) -> Option<Combinations> {
    match build(matrix) {
        Ok(combinations) => Some(combinations),
        Err(found) => {
            if let Some(report) = report {
                report.add(*found);
            }
            None
        }
    }
}

fn build(matrix: &Matrix) -> Result<Combinations, Box<Found>> {
    let base = matrix.axes.iter().try_fold(1u64, |product, (_, values)| product.checked_mul(values.len() as u64));
    let base = match (base, matrix.axes.is_empty()) {
        (_, true) => 0,
        (Some(base), false) => base,
        (None, false) => {
            let message = "the axes have more combinations than can be counted";
            return Err(Box::new(Found::new(Rule::TooManyChunks, "/chunks/matrix", message)));
        }
    };
    for (position, combination) in matrix.exclude.iter().enumerate() {
        exclude_fits(matrix, position, combination)?;
    }
    let picks = (matrix.exclude.len() + matrix.include.len()) as u64;
    let most = limits::CHUNKS_PER_JOB;
    if picks > 0 && (base > most || base.saturating_mul(picks) > WORK) {
        let message = format!("{base} combinations are too many for exclude and include");
        let found = Found::new(Rule::TooManyChunks, "/chunks/matrix", message);
        return Err(Box::new(found.hint("write the combinations into a file and use `chunks.rows`")));
    }
    let mut combinations = Combinations { matrix: matrix.clone(), base, kept: None, added: Vec::new() };
    if !matrix.exclude.is_empty() {
        let excluded: Vec<Vec<(usize, usize)>> = matrix.exclude.iter().map(|one| positions(matrix, one)).collect();
        let keep = |index: &u32| {
            let picks = combinations.picks(u64::from(*index));
            !excluded.iter().any(|one| one.iter().all(|(axis, value)| picks[*axis] == *value))
        };
        let all = 0..u32::try_from(base).unwrap_or(u32::MAX);
        combinations.kept = Some(all.filter(keep).collect());
    }
    combinations.added = (0..matrix.include.len()).filter(|position| !combinations.joins_any(*position)).collect();
    Ok(combinations)
}

fn exclude_fits(matrix: &Matrix, position: usize, combination: &Map<String, Value>) -> Result<(), Box<Found>> {
    let pointer = format!("/chunks/matrix/exclude/{position}");
    if combination.is_empty() {
        return Err(Box::new(Found::new(Rule::Matrix, pointer, "an empty exclude would take everything away")));
    }
    for (name, value) in combination {
        let axes = matrix.axes.iter().map(|(axis, _)| axis.as_str());
        match matrix.axes.iter().find(|(axis, _)| axis == name) {
            None => {
                let message = format!("there is no axis `{name}`");
                let found = Found::new(Rule::Matrix, pointer, message).near(name, axes.clone());
                return Err(Box::new(found.allowed(axes)));
            }
            Some((_, values)) if !values.contains(value) => {
                let message = format!("axis `{name}` has no value {value}, so nothing would be excluded");
                return Err(Box::new(Found::new(Rule::Matrix, pointer, message).allowed(values)));
            }
            Some(_) => {}
        }
    }
    Ok(())
}

/// A partial combination as positions: of the axis, and of the value on it. A value that stands twice counts once.
fn positions(matrix: &Matrix, combination: &Map<String, Value>) -> Vec<(usize, usize)> {
    let find = |name: &String, value: &Value| {
        let axis = matrix.axes.iter().position(|(axis, _)| axis == name)?;
        Some((axis, matrix.axes[axis].1.iter().position(|known| known == value)?))
    };
    combination.iter().filter_map(|(name, value)| find(name, value)).collect()
}

impl Combinations {
    fn kept(&self) -> u64 {
        self.kept.as_ref().map_or(self.base, |kept| kept.len() as u64)
    }

    pub fn len(&self) -> u64 {
        self.kept() + self.added.len() as u64
    }

    /// Which value of each axis; the last axis is the fastest.
    fn picks(&self, base: u64) -> Vec<usize> {
        let mut rest = base;
        let mut picks = vec![0; self.matrix.axes.len()];
        for (pick, (_, values)) in picks.iter_mut().zip(&self.matrix.axes).rev() {
            let length = values.len().max(1) as u64;
            *pick = usize::try_from(rest % length).unwrap_or(0);
            rest /= length;
        }
        picks
    }

    fn original(&self, index: u64) -> Map<String, Value> {
        let base = match &self.kept {
            Some(kept) => {
                usize::try_from(index).ok().and_then(|index| kept.get(index)).map_or(0, |base| u64::from(*base))
            }
            None => index,
        };
        let values = self.matrix.axes.iter().zip(self.picks(base));
        values.filter_map(|((name, values), pick)| Some((name.clone(), values.get(pick)?.clone()))).collect()
    }

    /// An include joins a combination if it would overwrite none of its original values.
    fn joins(include: &Map<String, Value>, original: &Map<String, Value>) -> bool {
        include.iter().all(|(name, value)| original.get(name).is_none_or(|known| known == value))
    }

    /// Found by positions, without making a single combination.
    fn joins_any(&self, position: usize) -> bool {
        let include = &self.matrix.include[position];
        let fixed = positions(&self.matrix, include);
        if fixed.len() < include.keys().filter(|name| self.is_axis(name)).count() {
            return false;
        }
        let fits = |base: u64| {
            let picks = self.picks(base);
            fixed.iter().all(|(axis, value)| picks[*axis] == *value)
        };
        match &self.kept {
            None => self.base > 0,
            Some(kept) => kept.iter().any(|base| fits(u64::from(*base))),
        }
    }

    fn is_axis(&self, name: &str) -> bool {
        self.matrix.axes.iter().any(|(axis, _)| axis == name)
    }

    pub fn item(&self, index: u64) -> Value {
        let Some(beyond) = index.checked_sub(self.kept()) else {
            let original = self.original(index);
            let mut item = original.clone();
            for include in &self.matrix.include {
                if Self::joins(include, &original) {
                    item.extend(include.clone());
                }
            }
            return Value::Object(item);
        };
        let position = usize::try_from(beyond).ok().and_then(|beyond| self.added.get(beyond));
        position.map_or(Value::Null, |position| Value::Object(self.matrix.include[*position].clone()))
    }

    /// Bytes of the longest item there could be, as JSON.
    pub fn heaviest(&self) -> u64 {
        let longest = |values: &[Value]| values.iter().map(|value| value.to_string().len()).max().unwrap_or(0);
        let axes: usize = self.matrix.axes.iter().map(|(name, values)| name.len() + longest(values) + 4).sum();
        let includes: usize =
            self.matrix.include.iter().flatten().map(|(name, value)| name.len() + value.to_string().len() + 4).sum();
        (axes + includes) as u64 + 3
    }

    /// Every combination has the axes, and what an include without any axis adds; the rest is had by some.
    pub fn shape(&self) -> Shape {
        let axes = || self.matrix.axes.iter().map(|(name, _)| name.clone());
        let Matrix { axes: _, exclude: _, include } = &self.matrix;
        let everywhere = include.iter().filter(|include| !include.keys().any(|name| self.is_axis(name)));
        let mut all: Option<BTreeSet<String>> =
            (self.kept() > 0).then(|| axes().chain(everywhere.flat_map(|include| include.keys().cloned())).collect());
        for position in &self.added {
            let keys = &include[*position];
            match &mut all {
                Some(all) => all.retain(|name| keys.contains_key(name)),
                None => all = Some(keys.keys().cloned().collect()),
            }
        }
        let all = all.unwrap_or_default();
        let any = axes().chain(include.iter().flat_map(|include| include.keys().cloned()));
        let some = any.filter(|name| !all.contains(name)).collect();
        Shape::Columns { all, some, values: false }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn items(matrix: Value) -> Vec<String> {
        let matrix: Matrix = serde_json::from_value(matrix).expect("a matrix");
        let combinations = build(&matrix).expect("sound");
        (0..combinations.len()).map(|index| combinations.item(index).to_string()).collect()
    }

    #[test]
    fn the_last_axis_is_the_fastest_and_axes_keep_their_order() {
        let expected = [r#"{"b":1,"a":"x"}"#, r#"{"b":1,"a":"y"}"#, r#"{"b":2,"a":"x"}"#, r#"{"b":2,"a":"y"}"#];
        assert_eq!(items(json!({"b": [1, 2], "a": ["x", "y"]})), expected);
    }

    #[test]
    fn exclude_comes_first_and_include_joins_or_adds() {
        // The example of GitHub's own documentation.
        let matrix = json!({
            "fruit": ["apple", "pear"], "animal": ["cat", "dog"],
            "include": [
                {"color": "green"}, {"color": "pink", "animal": "cat"}, {"fruit": "apple", "shape": "circle"},
                {"fruit": "banana"}, {"fruit": "banana", "animal": "cat"}
            ]
        });
        let expected = [
            r#"{"fruit":"apple","animal":"cat","color":"pink","shape":"circle"}"#,
            r#"{"fruit":"apple","animal":"dog","color":"green","shape":"circle"}"#,
            r#"{"fruit":"pear","animal":"cat","color":"pink"}"#,
            r#"{"fruit":"pear","animal":"dog","color":"green"}"#,
            r#"{"fruit":"banana"}"#,
            r#"{"fruit":"banana","animal":"cat"}"#,
        ];
        assert_eq!(items(matrix), expected);
        let left = items(json!({"a": [1, 2], "b": [3, 4], "exclude": [{"a": 1}, {"a": 2, "b": 3}]}));
        assert_eq!(left, [r#"{"a":2,"b":4}"#]);
        let back = items(json!({"a": [1, 2], "exclude": [{"a": 1}], "include": [{"a": 1, "x": 0}]}));
        assert_eq!(back, [r#"{"a":2}"#, r#"{"a":1,"x":0}"#]);
    }

    #[test]
    fn a_column_counts_only_if_every_item_has_it() {
        let cases = [
            (json!({"a": [1, 2], "include": [{"x": 1}]}), vec!["a", "x"], vec![]),
            (json!({"a": [1, 2], "include": [{"a": 1, "x": 1}]}), vec!["a"], vec!["x"]),
            (json!({"a": [1, 2], "b": [1], "include": [{"a": 3, "x": 1}]}), vec!["a"], vec!["b", "x"]),
            (json!({"include": [{"a": 3, "x": 1}, {"a": 4}]}), vec!["a"], vec!["x"]),
            (json!({"a": [1], "exclude": [{"a": 1}], "include": [{"a": 1, "x": 1}]}), vec!["a", "x"], vec![]),
        ];
        for (matrix, all, some) in cases {
            let combinations = build(&serde_json::from_value(matrix.clone()).expect("a matrix")).expect("sound");
            let set = |names: Vec<&str>| names.into_iter().map(str::to_owned).collect::<BTreeSet<String>>();
            assert_eq!(
                combinations.shape(),
                Shape::Columns { all: set(all), some: set(some), values: false },
                "{matrix}"
            );
        }
    }

    #[test]
    fn a_trillion_combinations_cost_nothing() {
        let axis: Vec<u32> = (0..1000).collect();
        let matrix = json!({"a": axis, "b": axis, "c": axis, "d": axis});
        let combinations = build(&serde_json::from_value(matrix).expect("a matrix")).expect("counted");
        assert_eq!(combinations.len(), 1_000_000_000_000);
        assert_eq!(combinations.item(999_999_999_999), json!({"a": 999, "b": 999, "c": 999, "d": 999}));
    }
}
