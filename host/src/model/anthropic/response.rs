//! Reads answers of the Messages API, streamed or not. Unknown kinds and fields are kept as data, because the API may grow.

use super::PROVIDER;
use crate::events::Usage;
use crate::json_text::Json;
use crate::messages_api::{self, Block as WireBlock, ErrorBody, StopDetails};
use crate::model::answer::CompleteAnswer;
use crate::model::estimate::are_counts;
use crate::model::{ApiError, BilledPart, ModelError, ModelResponse, Progress, RefusalDetails, StopReason};
use crate::transcript::{Block, Opaque, ToolInput, ToolUse};

/// The usage of an answer as known so far. Any figure may be missing.
#[derive(Clone, Debug, Default)]
pub(super) struct KnownUsage {
    /// The totals.
    usage: Usage,
    /// The newest list of them.
    parts: Vec<BilledPart>,
    has_output: bool,
    /// Whether there was a report that can't be true.
    is_doubtful: bool,
}

impl KnownUsage {
    /// The totals, with what they leave out.
    pub(super) fn usage(&self) -> Usage {
        let extra = self.parts.iter().filter(|part| part.is_extra);
        extra.fold(self.usage, |sum, part| sum.add(part.usage))
    }

    pub(super) fn parts(&self) -> &[BilledPart] {
        &self.parts
    }

    /// Whether the figures that every answer has are known.
    pub(super) fn is_known(&self) -> bool {
        self.has_output && self.usage.prompt_tokens() > 0 && !self.is_doubtful
    }

    /// Reports the figures of a complete answer.
    pub(super) fn report(&self, progress: &Progress<'_>) {
        if self.is_known() {
            progress.final_usage(self.usage);
            progress.billed_in_parts(self.parts());
        } else {
            progress.usage_so_far(self.usage);
        }
    }

