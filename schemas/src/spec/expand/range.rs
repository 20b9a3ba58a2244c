//! `range`: numbers one by one, or windows of them. The n-th is computed, never summed up.
use serde_json::{Number, Value, json};

use super::items::{Items, real, whole};
use crate::spec::job::Range;
use crate::spec::problem::{Found, Report, Rule};

/// Above it a float no longer knows its neighbours.
const MOST: u64 = 1 << 53;

#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Numbers {
    pub count: u64,
    line: Line,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Windows {
    pub count: u64,
    line: Line,
    stop: Point,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Line {
    Whole { start: i128, step: i128 },
    Real { start: f64, step: f64 },
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Point {
    Whole(i128),
    Real(f64),
}

impl Line {
    fn at(&self, index: u64) -> Point {
        match *self {
            Line::Whole { start, step } => Point::Whole(start + step * i128::from(index)),
            Line::Real { start, step } => Point::Real(start + index as f64 * step),
        }
    }
}

impl Point {
    fn value(self) -> Value {
        match self {
            Point::Whole(value) => whole(value),
            Point::Real(value) => real(value),
        }
    }
    fn at_most(self, most: Point) -> Point {
        match (self, most) {
            (Point::Whole(a), Point::Whole(b)) => Point::Whole(a.min(b)),
            (Point::Real(a), Point::Real(b)) => Point::Real(a.min(b)),
            (own, Point::Whole(_) | Point::Real(_)) => own,
        }
    }
}

impl Numbers {
    pub fn value(&self, index: u64) -> Value {
        self.line.at(index).value()
    }
}

impl Windows {
    pub fn window(&self, index: u64) -> Value {
        let last = index + 1 == self.count;
        let stop = if last { self.stop } else { self.line.at(index + 1).at_most(self.stop) };
        json!({"start": self.line.at(index).value(), "stop": stop.value()})
    }
}

pub fn open(range: &Range, report: &mut Report) -> Option<Items> {
    match build(range) {
        Ok(items) => Some(items),
        Err((key, message)) => {
            let pointer = if key.is_empty() { "/chunks/range".to_owned() } else { format!("/chunks/range/{key}") };
            report.add(Found::new(Rule::RangeForm, pointer, message));
            None
        }
    }
}

/// A range that was accepted before.
pub fn reopen(range: &Range) -> Option<Items> {
    build(range).ok()
}

fn build(range: &Range) -> Result<Items, (&'static str, String)> {
    let Range { start, stop, step, size } = range;
    let (key, stride) = match (step, size) {
        (Some(_), Some(_)) => {
            return Err(("", "take `step` for single values or `size` for windows, not both".to_owned()));
        }
        (None, Some(size)) => ("size", size.clone()),
        (Some(step), None) => ("step", step.clone()),
        (None, None) => ("step", Number::from(1)),
    };
    let sign = stride.as_f64().unwrap_or(0.0);
    if sign == 0.0 {
        return Err((key, format!("`{key}` must not be 0")));
    }
    if key == "size" && sign < 0.0 {
        return Err((key, "`size` must be above 0".to_owned()));
    }
    let (count, line, stop) = match (integer(start), integer(stop), integer(&stride)) {
        (Some(start), Some(stop), Some(step)) => {
            let distance = if step > 0 { stop - start } else { start - stop };
            let count = if distance <= 0 { 0 } else { (distance + step.abs() - 1) / step.abs() };
            (u64::try_from(count).unwrap_or(u64::MAX), Line::Whole { start, step }, Point::Whole(stop))
        }
        _ => {
            let float = |number: &Number| number.as_f64().unwrap_or(0.0);
            let (start, stop, step) = (float(start), float(stop), float(&stride));
            let count = ((stop - start) / step - 1e-9).ceil().max(0.0);
            // A float beyond the range of u64 becomes the largest u64, and is refused below.
            (count as u64, Line::Real { start, step }, Point::Real(stop))
        }
    };
    if count > MOST {
        return Err(("", format!("this range has {count} values or more, too many to count")));
    }
    Ok(match key {
        "size" => Items::Windows(Windows { count, line, stop }),
        _ => Items::Numbers(Numbers { count, line }),
    })
}

fn integer(number: &Number) -> Option<i128> {
    number.as_i64().map(i128::from).or_else(|| number.as_u64().map(i128::from))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn items(yaml: Value) -> Result<Vec<Value>, String> {
        let range: Range = serde_json::from_value(yaml).expect("a range");
        let items = build(&range).map_err(|(key, message)| format!("{key}: {message}"))?;
        Ok((0..items.len().min(50)).map(|index| items.item(index)).collect())
    }

    #[test]
    fn stop_is_never_reached() {
        let cases = [
            (json!({"stop": 3}), json!([0, 1, 2])),
            (json!({"start": 5, "stop": 0, "step": -2}), json!([5, 3, 1])),
            (json!({"start": 0, "stop": 1, "step": 0.25}), json!([0.0, 0.25, 0.5, 0.75])),
            (json!({"start": 0.0, "stop": 0.3, "step": 0.1}), json!([0.0, 0.1, 0.2])),
            (json!({"start": 3, "stop": 3}), json!([])),
            (json!({"start": 3, "stop": 0}), json!([])),
            (
                json!({"start": -9223372036854775808i64, "stop": -9223372036854775806i64}),
                json!([i64::MIN, i64::MIN + 1]),
            ),
        ];
        for (range, expected) in cases {
            assert_eq!(items(range.clone()), Ok(expected.as_array().cloned().expect("a list")), "{range}");
        }
    }

    #[test]
    fn floats_do_not_drift() {
        let values = items(json!({"start": 0.0, "stop": 5.0, "step": 0.1})).expect("a range");
        assert_eq!(values.len(), 50);
        assert_eq!(values[30], json!(3.0));
    }

    #[test]
    fn windows_touch_and_the_last_is_cut() {
        let expected = json!([{"start": 0, "stop": 4}, {"start": 4, "stop": 8}, {"start": 8, "stop": 10}]);
        assert_eq!(items(json!({"stop": 10, "size": 4})), Ok(expected.as_array().cloned().expect("a list")));
        let reals = items(json!({"start": 0, "stop": 0.3, "size": 0.1})).expect("a range");
        assert_eq!(reals.last(), Some(&json!({"start": 0.2, "stop": 0.3})));
    }

    #[test]
    fn impossible_ranges_are_refused() {
        let cases = [
            (json!({"stop": 3, "step": 0}), "step: `step` must not be 0"),
            (json!({"stop": 3, "size": -1}), "size: `size` must be above 0"),
            (
                json!({"stop": 3, "size": 1, "step": 1}),
                ": take `step` for single values or `size` for windows, not both",
            ),
            (
                json!({"stop": 1e300, "step": 1e-300}),
                ": this range has 18446744073709551615 values or more, too many to count",
            ),
        ];
        for (range, expected) in cases {
            assert_eq!(items(range), Err(expected.to_owned()));
        }
    }
}
