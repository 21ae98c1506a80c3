//! Whole days: `30d`.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::problem::ValueProblem;
use super::redact::quote;

/// A century.
pub(super) const MAX_DAYS: u32 = 36_500;

pub(super) const FORMAT: &str = "cofferdam-days";

/// A number of days, from 1 to 36,500.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct DaysText(pub(super) u32);

impl FromStr for DaysText {
    type Err = ValueProblem;

    fn from_str(text: &str) -> Result<Self, ValueProblem> {
        let days = text.trim().strip_suffix('d').and_then(|days| days.trim().parse().ok());
        let days = days.filter(|days| (1..=MAX_DAYS).contains(days));
        days.map(Self).ok_or_else(|| {
            ValueProblem::new(format!("{} is not a number of days from 1 to {MAX_DAYS}", quote(text)))
                .hint("write whole days, for example \"30d\"")
        })
    }
}

impl fmt::Display for DaysText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}d", self.0)
    }
}

impl Serialize for DaysText {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for DaysText {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?
            .parse()
            .map_err(serde::de::Error::custom)
    }
}

impl JsonSchema for DaysText {
    fn schema_name() -> Cow<'static, str> {
        "Days".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "A number of whole days from 1 to 36500.",
            "type": "string",
            "format": FORMAT,
            "examples": ["30d"],
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn days_are_whole_and_in_bounds() {
        for (text, days) in [("30d", 30), (" 1 d", 1), ("36500d", 36_500)] {
            assert_eq!(text.parse(), Ok(DaysText(days)));
        }
        assert_eq!(DaysText(30).to_string(), "30d");
        for text in ["", "d", "0d", "30", "1.5d", "-1d", "36501d", "30days"] {
            assert!(text.parse::<DaysText>().is_err(), "{text}");
        }
    }
}
