//! Which tools a request defers: the model doesn't read their definitions until it has searched for them.
//!
//! The API runs the search within an answer, and reads every definition that it found from then on where the search stands in the
//! conversation. So the prompt before it stays the same, and cached. Source: the vendor's page on the tool search tool.

use std::cmp::Reverse;
use std::collections::HashSet;

use serde_json::Value;

use super::tool_changes::loaded;
use super::{PROVIDER, is_vendors_server};
use crate::messages_api::ToolEntry;
use crate::model::estimate::definition_tokens;
use crate::model::{DeferredTools, ModelRequest, ModelSettings, ProviderKind, ToolDefinition, ToolSearch};
use crate::transcript::Block;

/// Tokens of definitions above which the vendor recommends to search for tools
/// ([source](https://www.anthropic.com/engineering/advanced-tool-use)).
const WORTHWHILE_TOKENS: u64 = 10_000;

/// Searches that an answer is assumed to make at most, and the most definitions that each finds.
const SEARCHES: usize = 4;
const FOUND_BY_A_SEARCH: usize = 5;

/// Bytes of a deferred tool's entry in a request, apart from what the model reads of it.
const FRAME_BYTES: u64 = r#"{"name":"","description":"","input_schema":,"defer_loading":true},"#.len() as u64;

/// The result of a search, and the names of the API's tools for it.
pub(super) const SEARCH_RESULT: &str = "tool_search_tool_result";
pub(super) const SEARCH_TOOLS: &str = "tool_search_tool_";

/// The setting, resolved for its server.
pub(super) fn setting(settings: &ModelSettings) -> ToolSearch {
    match settings.tool_search {
        _ if settings.provider == ProviderKind::OpenAi => ToolSearch::Never,
        ToolSearch::Auto if !is_vendors_server(settings) => ToolSearch::Never,
        setting => setting,
    }
}

/// The tools that the model has to search for. Empty if it reads all definitions.
pub fn searched_tools<'a>(settings: &ModelSettings, tools: &'a [ToolDefinition]) -> Vec<&'a ToolDefinition> {
    let defers = defers(setting(settings), tools);
    tools.iter().filter(|tool| defers && !tool.always_load).collect()
}

/// Whether requests with these tools defer those that needn't always be read.
pub(super) fn defers(setting: ToolSearch, tools: &[ToolDefinition]) -> bool {
    let mut deferrable = tools.iter().filter(|tool| !tool.always_load);
    match setting {
        ToolSearch::Never => false,
        ToolSearch::Always => deferrable.next().is_some(),
        ToolSearch::Auto => definition_tokens(deferrable.map(ToolDefinition::bytes).sum()) > WORTHWHILE_TOKENS,
    }
}

/// Whether this request does. Once a conversation has searched, it goes on so even if its tools have become few: else what was found
/// would leave the history, and all of the prompt would change.
pub(super) fn request_defers(setting: ToolSearch, request: &ModelRequest<'_>) -> bool {
    let tools = request.tools.list();
    let goes_on = || defers(ToolSearch::Always, tools) && results(request).next().is_some();
    defers(setting, tools) || setting == ToolSearch::Auto && goes_on()
}

/// The list of a request: what it defers of the tools of `now`, and what is loaded of those that the conversation had `first`. It ends with
/// a tool that isn't deferred, because only that can have a breakpoint.
pub(super) fn list(now: &[ToolDefinition], first: &[ToolDefinition], defers: bool) -> serde_json::Result<String> {
    let search = defers.then_some(ToolEntry::Search);
    let searched = searched(now, defers).map(|tool| entry(tool, true));
    let loaded = loaded(first, defers).map(|tool| entry(tool, false));
    ToolEntry::list(searched.chain(search).chain(loaded))
}

/// The names in such a list, apart from that of the search.
pub(super) fn listed_names<'t>(now: &'t [ToolDefinition], first: &'t [ToolDefinition], defers: bool) -> Vec<&'t str> {
    let all = searched(now, defers).chain(loaded(first, defers));
    all.map(|tool| &*tool.name).collect()
}

/// The tools among these that a request defers.
fn searched(tools: &[ToolDefinition], defers: bool) -> impl Iterator<Item = &ToolDefinition> {
    tools.iter().filter(move |tool| defers && !tool.always_load)
}

pub(super) fn entry(tool: &ToolDefinition, defer_loading: bool) -> ToolEntry<'_> {
    ToolEntry::Custom {
        name: &tool.name,
        description: &tool.description,
        input_schema: &tool.input_schema,
        defer_loading,
    }
}

/// What of a request that defers tools the model doesn't read.
pub(super) fn deferred(request: &ModelRequest<'_>) -> DeferredTools {
    let found = found(request);
    let unread = request.tools.list().iter();
    let unread = unread.filter(|tool| !tool.always_load && !found.contains(&tool.name));
    let mut sizes: Vec<u64> = unread.map(|tool| tool.bytes() + FRAME_BYTES).collect();
    sizes.sort_unstable_by_key(|bytes| Reverse(*bytes));
    DeferredTools {
        bytes: sizes.iter().sum(),
        findable_bytes: sizes.iter().take(SEARCHES * FOUND_BY_A_SEARCH).sum(),
        searches: SEARCHES as u64,
    }
}

/// The tools that searches in the conversation have found.
fn found(request: &ModelRequest<'_>) -> HashSet<String> {
    results(request)
        .flat_map(|result| references(&result["content"]))
        .collect()
}

/// The results of the searches in the conversation.
fn results(request: &ModelRequest<'_>) -> impl Iterator<Item = Value> {
    let blocks = request.messages.iter().flat_map(|message| &message.content);
    let results = blocks.filter_map(|block| match block {
        Block::Opaque(opaque) => opaque.json_for(PROVIDER).filter(|json| json.contains(SEARCH_RESULT)),
        _ => None,
    });
    results
        .filter_map(|json| serde_json::from_str::<Value>(json).ok())
        .filter(|block| block["type"] == SEARCH_RESULT)
}

