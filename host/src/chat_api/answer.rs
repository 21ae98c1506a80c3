//! A whole answer, or one chunk of a streamed one. Both have the same shape.

use std::borrow::Cow;

use super::{REASONING_LISTS, REASONING_TEXTS, Usage};
use crate::json_text::{Field, Json, object};

/// What an answer or a chunk holds. Texts are as they are written [between their quotes](Json::string_body), so that a
/// character whose escapes are split over two chunks is whole again.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Answer<'a> {
    /// The model's id as the server reports it; empty if it doesn't.
    pub(crate) model: Cow<'a, str>,
    /// The only choice. Missing in chunks that hold nothing but usage.
    pub(crate) choice: Option<Choice<'a>>,
    /// From wherever it is: each server puts it elsewhere.
    pub(crate) usage: Option<Usage>,
}

#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Choice<'a> {
    pub(crate) text: Cow<'a, str>,
    /// Why the model declined.
    pub(crate) refusal: Cow<'a, str>,
    /// What the model thinks, by the name of its field.
    pub(crate) reasoning: Vec<(&'static str, Json<'a>)>,
    pub(crate) calls: Vec<Call<'a>>,
    pub(crate) finish_reason: Option<Cow<'a, str>>,
    /// What went wrong with this choice.
    pub(crate) error: Option<Json<'a>>,
}

/// A tool call, or an addition to one. No field is empty.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Call<'a> {
    pub(crate) index: Option<u64>,
    pub(crate) id: Option<Cow<'a, str>>,
    pub(crate) name: Option<Cow<'a, str>>,
    pub(crate) arguments: Option<Arguments<'a>>,
    /// All other fields, as an object.
    pub(crate) extra: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Arguments<'a> {
    /// A string, or a fragment of one.
    Text(&'a str),
    /// JSON that isn't in a string, as Ollama's own API has it.
    Json(Json<'a>),
}

impl<'a> Answer<'a> {
    pub(crate) fn read(answer: Json<'a>) -> Self {
        let choice = answer
            .field("choices")
            .and_then(Json::items)
            .and_then(|mut all| all.next());
        let usage = |holder: Json<'a>| Usage::read(holder.field("usage")?);
        Self {
            model: answer.field("model").and_then(Json::string).unwrap_or_default(),
            usage: usage(answer).or_else(|| usage(choice?)),
            choice: choice.map(Choice::read),
        }
    }
}

impl<'a> Choice<'a> {
    /// Whether it adds nothing that the model wrote.
    pub(crate) fn is_empty(&self) -> bool {
        self.text.is_empty() && self.refusal.is_empty() && self.reasoning.is_empty() && self.calls.is_empty()
    }

    fn read(choice: Json<'a>) -> Self {
        let present = |name: &str| choice.field(name).filter(|value| !value.is_null());
        let message = present("delta").or_else(|| present("message")).unwrap_or(Json::NULL);
        let reasoning = REASONING_TEXTS.into_iter().chain(REASONING_LISTS).filter_map(|name| {
            let value = message.field(name)?;
            let is_given = !value.is_null() && !matches!(value.text(), "\"\"" | "[]");
            is_given.then_some((name, value))
        });
        let calls = message.field("tool_calls").and_then(Json::items);
        let mut calls: Vec<Call<'_>> = calls.into_iter().flatten().map(Call::read).collect();
        // Servers from before there were lists of calls.
        if let Some(function) = message.field("function_call").filter(|call| call.is_object())
            && calls.is_empty()
        {
            calls.push(Call::of(Json::NULL, function));
        }
        Self {
            text: message.field("content").map(text).unwrap_or_default(),
            refusal: message.field("refusal").map(text).unwrap_or_default(),
            reasoning: reasoning.collect(),
            calls,
            finish_reason: filled(choice, "finish_reason"),
            error: present("error"),
        }
    }
}

impl<'a> Call<'a> {
    fn read(call: Json<'a>) -> Self {
        Self::of(call, call.field("function").unwrap_or(Json::NULL))
    }

    fn of(call: Json<'a>, function: Json<'a>) -> Self {
        let arguments = function.field("arguments").filter(|value| !value.is_null());
        Self {
            index: call.field("index").and_then(Json::integer),
            id: filled(call, "id"),
            name: filled(function, "name"),
            arguments: arguments.and_then(|arguments| match arguments.string_body() {
                Some("") => None,
                Some(text) => Some(Arguments::Text(text)),
                None => Some(Arguments::Json(arguments)),
            }),
            extra: other_fields(call),
        }
    }
}

/// A text that isn't empty. Some servers have numbers as ids.
fn filled<'a>(holder: Json<'a>, name: &str) -> Option<Cow<'a, str>> {
    let value = holder.field(name)?;
    let number = || value.integer().map(|_| Cow::Borrowed(value.text()));
    value.string().or_else(number).filter(|text| !text.is_empty())
}

