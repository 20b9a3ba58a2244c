//! Durations and sizes as people write them: `90s`, `2h30m`, `512MiB`, `1.5GB`. Kept as milliseconds and bytes.
use std::fmt;
use std::str::FromStr;

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A length of time in milliseconds. Written `250ms`, `90s`, `15m`, `2h30m`, `2d`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Millis(pub u64);

/// An amount of bytes. Written `512B`, `10MB` (powers of 1000), `10MiB` (powers of 1024), `1.5GiB`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Bytes(pub u64);

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UnitError {
    #[error("{0:?} is not a duration; write for instance 90s, 15m or 2h30m (units: ms, s, m, h, d)")]
    Duration(String),
    #[error("{0:?} is not a size; write for instance 512MiB or 1.5GB (units: B, KB, MB, GB, TB, KiB, MiB, GiB, TiB)")]
    Size(String),
}

const DURATIONS: [(&str, u64); 5] = [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)];
const SIZES: [(&str, u64); 9] = [
    ("TiB", 1 << 40),
    ("GiB", 1 << 30),
    ("MiB", 1 << 20),
    ("KiB", 1 << 10),
    ("TB", 1_000_000_000_000),
    ("GB", 1_000_000_000),
    ("MB", 1_000_000),
    ("KB", 1_000),
    ("B", 1),
];

impl FromStr for Millis {
    type Err = UnitError;
    fn from_str(text: &str) -> Result<Millis, UnitError> {
        let fail = || UnitError::Duration(text.to_owned());
        let mut rest = text;
        let mut total: u64 = 0;
        while !rest.is_empty() {
            let digits = rest.len() - rest.trim_start_matches(|c: char| c.is_ascii_digit()).len();
            let number: u64 = rest[..digits].parse().map_err(|_| fail())?;
            rest = &rest[digits..];
            let letters = rest.len() - rest.trim_start_matches(|c: char| c.is_ascii_lowercase()).len();
            let (_, unit) = DURATIONS.iter().find(|(name, _)| *name == &rest[..letters]).ok_or_else(fail)?;
            total = number.checked_mul(*unit).and_then(|part| total.checked_add(part)).ok_or_else(fail)?;
            rest = &rest[letters..];
        }
        if text.is_empty() { Err(fail()) } else { Ok(Millis(total)) }
    }
}

impl fmt::Display for Millis {
    /// Exact: parsing what is printed gives the same value.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut rest = self.0;
        if rest == 0 {
            return f.write_str("0s");
        }
        for (name, unit) in DURATIONS {
            if rest >= unit {
                write!(f, "{}{name}", rest / unit)?;
                rest %= unit;
            }
        }
        Ok(())
    }
}

impl FromStr for Bytes {
    type Err = UnitError;
    fn from_str(text: &str) -> Result<Bytes, UnitError> {
        let fail = || UnitError::Size(text.to_owned());
        let (name, unit) = SIZES.iter().find(|(name, _)| text.ends_with(name)).ok_or_else(fail)?;
        let number = &text[..text.len() - name.len()];
        if let Ok(whole) = number.parse::<u64>() {
            return whole.checked_mul(*unit).map(Bytes).ok_or_else(fail);
        }
        if number.is_empty() || !number.chars().all(|c| c.is_ascii_digit() || c == '.') {
            return Err(fail());
        }
        let bytes = number.parse::<f64>().map_err(|_| fail())? * *unit as f64;
        if bytes.is_finite() && bytes < u64::MAX as f64 { Ok(Bytes(bytes as u64)) } else { Err(fail()) }
    }
}

impl fmt::Display for Bytes {
    /// Exact: parsing what is printed gives the same value.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let best = SIZES[..4].iter().find(|(_, unit)| self.0 > 0 && self.0.is_multiple_of(*unit));
        match best {
            Some((name, unit)) => write!(f, "{}{name}", self.0 / unit),
            None => write!(f, "{}B", self.0),
        }
    }
}

macro_rules! as_text {
    ($type:ident, $name:literal, $pattern:literal) => {
        impl Serialize for $type {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }
        impl<'de> Deserialize<'de> for $type {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<$type, D::Error> {
                let text = String::deserialize(deserializer)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }
        impl JsonSchema for $type {
            fn schema_name() -> std::borrow::Cow<'static, str> {
                $name.into()
            }
            fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
                schemars::json_schema!({"type": "string", "pattern": $pattern})
            }
        }
    };
}
as_text!(Millis, "Duration", "^([0-9]+(ms|s|m|h|d))+$");
as_text!(Bytes, "Size", "^[0-9]+([.][0-9]+)?(B|KB|MB|GB|TB|KiB|MiB|GiB|TiB)$");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_and_sizes_read_as_written() {
        let cases = [("250ms", 250), ("90s", 90_000), ("2h30m", 9_000_000), ("2d", 172_800_000), ("0s", 0)];
        for (text, value) in cases {
            assert_eq!(text.parse(), Ok(Millis(value)));
            assert_eq!(Millis(value).to_string().parse(), Ok(Millis(value)));
        }
        let cases = [("0B", 0), ("512MiB", 512 << 20), ("1.5GiB", 3 << 29), ("10MB", 10_000_000)];
        for (text, value) in cases {
            assert_eq!(text.parse(), Ok(Bytes(value)));
            assert_eq!(Bytes(value).to_string().parse(), Ok(Bytes(value)));
        }
    }

    #[test]
    fn wrong_units_are_refused() {
        for text in ["", "5", "5 s", "-5s", "5w", "99999999999999999d", "1.5h", "s"] {
            assert!(text.parse::<Millis>().is_err(), "{text:?}");
        }
        for text in ["", "5", "5 GiB", "-5B", "1.2.3MB", "1e3MB", "99999999999TiB", "MB", "NaNB", "infB"] {
            assert!(text.parse::<Bytes>().is_err(), "{text:?}");
        }
    }
}
