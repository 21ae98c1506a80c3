//! What the Messages API accepts in a history. Sources: the vendor's API reference, the types of its official SDK, and the
//! errors that users quote in public issue threads. Where versions of the API differ, the strictest one counts.

use std::borrow::Cow;
use std::collections::HashSet;

use serde::Deserialize;
use serde_json::{Map, Value};

use super::PROVIDER;
use super::tool_search::{SEARCH_RESULT, SEARCH_TOOLS, without_unknown};
use crate::json_text::{self, Json};
use crate::messages_api::limits::{MAX_MESSAGES, is_identifier};
use crate::transcript::{Block, IMAGE_TYPES, Opaque, Role, Rules, ToolUse, identifier};

/// Bytes of the name of a call in a history. A tool's definition may only have 128.
const MAX_CALLED_NAME_BYTES: usize = 200;

/// Bytes of a call's id. The API documents no limit; this one bounds what a server can add to every later request.
const MAX_ID_BYTES: usize = 1024;

/// How the ids of calls of the vendor's tools and of MCP connectors begin.
const SERVER_ID: &str = "srvtoolu_";
const MCP_ID: &str = "mcptoolu_";

const CITATION_TYPES: [&str; 5] = [
    "char_location",
    "page_location",
    "content_block_location",
    "web_search_result_location",
    "search_result_location",
];

/// What a field of a block must be.
#[derive(Clone, Copy, Debug)]
enum Field {
    Text,
    /// A text that isn't empty.
    Filled,
    /// The id of a call, which begins with this prefix.
    Id(&'static str),
    Object,
    /// An object with a type.
    Typed,
    /// Anything but `null`.
    Present,
    /// May be missing.
    Optional,
}

use Field::{Filled, Id, Object, Optional, Present, Text, Typed};

/// A type of block.
struct Kind {
    name: &'static str,
    role: Role,
    /// All fields that the API knows, apart from the type. It refuses others.
    fields: &'static [(&'static str, Field)],
}

