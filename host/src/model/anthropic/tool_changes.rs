//! Tools that come, go or change in the middle of a conversation.
//!
//! The list of tools is the beginning of the prompt, so a request with another list reads nothing from the cache. Where the model can do
//! with it, the list stays the one that the conversation began with, and what changed is said in a message of the role `system`, where it
//! changed. Source: the vendor's page on mid-conversation tool changes.

use std::collections::HashMap;

use super::is_vendors_server;
use crate::model::{
    ModelError, ModelRequest, ModelSettings, ProviderKind, ToolChanges, ToolDefinition, ToolDefinitions, ToolsSince,
};
use crate::transcript::{Message, Role};

/// The models that the vendor's page names, in November 2026. `GET /v1/models/ID` doesn't say it of any.
const MODELS: [&str; 9] = [
    "claude-fable-5-1",
    "claude-mythos-5-1",
    "claude-fable-5",
    "claude-mythos-5",
    "claude-opus-5-5",
    "claude-opus-5",
    "claude-opus-4-8",
    "claude-sonnet-5-5",
    "claude-haiku-5-5",
];

/// What only changes have in a request. A server may list every type of block that it does take, thinking included.
const NAMES: [&str; 4] = ["tool_addition", "tool_removal", "tool_definition", "inline-tools"];

/// What an error about thinking names. That is bound to the prompt before it, so no other form of the same prompt would do.
const THINKING: [&str; 2] = ["thinking", "signature"];

/// Whether requests say what changed, by the settings.
pub(super) fn setting(settings: &ModelSettings) -> bool {
    match settings.tool_changes {
        _ if settings.provider == ProviderKind::OpenAi => false,
        ToolChanges::Never => false,
        ToolChanges::Always => true,
        ToolChanges::Auto => is_vendors_server(settings) && is_known(&settings.model),
    }
}

fn is_known(model: &str) -> bool {
    let is_date = |text: &str| text.len() == 8 && text.bytes().all(|byte| byte.is_ascii_digit());
    let undated = model.rsplit_once('-').filter(|(_, date)| is_date(date));
    MODELS.contains(&undated.map_or(model, |(undated, _)| undated))
}

/// Whether the error may be about what a request says of changes. Servers that don't know them refuse them in any words, or in none.
pub(super) fn may_be_refusal(error: &ModelError) -> bool {
    let ModelError::Api(error) = error else { return false };
    let names = |words: &[&str]| words.iter().any(|words| error.message.contains(words));
    matches!(error.status, Some(400 | 422)) && (names(&NAMES) || !names(&THINKING))
}

/// The tools among these that every request loads. The others are deferred: they are no part of the prompt.
pub(super) fn loaded(tools: &[ToolDefinition], defers: bool) -> impl Iterator<Item = &ToolDefinition> {
    tools.iter().filter(move |tool| !defers || tool.always_load)
}

/// The tools that the conversation began with, and those that it has had since. `None` if the request can only list those of now.
pub(super) fn earlier<'a>(request: &ModelRequest<'a>, defers: bool) -> Option<(&'a ToolDefinitions, &'a [ToolsSince])> {
    let (first, later) = request.tools_since.split_first()?;
    let now = request.tools.list();
    let is_whole = loaded(later.last()?.tools.list(), defers).eq(loaded(now, defers));
    // A tool that is deferred now is in the list as well, which can't have a name twice.
    let was_loaded = |name: &str| {
        let mut all = request
            .tools_since
            .iter()
            .flat_map(|since| loaded(since.tools.list(), defers));
        all.any(|tool| tool.name == name)
    };
    let has_clash = defers && now.iter().any(|tool| !tool.always_load && was_loaded(&tool.name));
    (is_whole && !has_clash).then_some((&first.tools, later))
}

