//! The pure decision after each model answer.

use crate::events::Ending;
use crate::model::{ModelResponse, StopReason};
use crate::session::{Before, is_empty_answer};
use crate::untrusted::{NAME_CHARS, display_untrusted};

/// Consecutive `pause_turn` and `compaction` answers that are continued, as the vendor recommends.
pub(super) const MAX_PAUSES: u32 = 5;

/// The step after an answer.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Step {
    Finish(Ending),
    RunTools,
    /// Send the answer back unchanged and let the model continue.
    Continue,
    /// Drop the empty answer and ask again.
    AskAgain,
    /// The answer is unusable. Holds an error kind and a message.
    Fail(&'static str, String),
}

/// Decides by the stop reason. Each one has its own case, and none falls through as success.
pub(super) fn next_step(response: &ModelResponse, before: Before) -> Step {
    let pauses = before.pauses;
    let has_calls = response.tool_uses().next().is_some();
    match &response.stop_reason {
        // Some gateways don't say that the model stopped to use a tool. A call without a result would be refused.
        StopReason::ToolUse
        | StopReason::EndTurn
        | StopReason::StopSequence
        | StopReason::PauseTurn
        | StopReason::Compaction
            if has_calls =>
        {
            Step::RunTools
        }
        StopReason::EndTurn | StopReason::StopSequence
            if before.has_text || !is_empty_answer(response.stop_reason.as_str(), &response.content) =>
        {
            Step::Finish(Ending::Completed)
        }
        StopReason::EndTurn | StopReason::StopSequence if !before.was_empty => Step::AskAgain,
        StopReason::EndTurn | StopReason::StopSequence => Step::Fail(
            "empty_answer",
            "the model's answer was empty, twice in a row".to_owned(),
        ),
        StopReason::ToolUse => Step::Fail(
            "malformed_answer",
            "the model stopped to use a tool but called none".to_owned(),
        ),
        // A tool call could be truncated, so none is run.
        StopReason::MaxTokens => Step::Finish(Ending::Truncated),
        StopReason::PauseTurn | StopReason::Compaction if pauses < MAX_PAUSES => Step::Continue,
        StopReason::PauseTurn | StopReason::Compaction => Step::Fail(
            "too_many_pauses",
            format!("the model paused {} times in a row", pauses + 1),
        ),
        StopReason::Refusal => Step::Finish(Ending::Refused),
        StopReason::ContextWindowExceeded => Step::Finish(Ending::ContextOverflow),
        StopReason::Unknown(reason) => {
            let reason = display_untrusted(reason, NAME_CHARS);
            Step::Fail(
                "unknown_stop_reason",
                format!("the model stopped for a reason unknown to this host: {reason}"),
            )
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::events::Usage;
    use crate::transcript::{Block, ToolUse};

    fn response(stop_reason: &str, content: Vec<Block>) -> ModelResponse {
        ModelResponse {
            model: "m".to_owned(),
            content,
            stop_reason: StopReason::from_wire(stop_reason),
            refusal: None,
            usage: Usage::default(),
            request_id: None,
        }
    }

    fn tool_use() -> ToolUse {
        ToolUse {
            id: "t".to_owned(),
            name: "n".to_owned(),
            input: json!({}).into(),
            extra: None,
        }
    }

    fn step(response: &ModelResponse) -> Step {
        next_step(response, Before::default())
    }

    #[test]
    fn every_stop_reason_maps_to_a_step() {
        let run = || Step::RunTools;
        for (reason, without_calls, with_calls) in [
            ("end_turn", Step::Finish(Ending::Completed), run()),
            ("stop_sequence", Step::Finish(Ending::Completed), run()),
            ("pause_turn", Step::Continue, run()),
            ("compaction", Step::Continue, run()),
            // The calls may be cut off, or not meant.
            (
                "max_tokens",
                Step::Finish(Ending::Truncated),
                Step::Finish(Ending::Truncated),
            ),
            ("refusal", Step::Finish(Ending::Refused), Step::Finish(Ending::Refused)),
            (
                "model_context_window_exceeded",
                Step::Finish(Ending::ContextOverflow),
                Step::Finish(Ending::ContextOverflow),
            ),
        ] {
            assert_eq!(
                step(&response(reason, vec![Block::text("…")])),
                without_calls,
                "{reason}"
            );
            assert_eq!(
                step(&response(reason, vec![Block::ToolUse(tool_use())])),
                with_calls,
                "{reason}"
            );
        }
        assert_eq!(step(&response("tool_use", vec![Block::ToolUse(tool_use())])), run());
    }

    #[test]
    fn an_empty_answer_is_asked_for_again_once() {
        let again = Before {
            was_empty: true,
            ..Before::default()
        };
        let continued = Before {
            pauses: 1,
            has_text: true,
            ..Before::default()
        };
        for content in [vec![], vec![Block::text("\u{200b} ")]] {
            for reason in ["end_turn", "stop_sequence"] {
                let empty = response(reason, content.clone());
                assert_eq!(step(&empty), Step::AskAgain);
                assert!(matches!(next_step(&empty, again), Step::Fail("empty_answer", _)));
                assert_eq!(next_step(&empty, continued), Step::Finish(Ending::Completed));
            }
        }
    }

    #[test]
    fn unusable_answers_fail() {
        for (reason, pauses, kind) in [
            ("tool_use", 0, "malformed_answer"),
            ("pause_turn", 5, "too_many_pauses"),
            ("compaction", 5, "too_many_pauses"),
            ("sideways", 0, "unknown_stop_reason"),
        ] {
            let before = Before {
                pauses,
                ..Before::default()
            };
            let step = next_step(&response(reason, vec![Block::text("…")]), before);
            assert!(
                matches!(step, Step::Fail(found, _) if found == kind),
                "{reason}: {step:?}"
            );
        }
    }
}
