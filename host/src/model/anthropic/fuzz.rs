//! Fuzz targets for answers of the Messages API.

use std::borrow::Cow;

use super::history::AnthropicRules;
use super::request::RequestOptions;
use super::stream::Assembler;
use super::{request, response};
use crate::json_text::Json;
use crate::model::fuzz::streamed;
use crate::model::{ModelRequest, ModelResponse, ModelSettings, ToolDefinitions};
use crate::transcript::{Block, Message, Role, repair};

/// Parses a streamed answer. The first byte sets the chunk size, which must not change the result.
pub fn stream(data: &[u8]) {
    if let Some(response) = streamed::<Assembler>(data) {
        can_be_sent_back(response);
    }
}

/// Parses an answer that isn't streamed.
pub fn response(data: &[u8]) {
    if let (_, Ok(response)) = response::parse_response(data, None) {
        can_be_sent_back(response);
    }
}

/// Checks that the next request is JSON and that its history needs no other repair.
fn can_be_sent_back(response: ModelResponse) {
    let messages = next_messages(response.content);
    let rules = AnthropicRules {
        model: "m",
        searched: None,
        others: 0,
    };
    let repaired = repair(&messages, &rules);
    assert!(matches!(repair(&repaired, &rules), Cow::Borrowed(_)));
    // Not as a `Value`, because an answer may hold JSON that only its text can represent.
    assert!(Json::parse(&serialised(&messages)).is_ok());
}

/// An answer's blocks as the next request serialises them.
#[cfg(test)]
pub(super) fn sent_back(content: Vec<Block>) -> Vec<serde_json::Value> {
    let read: serde_json::Value = serde_json::from_str(&sent_body(content)).unwrap_or_default();
    let blocks = read["messages"][1]["content"].as_array();
    blocks.cloned().unwrap_or_default()
}

fn next_messages(content: Vec<Block>) -> [Message; 2] {
    let role = Role::Assistant;
    [Message::user("?"), Message { role, content }]
}

/// The next request, with the answer in it.
#[cfg(test)]
pub(super) fn sent_body(content: Vec<Block>) -> String {
    serialised(&next_messages(content))
}

fn serialised(messages: &[Message]) -> String {
    let next = ModelRequest {
        system: "",
        messages,
        tools: &ToolDefinitions::default(),
        max_tokens: 1,
        temperature: None,
        schema: None,
        tools_since: &[],
    };
    let body = request::body("m", &next, RequestOptions::of(&ModelSettings::default()));
    String::from_utf8(body.map(|body| body.json).unwrap_or_default()).unwrap_or_default()
}