const fn answer(name: &'static str, fields: &'static [(&'static str, Field)]) -> Kind {
    Kind {
        name,
        role: Role::Assistant,
        fields,
    }
}

const fn prompt(name: &'static str, fields: &'static [(&'static str, Field)]) -> Kind {
    Kind {
        name,
        role: Role::User,
        fields,
    }
}

const SERVER_CALL: &str = "server_tool_use";

const RESULT: &[(&str, Field)] = &[("tool_use_id", Filled), ("content", Present)];
const RESULT_FOR_CALLER: &[(&str, Field)] = &[("tool_use_id", Filled), ("content", Present), ("caller", Optional)];

/// The vendor's types, apart from text, calls and results, which have neutral forms. The API refuses a history with any
/// other type.
static KINDS: [Kind; 19] = [
    answer("thinking", &[("thinking", Text), ("signature", Filled)]),
    answer("redacted_thinking", &[("data", Filled)]),
    answer(
        SERVER_CALL,
        &[
            ("id", Id(SERVER_ID)),
            ("name", Filled),
            ("input", Object),
            ("caller", Optional),
        ],
    ),
    answer("web_search_tool_result", RESULT_FOR_CALLER),
    answer("web_fetch_tool_result", RESULT_FOR_CALLER),
    answer("code_execution_tool_result", RESULT),
    answer("bash_code_execution_tool_result", RESULT),
    answer("text_editor_code_execution_tool_result", RESULT),
    answer(SEARCH_RESULT, RESULT),
    answer("advisor_tool_result", RESULT),
    answer(
        "mcp_tool_use",
        &[
            ("id", Id(MCP_ID)),
            ("name", Filled),
            ("server_name", Filled),
            ("input", Object),
        ],
    ),
    answer(
        "mcp_tool_result",
        &[("tool_use_id", Filled), ("content", Present), ("is_error", Optional)],
    ),
    answer("mcp_tool_listing", &[("mcp_server_name", Filled), ("tools", Present)]),
    answer("container_upload", &[("file_id", Filled)]),
    answer(
        "compaction",
        &[
            ("content", Optional),
            ("encrypted_content", Optional),
            ("signature", Optional),
            ("tool_changes", Optional),
        ],
    ),
    answer("fallback", &[("from", Object), ("to", Object), ("trigger", Optional)]),
    prompt("image", &[("source", Typed), ("transformations", Optional)]),
    prompt(
        "document",
        &[
            ("source", Typed),
            ("title", Optional),
            ("context", Optional),
            ("citations", Optional),
        ],
    ),
    prompt(
        "search_result",
        &[
            ("source", Filled),
            ("title", Filled),
            ("content", Present),
            ("citations", Optional),
        ],
    ),
];

impl Field {
    fn accepts(self, value: Option<&Value>) -> bool {
        match (self, value) {
            (Optional, _) => true,
            (_, None) => false,
            (Text, Some(value)) => value.is_string(),
            (Filled, Some(value)) => value.as_str().is_some_and(|text| !text.is_empty()),
            (Id(prefix), Some(value)) => value.as_str().is_some_and(|id| id.starts_with(prefix) && is_id(id)),
            (Object, Some(value)) => value.is_object(),
            (Typed, Some(value)) => value["type"].is_string(),
            (Present, Some(value)) => !value.is_null(),
        }
    }
}

fn is_id(id: &str) -> bool {
    (1..=MAX_ID_BYTES).contains(&id.len()) && is_identifier(id)
}

/// The rules of the Messages API.
#[derive(Clone, Copy, Debug)]
pub(super) struct AnthropicRules<'m> {
    /// The model that is asked.
    pub(super) model: &'m str,
    /// The names in the request's list of tools, if the model searches them.
    pub(super) searched: Option<&'m [&'m str]>,
    /// Messages that the request has besides those of the conversation, at most.
    pub(super) others: usize,
}

impl Rules for AnthropicRules<'_> {
    fn max_messages(&self) -> usize {
        MAX_MESSAGES.saturating_sub(self.others)
    }

    fn accepts_id(&self, call: &ToolUse) -> bool {
        let id = call.id.as_str();
        // Those of the vendor's tools are distinguished by their prefix, and all ids must be unique.
        is_id(id) && ![SERVER_ID, MCP_ID].iter().any(|prefix| id.starts_with(prefix))
    }

    fn tool_name<'a>(&self, name: &'a str) -> Cow<'a, str> {
        identifier(name, MAX_CALLED_NAME_BYTES)
    }

    fn accepts_image(&self, media_type: &str) -> bool {
        IMAGE_TYPES.contains(&media_type)
    }

    /// Thinking without a signature was cut off: the API refuses it. It also refuses unknown types, and documents in answers, and
    /// newer models the thinking of others.
    fn opaque<'a>(&self, role: Role, block: &'a Opaque) -> Option<Cow<'a, Opaque>> {
        let fields = object(block.json_for(PROVIDER)?)?;
        let kind = KINDS
            .iter()
            .find(|kind| kind.role == role && fields.get("type").is_some_and(|name| name == kind.name))?;
        let is_complete = kind.fields.iter().all(|(name, field)| field.accepts(fields.get(*name)));
        // A compaction that failed has no content, but an empty one is refused.
        let is_empty_compaction = kind.name == "compaction" && fields.get("content").is_some_and(|text| text == "");
        let is_of_another = is_thinking(kind.name) && !block.may_be_of(self.model);
        if !is_complete || is_empty_compaction || is_of_another {
            return None;
        }
        let known = |name: &str| name == "type" || kind.fields.iter().any(|(field, _)| *field == name);
        let kept = kept(block, &fields, |name, _| known(name))?;
        let name = fields.get("name").and_then(Value::as_str).unwrap_or_default();
        let is_search = kind.name == SEARCH_RESULT || kind.name == SERVER_CALL && name.starts_with(SEARCH_TOOLS);
        match (is_search, self.searched) {
            (false, _) => Some(kept),
            // The model reads all tools, or is another server's.
            (true, None) => None,
            (true, Some(names)) => Some(with_known_references(kept, names)),
        }
    }

    fn text_fields<'a>(&self, role: Role, fields: &'a Opaque) -> Option<Cow<'a, Opaque>> {
        own(fields, |name, value| name == "citations" && are_citations(role, value))
    }

    fn call_fields<'a>(&self, fields: &'a Opaque) -> Option<Cow<'a, Opaque>> {
        own(fields, |name, value| match name {
            "caller" => is_caller(value),
            "toolset_name" => Filled.accepts(Some(value)),
            _ => false,
        })
    }

    /// Only an answer with the vendor's own tools is paused by the API and then continued. Any other answer at the end of a
    /// request is a prefill, which newer models refuse.
    fn can_continue(&self, answer: &[Cow<'_, Block>]) -> bool {
        let mut heads = answer.iter().filter_map(|block| Head::of(block));
        heads.any(|head| head.is_server_call() || head.is_server_result())
    }

    /// Drops calls of the vendor's tools without a result, results without a call, and thinking at the end of the answer.
    fn tidy(&self, answer: &mut Vec<Cow<'_, Block>>, is_finished: bool) {
        let (mut called, mut answered) = (HashSet::new(), HashSet::new());
        for head in answer.iter().filter_map(|block| Head::of(block)) {
            match (head.id, head.tool_use_id) {
                (Some(id), _) => {
                    called.insert(id.into_owned());
                }
                (_, Some(id)) if called.contains(&*id) => {
                    answered.insert(id.into_owned());
                }
                _ => {}
            }
        }
        // Each id is taken out once used, so that a second block with it is dropped.
        let (mut kept_calls, mut awaited) = (answered, HashSet::new());
        if !is_finished {
            kept_calls.extend(called);
        }
        answer.retain(|block| match Head::of(block) {
            Some(head) if head.is_server_call() => head
                .id
                .is_some_and(|id| kept_calls.remove(&*id) && awaited.insert(id.into_owned())),
            Some(head) if head.is_server_result() => head.tool_use_id.is_some_and(|id| awaited.remove(&*id)),
            _ => true,
        });
        while answer
            .last()
            .and_then(|block| Head::of(block))
            .is_some_and(|head| head.is_thinking())
        {
            answer.pop();
        }
    }
}