fn references(content: &Value) -> Vec<String> {
    let references = content["tool_references"].as_array().into_iter().flatten();
    references
        .filter_map(|reference| reference["tool_name"].as_str().map(str::to_owned))
        .collect()
}

/// The content of a search's result without tools of other names, which the API refuses: `Tool reference '…' not found in available tools`.
/// `None`: it has no others.
pub(super) fn without_unknown(content: &Value, names: &[&str]) -> Option<Value> {
    let mut known = content.clone();
    let references = known.get_mut("tool_references")?.as_array_mut()?;
    let before = references.len();
    references.retain(|reference| names.iter().any(|name| reference["tool_name"] == **name));
    (references.len() < before).then_some(known)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use serde_json::json;

    use super::*;
    use crate::model::ToolDefinitions;
    use crate::transcript::{Message, Opaque, Role};

    fn tool(name: &str, bytes: usize) -> ToolDefinition {
        let schema = r#"{"type":"object"}"#;
        ToolDefinition {
            name: name.to_owned(),
            description: "d".repeat(bytes - name.len() - schema.len()),
            input_schema: schema.into(),
            always_load: false,
        }
    }

    fn loaded(tool: ToolDefinition) -> ToolDefinition {
        ToolDefinition {
            always_load: true,
            ..tool
        }
    }

    #[test]
    fn tools_are_deferred_if_that_is_worth_it() {
        let large = || tool("large", 30_001);
        for (setting, tools, expected) in [
            (ToolSearch::Auto, vec![tool("small", 30_000)], false),
            (ToolSearch::Auto, vec![large()], true),
            (ToolSearch::Auto, vec![loaded(large()), tool("small", 100)], false),
            (ToolSearch::Always, vec![tool("small", 100)], true),
            (ToolSearch::Always, vec![loaded(large())], false),
            (ToolSearch::Always, vec![], false),
            (ToolSearch::Never, vec![large()], false),
        ] {
            assert_eq!(defers(setting, &tools), expected, "{setting:?} {}", tools.len());
        }
    }

    #[test]
    fn only_servers_that_are_known_to_search_do_it_unasked() {
        for (provider, url, expected) in [
            (ProviderKind::Anthropic, "https://api.anthropic.com", ToolSearch::Auto),
            (
                ProviderKind::Anthropic,
                "https://api.anthropic.com/v1/messages",
                ToolSearch::Auto,
            ),
            (
                ProviderKind::Anthropic,
                "https://gateway.example/anthropic",
                ToolSearch::Never,
            ),
            (ProviderKind::Simulated, "http://127.0.0.1:1", ToolSearch::Auto),
        ] {
            let settings = ModelSettings {
                provider,
                base_url: url.parse().unwrap(),
                ..ModelSettings::default()
            };
            assert_eq!(setting(&settings), expected, "{url}");
            let always = ModelSettings {
                tool_search: ToolSearch::Always,
                ..settings
            };
            assert_eq!(setting(&always), ToolSearch::Always);
        }
    }

    #[test]
    fn the_list_ends_with_what_can_have_a_breakpoint() {
        let tools = [loaded(tool("a", 20)), tool("b", 20), tool("c", 20)];
        let names = |defers| {
            let list: Value = serde_json::from_str(&list(&tools, &tools, defers).unwrap()).unwrap();
            let list = list.as_array().unwrap().iter();
            let names = list.map(|tool| (tool["name"].as_str().unwrap().to_owned(), tool["defer_loading"] == true));
            names.collect::<Vec<_>>()
        };
        let expected = |names: &[(&str, bool)]| {
            names
                .iter()
                .map(|(name, is)| ((*name).to_owned(), *is))
                .collect::<Vec<_>>()
        };
        let searched = [("b", true), ("c", true), ("tool_search_tool_bm25", false), ("a", false)];
        assert_eq!(names(true), expected(&searched));
        assert_eq!(names(false), expected(&[("a", false), ("b", false), ("c", false)]));
        assert_eq!(list(&[], &[], false).unwrap(), "");
    }

    #[test]
    fn what_was_found_and_what_may_be_found_counts() {
        let tools = (0..30).map(|number| tool(&format!("tool_{number}"), 1_000 + number));
        let tools = ToolDefinitions::from_iter(tools.chain([loaded(tool("loaded", 5_000))]));
        let deferred = |messages: &[Message]| {
            deferred(&ModelRequest {
                system: "",
                messages,
                tools: &tools,
                max_tokens: 16,
                temperature: None,
                schema: None,
                tools_since: &[],
            })
        };
        let sum = |sizes: std::ops::Range<u64>| sizes.map(|bytes| bytes + FRAME_BYTES).sum();
        let expected = |bytes, findable_bytes| DeferredTools {
            bytes,
            findable_bytes,
            searches: 4,
        };
        assert_eq!(deferred(&[]), expected(sum(1_000..1_030), sum(1_010..1_030)));
        let reference = |name: &str| json!({ "type": "tool_reference", "tool_name": name });
        let result = json!({
            "type": SEARCH_RESULT, "tool_use_id": "srvtoolu_1",
            "content": {
                "type": "tool_search_tool_search_result",
                "tool_references": [reference("tool_0"), reference("tool_29"), reference("gone")],
            },
        });
        let said = Message {
            role: Role::Assistant,
            content: vec![Block::Opaque(Opaque::new(PROVIDER, result.to_string()))],
        };
        assert_eq!(deferred(&[said]), expected(sum(1_001..1_029), sum(1_009..1_029)));
    }
}
