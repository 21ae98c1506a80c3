//! Reads answers of the Messages API, streamed or not. Unknown kinds and fields are kept as data, because the API may grow.

use std::collections::HashSet;

use serde_json::Value;

use super::PROVIDER;
use crate::events::Usage;
use crate::messages_api::{self, ErrorBody};
use crate::model::{ApiError, ApiErrorKind, ModelError, ModelResponse, StopReason};
use crate::transcript::{Block, Opaque, ToolUse};

/// The usage of an answer as known so far. Any figure may be missing.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct KnownUsage {
    usage: Usage,
    has_output: bool,
}

impl KnownUsage {
    pub(super) fn usage(&self) -> Usage {
        self.usage
    }

    /// Whether the figures that every answer has are known.
    pub(super) fn is_known(&self) -> bool {
        self.has_output && self.usage.prompt_tokens() > 0
    }

    /// Merges reported figures. They are cumulative, so the larger of two is right: some gateways later send zero or `null`
    /// for a figure that an earlier event reported.
    pub(super) fn update(&mut self, reported: &messages_api::Usage) {
        let usage = &mut self.usage;
        usage.input_tokens = usage.input_tokens.max(reported.input_tokens.unwrap_or(0));
        usage.output_tokens = usage.output_tokens.max(reported.output_tokens.unwrap_or(0));
        usage.cache_read_input_tokens = usage
            .cache_read_input_tokens
            .max(reported.cache_read_input_tokens.unwrap_or(0));
        // Without a split, tokens that aren't known to live for an hour get the default lifetime of five minutes.
        let total = reported.cache_creation_input_tokens.unwrap_or(0);
        if total > usage.cache_creation_input_tokens() {
            usage.cache_creation_5m_input_tokens = total - usage.cache_creation_1h_input_tokens;
        }
        // A split of the same or a larger total is more precise than the total. A smaller one is incomplete.
        let split = reported.cache_creation.unwrap_or_default();
        let (short, long) = (split.ephemeral_5m_input_tokens, split.ephemeral_1h_input_tokens);
        if short.saturating_add(long) >= usage.cache_creation_input_tokens() {
            usage.cache_creation_5m_input_tokens = short;
            usage.cache_creation_1h_input_tokens = long;
        }
    }

    /// Merges figures that are final for the answer's length.
    pub(super) fn update_final(&mut self, reported: &messages_api::Usage) {
        self.has_output |= reported.output_tokens.is_some();
        self.update(reported);
    }
}

/// Parses an answer that wasn't streamed.
pub(super) fn parse_response(
    body: &[u8],
    request_id: Option<String>,
) -> (KnownUsage, Result<ModelResponse, ModelError>) {
    let mut usage = KnownUsage::default();
    let malformed = |reason: String| ModelError::Malformed {
        reason,
        request_id: request_id.clone(),
    };
    let mut message: Value = match serde_json::from_slice(body) {
        Ok(message) => message,
        Err(error) => return (usage, Err(malformed(format!("the body isn't JSON: {error}")))),
    };
    let head = messages_api::Message::read_head(&message);
    if let Some(figures) = &head.usage {
        usage.update_final(figures);
    }
    if ErrorBody::is_error(&message) {
        return (usage, Err(parse_error(&message, None, request_id).into()));
    }
    let Some(Value::Array(content)) = message.get_mut("content").map(Value::take) else {
        return (usage, Err(malformed("the body has no `content` list".to_owned())));
    };
    let answer = CompleteAnswer {
        model: head.model,
        stop_reason: head.stop_reason.as_deref().map(StopReason::from_wire),
        content,
        usage: usage.usage(),
        request_id: request_id.clone(),
    };
    (usage, answer.check())
}

