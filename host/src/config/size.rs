//! Human-readable sizes in bytes: `128MiB`, `64 KiB`, `1GB`, or a plain number of bytes.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::problem::ValueProblem;
use super::redact::quote;
use crate::sandbox::LimitValue;

pub(super) const FORMAT: &str = "cofferdam-size";

pub(super) const KIB: u64 = 1024;
pub(super) const MIB: u64 = 1024 * KIB;
pub(super) const GIB: u64 = 1024 * MIB;

const UNITS: [(&str, u64); 8] = [
    ("GiB", GIB),
    ("MiB", MIB),
    ("KiB", KIB),
    ("GB", 1_000_000_000),
    ("MB", 1_000_000),
    ("KB", 1_000),
    ("kB", 1_000),
    ("B", 1),
];

/// A number of bytes above zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct ByteSize(pub(super) u64);

impl FromStr for ByteSize {
    type Err = ValueProblem;

    fn from_str(text: &str) -> Result<Self, ValueProblem> {
        let problem = |why: &str| {
            ValueProblem::new(format!("{} is not a size: {why}", quote(text))).hint(
                "use a whole number with a unit: KiB, MiB, GiB (of 1024), KB, MB, GB (of 1000), for example \"128MiB\"",
            )
        };
        let trimmed = text.trim();
        let (digits, unit) = trimmed.split_at(
            trimmed
                .find(|character: char| !character.is_ascii_digit())
                .unwrap_or(trimmed.len()),
        );
        let unit = unit.trim_start();
        if digits.is_empty() {
            return Err(problem("it must begin with a whole number"));
        }
        if unit.starts_with('.') {
            return Err(problem("fractions are not allowed"));
        }
        let factor = match UNITS.iter().find(|(name, _)| *name == unit) {
            Some((_, factor)) => *factor,
            None if unit.is_empty() => 1,
            None => return Err(problem("its unit is unknown")),
        };
        let bytes = digits.parse::<u64>().ok().and_then(|count| count.checked_mul(factor));
        match bytes {
            None => Err(problem("it is too large")),
            Some(0) => Err(ValueProblem::new("must be more than zero bytes")),
            Some(bytes) => Ok(Self(bytes)),
        }
    }
}

impl fmt::Display for ByteSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        LimitValue::Bytes(self.0).fmt(f)
    }
}

impl Serialize for ByteSize {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for ByteSize {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Written {
            Bytes(u64),
            Text(String),
        }
        match Written::deserialize(deserializer)? {
            Written::Bytes(bytes) => Ok(Self(bytes)),
            Written::Text(text) => text.parse().map_err(serde::de::Error::custom),
        }
    }
}

impl JsonSchema for ByteSize {
    fn schema_name() -> Cow<'static, str> {
        "Size".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "A size above zero: a number of bytes, or a text with the units KiB, MiB, GiB (of 1024), KB, MB, GB (of 1000).",
            "type": ["integer", "string"],
            "minimum": 1,
            "maximum": u64::MAX,
            "format": FORMAT,
            "examples": ["128MiB", "64 KiB", 1_048_576],
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn sizes_round_trip() {
        for (text, bytes, shown) in [
            ("128MiB", 128 * MIB, "128MiB"),
            ("1 MiB", MIB, "1MiB"),
            ("64KiB", 64 * KIB, "64KiB"),
            ("1GB", 1_000_000_000, "1000000000B"),
            ("1024", 1024, "1KiB"),
            ("7 B", 7, "7B"),
            ("5kB", 5_000, "5000B"),
            ("2048MiB", 2 * GIB, "2GiB"),
        ] {
            let size: ByteSize = text.parse().unwrap();
            assert_eq!(size, ByteSize(bytes), "{text}");
            assert_eq!(size.to_string(), shown);
            assert_eq!(shown.parse(), Ok(size));
        }
    }

    #[test]
    fn invalid_sizes_give_a_reason() {
        for (text, why) in [
            ("", "begin with a whole number"),
            ("MiB", "begin with a whole number"),
            ("-1MiB", "begin with a whole number"),
            ("1.5MiB", "fractions"),
            ("128mb", "its unit is unknown"),
            ("128 M", "its unit is unknown"),
            ("10s", "its unit is unknown"),
            ("99999999999999999999", "too large"),
            ("99999999999GiB", "too large"),
            ("0", "more than zero"),
            ("0MiB", "more than zero"),
        ] {
            let problem = text.parse::<ByteSize>().unwrap_err();
            assert!(problem.message.contains(why), "{text}: {problem}");
        }
    }
}