/// A change of the tools.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Change<'a> {
    Removed(&'a str),
    /// The model knew it before, with the same definition.
    Restored(&'a str),
    /// It is new, or its definition is.
    Defined(&'a ToolDefinition),
}

/// What changes in the messages of a request, and before which of them. `turns` are the positions in `messages` from which the model has
/// the `later` tools.
pub(super) fn changes<'a>(
    first: &'a ToolDefinitions,
    later: &'a [ToolsSince],
    turns: &[usize],
    messages: &[Message],
    defers: bool,
) -> Vec<(usize, Vec<Change<'a>>)> {
    let mut placed: Vec<(usize, &ToolDefinitions)> = Vec::new();
    for (since, turn) in later.iter().zip(turns) {
        match (place(messages, *turn), placed.last_mut()) {
            // It is said after the user's next message.
            (None, _) => break,
            (Some(at), Some((before, tools))) if *before == at => *tools = &since.tools,
            (Some(at), _) => placed.push((at, &since.tools)),
        }
    }
    let mut had: Vec<&ToolDefinition> = loaded(first.list(), defers).collect();
    let mut known: HashMap<&str, &ToolDefinition> = had.iter().map(|tool| (&*tool.name, *tool)).collect();
    let changes = placed.into_iter().map(|(at, tools)| {
        let has: Vec<&ToolDefinition> = loaded(tools.list(), defers).collect();
        let is_gone = |tool: &&&ToolDefinition| !has.iter().any(|other| other.name == tool.name);
        let is_new = |tool: &&&ToolDefinition| !had.iter().any(|other| reads_alike(other, tool));
        let mut changes: Vec<Change<'a>> = had
            .iter()
            .filter(is_gone)
            .map(|tool| Change::Removed(&tool.name))
            .collect();
        changes.extend(
            has.iter()
                .filter(is_new)
                .map(|tool| match known.insert(&tool.name, tool) {
                    Some(before) if reads_alike(before, tool) => Change::Restored(&tool.name),
                    _ => Change::Defined(tool),
                }),
        );
        had = has;
        (at, changes)
    });
    changes.filter(|(_, changes)| !changes.is_empty()).collect()
}

/// Bytes of definitions that a request with these changes has besides those of the tools of now.
pub(super) fn outdated_bytes(
    first: &ToolDefinitions,
    changes: &[(usize, Vec<Change<'_>>)],
    now: &ToolDefinitions,
    defers: bool,
) -> u64 {
    let bytes = |tools: &ToolDefinitions| loaded(tools.list(), defers).map(ToolDefinition::bytes).sum::<u64>();
    let changes = changes.iter().flat_map(|(_, changes)| changes);
    let defined = changes.map(|change| match change {
        Change::Defined(tool) => tool.bytes(),
        Change::Removed(_) | Change::Restored(_) => 0,
    });
    (bytes(first) + defined.sum::<u64>()).saturating_sub(bytes(now))
}

/// Whether the model reads the same of both.
fn reads_alike(one: &ToolDefinition, other: &ToolDefinition) -> bool {
    one.name == other.name && one.description == other.description && one.input_schema == other.input_schema
}

/// Where the first change from `turn` on can stand: right behind a message of the user's, and in front of an answer or at the end.
fn place(messages: &[Message], turn: usize) -> Option<usize> {
    let is_behind_user = |at: usize| {
        let before = at.checked_sub(1).and_then(|before| messages.get(before));
        before.is_some_and(|message| message.role == Role::User)
    };
    let is_before_answer = |at: usize| messages.get(at).is_none_or(|message| message.role == Role::Assistant);
    (turn..=messages.len()).find(|at| is_behind_user(*at) && is_before_answer(*at))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use serde_json::{Value, json};

    use super::super::PROVIDER;
    use super::super::request::{RequestOptions, body};
    use super::*;
    use crate::messages_api::ErrorBody;
    use crate::messages_api::headers::INLINE_TOOLS;
    use crate::model::{ApiError, ToolSearch};
    use crate::simulator::{check_request_with, signature_of};
    use crate::transcript::{Block, Content, Opaque, ToolResult, ToolUse};

    fn tool(name: &str, description: &str) -> ToolDefinition {
        ToolDefinition {
            name: name.to_owned(),
            description: description.to_owned(),
            input_schema: r#"{"type":"object"}"#.into(),
            always_load: !name.starts_with("deferred"),
        }
    }

    fn since(messages: usize, tools: &[(&str, &str)]) -> ToolsSince {
        let tools = tools.iter().map(|(name, description)| tool(name, description));
        ToolsSince {
            messages,
            tools: tools.collect(),
        }
    }

    fn message(role: Role, block: Block) -> Message {
        Message {
            role,
            content: vec![block],
        }
    }

    /// A prompt, a call and its result, an answer, and so on.
    fn conversation(messages: usize) -> Vec<Message> {
        let message = |index: usize| match index % 4 {
            0 => Message::user(format!("prompt {index}")),
            1 => {
                let call = ToolUse {
                    id: format!("call_{index}"),
                    name: "a".to_owned(),
                    input: serde_json::json!({}).into(),
                    extra: None,
                };
                message(Role::Assistant, Block::ToolUse(call))
            }
            2 => {
                let result = ToolResult {
                    tool_use_id: format!("call_{}", index - 1),
                    content: vec![Content::text("done")],
                    is_error: false,
                };
                message(Role::User, Block::ToolResult(result))
            }
            _ => message(Role::Assistant, Block::text(format!("answer {index}"))),
        };
        (0..messages).map(message).collect()
    }

    fn sent(messages: &[Message], tools_since: &[ToolsSince], tool_search: ToolSearch) -> (String, bool) {
        let request = ModelRequest {
            system: "be brief",
            messages,
            tools: &tools_since.last().unwrap().tools,
            max_tokens: 16,
            temperature: None,
            schema: None,
            tools_since: if tools_since.len() > 1 { tools_since } else { &[] },
        };
        let options = RequestOptions {
            tool_search,
            tool_changes: true,
            ..RequestOptions::of(&ModelSettings::default())
        };
        let body = body("claude-sonnet-5-5", &request, options).unwrap();
        (String::from_utf8(body.json).unwrap(), body.has_changes)
    }

    const MARKER: &str = r#","cache_control":{"type":"ephemeral"}"#;

    /// Whenever the tools change: between two prompts, before a result, and when a run goes on that has no answer yet.
    #[test]
    fn a_conversation_whose_tools_change_keeps_its_prefix() {
        for tool_search in [ToolSearch::Never, ToolSearch::Always] {
            let sets = [
                since(0, &[("a", "1"), ("b", "1"), ("deferred", "1")]),
                since(3, &[("a", "1"), ("c", "1"), ("deferred", "1")]),
                since(4, &[("a", "2"), ("c", "1")]),
                since(6, &[("a", "1"), ("b", "1"), ("deferred_2", "1")]),
                since(6, &[("b", "1"), ("a", "1"), ("deferred", "1")]),
                since(11, &[]),
                since(12, &[("a", "1")]),
            ];
            let mut before: Option<(bool, String)> = None;
            for count in (1..=15).step_by(2) {
                // The second time, a run that has no answer yet goes on in another process.
                for known in [count - 1, count] {
                    let sets: Vec<_> = sets.iter().filter(|since| since.messages <= known).cloned().collect();
                    let (sent, has_changes) = sent(&conversation(count), &sets, tool_search);
                    let json: Value = serde_json::from_str(&sent).unwrap();
                    assert_eq!(check_request_with(&json, INLINE_TOOLS), Ok(()), "{json:#}");
                    assert_eq!(has_changes, sent.contains(r#""role":"system""#));
                    assert!(sent.matches("cache_control").count() <= 4, "{sent}");
                    // What is deferred is no part of the prompt.
                    let search = sent.find(r#"{"type":"tool_search_tool"#);
                    let prompt = sent[search.unwrap_or_default()..].replace(MARKER, "");
                    if let Some((searched, before)) = before.filter(|(searched, _)| *searched == search.is_some()) {
                        let prefix = before.strip_suffix("]}").unwrap();
                        assert!(
                            known == count || prompt.starts_with(prefix),
                            "{searched} {before}\n{prompt}"
                        );
                    }
                    before = Some((search.is_some(), prompt));
                }
            }
        }
    }

    fn changes_in(messages: usize, sets: &[ToolsSince]) -> Vec<(usize, Vec<Change<'_>>)> {
        let (first, later) = sets.split_first().unwrap();
        let turns: Vec<usize> = later.iter().map(|since| since.messages).collect();
        changes(&first.tools, later, &turns, &conversation(messages), false)
    }

    #[test]
    fn a_change_is_said_after_the_users_next_message() {
        let sets = [
            since(0, &[("a", "1"), ("b", "1")]),
            since(4, &[("a", "2")]),
            since(4, &[("a", "1"), ("c", "1")]),
        ];
        let c = tool("c", "1");
        let expected = [(5, vec![Change::Removed("b"), Change::Defined(&c)])];
        assert_eq!(changes_in(4, &sets), []);
        assert_eq!(changes_in(5, &sets), expected);
        assert_eq!(changes_in(9, &sets), expected);
        let and_back = [sets[0].clone(), sets[1].clone(), since(7, &[("a", "1"), ("b", "1")])];
        let a = tool("a", "2");
        let first = tool("a", "1");
        assert_eq!(
            changes_in(9, &and_back),
            [
                (5, vec![Change::Removed("b"), Change::Defined(&a)]),
                (7, vec![Change::Defined(&first), Change::Restored("b")]),
            ]
        );
    }

    fn opaque(json: &Value) -> Block {
        Block::Opaque(Opaque::new(PROVIDER, json.to_string()))
    }

    /// The positions of the changes among the messages that are sent.
    fn places(sent: &str) -> Vec<usize> {
        let sent: Value = serde_json::from_str(sent).unwrap();
        assert_eq!(check_request_with(&sent, INLINE_TOOLS), Ok(()), "{sent:#}");
        let messages = sent["messages"].as_array().unwrap().iter().enumerate();
        let changes = messages.filter(|(_, message)| message["role"] == "system");
        changes.map(|(index, _)| index).collect()
    }

    /// The process died after it, and the next one has other tools.
    #[test]
    fn a_change_in_a_paused_answer_is_said_after_it() {
        let search = [
            json!({ "type": "thinking", "thinking": "hm", "signature": signature_of("hm") }),
            json!({ "type": "server_tool_use", "id": "srvtoolu_1", "name": "web_search", "input": {} }),
            json!({ "type": "web_search_tool_result", "tool_use_id": "srvtoolu_1", "content": [] }),
        ];
        let messages = [
            Message::user("go"),
            Message {
                role: Role::Assistant,
                content: search.iter().map(opaque).collect(),
            },
            message(Role::Assistant, Block::text("so")),
            Message::user("go on"),
        ];
        let sets = [since(0, &[("a", "1")]), since(2, &[("a", "2")])];
        let (paused, _) = sent(&messages[..2], &sets, ToolSearch::Never);
        let (goes_on, _) = sent(&messages, &sets, ToolSearch::Never);
        assert_eq!((places(&paused), places(&goes_on)), (vec![], vec![3]), "{goes_on}");
        let (paused, goes_on) = (paused.replace(MARKER, ""), goes_on.replace(MARKER, ""));
        assert!(
            goes_on.starts_with(paused.strip_suffix("]}]}").unwrap()),
            "{paused}\n{goes_on}"
        );
    }

    /// Its definition stands behind the search that found it.
    #[test]
    fn a_tool_that_was_searched_and_then_is_always_loaded_is_no_longer_found() {
        let search = [
            json!({ "type": "server_tool_use", "id": "srvtoolu_1", "name": "tool_search_tool_bm25", "input": { "query": "u" } }),
            json!({ "type": "tool_search_tool_result", "tool_use_id": "srvtoolu_1", "content": {
                "type": "tool_search_tool_search_result",
                "tool_references": [
                    { "type": "tool_reference", "tool_name": "deferred" },
                    { "type": "tool_reference", "tool_name": "deferred_2" },
                ],
            } }),
        ];
        let answer = search.iter().map(opaque).chain([Block::text("so")]);
        let messages = [
            Message::user("go"),
            Message {
                role: Role::Assistant,
                content: answer.collect(),
            },
            Message::user("go on"),
        ];
        let before = since(0, &[("a", "1"), ("deferred", "1"), ("deferred_2", "1")]);
        let mut now: Vec<ToolDefinition> = before.tools.list().to_vec();
        now[1].always_load = true;
        let now = ToolsSince {
            messages: 2,
            tools: now.into_iter().collect(),
        };
        let (sent, _) = sent(&messages, &[before, now], ToolSearch::Always);
        assert_eq!(places(&sent), [3], "{sent}");
        assert_eq!(sent.matches(r#""tool_name":"#).count(), 1, "{sent}");
    }

    #[test]
    fn outdated_definitions_are_counted() {
        let first = since(0, &[("a", "1"), ("b", "22"), ("deferred", "333")]);
        let sets = [
            first,
            since(4, &[("a", "55555"), ("c", "1")]),
            since(8, &[("a", "1"), ("b", "22")]),
        ];
        let sum = |sets: &[ToolsSince], messages: usize| {
            let (first, later) = sets.split_first().unwrap();
            let turns: Vec<usize> = later.iter().map(|since| since.messages).collect();
            let conversation = conversation(messages);
            let changes = changes(&first.tools, later, &turns, &conversation, true);
            outdated_bytes(&first.tools, &changes, &sets.last().unwrap().tools, true)
        };
        let bytes = |tools: &[(&str, &str)]| -> u64 {
            tools
                .iter()
                .map(|(name, description)| tool(name, description).bytes())
                .sum()
        };
        assert_eq!(sum(&sets[..1], 4), 0);
        assert_eq!(sum(&sets[..2], 5), bytes(&[("a", "1"), ("b", "22")]));
        assert_eq!(sum(&sets, 9), bytes(&[("a", "55555"), ("c", "1"), ("a", "1")]));
    }

    #[test]
    fn what_is_not_known_is_listed() {
        let sets = [since(0, &[("a", "1")]), since(4, &[("a", "2"), ("b", "1")])];
        let listed = |now: &ToolsSince, tool_search| {
            let request = ModelRequest {
                system: "",
                messages: &conversation(5),
                tools: &now.tools,
                max_tokens: 16,
                temperature: None,
                schema: None,
                tools_since: &sets,
            };
            earlier(&request, tool_search).is_none()
        };
        assert!(!listed(&sets[1], false));
        // Another process knew of them, or none did.
        assert!(listed(&since(0, &[("a", "3")]), false));
        assert!(!listed(&since(0, &[("a", "2"), ("b", "1"), ("deferred", "1")]), true));
        // The list would have the name twice.
        let mut clash = [tool("a", "2"), tool("b", "1"), tool("a", "1")];
        clash[2].always_load = false;
        let clash = ToolsSince {
            messages: 0,
            tools: clash.into_iter().collect(),
        };
        assert!(listed(&clash, true));
    }

    #[test]
    fn models_are_known_by_their_names() {
        let settings = |model: &str, url: &str, tool_changes| ModelSettings {
            model: model.to_owned(),
            base_url: url.parse().unwrap(),
            tool_changes,
            ..ModelSettings::default()
        };
        let vendor = "https://api.anthropic.com";
        for (model, url, expected) in [
            ("claude-sonnet-5-5", vendor, true),
            ("claude-opus-5-20260801", vendor, true),
            ("claude-sonnet-5", vendor, false),
            ("claude-opus-5-6", vendor, false),
            ("claude-sonnet-5-5", "https://gateway.example", false),
        ] {
            assert_eq!(
                setting(&settings(model, url, ToolChanges::Auto)),
                expected,
                "{model} at {url}"
            );
            assert!(setting(&settings(model, url, ToolChanges::Always)));
            assert!(!setting(&settings(model, url, ToolChanges::Never)));
        }
        let simulated = ModelSettings {
            provider: ProviderKind::Simulated,
            ..settings("claude-sonnet-5-5", "http://127.0.0.1:1", ToolChanges::Auto)
        };
        assert!(setting(&simulated));
    }

    #[test]
    fn refusals_are_distinguished_from_other_errors() {
        let error = |status, code: Option<&str>, message: &str| {
            let details = serde_json::json!({ "error_code": code });
            let body = serde_json::json!({
                "type": "error",
                "error": { "type": "invalid_request_error", "message": message, "details": details },
            });
            ModelError::from(ApiError::read(
                ErrorBody::read_bytes(body.to_string().as_bytes()),
                Some(status),
                None,
            ))
        };
        let other_conversation = "messages.1.content.0: Invalid `signature` in `thinking` block. The block is bound to a different conversation. \
            Remove the block, or set `thinking.block_binding.prefix_mismatch_behavior` to \"drop_block\". That setting requires the \
            `thinking-binding-controls-2026-08-01` value in the `anthropic-beta` header. What differs: the `tools` parameter.";
        let tags = "messages.3.content.0: Input tag 'tool_addition' found using 'type' does not match any of the expected tags: 'text', \
            'thinking', 'redacted_thinking', 'tool_use'";
        for (status, code, message, expected) in [
            (400, None, tags, true),
            (
                400,
                None,
                "messages.1.role: Input should be 'user' or 'assistant'",
                true,
            ),
            (
                422,
                None,
                "unknown variant `system`, expected `user` or `assistant`",
                true,
            ),
            (
                400,
                None,
                "anthropic-beta: unexpected value `inline-tools-2026-09-15`",
                true,
            ),
            (400, Some("tool_name_conflict"), "no", true),
            (400, Some("organization_not_enrolled_in_beta"), "no", true),
            (400, None, "Bad Request", true),
            (400, None, "", true),
            (400, None, other_conversation, false),
            (
                400,
                None,
                "messages.1.content.0: Invalid `signature` in `thinking` block",
                false,
            ),
            (
                400,
                None,
                "messages.9.content.3: `thinking` blocks in the latest assistant message cannot be modified",
                false,
            ),
            (500, None, "tool_addition", false),
            (404, None, "Not Found", false),
        ] {
            assert_eq!(may_be_refusal(&error(status, code, message)), expected, "{message}");
        }
    }
}