/// A text, or the texts of a list of parts.
fn text(content: Json<'_>) -> Cow<'_, str> {
    if let Some(text) = content.string_body() {
        return Cow::Borrowed(text);
    }
    let texts = content.items().into_iter().flatten();
    let texts = texts.filter_map(|part| part.field("text").and_then(Json::string_body));
    Cow::Owned(texts.collect())
}

fn other_fields(call: Json<'_>) -> Option<String> {
    const KNOWN: [&str; 4] = ["index", "id", "type", "function"];
    let is_other = |field: &Field<'_>| !field.value.is_null() && !KNOWN.iter().any(|name| field.is(name));
    let mut others = call.fields().filter(is_other).peekable();
    others.peek()?;
    Some(object(others))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn read(answer: &str) -> Answer<'_> {
        Answer::read(Json::parse(answer).unwrap())
    }

    fn choice(message: &str) -> Choice<'_> {
        Choice::read(Json::parse(message).unwrap())
    }

    #[test]
    fn content_is_a_text_or_a_list_of_parts() {
        for (message, text, refusal) in [
            (r#"{"message":{"content":"a\u00fc"}}"#, r"a\u00fc", ""),
            (r#"{"delta":{"content":null,"refusal":"no"}}"#, "", "no"),
            (
                r#"{"message":{"content":[{"type":"thinking","thinking":[]},{"type":"text","text":"a"},{"type":"text","text":"b"}]}}"#,
                "ab",
                "",
            ),
            (r#"{"delta":null,"message":{"content":"whole"}}"#, "whole", ""),
            (r#"{"delta":{"content":7}}"#, "", ""),
            ("7", "", ""),
        ] {
            let choice = choice(message);
            assert_eq!((&*choice.text, &*choice.refusal), (text, refusal), "{message}");
        }
    }

    #[test]
    fn every_form_of_a_call_is_read() {
        for (call, index, id, name, arguments) in [
            (
                r#"{"index":1,"id":"call_1","type":"function","function":{"name":"t","arguments":"{\"a\":"}}"#,
                Some(1),
                Some("call_1"),
                Some("t"),
                Some(Arguments::Text(r#"{\"a\":"#)),
            ),
            (
                r#"{"index":null,"id":"","function":{"name":"","arguments":""}}"#,
                None,
                None,
                None,
                None,
            ),
            (
                r#"{"id":7,"function":{"name":"t","arguments":{"a":1.0}}}"#,
                None,
                Some("7"),
                Some("t"),
                Some(Arguments::Json(Json::parse(r#"{"a":1.0}"#).unwrap())),
            ),
            (r#"{"function":{"arguments":null}}"#, None, None, None, None),
            ("[]", None, None, None, None),
        ] {
            let found = Call::read(Json::parse(call).unwrap());
            assert_eq!(
                (found.index, found.id.as_deref(), found.name.as_deref()),
                (index, id, name),
                "{call}"
            );
            assert_eq!((found.arguments, found.extra), (arguments, None), "{call}");
        }
        let signed = r#"{"id":"a","extra_content":{"google":{"thought_signature":"s"}},"note":null,"function":{}}"#;
        assert_eq!(
            Call::read(Json::parse(signed).unwrap()).extra.unwrap(),
            r#"{"extra_content":{"google":{"thought_signature":"s"}}}"#
        );
    }

    #[test]
    fn the_call_of_servers_that_know_no_list_is_read() {
        for calls in ["null", "[]", r#"[{"function":{"name":"t","arguments":"{}"}}]"#] {
            let message =
                format!(r#"{{"delta":{{"tool_calls":{calls},"function_call":{{"name":"t","arguments":"{{}}"}}}}}}"#);
            let found = choice(&message).calls;
            assert_eq!(found.len(), 1, "{calls}");
            assert_eq!(found[0].name.as_deref(), Some("t"));
            assert_eq!(found[0].arguments, Some(Arguments::Text("{}")));
        }
        assert_eq!(choice(r#"{"delta":{"function_call":null}}"#).calls, []);
    }

    #[test]
    fn reasoning_is_read_under_every_name() {
        for name in ["reasoning_content", "reasoning", "thinking"] {
            let message = format!(r#"{{"delta":{{"content":"","{name}":"hm"}}}}"#);
            let found = choice(&message).reasoning;
            assert_eq!(
                found
                    .iter()
                    .map(|(name, value)| (*name, value.text()))
                    .collect::<Vec<_>>(),
                [(name, "\"hm\"")]
            );
        }
        for empty in ["null", "\"\"", "[]"] {
            let message = format!(r#"{{"delta":{{"reasoning":{empty},"reasoning_details":{empty}}}}}"#);
            assert_eq!(choice(&message).reasoning, []);
        }
    }

    #[test]
    fn a_blank_finish_reason_is_none() {
        for (choice_text, expected) in [
            (r#"{"finish_reason":"stop"}"#, Some("stop")),
            (r#"{"finish_reason":""}"#, None),
            (r#"{"finish_reason":null}"#, None),
            ("{}", None),
        ] {
            assert_eq!(choice(choice_text).finish_reason.as_deref(), expected, "{choice_text}");
        }
    }

    #[test]
    fn usage_is_found_wherever_it_is() {
        let figures = |answer| {
            read(answer)
                .usage
                .map(|usage| (usage.prompt_tokens, usage.cached_tokens))
        };
        assert_eq!(
            figures(r#"{"choices":[],"usage":{"prompt_tokens":9,"prompt_tokens_details":{"cached_tokens":4}}}"#),
            Some((Some(9), Some(4)))
        );
        assert_eq!(
            figures(r#"{"choices":[{"usage":{"prompt_tokens":9,"prompt_cache_hit_tokens":3}}]}"#),
            Some((Some(9), Some(3)))
        );
        assert_eq!(figures(r#"{"choices":[{}],"usage":null}"#), None);
        assert_eq!(read(r#"{"choices":null,"model":7}"#).model, "");
    }
}
