//! Tools that a request defers, and the API's search for them. Source: the vendor's page on the tool search tool.

use std::collections::HashMap;

use serde_json::{Map, Value, json};

use super::answer::RequestContext;
use super::message::fresh_id;
use super::request::blocks_of;
use super::script::{ContentItem, ItemKind};

/// How the types and the names of the API's tools for it begin.
const SEARCH_TOOLS: &str = "tool_search_tool_";

/// How the ids of calls of the vendor's tools begin.
const CALL_ID: &str = "srvtoolu";

const REFERENCE: &str = "tool_reference";

/// The most tools that a search finds.
const MOST_FOUND: usize = 5;

/// The parameters of BM25, as most search engines set them, and how much more the tool's name says than its description.
const SATURATION: f64 = 1.2;
const LENGTH: f64 = 0.75;
const NAME_WEIGHT: usize = 3;

pub(super) fn is_deferred(tool: &Value) -> bool {
    tool["defer_loading"] == true
}

/// The names that a block refers to: the result of a search, of the API's or of a client's own.
pub(super) fn references(block: &Value) -> impl Iterator<Item = &str> {
    let found = blocks_of(&block["content"]["tool_references"], REFERENCE);
    let found = found.chain(blocks_of(&block["content"], REFERENCE));
    found.filter_map(|reference| reference["tool_name"].as_str())
}

/// The items of an answer. In front of a call of a tool that is deferred and that nothing in the conversation has found, the model
/// searches for it. Returns as well, for each search, the bytes of the definitions found so far.
pub(super) fn with_searches(items: Vec<ContentItem>, context: &RequestContext<'_>) -> (Vec<ContentItem>, Vec<usize>) {
    let tools = context.view.tools();
    let search = tools.iter().find_map(|tool| {
        let is_search = tool["type"].as_str()?.starts_with(SEARCH_TOOLS);
        tool["name"].as_str().filter(|_| is_search)
    });
    let Some(search) = search else {
        return (items, Vec::new());
    };
    let mut unread: Vec<&Value> = tools
        .iter()
        .filter(|tool| is_deferred(tool) && !context.view.references().any(|name| tool["name"] == name))
        .collect();
    let mut answer = Vec::with_capacity(items.len());
    let (mut bytes, mut searches) = (0_usize, Vec::new());
    for item in items {
        if let ItemKind::Tool(call) = &item.kind
            && unread.iter().any(|tool| tool["name"] == call.name.as_str())
        {
            let query = words(&call.name).collect::<Vec<_>>().join(" ");
            let names = find(&query, tools.iter().filter(|tool| is_deferred(tool)));
            unread.retain(|tool| {
                let is_found = names.iter().any(|name| tool["name"] == *name);
                bytes = bytes.saturating_add(if is_found { tool.to_string().len() } else { 0 });
                !is_found
            });
            searches.push(bytes);
            let field = if search.ends_with("regex") { "pattern" } else { "query" };
            let query = if field == "pattern" { call.name.clone() } else { query };
            let id = fresh_id(CALL_ID, context, answer.len() as u64);
            let found = names.iter().map(|name| json!({ "type": REFERENCE, "tool_name": name }));
            answer.extend(
                [
                    json!({ "type": "server_tool_use", "id": id, "name": search, "input": { field: query } }),
                    json!({
                        "type": "tool_search_tool_result",
                        "tool_use_id": id,
                        "content": {
                            "type": "tool_search_tool_search_result",
                            "tool_references": found.collect::<Vec<_>>(),
                        },
                    }),
                ]
                .map(ContentItem::block),
            );
        }
        answer.push(item);
    }
    (answer, searches)
}

/// The names of the tools that match best, best first: by BM25 over names, descriptions, and names and descriptions of arguments.
fn find<'a>(query: &str, tools: impl Iterator<Item = &'a Value>) -> Vec<&'a str> {
    let documents: Vec<(&str, HashMap<String, usize>)> = tools
        .filter_map(|tool| Some((tool["name"].as_str()?, occurrences(tool))))
        .collect();
    let length = |document: &HashMap<String, usize>| document.values().sum::<usize>() as f64;
    let count = documents.len() as f64;
    let average = documents.iter().map(|(_, document)| length(document)).sum::<f64>() / count.max(1.0);
    let score = |document: &HashMap<String, usize>| -> f64 {
        let of_word = |word: String| {
            let having = documents.iter().filter(|(_, other)| other.contains_key(&word)).count() as f64;
            let rarity = ((count - having + 0.5) / (having + 0.5)).ln_1p();
            let often = document.get(&word).copied().unwrap_or_default() as f64;
            let norm = SATURATION * (1.0 - LENGTH + LENGTH * length(document) / average);
            rarity * often * (SATURATION + 1.0) / (often + norm)
        };
        words(query).map(of_word).sum()
    };
    let mut scored: Vec<(f64, &str)> = documents
        .iter()
        .map(|(name, document)| (score(document), *name))
        .filter(|(score, _)| *score > 0.0)
        .collect();
    // Equals keep their order.
    scored.sort_by(|(one, _), (other, _)| other.total_cmp(one));
    scored.into_iter().take(MOST_FOUND).map(|(_, name)| name).collect()
}

fn occurrences(tool: &Value) -> HashMap<String, usize> {
    let mut found = HashMap::new();
    let mut add = |text: Option<&str>, weight: usize| {
        for word in words(text.unwrap_or_default()) {
            *found.entry(word).or_default() += weight;
        }
    };
    add(tool["name"].as_str(), NAME_WEIGHT);
    add(tool["description"].as_str(), 1);
    let none = Map::new();
    for (name, property) in tool["input_schema"]["properties"].as_object().unwrap_or(&none) {
        add(Some(name), 1);
        add(property["description"].as_str(), 1);
    }
    found
}

/// The words of a text or of a name, in lower case.
fn words(text: &str) -> impl Iterator<Item = String> {
    text.split(|character: char| !character.is_alphanumeric())
        .filter(|word| !word.is_empty())
        .map(str::to_lowercase)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tool(name: &str, description: &str, properties: &Value) -> Value {
        json!({ "name": name, "description": description, "input_schema": { "properties": properties } })
    }

    #[test]
    fn the_best_matches_are_found_by_names_descriptions_and_arguments() {
        let mut tools = vec![
            tool(
                "get_weather",
                "Says how the sky looks.",
                &json!({ "city": { "description": "a town" } }),
            ),
            tool("add", "Adds two numbers, whatever the weather.", &json!({})),
            tool("send-mail", "Sends a letter.", &json!({ "recipient": {} })),
        ];
        let found = |tools: &[Value], query: &str| -> Vec<String> {
            find(query, tools.iter()).into_iter().map(str::to_owned).collect()
        };
        assert_eq!(found(&tools, "Weather"), ["get_weather", "add"]);
        assert_eq!(found(&tools, "town"), ["get_weather"]);
        assert_eq!(found(&tools, "recipient letter"), ["send-mail"]);
        assert!(found(&tools, "nothing").is_empty());
        tools.extend((0..200).map(|number| tool(&format!("calculate_{number}"), "Calculates.", &json!({}))));
        let best = found(&tools, "calculate 157");
        assert_eq!((best.len(), best[0].as_str()), (MOST_FOUND, "calculate_157"));
    }
}
