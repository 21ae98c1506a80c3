//! The pure decision after each model answer.

use crate::events::Ending;
use crate::model::{ModelResponse, StopReason};
use crate::tools::ToolCall;
use crate::transcript::ToolUse;
use crate::untrusted::{NAME_CHARS, display_untrusted};

/// Consecutive `pause_turn` answers that are continued, as the vendor recommends.
pub(super) const MAX_PAUSES: u32 = 5;

/// The step after an answer.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Step {
    Finish(Ending),
    RunTools(Vec<ToolCall>),
    /// Send the answer back unchanged and let the model continue.
    Continue,
    /// The answer is unusable. Holds an error kind and a message.
    Fail(&'static str, String),
}

/// Decides by the stop reason. Each one has its own case, and none falls through as success. `pauses` counts the consecutive
/// `pause_turn` answers before this one.
pub(super) fn next_step(response: &ModelResponse, pauses: u32) -> Step {
    match &response.stop_reason {
        StopReason::EndTurn | StopReason::StopSequence => Step::Finish(Ending::Completed),
        StopReason::ToolUse => {
            let calls: Vec<ToolCall> = response.tool_uses().map(call).collect();
            if calls.is_empty() {
                Step::Fail(
                    "malformed_answer",
                    "the model stopped to use a tool but called none".to_owned(),
                )
            } else {
                Step::RunTools(calls)
            }
        }
        // A tool call could be truncated, so none is run.
        StopReason::MaxTokens => Step::Finish(Ending::Truncated),
        StopReason::PauseTurn if pauses < MAX_PAUSES => Step::Continue,
        StopReason::PauseTurn => Step::Fail(
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

/// The conversation keeps the call as the model made it; both share its input.
fn call(tool_use: &ToolUse) -> ToolCall {
    let ToolUse { id, name, input, .. } = tool_use;
    ToolCall {
        id: id.clone(),
        name: name.clone(),
        input: input.clone(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::events::Usage;
    use crate::transcript::Block;

    fn response(stop_reason: &str, content: Vec<Block>) -> ModelResponse {
        ModelResponse {
            model: "m".to_owned(),
            content,
            stop_reason: StopReason::from_wire(stop_reason),
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

    #[test]
    fn every_stop_reason_maps_to_a_step() {
        for (reason, step) in [
            ("end_turn", Step::Finish(Ending::Completed)),
            ("stop_sequence", Step::Finish(Ending::Completed)),
            ("max_tokens", Step::Finish(Ending::Truncated)),
            ("refusal", Step::Finish(Ending::Refused)),
            ("model_context_window_exceeded", Step::Finish(Ending::ContextOverflow)),
            ("pause_turn", Step::Continue),
            ("tool_use", Step::RunTools(vec![call(&tool_use())])),
        ] {
            assert_eq!(
                next_step(&response(reason, vec![Block::ToolUse(tool_use())]), 0),
                step,
                "{reason}"
            );
        }
    }

    #[test]
    fn unusable_answers_fail() {
        for (reason, pauses, kind) in [
            ("tool_use", 0, "malformed_answer"),
            ("pause_turn", 5, "too_many_pauses"),
            ("sideways", 0, "unknown_stop_reason"),
        ] {
            let step = next_step(&response(reason, vec![Block::text("…")]), pauses);
            assert!(
                matches!(step, Step::Fail(found, _) if found == kind),
                "{reason}: {step:?}"
            );
        }
    }
}
