//! Human-readable durations: `10s`, `500ms`, `1h30m`.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::problem::ValueProblem;
use super::redact::quote;
use crate::sandbox::MAX_DURATION;

pub(super) const FORMAT: &str = "cofferdam-duration";

/// Units and their length in milliseconds, the largest first.
const UNITS: [(&str, u64); 4] = [("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)];

/// A duration above zero and up to 30 days: whole numbers with the units h, m, s and ms, each at most once, the larger
/// first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct DurationText(pub(super) Duration);

impl FromStr for DurationText {
    type Err = ValueProblem;

    fn from_str(text: &str) -> Result<Self, ValueProblem> {
        let problem = |why: &str| {
            ValueProblem::new(format!("{} is not a duration: {why}", quote(text)))
                .hint("use whole numbers with the units h, m, s and ms, for example \"1h30m\", \"10s\", \"500ms\"")
        };
        let mut rest = text.trim();
        if rest.is_empty() {
            return Err(problem("it is empty"));
        }
        let mut milliseconds: u64 = 0;
        let mut smaller_units = UNITS.as_slice();
        while !rest.is_empty() {
            let (digits, after) = split(rest, |character| character.is_ascii_digit());
            let (unit, after) = split(after.trim_start(), char::is_alphabetic);
            if digits.is_empty() {
                return Err(problem(
                    "each unit needs a whole number before it, with no sign and no fraction",
                ));
            }
            if unit.is_empty() {
                return Err(problem(if after.is_empty() {
                    "the unit is missing"
                } else {
                    "fractions are not allowed"
                }));
            }
            let Some(position) = smaller_units.iter().position(|(name, _)| *name == unit) else {
                let known = UNITS.iter().any(|(name, _)| *name == unit);
                let why = if known {
                    "the larger unit comes first, each once"
                } else {
                    "its unit is unknown"
                };
                return Err(problem(why));
            };
            let (_, factor) = smaller_units[position];
            smaller_units = &smaller_units[position + 1..];
            milliseconds = digits
                .parse::<u64>()
                .ok()
                .and_then(|count| count.checked_mul(factor))
                .and_then(|part| milliseconds.checked_add(part))
                .filter(|total| Duration::from_millis(*total) <= MAX_DURATION)
                .ok_or_else(|| problem("it is longer than 30 days"))?;
            rest = after.trim_start();
        }
        if milliseconds == 0 {
            return Err(ValueProblem::new("must be longer than zero"));
        }
        Ok(Self(Duration::from_millis(milliseconds)))
    }
}

fn split(text: &str, belongs: impl Fn(char) -> bool) -> (&str, &str) {
    text.split_at(text.find(|character| !belongs(character)).unwrap_or(text.len()))
}

/// The shortest text that parses to the same duration, rounded up to a millisecond.
impl fmt::Display for DurationText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut rest = self.0.as_nanos().div_ceil(1_000_000).max(1);
        for (unit, factor) in UNITS {
            let count = rest / u128::from(factor);
            rest %= u128::from(factor);
            if count > 0 {
                write!(f, "{count}{unit}")?;
            }
        }
        Ok(())
    }
}

impl Serialize for DurationText {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for DurationText {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?
            .parse()
            .map_err(serde::de::Error::custom)
    }
}

impl JsonSchema for DurationText {
    fn schema_name() -> Cow<'static, str> {
        "Duration".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "A duration above zero: whole numbers with the units h, m, s and ms, the larger first.",
            "type": "string",
            "format": FORMAT,
            "examples": ["10s", "500ms", "1h30m"],
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn durations_round_trip() {
        for (text, milliseconds, shown) in [
            ("10s", 10_000, "10s"),
            ("500ms", 500, "500ms"),
            ("2m", 120_000, "2m"),
            ("1h30m", 5_400_000, "1h30m"),
            ("60s", 60_000, "1m"),
            (" 1h 2m 3 s 4ms ", 3_723_004, "1h2m3s4ms"),
            ("720h", 2_592_000_000, "720h"),
        ] {
            let duration: DurationText = text.parse().unwrap();
            assert_eq!(duration.0, Duration::from_millis(milliseconds), "{text}");
            assert_eq!(duration.to_string(), shown);
            assert_eq!(shown.parse(), Ok(duration));
        }
    }

    #[test]
    fn invalid_durations_give_a_reason() {
        for (text, why) in [
            ("", "it is empty"),
            ("10", "the unit is missing"),
            ("s", "each unit needs a whole number before it"),
            ("-1s", "no sign"),
            ("1.5s", "fractions are not allowed"),
            ("10 parsecs", "its unit is unknown"),
            ("10S", "its unit is unknown"),
            ("1s1m", "the larger unit comes first"),
            ("1s1s", "each once"),
            ("721h", "longer than 30 days"),
            ("99999999999999999999h", "longer than 30 days"),
            ("0s", "longer than zero"),
            ("0h0ms", "longer than zero"),
        ] {
            let problem = text.parse::<DurationText>().unwrap_err();
            assert!(problem.message.contains(why), "{text}: {problem}");
        }
    }

    #[test]
    fn durations_below_a_millisecond_round_up_to_one() {
        assert_eq!(DurationText(Duration::from_micros(1)).to_string(), "1ms");
    }
}
