//! What an answer can use from the request. Accepts any JSON; `check` validates it.

use std::collections::HashMap;

use serde_json::Value;

use super::tool_search;

#[derive(Clone, Debug)]
pub(super) struct RequestView<'a> {
    body: &'a Value,
    /// Tool names by call id, for every call in the request, also of the vendor's tools.
    tools: HashMap<&'a str, &'a str>,
}

/// A tool result within a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ResultView<'a> {
    pub(super) id: &'a str,
    /// The tool's name, if the request also contains the call.
    pub(super) tool: Option<&'a str>,
    pub(super) text: String,
}

impl<'a> RequestView<'a> {
    pub(super) fn new(body: &'a Value) -> Self {
        let mut view = Self {
            body,
            tools: HashMap::new(),
        };
        view.tools = view
            .messages()
            .iter()
            .flat_map(|message| {
                let of_vendor = blocks_of(&message["content"], "server_tool_use");
                blocks_of(&message["content"], "tool_use").chain(of_vendor)
            })
            .filter_map(|call| Some((call["id"].as_str()?, call["name"].as_str()?)))
            .collect();
        view
    }

    pub(super) fn model(&self) -> &'a str {
        self.body["model"].as_str().unwrap_or("unknown")
    }

    pub(super) fn streams(&self) -> bool {
        self.body["stream"].as_bool().unwrap_or(false)
    }

    pub(super) fn max_tokens(&self) -> u64 {
        self.body["max_tokens"].as_u64().unwrap_or(u64::MAX)
    }

    /// The text blocks of the last message if it is the user's, apart from those of the role `system`.
    pub(super) fn last_user_text(&self) -> String {
        match self.last_user_content() {
            Some(content) => text_of(content),
            None => String::new(),
        }
    }

    /// The tool results of the last message if it is the user's.
    pub(super) fn last_results(&self) -> Vec<ResultView<'a>> {
        self.last_user_content()
            .map(|content| self.results_in(content))
            .unwrap_or_default()
    }

    /// The newest result of a tool anywhere in the request.
    pub(super) fn newest_result(&self, tool: &str) -> Option<String> {
        self.messages().iter().rev().find_map(|message| {
            let results = self.results_in(&message["content"]);
            results
                .into_iter()
                .rev()
                .find(|result| result.tool == Some(tool))
                .map(|result| result.text)
        })
    }

    /// Whether the request contains a call with this id.
    pub(super) fn has_tool_use(&self, id: &str) -> bool {
        self.tools.contains_key(id)
    }

    /// The definitions of the request's tools.
    pub(super) fn tools(&self) -> &'a [Value] {
        self.body["tools"].as_array().map(Vec::as_slice).unwrap_or_default()
    }

    /// The names of the tools that searches in the conversation have found.
    pub(super) fn references(&self) -> impl Iterator<Item = &'a str> {
        let blocks = self.messages().iter().map(|message| &message["content"]);
        let blocks = blocks.filter_map(Value::as_array).flatten();
        blocks.flat_map(tool_search::references)
    }

    fn messages(&self) -> &'a [Value] {
        self.body["messages"].as_array().map(Vec::as_slice).unwrap_or_default()
    }

    fn last_user_content(&self) -> Option<&'a Value> {
        let mut newest = self.messages().iter().rev();
        newest
            .find(|message| message["role"] != "system")
            .filter(|message| message["role"] == "user")
            .map(|message| &message["content"])
    }

    fn results_in(&self, content: &'a Value) -> Vec<ResultView<'a>> {
        blocks_of(content, "tool_result")
            .map(|block| {
                let id = block["tool_use_id"].as_str().unwrap_or_default();
                ResultView {
                    id,
                    tool: self.tools.get(id).copied(),
                    text: text_of(&block["content"]),
                }
            })
            .collect()
    }
}

pub(super) fn blocks_of<'a>(content: &'a Value, kind: &'static str) -> impl Iterator<Item = &'a Value> {
    content
        .as_array()
        .map(Vec::as_slice)
        .unwrap_or_default()
        .iter()
        .filter(move |block| block["type"] == kind)
}

/// The text of `content`, which is a string or a list of blocks.
fn text_of(content: &Value) -> String {
    if let Some(text) = content.as_str() {
        return text.to_owned();
    }
    let texts: Vec<_> = blocks_of(content, "text")
        .filter_map(|block| block["text"].as_str())
        .collect();
    texts.join("\n")
}
