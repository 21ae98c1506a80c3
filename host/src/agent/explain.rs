//! What a run's report says about an ending that no error explains.

use super::settings::AgentSettings;
use crate::events::{Ending, ErrorInfo};
use crate::model::RefusalDetails;
use crate::untrusted::{NAME_CHARS, display_untrusted};

/// Characters shown of the vendor's explanation of a refusal.
const EXPLANATION_CHARS: usize = 500;

/// What happened and which setting to change. `None` for a completed run, and for a cancelled one, whose caller knows.
pub(super) fn explain(ending: Ending, settings: &AgentSettings, max_tokens: u32, session: &str) -> Option<ErrorInfo> {
    let (message, hint) = match ending {
        Ending::Completed | Ending::Cancelled => return None,
        Ending::MaxIterations => (
            format!(
                "the run made {} model calls, as many as it may",
                settings.max_iterations
            ),
            "raise `[agent] max_iterations`",
        ),
        Ending::MaxToolCalls => (
            format!(
                "the model asked for more than the {} tool calls of a run",
                settings.max_tool_calls
            ),
            "raise `[agent] max_tool_calls`",
        ),
        Ending::DeadlineExceeded => (
            format!("the run took longer than its deadline of {:?}", settings.deadline),
            "raise `[agent] deadline`",
        ),
        Ending::LoopDetected => return Some(repeated_call(None, session)),
        Ending::AwaitingApproval => (
            "a call waits for a person's approval".to_owned(),
            "`cofferdam approval list` shows what waits",
        ),
        Ending::Truncated => return Some(truncation(None, max_tokens)),
        Ending::ContextOverflow => (
            "the conversation and the answer fill the model's context window".to_owned(),
            "shorten the prompt, start a new conversation, or choose a model with a larger context",
        ),
        Ending::Refused => return Some(refusal(None)),
        Ending::BudgetExceeded => ("the budget is used up".to_owned(), "see `cofferdam budget show`"),
        Ending::ModelFailed => ("the model gave no usable answer".to_owned(), "try again"),
    };
    Some(info(ending.name(), message, hint))
}

/// Which call the model made again and again.
pub(super) fn repeated_call(tool: Option<&str>, session: &str) -> ErrorInfo {
    let of = tool.map_or_else(String::new, |tool| {
        format!(" of `{}`", display_untrusted(tool, NAME_CHARS))
    });
    info(
        Ending::LoopDetected.name(),
        format!("the model made the same call{of} five times in a row, with the same outcome"),
        &format!(
            "`cofferdam session show {session}` has the tool's results; the prompt or the tool's description may need to say more"
        ),
    )
}

/// At which limit the answer was cut off, given the tokens that the server reports for it. Servers have one reason for all limits: the
/// one of the request, their own, and the end of a context, which in a local server may be short.
pub(super) fn truncation(written: Option<u64>, max_tokens: u32) -> ErrorInfo {
    // They may count a little differently than the limit does.
    let is_early = |written: &u64| *written > 0 && written.saturating_mul(10) < u64::from(max_tokens) * 9;
    let kind = Ending::Truncated.name();
    match written.filter(is_early) {
        None => info(
            kind,
            format!("the answer was cut off at {max_tokens} tokens"),
            "raise `[model] max_tokens`",
        ),
        Some(written) => info(
            kind,
            format!(
                "the server cut the answer off after {written} tokens by its own count, of {max_tokens} that it was allowed"
            ),
            "raise `[model] max_tokens` if it doesn't count its reasoning; otherwise its context is full or it has a limit of its own: see \
             Ollama's `num_ctx` and `num_predict`, llama.cpp's `--ctx-size` and `--predict`, vLLM's `--max-model-len`",
        ),
    }
}

/// Why the model declined, in the vendor's words.
pub(super) fn refusal(details: Option<RefusalDetails>) -> ErrorInfo {
    let RefusalDetails { category, explanation } = details.unwrap_or_default();
    let mut message = "the model declined to answer".to_owned();
    if let Some(category) = category {
        message += &format!(" (category `{}`)", display_untrusted(&category, NAME_CHARS));
    }
    if let Some(explanation) = explanation {
        message += &format!(": {}", display_untrusted(&explanation, EXPLANATION_CHARS));
    }
    info(
        Ending::Refused.name(),
        message,
        "the prompt and the refused answer are no longer part of the conversation; ask for something else, or word it \
         differently",
    )
}

fn info(kind: &str, message: String, hint: &str) -> ErrorInfo {
    ErrorInfo {
        kind: kind.to_owned(),
        message,
        hint: Some(hint.to_owned()),
        request_id: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_ending_but_two_says_what_to_do() {
        for ending in Ending::ALL {
            let explained = explain(ending, &AgentSettings::default(), 4096, "s");
            let silent = matches!(ending, Ending::Completed | Ending::Cancelled);
            assert_eq!(explained.is_none(), silent, "{ending}");
            assert!(explained.is_none_or(|info| info.hint.is_some() && info.kind == ending.name()));
        }
    }

    #[test]
    fn an_answer_is_cut_off_at_the_limit_of_the_request_or_before() {
        for (written, hint) in [
            (None, "`[model] max_tokens`"),
            (Some(0), "`[model] max_tokens`"),
            (Some(899), "`num_ctx`"),
            (Some(900), "`[model] max_tokens`"),
            (Some(1_001), "`[model] max_tokens`"),
            (Some(u64::MAX), "`[model] max_tokens`"),
        ] {
            let info = truncation(written, 1_000);
            let (is_early, given) = (hint == "`num_ctx`", info.hint.unwrap_or_default());
            assert!(given.contains(hint), "{written:?}: {given}");
            assert_eq!(info.message.starts_with("the server"), is_early, "{written:?}");
        }
    }

    #[test]
    fn the_tool_of_a_repeated_call_is_escaped() {
        let info = repeated_call(Some("a\u{1b}"), "s-1");
        assert_eq!(
            info.message,
            "the model made the same call of `a\\u{1b}` five times in a row, with the same outcome"
        );
        assert!(info.hint.unwrap_or_default().contains("`cofferdam session show s-1`"));
    }

    #[test]
    fn the_words_of_a_refusal_are_escaped() {
        let details = RefusalDetails {
            category: Some("cyber".to_owned()),
            explanation: Some("no\u{1b}[2J\nway".to_owned()),
        };
        assert_eq!(
            refusal(Some(details)).message,
            "the model declined to answer (category `cyber`): no\\u{1b}[2J\\nway"
        );
        assert_eq!(refusal(None).message, "the model declined to answer");
    }
}