/// The fields of a vendor's block that relate it to others.
#[derive(Deserialize)]
struct Head<'a> {
    #[serde(rename = "type", borrow)]
    kind: Cow<'a, str>,
    #[serde(default, borrow)]
    id: Option<Cow<'a, str>>,
    #[serde(default, borrow)]
    tool_use_id: Option<Cow<'a, str>>,
}

impl<'a> Head<'a> {
    fn of(block: &'a Block) -> Option<Self> {
        match block {
            Block::Opaque(opaque) => serde_json::from_str(opaque.json_for(PROVIDER)?).ok(),
            _ => None,
        }
    }

    fn is_server_call(&self) -> bool {
        matches!(&*self.kind, SERVER_CALL | "mcp_tool_use")
    }

    fn is_server_result(&self) -> bool {
        self.kind.ends_with("_tool_result")
    }

    fn is_thinking(&self) -> bool {
        is_thinking(&self.kind)
    }
}

fn is_thinking(kind: &str) -> bool {
    matches!(kind, "thinking" | "redacted_thinking")
}

fn object(json: &str) -> Option<Map<String, Value>> {
    serde_json::from_str(json).ok()
}

/// Keeps the fields that are accepted. Those of another provider aren't sent, so they are left alone.
fn own<'a>(fields: &'a Opaque, is_accepted: impl Fn(&str, &Value) -> bool) -> Option<Cow<'a, Opaque>> {
    match fields.json_for(PROVIDER) {
        None => Some(Cow::Borrowed(fields)),
        Some(json) => kept(fields, &object(json)?, is_accepted),
    }
}

/// `given` itself if all of its fields are accepted. `None` if none is.
fn kept<'a>(
    given: &'a Opaque,
    fields: &Map<String, Value>,
    is_accepted: impl Fn(&str, &Value) -> bool,
) -> Option<Cow<'a, Opaque>> {
    let is_refused = |(name, value): &(&String, &Value)| !is_accepted(name, value);
    let refused: HashSet<&str> = fields
        .iter()
        .filter(is_refused)
        .map(|(name, _)| name.as_str())
        .collect();
    if refused.len() == fields.len() {
        return None;
    }
    if refused.is_empty() {
        return Some(Cow::Borrowed(given));
    }
    // The rest keeps its order and spelling.
    let all = Json::parse(given.json_for(PROVIDER)?).ok()?.fields();
    let rest = all.filter(|field| field.name.string().is_none_or(|name| !refused.contains(&*name)));
    Some(Cow::Owned(Opaque {
        json: json_text::object(rest).into(),
        ..given.clone()
    }))
}

/// A search's result can name tools that the host had when the model searched and no longer has, or now announces in a later message.
fn with_known_references<'a>(result: Cow<'a, Opaque>, names: &[&str]) -> Cow<'a, Opaque> {
    let known = result.json_for(PROVIDER).and_then(object).and_then(|mut fields| {
        let content = without_unknown(fields.get("content")?, names)?;
        fields.insert("content".to_owned(), content);
        Some(Value::Object(fields).to_string())
    });
    match known {
        Some(json) => Cow::Owned(Opaque {
            json: json.into(),
            ..result.into_owned()
        }),
        None => result,
    }
}

/// Whether a text of this role may have these citations: from version 2026-10-21 on, a user's may have none.
fn are_citations(role: Role, citations: &Value) -> bool {
    let is_citation = |citation: &Value| {
        let kind = citation.get("type").and_then(Value::as_str);
        kind.is_some_and(|kind| CITATION_TYPES.contains(&kind))
    };
    match citations {
        Value::Null => true,
        Value::Array(citations) => citations.is_empty() || role == Role::Assistant && citations.iter().all(is_citation),
        _ => false,
    }
}

fn is_caller(caller: &Value) -> bool {
    match caller.get("type").and_then(Value::as_str) {
        Some("direct") => true,
        Some(kind) => kind.starts_with("code_execution_") && Filled.accepts(caller.get("tool_id")),
        None => false,
    }
}

#[cfg(test)]
#[path = "history_tests.rs"]
mod tests;
