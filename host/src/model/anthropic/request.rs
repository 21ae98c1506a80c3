//! Serialises a request for the Messages API, with a history that it accepts.

use super::PROVIDER;
use super::history::AnthropicRules;
use super::tool_changes::{self, Change};
use super::tool_search;
use crate::messages_api::{
    ASSISTANT, CacheTtl, Effort, Request, RequestBlock, RequestMessage, ResultBlock, SYSTEM, Thinking, USER,
};
use crate::model::{ModelRequest, ModelSettings, ToolSearch};
use crate::transcript::{
    Attachment, AttachmentContent, Block, Content, Image, Message, Opaque, Role, ToolResult, ToolUse, is_blank,
    repair_with_positions,
};

/// The form of a list of tools in which most are deferred.
const DEFERRED: &str = "anthropic, deferred";

/// What a client's requests have in common.
#[derive(Clone, Copy, Debug)]
pub(super) struct RequestOptions {
    pub(super) stream: bool,
    pub(super) cache: Option<CacheTtl>,
    pub(super) effort: Option<Effort>,
    pub(super) thinking: Option<Thinking>,
    pub(super) tool_search: ToolSearch,
    pub(super) tool_changes: bool,
}

impl RequestOptions {
    pub(super) fn of(settings: &ModelSettings) -> Self {
        Self {
            stream: settings.stream,
            cache: settings.prompt_cache.then_some(settings.prompt_cache_ttl),
            effort: settings.effort,
            thinking: settings.thinking,
            tool_search: tool_search::setting(settings),
            tool_changes: tool_changes::setting(settings),
        }
    }
}

/// A request's body.
pub(super) struct Body {
    pub(super) json: Vec<u8>,
    /// Whether it announces changed tools, which takes a header.
    pub(super) has_changes: bool,
    /// Bytes of definitions that it has besides those of the tools of now.
    pub(super) outdated_bytes: u64,
}

/// # Prompt caching
///
/// With `cache`, the API caches the prompt up to four breakpoints: the ends of the tools, of the system prompt, and of two
/// messages ([`cached_parts`]). Without these markers a request begins with the same bytes as the one before it in the
/// conversation, so it reads from the cache what that one wrote. [`repair`](crate::transcript::repair),
/// [`ToolDefinitions`](crate::model::ToolDefinitions) and [`tool_changes`] see to that.
pub(super) fn body(model: &str, request: &ModelRequest<'_>, options: RequestOptions) -> serde_json::Result<Body> {
    let defers = tool_search::request_defers(options.tool_search, request);
    let earlier = options
        .tool_changes
        .then(|| tool_changes::earlier(request, defers))
        .flatten();
    let (first, later) = earlier.unwrap_or((request.tools, &[]));
    let form = if defers { DEFERRED } else { PROVIDER };
    let list = |first: &[_]| tool_search::list(request.tools.list(), first, defers);
    let tools = match earlier {
        None => request.tools.serialized_for(form, list)?,
        Some(_) => list(first.list())?.into(),
    };
    let names = defers.then(|| tool_search::listed_names(request.tools.list(), first.list(), defers));
    let rules = AnthropicRules {
        model,
        searched: names.as_deref(),
        others: later.len(),
    };
    let positions: Vec<usize> = later.iter().map(|since| since.messages).collect();
    let (messages, turns) = repair_with_positions(request.messages, &rules, &positions);
    let changes = tool_changes::changes(first, later, &turns, &messages, defers);
    let parts = parts(&messages, &changes);
    let cached = cached_parts(&parts);
    let body = Request {
        model,
        max_tokens: request.max_tokens,
        temperature: request.temperature,
        stream: options.stream,
        thinking: options.thinking,
        effort: options.effort,
        schema: request.schema,
        tools: &tools,
        system: if is_blank(request.system) { "" } else { request.system },
        messages: parts
            .iter()
            .enumerate()
            .map(|(index, part)| message(*part, cached.contains(&Some(index)))),
        cache: options.cache,
    };
    Ok(Body {
        json: body.into_json()?,
        has_changes: !changes.is_empty(),
        outdated_bytes: tool_changes::outdated_bytes(first, &changes, request.tools, defers),
    })
}