/// A block as the conversation keeps it. `None` if it is an incomplete tool call or not a block.
fn to_block(block: Value) -> Option<Block> {
    let opaque = |value: Value| Opaque::new(PROVIDER, value.to_string());
    let extra = |fields: messages_api::Fields| (!fields.is_empty()).then(|| opaque(Value::Object(fields)));
    Some(match messages_api::Block::read(block)? {
        messages_api::Block::Text { text, extra: fields } => Block::Text {
            text,
            extra: extra(fields),
        },
        messages_api::Block::ToolUse {
            id,
            name,
            input,
            extra: fields,
        } => Block::ToolUse(ToolUse {
            id,
            name,
            input: input.into(),
            extra: extra(fields),
        }),
        messages_api::Block::Other(value) => Block::Opaque(opaque(value)),
    })
}

/// An answer received to its end, streamed or not.
pub(super) struct CompleteAnswer {
    pub(super) model: String,
    pub(super) stop_reason: Option<StopReason>,
    /// The blocks as received.
    pub(super) content: Vec<Value>,
    pub(super) usage: Usage,
    pub(super) request_id: Option<String>,
}

impl CompleteAnswer {
    /// Refuses answers that the agent loop can't continue from. An assistant message that the API doesn't accept back would
    /// break the whole conversation.
    pub(super) fn check(self) -> Result<ModelResponse, ModelError> {
        let Self {
            model,
            stop_reason,
            content,
            usage,
            request_id,
        } = self;
        let malformed = |reason: &str| ModelError::Malformed {
            reason: reason.to_owned(),
            request_id: request_id.clone(),
        };
        let Some(stop_reason) = stop_reason else {
            return Err(malformed("the answer has no stop reason"));
        };
        let blocks: Option<Vec<Block>> = content.into_iter().map(to_block).collect();
        let Some(mut content) = blocks else {
            return Err(malformed("a tool call or another block is incomplete"));
        };
        // The API returns blank text blocks but refuses them when they are sent back.
        content.retain(|block| !matches!(block, Block::Text { text, .. } if text.trim().is_empty()));
        // It also refuses tool calls without unique ids.
        let mut ids = HashSet::new();
        let mut uses = content.iter().filter_map(|block| match block {
            Block::ToolUse(tool_use) => Some(tool_use),
            _ => None,
        });
        if !uses.all(|tool_use| !tool_use.id.is_empty() && !tool_use.name.is_empty() && ids.insert(&tool_use.id)) {
            return Err(malformed("a tool call has no id, no name, or the id of another"));
        }
        let calls = !ids.is_empty();
        if stop_reason == StopReason::ToolUse && !calls {
            return Err(malformed("the stop reason is `tool_use`, but there is no tool call"));
        }
        Ok(ModelResponse {
            model,
            content,
            stop_reason,
            usage,
            request_id,
        })
    }
}

/// Parses an error body or the data of an `error` event.
pub(super) fn parse_error(body: &Value, status: Option<u16>, request_id: Option<String>) -> ApiError {
    api_error(ErrorBody::read(body), status, request_id)
}

