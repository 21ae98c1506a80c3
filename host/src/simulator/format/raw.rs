//! The keys of a script file, and their conversion to a script.

mod fault;
mod message;
mod stream;
mod values;

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Deserialize;
use toml::Spanned;

use super::super::error::status_of_code;
use super::super::rate_limits::RateLimitOptions;
use super::super::script::{
    After, Answer, AnswerKind, ErrorAnswer, MessageAnswer, RawAnswer, Repeat, UsageAnswer, When,
};
use fault::RawFault;
use message::{RawItem, RawTool};
use stream::RawStream;
use values::{duration, object, repeat, usage};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawScript {
    #[serde(default)]
    pub(super) after: After,
    pub(super) rate_limits: Option<RawRateLimits>,
    #[serde(default)]
    pub(super) answer: Vec<Spanned<RawStep>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawRateLimits {
    #[serde(default = "default_per", deserialize_with = "duration")]
    per: Duration,
    requests: Option<u32>,
    input_tokens: Option<u32>,
}

impl From<RawRateLimits> for RateLimitOptions {
    fn from(raw: RawRateLimits) -> Self {
        Self {
            per: raw.per,
            requests: raw.requests,
            input_tokens: raw.input_tokens,
        }
    }
}

fn default_per() -> Duration {
    RateLimitOptions::default().per
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
    #[serde(default)]
    omit_headers: Vec<String>,
    #[serde(default)]
    gzip: bool,
    text: Option<String>,
    thinking: Option<String>,
    #[serde(default)]
    tools: Vec<RawTool>,
    #[serde(default)]
    content: Vec<RawItem>,
    stop_reason: Option<String>,
    stop_sequence: Option<String>,
    stop_details: Option<toml::Table>,
    model: Option<String>,
    #[serde(default, deserialize_with = "usage")]
    usage: Option<UsageAnswer>,
    #[serde(default, deserialize_with = "usage")]
    usage_start: Option<UsageAnswer>,
    extra: Option<toml::Table>,
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
struct RawError {
    status: Option<u16>,
    #[serde(rename = "type")]
    kind: Option<String>,
    message: Option<String>,
    error_code: Option<String>,
    #[serde(default)]
    details: toml::Table,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawBody {
    #[serde(default = "ok")]
    status: u16,
    #[serde(default = "html")]
    content_type: String,
    body: String,
    #[serde(default = "once")]
    times: u32,
}

fn ok() -> u16 {
    200
}

fn html() -> String {
    "text/html".to_owned()
}

fn once() -> u32 {
    1
}

impl RawStep {
    pub(super) fn into_answer(self) -> Result<Answer, String> {
        let fault = self.fault.map(RawFault::into_fault).transpose()?;
        let has_simple_content = self.text.is_some() || self.thinking.is_some() || !self.tools.is_empty();
        let has_content = has_simple_content || !self.content.is_empty();
        let has_message_keys = self.stop_reason.is_some()
            || self.stop_sequence.is_some()
            || self.stop_details.is_some()
            || self.model.is_some()
            || self.usage.is_some()
            || self.usage_start.is_some()
            || self.extra.is_some();
        let kind = match (self.error, self.raw) {
            (Some(_), Some(_)) => return Err("`error` and `raw` exclude each other".to_owned()),
            (Some(_), None) | (None, Some(_)) if has_content || has_message_keys => {
                return Err(
                    "`error` and `raw` exclude the keys of a model's answer (`text`, `thinking`, `tools`, `content`, \
                     `stop_reason`, `stop_sequence`, `stop_details`, `model`, `usage`, `usage_start`, `extra`)"
                        .to_owned(),
                );
            }
            (Some(error), None) => AnswerKind::Error(error.into_answer()?),
            (None, Some(raw)) => AnswerKind::Raw(RawAnswer {
                status: raw.status,
                content_type: raw.content_type,
                body: raw.body,
                times: raw.times,
            }),
            (None, None) if !has_content && fault.is_none() => {
                return Err(
                    "this answer is empty: set `text` (it may be empty), `thinking`, `tools`, `content`, \
                            `error`, `raw` or `fault`"
                        .to_owned(),
                );
            }
            (None, None) if has_simple_content && !self.content.is_empty() => {
                return Err(
                    "`content` takes the place of `text`, `thinking` and `tools`; move them into it".to_owned(),
                );
            }
            (None, None) => AnswerKind::Message(Box::new(MessageAnswer {
                thinking: self.thinking,
                text: self.text.unwrap_or_default(),
                tools: self
                    .tools
                    .into_iter()
                    .map(RawTool::into_tool)
                    .collect::<Result<_, _>>()?,
                content: self
                    .content
                    .into_iter()
                    .map(RawItem::into_item)
                    .collect::<Result<_, _>>()?,
                stop_reason: self.stop_reason,
                stop_sequence: self.stop_sequence,
                stop_details: self
                    .stop_details
                    .map(|details| object("stop_details", details).map(Into::into))
                    .transpose()?,
                model: self.model,
                usage: self.usage.unwrap_or_default(),
                usage_start: self.usage_start,
                extra: object("extra", self.extra.unwrap_or_default())?,
            })),
        };
        Ok(Answer {
            when: When {
                last_user_contains: self.when.last_user_contains,
                has_tool_result: self.when.has_tool_result,
            },
            repeat: self.repeat.unwrap_or(Repeat::Times(1)),
            delay: self.delay,
            headers: self.headers.into_iter().collect(),
            omit_headers: self.omit_headers,
            gzip: self.gzip,
            kind,
            stream: self.stream.into_options(),
            fault,
        })
    }
}

impl RawError {
    fn into_answer(self) -> Result<ErrorAnswer, String> {
        let status = match (self.status, &self.error_code) {
            (Some(status), _) => status,
            (None, Some(code)) => status_of_code(code)
                .ok_or_else(|| format!("`error.error_code` {code:?} has no known status; set `error.status`"))?,
            (None, None) => return Err("`error` needs a `status`, or a known `error_code`".to_owned()),
        };
        Ok(ErrorAnswer {
            status,
            kind: self.kind,
            message: self.message,
            error_code: self.error_code,
            details: object("error.details", self.details)?,
        })
    }
}