/// A message of a request.
#[derive(Clone, Copy)]
enum Part<'a> {
    /// One of the conversation's.
    Said(&'a Message),
    /// What changes in its tools.
    Changed(&'a [Change<'a>]),
}

/// The messages, and the changes before some of them or at their end.
fn parts<'a>(messages: &'a [Message], changes: &'a [(usize, Vec<Change<'a>>)]) -> Vec<Part<'a>> {
    let mut changes = changes.iter().peekable();
    let mut parts = Vec::with_capacity(messages.len() + changes.len());
    for (index, message) in messages.iter().enumerate() {
        let before = changes.next_if(|(at, _)| *at == index);
        parts.extend(before.map(|(_, changes)| Part::Changed(changes)));
        parts.push(Part::Said(message));
    }
    parts.extend(changes.map(|(_, changes)| Part::Changed(changes)));
    parts
}

type ResultBlocks<'a> = std::iter::Map<std::slice::Iter<'a, Content>, fn(&'a Content) -> ResultBlock<'a>>;

/// The parts that end a cached prefix: the last one, and the one that was last in the request before this.
///
/// The last one alone would do for short answers. But the API looks for a cached prefix only up to 20 blocks before a breakpoint,
/// and an answer with as many calls is longer. With a breakpoint where the previous request had its last one, there is nothing to
/// look for.
fn cached_parts(parts: &[Part<'_>]) -> [Option<usize>; 2] {
    let is_answer = |part: &Part<'_>| matches!(part, Part::Said(message) if message.role == Role::Assistant);
    let answer = parts.iter().rposition(is_answer);
    let before = answer.and_then(|answer| parts[..answer].iter().rposition(|part| !is_answer(part)));
    [before, parts.len().checked_sub(1)]
}

fn message<'a>(
    part: Part<'a>,
    is_cached: bool,
) -> RequestMessage<impl Iterator<Item = RequestBlock<'a, ResultBlocks<'a>>>> {
    // What the API wrote itself is sent back as it is.
    let can_be_marked = |(position, block)| (!matches!(block, RequestBlock::Verbatim(_))).then_some(position);
    RequestMessage {
        breakpoint: blocks(part)
            .enumerate()
            .filter_map(can_be_marked)
            .last()
            .filter(|_| is_cached),
        role: match part {
            Part::Said(message) => match message.role {
                Role::User => USER,
                Role::Assistant => ASSISTANT,
            },
            Part::Changed(_) => SYSTEM,
        },
        content: blocks(part),
    }
}

/// The part's blocks, without those that only another provider understands.
fn blocks<'a>(part: Part<'a>) -> impl Iterator<Item = RequestBlock<'a, ResultBlocks<'a>>> {
    let (said, changed): (&[Block], &[Change<'_>]) = match part {
        Part::Said(message) => (&message.content, &[]),
        Part::Changed(changes) => (&[], changes),
    };
    let changed = changed.iter().map(|change| match *change {
        Change::Removed(name) => RequestBlock::ToolRemoved(name),
        Change::Restored(name) => RequestBlock::ToolRestored(name),
        Change::Defined(tool) => RequestBlock::ToolDefined(tool_search::entry(tool, false)),
    });
    let said = said.iter().filter_map(|block| match block {
        Block::Text { text, extra } => Some(RequestBlock::Text {
            text,
            extra: own_json(extra.as_ref()),
        }),
        Block::ToolUse(ToolUse { id, name, input, extra }) => Some(RequestBlock::ToolUse {
            id,
            name,
            input: input.text(),
            extra: own_json(extra.as_ref()),
        }),
        Block::ToolResult(ToolResult {
            tool_use_id,
            content,
            is_error,
        }) => Some(RequestBlock::ToolResult {
            tool_use_id,
            content: content.iter().map(result_block as fn(&'a Content) -> ResultBlock<'a>),
            is_error: *is_error,
        }),
        Block::Attachment(Attachment { name, content, .. }) => Some(match content {
            AttachmentContent::Image(Image { media_type, base64 }) => RequestBlock::Image {
                media_type,
                data: base64,
            },
            AttachmentContent::Pdf { base64, .. } => RequestBlock::Pdf {
                title: name,
                data: base64,
            },
            AttachmentContent::Text(text) => RequestBlock::Text { text, extra: None },
        }),
        Block::Opaque(opaque) => opaque.json_for(PROVIDER).map(RequestBlock::Verbatim),
    });
    said.chain(changed)
}

fn own_json(extra: Option<&Opaque>) -> Option<&str> {
    extra?.json_for(PROVIDER)
}

fn result_block(content: &Content) -> ResultBlock<'_> {
    match content {
        Content::Text { text } => ResultBlock::Text { text },
        Content::Image(Image { media_type, base64 }) => ResultBlock::Image {
            media_type,
            data: base64,
        },
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use serde_json::{Value, json};

    use super::super::acceptance;
    use super::*;
    use crate::model::{ToolDefinition, ToolDefinitions};

    fn request<'a>(messages: &'a [Message], tools: &'a ToolDefinitions) -> ModelRequest<'a> {
        ModelRequest {
            system: "",
            messages,
            tools,
            max_tokens: 16,
            temperature: None,
            schema: None,
            tools_since: &[],
        }
    }

    fn options() -> RequestOptions {
        RequestOptions::of(&ModelSettings::default())
    }

    fn text(request: &ModelRequest<'_>) -> String {
        String::from_utf8(
            body(
                "m",
                request,
                RequestOptions {
                    cache: None,
                    ..options()
                },
            )
            .unwrap()
            .json,
        )
        .unwrap()
    }

    #[test]
    fn a_request_contains_only_what_was_set() {
        let messages = [Message::user("hi")];
        let none = ToolDefinitions::default();
        let plain = request(&messages, &none);
        assert_eq!(
            text(&plain),
            r#"{"model":"m","max_tokens":16,"stream":true,"messages":[{"role":"user","content":[{"type":"text","text":"hi"}]}]}"#
        );
        let tools = ToolDefinitions::from_iter([ToolDefinition {
            name: "t".into(),
            description: "d".into(),
            input_schema: r#"{"type":"object","b":1.0}"#.into(),
            always_load: false,
        }]);
        let full = ModelRequest {
            system: "be brief",
            temperature: Some(0.5),
            ..request(&messages, &tools)
        };
        let read: Value = serde_json::from_str(&text(&full)).unwrap();
        assert_eq!(read["system"], "be brief");
        assert_eq!(read["temperature"], 0.5);
        assert_eq!(
            read["tools"],
            json!([{"name": "t", "description": "d", "input_schema": {"type": "object", "b": 1.0}}])
        );
        assert!(text(&full).contains(r#""input_schema":{"type":"object","b":1.0}}"#));
        assert_eq!(text(&full), text(&full));
    }

    fn cached(request: &ModelRequest<'_>, ttl: CacheTtl) -> String {
        String::from_utf8(
            body(
                "m",
                request,
                RequestOptions {
                    cache: Some(ttl),
                    ..options()
                },
            )
            .unwrap()
            .json,
        )
        .unwrap()
    }

    const MARKER: &str = r#","cache_control":{"type":"ephemeral"}"#;

    #[test]
    fn tools_system_prompt_and_conversation_end_with_a_breakpoint() {
        let messages = [Message::user("hi")];
        let tools = ["a", "b"].map(|name| ToolDefinition {
            name: name.into(),
            description: "d".into(),
            input_schema: r#"{"type":"object"}"#.into(),
            always_load: false,
        });
        let (tools, none) = (ToolDefinitions::from_iter(tools), ToolDefinitions::default());
        let full = ModelRequest {
            system: "be brief",
            ..request(&messages, &tools)
        };
        let tool = |name: &str, marker: &str| {
            format!(r#"{{"name":"{name}","description":"d","input_schema":{{"type":"object"}}{marker}}}"#)
        };
        for (ttl, marker) in [
            (CacheTtl::FiveMinutes, MARKER),
            (CacheTtl::OneHour, r#","cache_control":{"type":"ephemeral","ttl":"1h"}"#),
        ] {
            let expected = format!(
                r#"{{"model":"m","max_tokens":16,"stream":true,"tools":[{},{}],"system":[{{"type":"text","text":"be brief"{marker}}}],"messages":[{{"role":"user","content":[{{"type":"text","text":"hi"{marker}}}]}}]}}"#,
                tool("a", ""),
                tool("b", marker),
            );
            assert_eq!(cached(&full, ttl), expected);
        }
        assert_eq!(
            cached(&request(&messages, &none), CacheTtl::FiveMinutes),
            format!(
                r#"{{"model":"m","max_tokens":16,"stream":true,"messages":[{{"role":"user","content":[{{"type":"text","text":"hi"{MARKER}}}]}}]}}"#
            ),
            "nothing is added for what isn't there"
        );
    }

    #[test]
    fn effort_and_thinking_are_sent_as_the_api_names_them() {
        let messages = [Message::user("hi")];
        let none = ToolDefinitions::default();
        for (thinking, expected) in [
            (Thinking::Adaptive, json!({ "type": "adaptive" })),
            (Thinking::BetweenTools, json!({ "type": "between_tools" })),
            (Thinking::Off, json!({ "type": "disabled" })),
            (
                Thinking::Budget { budget_tokens: 2_048 },
                json!({ "type": "enabled", "budget_tokens": 2_048 }),
            ),
        ] {
            assert_eq!(expected["type"], thinking.kind());
            for effort in Effort::ALL {
                let options = RequestOptions {
                    effort: Some(effort),
                    thinking: Some(thinking),
                    ..options()
                };
                let sent = body("m", &request(&messages, &none), options).unwrap().json;
                let sent: Value = serde_json::from_slice(&sent).unwrap();
                assert_eq!(sent["thinking"], expected);
                assert_eq!(sent["output_config"], json!({ "effort": effort.as_str() }));
            }
        }
    }

    /// A turn of the model with this many calls, and their results.
    fn turn(calls: usize, number: usize) -> [Message; 2] {
        let id = |call: usize| format!("call_{number}_{call}");
        let thinking = Opaque::new(PROVIDER, r#"{"type":"thinking","thinking":"hm","signature":"s"}"#);
        let uses = (0..calls).map(|call| {
            Block::ToolUse(ToolUse {
                id: id(call),
                name: "t".to_owned(),
                input: crate::transcript::ToolInput::read(r#"{"z": 1.0, "a": 1e3}"#),
                extra: None,
            })
        });
        let results = (0..calls).map(|call| {
            Block::ToolResult(ToolResult {
                tool_use_id: id(call),
                content: vec![Content::text("12 °C \"quoted\"")],
                is_error: call % 2 == 1,
            })
        });
        let message = |role, content| Message { role, content };
        [
            message(
                Role::Assistant,
                [Block::Opaque(thinking)].into_iter().chain(uses).collect(),
            ),
            message(Role::User, results.collect()),
        ]
    }

    /// What the API compares: a request with its markers removed begins with the bytes of the one before it, and has a breakpoint
    /// where that one had its last, however long the turn between them was. It is the same with tools that the model searches for.
    #[test]
    fn a_growing_conversation_keeps_its_prefix_byte_for_byte() {
        for tool_search in [ToolSearch::Never, ToolSearch::Always] {
            let tools = ["t", "u", "v"].map(|name| ToolDefinition {
                name: name.into(),
                description: "d".into(),
                input_schema: r#"{"type":"object","b":1.0}"#.into(),
                always_load: name == "t",
            });
            let tools = ToolDefinitions::from_iter(tools);
            let options = RequestOptions {
                cache: Some(CacheTtl::FiveMinutes),
                tool_search,
                ..options()
            };
            let mut messages = vec![Message::user("go")];
            let mut before: Option<String> = None;
            for (number, calls) in [1, 3, 40, 1, 200].into_iter().enumerate() {
                let request = ModelRequest {
                    system: "be brief",
                    ..request(&messages, &tools)
                };
                let sent = String::from_utf8(body("m", &request, options).unwrap().json).unwrap();
                assert!(sent.matches("cache_control").count() <= 4, "{sent}");
                let (violations, sent_json) = (acceptance::violations, serde_json::from_str(&sent).unwrap());
                assert_eq!(violations(&sent_json, "2026-10-21"), <Vec<String>>::new());
                let searches = number.min(1) * usize::from(tool_search == ToolSearch::Always);
                assert_eq!(sent.matches("srvtoolu_1").count(), 2 * searches, "{sent}");
                // Up to the end of the last block, where the last breakpoint is.
                let prefix = |sent: &str| sent.rsplit_once(MARKER).unwrap().0.replace(MARKER, "");
                if let Some(before) = before {
                    let prefix = prefix(&before);
                    assert!(sent.replace(MARKER, "").starts_with(&prefix), "{before}\n{sent}");
                    let mut ends = sent.match_indices(MARKER).map(|(at, _)| sent[..at].replace(MARKER, ""));
                    assert!(ends.any(|end| end == prefix), "{before}\n{sent}");
                }
                before = Some(sent);
                let [mut answer, results] = turn(calls, number);
                if number == 0 {
                    answer.content.splice(1..1, search("srvtoolu_1", &["u"]));
                }
                messages.extend([answer, results]);
            }
        }
    }

    /// A search of the model's, and what it found.
    fn search(id: &str, found: &[&str]) -> [Block; 2] {
        let found = found
            .iter()
            .map(|name| json!({ "type": "tool_reference", "tool_name": name }));
        [
            json!({ "type": "server_tool_use", "id": id, "name": "tool_search_tool_bm25", "input": { "query": "u" } }),
            json!({
                "type": "tool_search_tool_result",
                "tool_use_id": id,
                "content": {
                    "type": "tool_search_tool_search_result",
                    "tool_references": found.collect::<Vec<_>>(),
                },
            }),
        ]
        .map(|block| Block::Opaque(Opaque::new(PROVIDER, block.to_string())))
    }

    /// The host can have lost tools since, or be asking a server that can't search.
    #[test]
    fn what_was_found_is_sent_as_long_as_the_request_can_have_it() {
        let tool = |name: &str| ToolDefinition {
            name: name.into(),
            description: "d".into(),
            input_schema: r#"{"type":"object"}"#.into(),
            always_load: false,
        };
        let found = [
            Message::user("go"),
            Message {
                role: Role::Assistant,
                content: search("srvtoolu_1", &["a", "b"])
                    .into_iter()
                    .chain([Block::text("so")])
                    .collect(),
            },
            Message::user("go on"),
        ];
        for (tool_search, has, expected) in [
            (ToolSearch::Always, &["a", "b"][..], Some(&["a", "b"][..])),
            (ToolSearch::Always, &["b", "c"], Some(&["b"])),
            (ToolSearch::Always, &["c"], Some(&[])),
            (ToolSearch::Always, &[], None),
            // They have become few.
            (ToolSearch::Auto, &["a", "b"], Some(&["a", "b"])),
            (ToolSearch::Auto, &[], None),
            (ToolSearch::Never, &["a", "b"], None),
        ] {
            let tools = ToolDefinitions::from_iter(has.iter().map(|name| tool(name)));
            let options = RequestOptions {
                tool_search,
                ..options()
            };
            let sent = body("m", &request(&found, &tools), options).unwrap().json;
            let sent: Value = serde_json::from_slice(&sent).unwrap();
            assert_eq!(acceptance::violations(&sent, "2026-10-21"), <Vec<String>>::new());
            let answer = &sent["messages"][1]["content"];
            let sent = answer[1]["content"]["tool_references"].as_array();
            let sent = sent.map(|sent| {
                sent.iter()
                    .map(|found| found["tool_name"].as_str().unwrap())
                    .collect::<Vec<_>>()
            });
            assert_eq!(sent.as_deref(), expected, "{answer}");
            assert_eq!(answer.as_array().unwrap().len(), if expected.is_some() { 3 } else { 1 });
        }
        let tools = ToolDefinitions::from_iter([tool("a")]);
        let options = RequestOptions {
            tool_search: ToolSearch::Auto,
            ..options()
        };
        let sent = body("m", &request(&found[..1], &tools), options).unwrap().json;
        assert!(
            !String::from_utf8(sent).unwrap().contains("defer_loading"),
            "nothing was searched"
        );
    }

    #[test]
    fn a_breakpoint_is_on_a_block_of_our_own() {
        let search = [
            r#"{"type":"server_tool_use","id":"srvtoolu_1","name":"web_search","input":{}}"#,
            r#"{"type":"web_search_tool_result","tool_use_id":"srvtoolu_1","content":[]}"#,
        ];
        let paused = |text: Option<&str>| {
            let text = text.map(Block::text);
            let search = search.map(|json| Block::Opaque(Opaque::new(PROVIDER, json)));
            Message {
                role: Role::Assistant,
                content: text.into_iter().chain(search).collect(),
            }
        };
        let none = ToolDefinitions::default();
        for (text, ends) in [(Some("so"), vec!["go", "so"]), (None, vec!["go"])] {
            let messages = [Message::user("go"), paused(text)];
            let sent = cached(&request(&messages, &none), CacheTtl::FiveMinutes);
            let expected = ends.iter().map(|end| format!(r#""text":"{end}"{MARKER}"#));
            assert!(expected.clone().all(|end| sent.contains(&end)), "{sent}");
            assert_eq!(sent.matches("cache_control").count(), ends.len(), "{sent}");
        }
    }

    #[test]
    fn every_kind_of_block_is_serialised() {
        let opaque = |provider, json: &str| Opaque::new(provider, json);
        let assistant = vec![
            Block::Opaque(opaque(
                PROVIDER,
                r#"{"type": "thinking",  "signature": "s", "thinking": ""}"#,
            )),
            Block::Opaque(opaque("another", r#"{"reasoning": 1}"#)),
            Block::Text {
                text: "so".to_owned(),
                extra: Some(opaque(PROVIDER, r#"{"citations":null}"#)),
            },
            Block::Text {
                text: "it".to_owned(),
                extra: Some(opaque("another", r#"{"refusal":null}"#)),
            },
            Block::ToolUse(ToolUse {
                id: "a".to_owned(),
                name: "t".to_owned(),
                input: crate::transcript::ToolInput::read(r#"{"x": 1.0, "a": 1e3}"#),
                extra: Some(opaque(PROVIDER, r#"{"caller":{"type":"direct"}}"#)),
            }),
        ];
        let image = Image {
            media_type: "image/png".to_owned(),
            base64: "AAAA".to_owned(),
        };
        let result = || {
            Block::ToolResult(ToolResult {
                tool_use_id: "a".to_owned(),
                content: vec![Content::text("no"), Content::Image(image.clone())],
                is_error: false,
            })
        };
        let message = |role, content| Message { role, content };
        let messages = [
            Message::user("go"),
            message(Role::Assistant, assistant),
            message(Role::User, vec![result()]),
            message(Role::Assistant, vec![Block::Opaque(opaque("another", "{}"))]),
        ];
        let none = ToolDefinitions::default();
        let content = r#"[{"type":"text","text":"no"},{"type":"image","source":{"type":"base64","media_type":"image/png","data":"AAAA"}}]"#;
        let expected = [
            r#"{"role":"user","content":[{"type":"text","text":"go"}]}"#,
            r#"{"role":"assistant","content":[{"type": "thinking",  "signature": "s", "thinking": ""}"#,
            r#"{"type":"text","text":"so","citations":null}"#,
            r#"{"type":"text","text":"it"}"#,
            r#"{"type":"tool_use","id":"a","name":"t","input":{"x": 1.0, "a": 1e3},"caller":{"type":"direct"}}]}"#,
            &format!(
                r#"{{"role":"user","content":[{{"type":"tool_result","tool_use_id":"a","content":{content}}}]}}]}}"#
            ),
        ];
        let sent = text(&request(&messages, &none));
        let (_, sent) = sent.split_once(r#""messages":["#).unwrap();
        assert_eq!(sent, expected.join(","));
    }
}