/// The status determines the kind; `error.type` does so only without a status. The header's id takes precedence over the
/// body's.
pub(super) fn api_error(body: ErrorBody, status: Option<u16>, request_id: Option<String>) -> ApiError {
    let ErrorBody {
        error,
        request_id: in_body,
    } = body;
    ApiError {
        kind: status.map_or_else(|| ApiErrorKind::from_type(&error.kind), ApiErrorKind::from_status),
        status,
        message: error.message,
        error_code: error.details.and_then(|details| details.error_code),
        request_id: request_id.or(in_body),
        error_type: error.kind,
        retry_after: None,
        should_retry: None,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use serde_json::json;

    use super::super::fuzz::sent_back;
    use super::*;

    fn parse(body: Value) -> (KnownUsage, Result<ModelResponse, ModelError>) {
        parse_response(body.to_string().as_bytes(), Some("req_1".to_owned()))
    }

    #[test]
    fn answers_that_the_api_would_refuse_back_are_malformed() {
        let answer = |content: Value| {
            parse(
                json!({"type": "message", "model": "m", "stop_reason": "tool_use", "content": content,
                "usage": {"input_tokens": 1, "output_tokens": 1}}),
            )
            .1
        };
        let call = |id: &str, name: &str| json!({"type": "tool_use", "id": id, "name": name, "input": {}});
        let blank = json!({"type": "text", "text": "\n\n"});
        let blank_with_more = json!({"type": "text", "text": " ", "citations": null});
        let kept = answer(json!([blank, call("a", "t"), blank_with_more, call("b", "t")])).unwrap();
        assert_eq!(kept.content.len(), 2, "{:?}", kept.content);
        for broken in [
            json!([call("a", "t"), call("a", "t")]),
            json!([call("", "t")]),
            json!([call("a", "")]),
        ] {
            assert!(
                matches!(answer(broken.clone()), Err(ModelError::Malformed { .. })),
                "{broken}"
            );
        }
    }

    #[test]
    fn a_whole_answer_is_read() {
        let (usage, response) = parse(json!({
            "id": "msg_1", "type": "message", "role": "assistant", "model": "claude-sonnet-5-5-20260901",
            "content": [
                {"type": "thinking", "thinking": "hm", "signature": "s"},
                {"type": "text", "text": "yes"},
                {"type": "text", "text": ""},
                {"type": "tool_use", "id": "toolu_1", "name": "t", "input": {"a": 1}, "caller": {"type": "direct"}},
                {"type": "block_of_tomorrow", "x": [1]},
            ],
            "stop_reason": "tool_use",
            "usage": {"input_tokens": 10, "output_tokens": 5, "cache_creation_input_tokens": 7,
                "cache_creation": {"ephemeral_5m_input_tokens": 3, "ephemeral_1h_input_tokens": 4},
                "cache_read_input_tokens": 2, "service_tier": "standard"},
        }));
        let response = response.unwrap();
        assert!(usage.is_known());
        assert_eq!(response.model, "claude-sonnet-5-5-20260901");
        assert_eq!(response.text(), "yes");
        assert_eq!(response.content.len(), 4);
        assert_eq!(*response.tool_uses().next().unwrap().input.value(), json!({"a": 1}));
        assert_eq!(response.usage.cache_creation_1h_input_tokens, 4);
        assert_eq!(response.usage.prompt_tokens(), 19);
        // Blocks are sent back as received.
        assert_eq!(
            sent_back(response.content)[2..],
            [
                json!({"type": "tool_use", "id": "toolu_1", "name": "t", "input": {"a": 1}, "caller": {"type": "direct"}}),
                json!({"type": "block_of_tomorrow", "x": [1]}),
            ]
        );
    }

    #[test]
    fn an_unknown_stop_reason_is_data() {
        let (_, response) = parse(json!({"content": [], "stop_reason": "bored"}));
        assert_eq!(response.unwrap().stop_reason, StopReason::Unknown("bored".to_owned()));
    }

    #[test]
    fn answers_that_no_loop_can_continue_from_are_malformed() {
        for (body, reason) in [
            (json!([]), "content"),
            (json!({"content": "text", "stop_reason": "end_turn"}), "content"),
            (json!({"content": []}), "stop reason"),
            (
                json!({"content": [{"type": "text", "text": "x"}], "stop_reason": "tool_use"}),
                "no tool call",
            ),
            (
                json!({"content": [{"type": "tool_use", "id": "x", "input": {}}], "stop_reason": "tool_use"}),
                "incomplete",
            ),
            (
                json!({"content": [{"type": "tool_use", "id": "x", "name": "t", "input": [1]}], "stop_reason": "tool_use"}),
                "incomplete",
            ),
            (json!({"content": [1], "stop_reason": "end_turn"}), "incomplete"),
        ] {
            let (_, response) = parse(body.clone());
            let error = response.expect_err("malformed");
            assert_eq!(error.kind(), "malformed_answer", "{body}");
            assert_eq!(error.request_id(), Some("req_1"));
            assert!(error.to_string().contains(reason), "{body}: {error}");
        }
        assert!(parse_response(b"<html>", None).1.is_err());
    }

    #[test]
    fn an_error_body_with_a_success_status_is_classified_by_type() {
        let (usage, response) =
            parse(json!({"type": "error", "error": {"type": "overloaded_error", "message": "busy"}}));
        assert!(!usage.is_known());
        assert_eq!(response.expect_err("an error").kind(), "overloaded");
    }

    #[test]
    fn missing_figures_are_not_zero() {
        for (usage, known) in [
            (json!(null), false),
            (json!({}), false),
            (json!({"output_tokens": 3}), false),
            (json!({"input_tokens": 3}), false),
            (json!({"input_tokens": -3, "output_tokens": "x"}), false),
            (json!({"input_tokens": 3, "output_tokens": 0}), true),
            (json!({"cache_read_input_tokens": 3, "output_tokens": 1}), true),
        ] {
            let mut known_usage = KnownUsage::default();
            known_usage.update_final(&messages_api::Usage::read(&usage));
            assert_eq!(known_usage.is_known(), known, "{usage}");
        }
    }

    #[test]
    fn the_largest_figure_of_each_kind_is_kept() {
        let mut known_usage = KnownUsage::default();
        known_usage.update(&messages_api::Usage::read(
            &json!({"input_tokens": 10, "output_tokens": 1, "cache_creation_input_tokens": 5}),
        ));
        known_usage.update_final(&messages_api::Usage::read(&json!({"output_tokens": 40})));
        known_usage.update_final(&messages_api::Usage::read(
            &json!({"output_tokens": 90, "input_tokens": 12}),
        ));
        assert_eq!(
            known_usage.usage(),
            Usage {
                input_tokens: 12,
                output_tokens: 90,
                cache_creation_5m_input_tokens: 5,
                ..Usage::default()
            }
        );
    }

    /// The total arrives first, its split later.
    #[test]
    fn a_split_of_the_total_refines_it() {
        let mut known_usage = KnownUsage::default();
        known_usage.update(&messages_api::Usage::read(&json!({"cache_creation_input_tokens": 30})));
        assert_eq!(known_usage.usage().cache_creation_5m_input_tokens, 30);
        let split = json!({"ephemeral_5m_input_tokens": 10, "ephemeral_1h_input_tokens": 20});
        known_usage.update(&messages_api::Usage::read(
            &json!({"cache_creation_input_tokens": 30, "cache_creation": split}),
        ));
        assert_eq!(known_usage.usage().cache_creation_5m_input_tokens, 10);
        assert_eq!(known_usage.usage().cache_creation_1h_input_tokens, 20);
    }

    #[test]
    fn an_error_body_is_read_leniently() {
        let error = parse_error(
            &json!({"type": "error", "request_id": "req_body", "error": {"type": "rate_limit_error", "message": "slow",
                "details": {"error_code": "enforced_spend_limit_reached"}}}),
            Some(429),
            None,
        );
        assert_eq!(error.error_type, "rate_limit_error");
        assert_eq!(error.message, "slow");
        assert_eq!(error.error_code.as_deref(), Some("enforced_spend_limit_reached"));
        assert_eq!(error.request_id.as_deref(), Some("req_body"));
        let header_first = parse_error(
            &json!({"request_id": "req_body"}),
            Some(500),
            Some("req_header".to_owned()),
        );
        assert_eq!(header_first.request_id.as_deref(), Some("req_header"));
        assert_eq!(parse_error(&json!({"error": "no"}), Some(500), None).message, "no");
        assert_eq!(parse_error(&Value::Null, None, None).kind, ApiErrorKind::Unknown);
    }
}
