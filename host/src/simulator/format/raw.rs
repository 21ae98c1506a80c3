//! The keys of a script file, and their conversion to a script.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use serde::Deserialize;
use serde::de::value::MapAccessDeserializer;
use serde::de::{self, Deserializer, MapAccess, Unexpected, Visitor};
use serde_json::Value;
use toml::Spanned;

use super::super::script::{
    After, Answer, AnswerKind, ErrorAnswer, Fault, FaultKind, FaultPoint, MessageAnswer, RawAnswer, Repeat,
    StreamOptions, ToolCall, ToolInput, UsageAnswer, UsageFigures, When,
};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawScript {
    #[serde(default)]
    pub(super) after: After,
    #[serde(default)]
    pub(super) answer: Vec<Spanned<RawStep>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawStep {
    #[serde(default)]
    when: RawWhen,
    #[serde(default, deserialize_with = "repeat")]
    repeat: Option<Repeat>,
    #[serde(default, deserialize_with = "duration")]
    delay: Duration,
    #[serde(default)]
    headers: BTreeMap<String, String>,
    text: Option<String>,
    thinking: Option<String>,
    #[serde(default)]
    tools: Vec<RawTool>,
    stop_reason: Option<String>,
    stop_sequence: Option<String>,
    model: Option<String>,
    #[serde(default, deserialize_with = "usage")]
    usage: Option<UsageAnswer>,
    error: Option<RawError>,
    raw: Option<RawBody>,
    #[serde(default)]
    stream: RawStream,
    fault: Option<RawFault>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawWhen {
    last_user_contains: Option<String>,
    has_tool_result: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawTool {
    name: String,
    input: Option<toml::Table>,
    input_text: Option<String>,
    id: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawError {
    status: u16,
    #[serde(rename = "type")]
    kind: Option<String>,
    message: Option<String>,
    error_code: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawBody {
    #[serde(default = "ok")]
    status: u16,
    #[serde(default = "html")]
    content_type: String,
    body: String,
}

fn ok() -> u16 {
    200
}

fn html() -> String {
    "text/html".to_owned()
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawStream {
    chunk: Option<usize>,
    #[serde(default, deserialize_with = "duration")]
    chunk_delay: Duration,
    #[serde(default)]
    ping_every: usize,
    #[serde(default)]
    unknown_events: bool,
    #[serde(default)]
    write_bytes: usize,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawFault {
    kind: RawFaultKind,
    at: Option<RawFaultPoint>,
    after_events: Option<usize>,
    after_bytes: Option<usize>,
    error_type: Option<String>,
    message: Option<String>,
}

#[derive(Clone, Copy, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
enum RawFaultKind {
    Cut,
    Close,
    Reset,
    Stall,
    ErrorEvent,
    Garbage,
}

#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum RawFaultPoint {
    Accept,
    Request,
}

impl RawStep {
    pub(super) fn into_answer(self) -> Result<Answer, String> {
        let fault = self.fault.map(RawFault::into_fault).transpose()?;
        let has_content = self.text.is_some() || self.thinking.is_some() || !self.tools.is_empty();
        let has_message_keys =
            self.stop_reason.is_some() || self.stop_sequence.is_some() || self.model.is_some() || self.usage.is_some();
        let kind = match (self.error, self.raw) {
            (Some(_), Some(_)) => return Err("`error` and `raw` exclude each other".to_owned()),
            (Some(_), None) | (None, Some(_)) if has_content || has_message_keys => {
                return Err(
                    "`error` and `raw` exclude the keys of a model's answer (`text`, `thinking`, `tools`, \
                            `stop_reason`, `stop_sequence`, `model`, `usage`)"
                        .to_owned(),
                );
            }
            (Some(error), None) => AnswerKind::Error(ErrorAnswer {
                status: error.status,
                kind: error.kind,
                message: error.message,
                error_code: error.error_code,
            }),
            (None, Some(raw)) => AnswerKind::Raw(RawAnswer {
                status: raw.status,
                content_type: raw.content_type,
                body: raw.body,
            }),
            (None, None) if !has_content && fault.is_none() => {
                return Err(
                    "this answer is empty: set `text` (it may be empty), `thinking`, `tools`, `error`, \
                            `raw` or `fault`"
                        .to_owned(),
                );
            }
            (None, None) => AnswerKind::Message(MessageAnswer {
                thinking: self.thinking,
                text: self.text.unwrap_or_default(),
                tools: self
                    .tools
                    .into_iter()
                    .map(RawTool::into_tool)
                    .collect::<Result<_, _>>()?,
                stop_reason: self.stop_reason,
                stop_sequence: self.stop_sequence,
                model: self.model,
                usage: self.usage.unwrap_or_default(),
            }),
        };
        Ok(Answer {
            when: When {
                last_user_contains: self.when.last_user_contains,
                has_tool_result: self.when.has_tool_result,
            },
            repeat: self.repeat.unwrap_or(Repeat::Times(1)),
            delay: self.delay,
            headers: self.headers.into_iter().collect(),
            kind,
            stream: StreamOptions {
                chunk: self.stream.chunk.unwrap_or(StreamOptions::default().chunk),
                chunk_delay: self.stream.chunk_delay,
                ping_every: self.stream.ping_every,
                unknown_events: self.stream.unknown_events,
                write_bytes: self.stream.write_bytes,
            },
            fault,
        })
    }
}

impl RawTool {
    fn into_tool(self) -> Result<ToolCall, String> {
        let input = match (self.input, self.input_text) {
            (Some(_), Some(_)) => {
                return Err(format!("tool call {:?} has both `input` and `input_text`", self.name));
            }
            (None, Some(text)) => ToolInput::Text(text),
            (input, None) => {
                let table = toml::Value::Table(input.unwrap_or_default());
                ToolInput::Json(json(table).map_err(|problem| format!("tool call {:?}: {problem}", self.name))?)
            }
        };
        Ok(ToolCall {
            name: self.name,
            input,
            id: self.id,
        })
    }
}

impl RawFault {
    fn into_fault(self) -> Result<Fault, String> {
        if self.kind != RawFaultKind::ErrorEvent && (self.error_type.is_some() || self.message.is_some()) {
            return Err("`fault.error_type` and `fault.message` are for `kind = \"error_event\"`".to_owned());
        }
        let kind = match self.kind {
            RawFaultKind::Cut => FaultKind::Cut,
            RawFaultKind::Close => FaultKind::Close,
            RawFaultKind::Reset => FaultKind::Reset,
            RawFaultKind::Stall => FaultKind::Stall,
            RawFaultKind::Garbage => FaultKind::Garbage,
            RawFaultKind::ErrorEvent => FaultKind::ErrorEvent {
                kind: self.error_type.unwrap_or_else(|| "overloaded_error".to_owned()),
                message: self.message.unwrap_or_else(|| "Overloaded".to_owned()),
            },
        };
        let at = match (self.at, self.after_events, self.after_bytes) {
            (None, None, None) => match kind {
                FaultKind::Close | FaultKind::Reset | FaultKind::Stall => FaultPoint::Request,
                FaultKind::Cut | FaultKind::ErrorEvent { .. } | FaultKind::Garbage => FaultPoint::Bytes(0),
            },
            (Some(RawFaultPoint::Accept), None, None) => FaultPoint::Accept,
            (Some(RawFaultPoint::Request), None, None) => FaultPoint::Request,
            (None, Some(events), None) => FaultPoint::Events(events),
            (None, None, Some(bytes)) => FaultPoint::Bytes(bytes),
            _ => return Err("`fault.at`, `fault.after_events` and `fault.after_bytes` exclude each other".to_owned()),
        };
        Ok(Fault { kind, at })
    }
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
fn repeat<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Repeat>, D::Error> {
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

/// Token counts, or `"omit"`.
fn usage<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<UsageAnswer>, D::Error> {
    struct Reader;

    impl<'de> Visitor<'de> for Reader {
        type Value = UsageAnswer;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("\"omit\" or a table of token counts")
        }

        fn visit_str<E: de::Error>(self, text: &str) -> Result<UsageAnswer, E> {
            match text {
                "omit" => Ok(UsageAnswer::Omitted),
                _ => Err(E::invalid_value(Unexpected::Str(text), &self)),
            }
        }

        fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<UsageAnswer, A::Error> {
            UsageFigures::deserialize(MapAccessDeserializer::new(map)).map(UsageAnswer::Given)
        }
    }

    deserializer.deserialize_any(Reader).map(Some)
}

/// A whole number with its unit: `250ms`, `2s`, `1m`.
fn duration<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
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
