//! Placeholders in an answer's text, so that an answer can quote what the tools really returned.

use super::request::RequestView;

/// Longer expansions are truncated.
const MAX_EXPANDED_BYTES: usize = 1024 * 1024;

const RESULT_OF: &str = "result:";

/// A piece of a text with placeholders.
enum Piece<'a> {
    Literal(&'a str),
    /// The text between `{{` and `}}`, trimmed.
    Placeholder(&'a str),
}

/// Fails on the first unknown placeholder.
pub(super) fn check(text: &str) -> Result<(), String> {
    pieces(text).try_for_each(|piece| match piece {
        Piece::Placeholder("last_tool_results" | "last_user") => Ok(()),
        Piece::Placeholder(name) if name.strip_prefix(RESULT_OF).is_some_and(|tool| !tool.is_empty()) => Ok(()),
        Piece::Placeholder(name) => Err(format!(
            "has an unknown placeholder {{{{{name}}}}}; known are {{{{last_tool_results}}}}, {{{{last_user}}}} and \
             {{{{result:TOOL}}}}"
        )),
        Piece::Literal(_) => Ok(()),
    })
}

/// Fills in the placeholders. Inserted text isn't expanded again, so a tool result can't inject placeholders.
pub(super) fn expand(text: &str, request: &RequestView<'_>) -> String {
    let mut expanded = String::new();
    for piece in pieces(text) {
        match piece {
            Piece::Literal(literal) => expanded.push_str(literal),
            Piece::Placeholder("last_user") => expanded.push_str(&request.last_user_text()),
            Piece::Placeholder("last_tool_results") => {
                let results: Vec<_> = request.last_results().into_iter().map(|result| result.text).collect();
                expanded.push_str(&results.join("\n"));
            }
            Piece::Placeholder(name) => {
                let tool = name.strip_prefix(RESULT_OF).unwrap_or(name);
                match request.newest_result(tool) {
                    Some(result) => expanded.push_str(&result),
                    None => expanded.push_str(&format!("(no result of {tool})")),
                }
            }
        }
        if expanded.len() > MAX_EXPANDED_BYTES {
            expanded.truncate(expanded.floor_char_boundary(MAX_EXPANDED_BYTES));
            break;
        }
    }
    expanded
}

fn pieces(text: &str) -> impl Iterator<Item = Piece<'_>> {
    let mut rest = text;
    let mut placeholder = None;
    std::iter::from_fn(move || {
        if let Some(name) = placeholder.take() {
            return Some(Piece::Placeholder(name));
        }
        if rest.is_empty() {
            return None;
        }
        let found = rest
            .split_once("{{")
            .and_then(|(before, after)| after.split_once("}}").map(|(name, after)| (before, name.trim(), after)));
        match found {
            None => Some(Piece::Literal(std::mem::take(&mut rest))),
            Some((before, name, after)) => {
                rest = after;
                placeholder = Some(name);
                Some(Piece::Literal(before))
            }
        }
    })
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn request() -> Value {
        json!({ "messages": [
            { "role": "user", "content": "What is 25 * 17?" },
            { "role": "assistant", "content": [
                { "type": "tool_use", "id": "a", "name": "calculate", "input": {} },
                { "type": "tool_use", "id": "b", "name": "get_weather", "input": {} },
            ] },
            { "role": "user", "content": [
                { "type": "tool_result", "tool_use_id": "a", "content": "425" },
                { "type": "tool_result", "tool_use_id": "b", "content": [{ "type": "text", "text": "{{last_user}}" }] },
                { "type": "text", "text": "go on" },
            ] },
        ] })
    }

    #[test]
    fn placeholders_expand_from_the_request() {
        let body = request();
        let view = RequestView::new(&body);
        for (text, expected) in [
            ("no placeholder", "no placeholder"),
            ("It is {{result:calculate}}.", "It is 425."),
            ("{{ result:calculate }}{{last_user}}", "425go on"),
            ("{{last_tool_results}}", "425\n{{last_user}}"),
            ("{{result:nothing}}", "(no result of nothing)"),
            ("open {{ end", "open {{ end"),
        ] {
            assert_eq!(expand(text, &view), expected, "{text}");
            assert_eq!(check(text), Ok(()), "{text}");
        }
    }

    #[test]
    fn an_unknown_placeholder_is_named() {
        assert!(check("a {{result:}} b").is_err_and(|problem| problem.contains("{{result:}}")));
        assert!(check("{{resutl:x}}").is_err_and(|problem| problem.contains("{{resutl:x}}")));
    }

    #[test]
    fn a_long_expansion_is_truncated() {
        let body = json!({ "messages": [{ "role": "user", "content": "ä".repeat(400_000) }] });
        let expanded = expand("{{last_user}}{{last_user}}{{last_user}}", &RequestView::new(&body));
        assert_eq!(expanded.len(), MAX_EXPANDED_BYTES);
    }
}
