//! Values that TOML has no type for: JSON, durations, and keys that take a word or something else.

use std::fmt;
use std::time::Duration;

use serde::Deserialize;
use serde::de::value::MapAccessDeserializer;
use serde::de::{self, Deserializer, MapAccess, Unexpected, Visitor};
use serde_json::{Map, Value};

use super::super::super::script::{Repeat, UsageAnswer, UsageFigures};

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct RawUsage {
    input_tokens: Option<u64>,
    output_tokens: Option<u64>,
    cache_creation_5m_input_tokens: u64,
    cache_creation_1h_input_tokens: u64,
    cache_read_input_tokens: u64,
    json: Option<String>,
}

impl RawUsage {
    fn into_answer(self) -> Result<UsageAnswer, String> {
        let figures = UsageFigures {
            input_tokens: self.input_tokens,
            output_tokens: self.output_tokens,
            cache_creation_5m_input_tokens: self.cache_creation_5m_input_tokens,
            cache_creation_1h_input_tokens: self.cache_creation_1h_input_tokens,
            cache_read_input_tokens: self.cache_read_input_tokens,
        };
        match self.json {
            None => Ok(UsageAnswer::Given(figures)),
            Some(_) if figures != UsageFigures::default() => Err("`json` excludes the other keys".to_owned()),
            Some(text) => serde_json::from_str(&text)
                .map(UsageAnswer::Json)
                .map_err(|problem| format!("`json` isn't JSON: {problem}")),
        }
    }
}

/// A table as a JSON object.
pub(super) fn object(key: &str, table: toml::Table) -> Result<Map<String, Value>, String> {
    let fields = table.into_iter().map(|(name, value)| Ok((name, json(value)?)));
    fields
        .collect::<Result<_, String>>()
        .map_err(|problem| format!("`{key}`: {problem}"))
}

fn json(value: toml::Value) -> Result<Value, String> {
    Ok(match value {
        toml::Value::String(text) => Value::String(text),
        toml::Value::Integer(number) => Value::from(number),
        toml::Value::Float(number) => serde_json::Number::from_f64(number)
            .map(Value::Number)
            .ok_or_else(|| format!("{number} can't be written as JSON; use `input_text`"))?,
        toml::Value::Boolean(truth) => Value::Bool(truth),
        toml::Value::Datetime(time) => Value::String(time.to_string()),
        toml::Value::Array(items) => Value::Array(items.into_iter().map(json).collect::<Result<_, _>>()?),
        toml::Value::Table(table) => Value::Object(
            table
                .into_iter()
                .map(|(key, value)| Ok((key, json(value)?)))
                .collect::<Result<_, String>>()?,
        ),
    })
}

/// A number of requests, or `"forever"`. A visitor, because the errors of an untagged enum don't say what is wrong.
pub(super) fn repeat<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Repeat>, D::Error> {
    struct Reader;

    impl Visitor<'_> for Reader {
        type Value = Repeat;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            write!(f, "a whole number from 1 to {} or \"forever\"", u32::MAX)
        }

        fn visit_i64<E: de::Error>(self, number: i64) -> Result<Repeat, E> {
            let times = u32::try_from(number).map_err(|_| E::invalid_value(Unexpected::Signed(number), &self))?;
            Ok(Repeat::Times(times))
        }

        fn visit_str<E: de::Error>(self, text: &str) -> Result<Repeat, E> {
            match text {
                "forever" => Ok(Repeat::Forever),
                _ => Err(E::invalid_value(Unexpected::Str(text), &self)),
            }
        }
    }

    deserializer.deserialize_any(Reader).map(Some)
}

/// Token counts, a JSON text, or `"omit"`.
pub(super) fn usage<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<UsageAnswer>, D::Error> {
    struct Reader;

    impl<'de> Visitor<'de> for Reader {
        type Value = UsageAnswer;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("\"omit\", a table of token counts, or { json = \"…\" }")
        }

        fn visit_str<E: de::Error>(self, text: &str) -> Result<UsageAnswer, E> {
            match text {
                "omit" => Ok(UsageAnswer::Omitted),
                _ => Err(E::invalid_value(Unexpected::Str(text), &self)),
            }
        }

        fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<UsageAnswer, A::Error> {
            RawUsage::deserialize(MapAccessDeserializer::new(map))?
                .into_answer()
                .map_err(de::Error::custom)
        }
    }

    deserializer.deserialize_any(Reader).map(Some)
}

/// A whole number with its unit: `250ms`, `2s`, `1m`.
pub(super) fn duration<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    let text = String::deserialize(deserializer)?;
    let digits = text.trim_end_matches(|character: char| character.is_ascii_alphabetic());
    let number = digits.trim().parse::<u64>().ok();
    let parsed = match (number, text.get(digits.len()..)) {
        (Some(number), Some("ms")) => Some(Duration::from_millis(number)),
        (Some(number), Some("s")) => Some(Duration::from_secs(number)),
        (Some(number), Some("m")) => number.checked_mul(60).map(Duration::from_secs),
        _ => None,
    };
    parsed.ok_or_else(|| {
        de::Error::custom(format!(
            "{text:?} isn't a duration; write a whole number and ms, s or m"
        ))
    })
}

pub(super) fn optional_duration<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Duration>, D::Error> {
    duration(deserializer).map(Some)
}
