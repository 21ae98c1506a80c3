//! What the facts of a session say to a person.

use std::fmt::Write as _;

use serde_json::Value;

use crate::cli::{attach, format};
use crate::events::LeftOutFile;

/// Characters of a result or a reason that are printed.
const RESULT_CHARS: usize = 400;

/// What a fact says to a person. `None`: only programs need it.
pub(super) fn in_words(fact: &Value) -> Option<String> {
    let text = |key: &str| fact[key].as_str().unwrap_or_default();
    Some(match text("kind") {
        "prompted" => format!("you: {}{}", format::escape(text("text")), attached(fact)),
        "drafted" if text("text").is_empty() => {
            format!("the files of the last prompt are others now{}", attached(fact))
        }
        "drafted" => format!("you, not sent yet: {}{}", format::escape(text("text")), attached(fact)),
        "answered" => answer(fact)?,
        "corrected" => format!("host: {}", format::escape(text("text"))),
        "call_ended" => {
            let content = fact["content"].as_array().into_iter().flatten();
            let content: Vec<&str> = content.filter_map(|piece| piece["text"].as_str()).collect();
            let content = format::one_line(&content.join(" "), RESULT_CHARS);
            let reason = fact["reason"].as_str();
            let reason = reason.map_or_else(String::new, |reason| {
                format!("\n  reason: {}", format::one_line(reason, RESULT_CHARS))
            });
            format!(
                "{} ({}): {content}{reason}",
                format::escape(text("tool")),
                format::escape(text("outcome"))
            )
        }
        "approval_requested" => format!("{} waits for a person", format::escape(text("tool"))),
        "approval_decided" => {
            let reason = fact["reason"].as_str();
            let reason = reason.map_or_else(String::new, |reason| {
                format!(": {}", format::one_line(reason, RESULT_CHARS))
            });
            let scope = if fact["for_session"] == true {
                ", for this session"
            } else {
                ""
            };
            match fact["approved"] == true {
                true => format!("a person approved the call{scope}"),
                false => format!("a person denied the call{reason}"),
            }
        }
        "approval_expired" => "nobody will be asked about the call any longer".to_owned(),
        "attempt_ended" if !text("partial_text").is_empty() => {
            format!("model, cut off: {}", format::escape(text("partial_text")))
        }
        "run_ended" => run_end(fact),
        "reopened" => {
            let changes = fact["changes"].as_array().into_iter().flatten();
            let changes: Vec<&str> = changes.filter_map(Value::as_str).collect();
            let changes = changes
                .into_iter()
                .map(|change| format!("; {}", format::escape(change)));
            format!("continued{}", changes.collect::<String>())
        }
        "trimmed" => format!("left out of the conversation from here on{}", left_out(fact)),
        "crowded_out" => format!(
            "left out of the conversation from here on, because {}{}",
            attach::crowded_out(),
            left_out(fact)
        ),
        "left_out" => format!("left out of one request, because of the budget{}", left_out(fact)),
        _ => return None,
    })
}

/// A line for each file of a prompt.
fn attached(fact: &Value) -> String {
    let attachments = fact["attachments"].as_array().into_iter().flatten();
    let lines = attachments.map(|attachment| {
        let text = |key: &str| attachment[key].as_str().unwrap_or_default();
        let bytes = attachment["bytes"].as_u64().unwrap_or_default();
        format!(
            "\n  attached: {}",
            attach::described(text("name"), text("media_type"), bytes)
        )
    });
    lines.collect()
}

/// What was left out, as far as the fact says it.
fn left_out(fact: &Value) -> String {
    let files = serde_json::from_value::<Vec<LeftOutFile>>(fact["files"].clone()).unwrap_or_default();
    let results = match (fact["what"].as_str(), fact["results"].as_u64()) {
        _ if fact["kind"] == "crowded_out" => {
            let images = fact["images"].as_u64().filter(|images| *images > 0);
            images.map(|images| format!("{} of results", format::counted(images, "image")))
        }
        (Some("vendor_blocks"), _) => Some("what only the model's vendor can read".to_owned()),
        (Some("images"), _) => Some("all images".to_owned()),
        (_, Some(0)) => None,
        (_, Some(results)) => Some(format::counted(results, "tool result")),
        // It isn't known whether there were any.
        (_, None) => files.is_empty().then(|| "results of tools, and attachments".to_owned()),
    };
    let what: Vec<String> = files.iter().map(attach::left_out).chain(results).collect();
    format!(": {}", what.join(", "))
}

/// How a run ended, and of an error what its report said. Journals of earlier versions have only its kind.
fn run_end(fact: &Value) -> String {
    let text = |key: &str| fact[key].as_str().filter(|text| !text.is_empty());
    let mut words = format!("the run ended: {}", format::escape(text("outcome").unwrap_or_default()));
    for (label, key) in [("error", "message"), ("request id", "request_id"), ("hint", "hint")] {
        if let Some(text) = text(key) {
            let _ = write!(words, "\n  {label}: {}", format::escape(&format::indented(text)));
        }
    }
    words
}

fn answer(fact: &Value) -> Option<String> {
    let mut words = String::new();
    for block in fact["content"].as_array().into_iter().flatten() {
        let gap = if words.is_empty() { "" } else { "\n" };
        match block["type"].as_str() {
            Some("text") => {
                let text = block["text"].as_str().unwrap_or_default();
                let _ = write!(words, "{gap}model: {}", format::escape(text));
            }
            Some("tool_use") => {
                let (name, input) = (block["name"].as_str(), block["input"].as_str());
                let name = format::escape(name.unwrap_or_default());
                let input = format::one_line(input.unwrap_or_default(), RESULT_CHARS);
                let _ = write!(words, "{gap}model calls {name} {input}");
            }
            _ => {}
        }
    }
    (!words.is_empty()).then_some(words)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use serde_json::json;

    use super::*;

    #[test]
    fn facts_are_put_into_words_without_control_characters() {
        let fact = json!({ "kind": "answered", "content": [
            { "type": "text", "text": "so\u{1b}[2J" },
            { "type": "tool_use", "name": "t", "input": "{}" },
            { "type": "opaque", "json": "{}" },
        ] });
        let words = in_words(&fact).unwrap();
        assert!(
            words.starts_with("model: so") && words.ends_with("model calls t {}"),
            "{words}"
        );
        assert!(!words.contains('\u{1b}'), "{words}");
        assert_eq!(in_words(&json!({ "kind": "attempt_started" })), None);
        assert_eq!(in_words(&json!({ "kind": "of tomorrow" })), None);
    }

    #[test]
    fn a_run_that_failed_keeps_its_reason() {
        let old = json!({ "kind": "run_ended", "outcome": "model_failed", "error": "stream_cut" });
        assert_eq!(in_words(&old).unwrap(), "the run ended: model_failed");
        let new = json!({
            "kind": "run_ended", "outcome": "model_failed", "error": "stream_cut",
            "message": "the answer\u{1b} was cut off", "hint": "try again", "request_id": "req_1",
        });
        assert_eq!(
            in_words(&new).unwrap(),
            "the run ended: model_failed\n  error: the answer\\u{1b} was cut off\n  request id: req_1\n  hint: try again"
        );
    }
}
