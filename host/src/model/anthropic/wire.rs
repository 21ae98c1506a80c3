//! The Messages API as bytes: what is sent, and what a whole answer holds. Reading is tolerant, for the wire may grow:
//! what we do not know is data.

use std::collections::HashSet;

use serde::Serialize;
use serde_json::Value;

use super::super::{
    ApiError, ApiErrorKind, Block, Message, ModelError, ModelRequest, ModelResponse, StopReason, ToolDefinition,
};
use crate::events::Usage;

/// The request's body. Field order is fixed and so equal requests are equal bytes, which prompt caching needs.
#[derive(Serialize)]
struct Body<'a> {
    model: &'a str,
    max_tokens: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    temperature: Option<f64>,
    stream: bool,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    tools: &'a [ToolDefinition],
    // An empty system prompt is left out: the API refuses empty text blocks.
    #[serde(skip_serializing_if = "str::is_empty")]
    system: &'a str,
    messages: &'a [Message],
}

pub(super) fn request_body(model: &str, request: &ModelRequest, stream: bool) -> serde_json::Result<Vec<u8>> {
    serde_json::to_vec(&Body {
        model,
        max_tokens: request.max_tokens,
        temperature: request.temperature,
        stream,
        tools: &request.tools,
        system: &request.system,
        messages: &request.messages,
    })
}

/// Usage as the wire has it: any figure may be missing.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct WireUsage {
    usage: Usage,
    has_output: bool,
}

impl WireUsage {
    pub(super) fn usage(&self) -> Usage {
        self.usage
    }

    /// True once the figures are there that every answer has.
    pub(super) fn is_known(&self) -> bool {
        self.has_output && self.usage.prompt_tokens() > 0
    }

    /// Takes over what `value` reports. Figures are cumulative, so the larger of two is the true one: gateways send zero or
    /// `null` in a later event for a figure that an earlier one reported.
    pub(super) fn update(&mut self, value: &Value) {
        let figure = |value: &Value, name: &str| value.get(name).and_then(Value::as_u64).unwrap_or(0);
        let usage = &mut self.usage;
        usage.input_tokens = usage.input_tokens.max(figure(value, "input_tokens"));
        usage.output_tokens = usage.output_tokens.max(figure(value, "output_tokens"));
        usage.cache_read_input_tokens = usage
            .cache_read_input_tokens
            .max(figure(value, "cache_read_input_tokens"));
        // Without a split, tokens that are not known to live for an hour have the default lifetime, five minutes.
        let total = figure(value, "cache_creation_input_tokens");
        if total > usage.cache_creation_input_tokens() {
            usage.cache_creation_5m_input_tokens = total - usage.cache_creation_1h_input_tokens;
        }
        // A split of the same total says more than the total did; a smaller one says less.
        let split = value.get("cache_creation").unwrap_or(&Value::Null);
        let short = figure(split, "ephemeral_5m_input_tokens");
        let long = figure(split, "ephemeral_1h_input_tokens");
        if short.saturating_add(long) >= usage.cache_creation_input_tokens() {
            usage.cache_creation_5m_input_tokens = short;
            usage.cache_creation_1h_input_tokens = long;
        }
    }

    /// The same for figures that are the last word on the answer's length.
    pub(super) fn update_final(&mut self, value: &Value) {
        self.has_output |= value.get("output_tokens").is_some_and(Value::is_u64);
        self.update(value);
    }
}

/// A whole answer that was not streamed.
pub(super) fn parse_response(
    body: &[u8],
    request_id: Option<String>,
) -> (WireUsage, Result<ModelResponse, ModelError>) {
    let mut usage = WireUsage::default();
    let malformed = |reason: String| ModelError::Malformed {
        reason,
        request_id: request_id.clone(),
    };
    let message: Value = match serde_json::from_slice(body) {
        Ok(message) => message,
        Err(error) => return (usage, Err(malformed(format!("the body is no JSON: {error}")))),
    };
    if let Some(figures) = message.get("usage") {
        usage.update_final(figures);
    }
    if message.get("type").is_some_and(|kind| kind == "error") {
        return (usage, Err(parse_error(&message, None, request_id).into()));
    }
    let Some(content) = message.get("content").and_then(Value::as_array) else {
        return (usage, Err(malformed("the body has no `content` list".to_owned())));
    };
    let finished = Finished {
        model: message
            .get("model")
            .and_then(Value::as_str)
            .unwrap_or_default()
            .to_owned(),
        stop_reason: message
            .get("stop_reason")
            .and_then(Value::as_str)
            .map(StopReason::from_wire),
        content: content.iter().map(to_block).collect(),
        usage: usage.usage(),
        request_id: request_id.clone(),
    };
    (usage, finished.check())
}

fn text_of(block: &Block) -> Option<&str> {
    match block {
        Block::Text { text } => Some(text),
        // A text with more to it, citations for example.
        Block::Other(value) if value.get("type").is_some_and(|kind| kind == "text") => {
            value.get("text").and_then(Value::as_str)
        }
        _ => None,
    }
}

/// A block as the conversation keeps it.
pub(super) fn to_block(value: &Value) -> Block {
    serde_json::from_value(value.clone()).unwrap_or_else(|_| Block::Other(value.clone()))
}

/// An answer whose end was seen, streamed or not.
pub(super) struct Finished {
    pub(super) model: String,
    pub(super) stop_reason: Option<StopReason>,
    pub(super) content: Vec<Block>,
    pub(super) usage: Usage,
    pub(super) request_id: Option<String>,
}