    /// Merges reported figures. They are cumulative, so the larger of two is right: some gateways later send zero or `null`
    /// for a figure that an earlier event reported.
    pub(super) fn update(&mut self, reported: &messages_api::Usage) {
        if !are_counts(reported.largest_figure()) {
            self.is_doubtful = true;
            return;
        }
        if !reported.iterations.is_empty() {
            let parts = reported.iterations.iter().map(|iteration| {
                let mut of_part = Self::default();
                of_part.update(&iteration.usage);
                BilledPart {
                    model: iteration.model.clone(),
                    is_extra: iteration.is_extra,
                    usage: of_part.usage,
                }
            });
            self.parts = parts.collect();
        }
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
    let not_json = |reason: String| malformed(format!("the body isn't JSON: {reason}"));
    let message = match std::str::from_utf8(body).map(Json::parse) {
        Ok(Ok(message)) => message,
        Ok(Err(error)) => return (usage, Err(not_json(error.to_string()))),
        Err(error) => return (usage, Err(not_json(error.to_string()))),
    };
    let head = messages_api::Message::read_head(message);
    if let Some(figures) = &head.usage {
        usage.update_final(figures);
    }
    if ErrorBody::is_error(message) {
        return (
            usage,
            Err(ApiError::read(ErrorBody::read(&message.to_value()), None, request_id).into()),
        );
    }
    let Some(content) = message.field("content").and_then(Json::items) else {
        return (usage, Err(malformed("the body has no `content` list".to_owned())));
    };
    let answer = CompleteAnswer {
        model: head.model,
        stop_reason: head.stop_reason.as_deref().map(StopReason::from_wire),
        refusal: head.stop_details.map(RefusalDetails::from),
        content: content.map(to_block).collect(),
        usage: usage.usage(),
        request_id: request_id.clone(),
    };
    (usage, answer.check())
}

/// A block as the conversation keeps it. `None` if it is a call without id or name, or not a block.
pub(super) fn to_block(block: Json<'_>) -> Option<Block> {
    let opaque = |json: String| Opaque::new(PROVIDER, json);
    Some(match WireBlock::read(block)? {
        WireBlock::Text { text, extra } => Block::Text {
            text: text.into_owned(),
            extra: extra.map(opaque),
        },
        WireBlock::ToolUse { id, name, input, extra } => Block::ToolUse(ToolUse {
            id: id.into_owned(),
            name: name.into_owned(),
            input: ToolInput::read(input.map_or("", Json::text)),
            extra: extra.map(opaque),
        }),
        WireBlock::Other(block) => Block::Opaque(opaque(block.text().to_owned())),
    })
}

impl From<StopDetails> for RefusalDetails {
    fn from(details: StopDetails) -> Self {
        let StopDetails { category, explanation } = details;
        Self { category, explanation }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use serde_json::{Value, json};

    use super::super::fuzz::{sent_back, sent_body};
    use super::*;

    fn parse(body: Value) -> (KnownUsage, Result<ModelResponse, ModelError>) {
        parse_response(body.to_string().as_bytes(), Some("req_1".to_owned()))
    }

    #[test]
    fn ids_and_names_that_the_api_would_refuse_back_are_kept() {
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
        for odd in [
            json!([call("a", "t"), call("a", "t")]),
            json!([call("", "t")]),
            json!([call("a", "")]),
        ] {
            let calls = odd.as_array().map(Vec::len);
            assert_eq!(Some(answer(odd.clone()).unwrap().tool_uses().count()), calls, "{odd}");
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
        // Blocks are sent back as received, without those of a type that the API may refuse.
        assert_eq!(
            sent_back(response.content)[2..],
            [
                json!({"type": "tool_use", "id": "toolu_1", "name": "t", "input": {"a": 1}, "caller": {"type": "direct"}})
            ]
        );
    }

    #[test]
    fn a_refusal_has_its_details() {
        let details = json!({"type": "refusal", "category": "cyber", "explanation": null});
        let (_, response) = parse(json!({"content": [], "stop_reason": "refusal", "stop_details": details}));
        let category = Some("cyber".to_owned());
        let expected = RefusalDetails {
            category,
            explanation: None,
        };
        assert_eq!(response.unwrap().refusal, Some(expected));
        for other in [json!(null), json!("cyber")] {
            let (_, response) = parse(json!({"content": [], "stop_reason": "refusal", "stop_details": other}));
            assert_eq!(response.unwrap().refusal, None);
        }
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
    fn a_call_with_an_unusable_input_is_kept_with_its_problem() {
        let call = |input: &str, stop_reason: &str| {
            let body = format!(
                r#"{{"content": [{{"type": "tool_use", "id": "x", "name": "t", "input": {input}}}], "stop_reason": "{stop_reason}"}}"#
            );
            parse_response(body.as_bytes(), None).1
        };
        for (input, problem) in [
            ("[1]", "it is an array"),
            (r#""{\"a\": \\d}""#, "column"),
            ("7", "it is a number"),
            (r#"{"a": 1, "a": 2}"#, "a second field"),
        ] {
            let answer = call(input, "tool_use").unwrap();
            let found = answer.tool_uses().next().unwrap().input.problem().unwrap();
            assert!(found.contains(problem), "{input}: {found}");
            assert_eq!(sent_back(answer.content)[0]["input"], json!({}));
            // The end of a call that was cut off is unknown, so it isn't even answered.
            assert_eq!(call(input, "max_tokens").unwrap().tool_uses().count(), 0);
        }
        for (input, text) in [
            (r#"{"b": 1.0, "a": 1e3}"#, r#"{"b": 1.0, "a": 1e3}"#),
            (r#""{\"b\": 1.0}""#, r#"{"b": 1.0}"#),
            ("null", "{}"),
        ] {
            let answer = call(input, "tool_use").unwrap();
            let input = &answer.tool_uses().next().unwrap().input;
            assert_eq!((input.text(), input.problem()), (text, None));
        }
    }

    #[test]
    fn an_answer_goes_back_byte_for_byte() {
        let thinking = r#"{"type":"thinking","thinking":"","signature":"b\/"}"#;
        let server = r#"{"type":"server_tool_use","name":"web_search","id":"srvtoolu_1","input":{"q":1e3,"a":1}}"#;
        let result = r#"{"type":"web_search_tool_result","tool_use_id":"srvtoolu_1","content":[{"url":"u","encrypted_content":"\u0041"}]}"#;
        let call = r#"{"type":"tool_use","id":"a","name":"t","input":{"z": 1.0,  "a": {"c":1,"b":-0}},"toolset_name":"browser","caller":{"type":"direct"}}"#;
        let blocks = [thinking, server, result, call].join(",");
        let body = format!(r#"{{"content":[{blocks}],"stop_reason":"tool_use"}}"#);
        let answer = parse_response(body.as_bytes(), None).1.unwrap();
        let sent = sent_body(answer.content);
        assert!(sent.contains(&format!("[{blocks}]")), "{sent}");
    }

    #[test]
    fn an_error_body_with_a_success_status_is_classified_by_type() {
        let (usage, response) =
            parse(json!({"type": "error", "error": {"type": "overloaded_error", "message": "busy"}}));
        assert!(!usage.is_known());
        assert_eq!(response.expect_err("an error").kind(), "overloaded");
        let (_, response) = parse(json!({"error": {"type": "overloaded_error", "message": "busy"}}));
        assert_eq!(response.expect_err("an error").kind(), "overloaded");
        let (_, response) = parse(json!({"error": null, "content": [], "stop_reason": "end_turn"}));
        assert!(response.is_ok());
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
            // No counts.
            (json!({"input_tokens": 20_000_001, "output_tokens": 1}), false),
            (json!({"input_tokens": 3, "output_tokens": u64::MAX}), false),
            (
                json!({"input_tokens": u64::MAX, "cache_read_input_tokens": 5, "output_tokens": 1}),
                false,
            ),
            (
                json!({"input_tokens": 3, "output_tokens": 1, "cache_creation": {"ephemeral_1h_input_tokens": 20_000_001}}),
                false,
            ),
            (
                json!({"input_tokens": 3, "output_tokens": 1, "iterations": [{"type": "compaction", "input_tokens": 20_000_001}]}),
                false,
            ),
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

    #[test]
    fn what_the_totals_leave_out_is_added_and_every_part_is_kept() {
        let mut known_usage = KnownUsage::default();
        known_usage.update(&messages_api::Usage::read(
            &json!({"input_tokens": 100, "output_tokens": 1}),
        ));
        known_usage.update_final(&messages_api::Usage::read(&json!({"output_tokens": 40, "iterations": [
            {"type": "compaction", "input_tokens": 1000, "output_tokens": 70},
            {"type": "message", "model": "n", "input_tokens": 60, "output_tokens": 15, "cache_creation_input_tokens": 5,
                "cache_creation": {"ephemeral_5m_input_tokens": 2, "ephemeral_1h_input_tokens": 3}},
            {"type": "of tomorrow", "input_tokens": "x"},
        ]})));
        let usage = |input_tokens, output_tokens| Usage {
            input_tokens,
            output_tokens,
            ..Usage::default()
        };
        assert_eq!(known_usage.usage(), usage(1_100, 110));
        let part = |model: Option<&str>, is_extra, usage| BilledPart {
            model: model.map(str::to_owned),
            is_extra,
            usage,
        };
        let cached = Usage {
            cache_creation_5m_input_tokens: 2,
            cache_creation_1h_input_tokens: 3,
            ..usage(60, 15)
        };
        assert_eq!(
            known_usage.parts(),
            [
                part(None, true, usage(1_000, 70)),
                part(Some("n"), false, cached),
                part(None, false, usage(0, 0)),
            ]
        );
        // A later event without the list doesn't forget it.
        known_usage.update_final(&messages_api::Usage::read(&json!({"output_tokens": 41})));
        assert_eq!((known_usage.usage(), known_usage.parts().len()), (usage(1_100, 111), 3));
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
}
