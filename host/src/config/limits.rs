//! `[limits]` of a call, in a file: the keys, their schema and their bounds are those of [`Limits::ALL`].

use std::borrow::Cow;
use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{Error as _, MapAccess, Visitor};
use serde::ser::SerializeMap;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::{Map, Value as Json};

use super::bounds::{between, duration_problem};
use super::duration::DurationText;
use super::problem::ValueProblem;
use super::size::ByteSize;
use crate::sandbox::{Limit, LimitValue, Limits};

/// The limits of one tool call, as keys of a file.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct RawCallLimits(pub(super) Limits);

/// The largest integer that TOML can say; nobody runs that long.
const LARGEST: u64 = i64::MAX as u64;

/// A limit as a file writes it.
#[derive(Serialize)]
#[serde(untagged)]
enum Written {
    Count(u64),
    Bytes(ByteSize),
    Time(DurationText),
}

impl From<LimitValue> for Written {
    fn from(value: LimitValue) -> Self {
        match value {
            LimitValue::Count(number) => Self::Count(number.min(LARGEST)),
            LimitValue::Bytes(bytes) => Self::Bytes(ByteSize(bytes)),
            LimitValue::Time(time) => Self::Time(DurationText(time)),
        }
    }
}

impl Serialize for RawCallLimits {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(Limits::ALL.len()))?;
        for limit in Limits::ALL {
            map.serialize_entry(limit.name, &Written::from((limit.get)(&self.0)))?;
        }
        map.end()
    }
}

impl<'de> Deserialize<'de> for RawCallLimits {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_struct("CallLimits", Limits::NAMES, Keys)
    }
}

/// Reads the keys; what is absent has its default.
struct Keys;

impl<'de> Visitor<'de> for Keys {
    type Value = RawCallLimits;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a table of limits")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<RawCallLimits, A::Error> {
        let mut limits = Limits::default();
        while let Some(key) = map.next_key::<String>()? {
            let Some(limit) = Limits::ALL.iter().find(|limit| limit.name == key) else {
                return Err(A::Error::unknown_field(&key, Limits::NAMES));
            };
            let value = match limit.min {
                LimitValue::Count(_) => LimitValue::Count(map.next_value()?),
                LimitValue::Bytes(_) => LimitValue::Bytes(map.next_value::<ByteSize>()?.0),
                LimitValue::Time(_) => LimitValue::Time(map.next_value::<DurationText>()?.0),
            };
            if !(limit.set)(&mut limits, value) {
                return Err(A::Error::custom(format_args!("`{key}` is too large")));
            }
        }
        Ok(RawCallLimits(limits))
    }
}

impl JsonSchema for RawCallLimits {
    fn schema_name() -> Cow<'static, str> {
        "CallLimits".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let defaults = Limits::default();
        let properties = Limits::ALL.iter().map(|limit| {
            let mut schema = match (limit.min, limit.max) {
                (LimitValue::Count(least), LimitValue::Count(most)) => {
                    json_schema!({ "type": "integer", "minimum": least, "maximum": most.min(LARGEST) })
                }
                (LimitValue::Bytes(_), _) => generator.subschema_for::<ByteSize>(),
                _ => generator.subschema_for::<DurationText>(),
            };
            let description: Vec<&str> = limit.doc.iter().map(|line| line.trim()).collect();
            schema.insert("description".to_owned(), description.join(" ").into());
            let default = Written::from((limit.get)(&defaults));
            schema.insert("default".to_owned(), serde_json::to_value(default).unwrap_or_default());
            (limit.name.to_owned(), Json::from(schema))
        });
        let properties: Map<String, Json> = properties.collect();
        json_schema!({
            "description": "The limits of one tool call.",
            "type": "object",
            "properties": properties,
            "additionalProperties": false,
        })
    }
}

/// What is wrong with the value that a limit has.
pub(super) fn limit_problem(limit: &Limit, limits: &Limits) -> Option<ValueProblem> {
    match ((limit.get)(limits), limit.min, limit.max) {
        (LimitValue::Count(value), LimitValue::Count(least), LimitValue::Count(most)) => {
            between(least, most).problem(value)
        }
        (LimitValue::Bytes(value), LimitValue::Bytes(least), LimitValue::Bytes(most)) => {
            between(ByteSize(least), ByteSize(most)).problem(ByteSize(value))
        }
        // The bounds of durations are the same for all.
        (LimitValue::Time(value), ..) => duration_problem(value),
        // The table gives each limit one unit.
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::time::Duration;

    use super::*;

    const EXAMPLE: &str = include_str!("../../examples/cofferdam.toml");

    #[test]
    fn the_example_has_every_limit_with_its_default() {
        let example: toml::Table = EXAMPLE.parse().unwrap();
        let example = example["limits"].as_table().unwrap();
        for limit in Limits::ALL {
            let text = toml::to_string(&toml::Table::from_iter([(
                limit.name.to_owned(),
                example[limit.name].clone(),
            )]));
            let read: RawCallLimits = toml::from_str(&text.unwrap()).unwrap();
            let value = |limits: &Limits| (limit.get)(limits);
            assert_eq!(value(&read.0), value(&Limits::default()), "{}", limit.name);
        }
    }

    #[test]
    fn every_limit_is_described_and_its_default_is_in_bounds() {
        for limit in Limits::ALL {
            assert!(!limit.doc.is_empty(), "{}", limit.name);
            assert!(limit.min < limit.max, "{}", limit.name);
            assert!(limit_problem(limit, &Limits::default()).is_none(), "{}", limit.name);
            if let (LimitValue::Time(least), LimitValue::Time(most)) = (limit.min, limit.max) {
                let moment = Duration::from_nanos(1);
                assert!([least, most].map(duration_problem).iter().all(Option::is_none));
                assert!(
                    [least - moment, most + moment]
                        .map(duration_problem)
                        .iter()
                        .all(Option::is_some)
                );
            }
        }
    }

    #[test]
    fn unknown_limits_and_numbers_that_do_not_fit_are_refused() {
        let refused = |text: &str| toml::from_str::<RawCallLimits>(text).unwrap_err().message().to_owned();
        assert!(refused("fule = 1").contains("unknown field `fule`"));
        assert_eq!(refused("handles = 4294967296"), "`handles` is too large");
    }
}