impl Finished {
    /// Refuses what no agent loop could go on from, for an assistant message that the API will not take back would
    /// spoil the whole conversation.
    pub(super) fn check(self) -> Result<ModelResponse, ModelError> {
        let Self {
            model,
            stop_reason,
            mut content,
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
        // The API itself refuses blank text blocks when they are sent back.
        content.retain(|block| !text_of(block).is_some_and(|text| text.trim().is_empty()));
        let broken_call = content.iter().any(|block| match block {
            Block::ToolUse(tool_use) => !tool_use.input.is_object(),
            Block::Other(value) => value.get("type").is_none_or(|kind| kind == "tool_use"),
            _ => false,
        });
        if broken_call {
            return Err(malformed("a tool call or another block is incomplete"));
        }
        // Neither does it take back calls that could not be told apart.
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

/// The error object of a body or of an `error` event: `{"error": {"type", "message", "details"}, "request_id"}`.
pub(super) fn parse_error(body: &Value, status: Option<u16>, request_id: Option<String>) -> ApiError {
    let error = body.get("error").unwrap_or(&Value::Null);
    let text = |value: &Value, name: &str| value.get(name).and_then(Value::as_str).map(str::to_owned);
    let error_type = text(error, "type").unwrap_or_default();
    ApiError {
        kind: status.map_or_else(|| ApiErrorKind::from_type(&error_type), ApiErrorKind::from_status),
        status,
        // Gateways send `{"error": "a sentence"}`.
        message: text(error, "message")
            .or_else(|| error.as_str().map(str::to_owned))
            .unwrap_or_default(),
        error_code: error.get("details").and_then(|details| text(details, "error_code")),
        request_id: request_id.or_else(|| text(body, "request_id")),
        error_type,
        retry_after: None,
        should_retry: None,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use serde_json::json;

    use super::*;

    fn parse(body: Value) -> (WireUsage, Result<ModelResponse, ModelError>) {
        parse_response(body.to_string().as_bytes(), Some("req_1".to_owned()))
    }

    #[test]
    fn what_the_api_would_not_take_back_is_no_answer() {
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
    fn a_request_holds_what_was_set_and_nothing_else() {
        let mut request = ModelRequest {
            system: String::new(),
            messages: vec![Message::user("hi")],
            tools: Vec::new(),
            max_tokens: 16,
            temperature: None,
        };
        let body = |request: &ModelRequest| String::from_utf8(request_body("m", request, true).unwrap()).unwrap();
        assert_eq!(
            body(&request),
            r#"{"model":"m","max_tokens":16,"stream":true,"messages":[{"role":"user","content":[{"type":"text","text":"hi"}]}]}"#
        );
        request.system = "be brief".to_owned();
        request.temperature = Some(0.5);
        request.tools = vec![ToolDefinition {
            name: "t".into(),
            description: "d".into(),
            input_schema: json!({"type": "object"}),
        }];
        let full: Value = serde_json::from_str(&body(&request)).unwrap();
        assert_eq!(full["system"], "be brief");
        assert_eq!(full["temperature"], 0.5);
        assert_eq!(full["tools"][0]["input_schema"]["type"], "object");
        assert_eq!(body(&request), body(&request.clone()));
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
        assert_eq!(response.tool_uses().next().unwrap().input, json!({"a": 1}));
        assert_eq!(response.usage.cache_creation_1h_input_tokens, 4);
        assert_eq!(response.usage.prompt_tokens(), 19);
        // What goes back is what came.
        assert_eq!(
            serde_json::to_value(&response.content[2]).unwrap(),
            json!({"type": "tool_use", "id": "toolu_1", "name": "t", "input": {"a": 1}, "caller": {"type": "direct"}})
        );
        assert_eq!(
            serde_json::to_value(&response.content[3]).unwrap(),
            json!({"type": "block_of_tomorrow", "x": [1]})
        );
    }

    #[test]
    fn an_unknown_stop_reason_is_data() {
        let (_, response) = parse(json!({"content": [], "stop_reason": "bored"}));
        assert_eq!(response.unwrap().stop_reason, StopReason::Unknown("bored".to_owned()));
    }

    #[test]
    fn answers_that_lead_nowhere_are_malformed() {
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
    fn an_error_that_came_with_a_good_status_is_one_of_its_type() {
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
            let mut wire = WireUsage::default();
            wire.update_final(&usage);
            assert_eq!(wire.is_known(), known, "{usage}");
        }
    }

    #[test]
    fn the_largest_figure_of_each_kind_is_kept() {
        let mut wire = WireUsage::default();
        wire.update(&json!({"input_tokens": 10, "output_tokens": 1, "cache_creation_input_tokens": 5}));
        wire.update_final(&json!({"output_tokens": 40}));
        wire.update_final(&json!({"output_tokens": 90, "input_tokens": 12}));
        assert_eq!(
            wire.usage(),
            Usage {
                input_tokens: 12,
                output_tokens: 90,
                cache_creation_5m_input_tokens: 5,
                ..Usage::default()
            }
        );
    }

    /// The total comes first, what it is made of later.
    #[test]
    fn a_split_of_the_total_refines_it() {
        let mut wire = WireUsage::default();
        wire.update(&json!({"cache_creation_input_tokens": 30}));
        assert_eq!(wire.usage().cache_creation_5m_input_tokens, 30);
        let split = json!({"ephemeral_5m_input_tokens": 10, "ephemeral_1h_input_tokens": 20});
        wire.update(&json!({"cache_creation_input_tokens": 30, "cache_creation": split}));
        assert_eq!(wire.usage().cache_creation_5m_input_tokens, 10);
        assert_eq!(wire.usage().cache_creation_1h_input_tokens, 20);
    }

    #[test]
    fn an_error_body_is_read_as_far_as_it_goes() {
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
