//! Fuzz target for answers of the Chat Completions API.

use std::borrow::Cow;

use super::history::OpenAiRules;
use super::request;
use super::stream::Assembler;
use crate::json_text::Json;
use crate::model::exchange::Reader;
use crate::model::fuzz::streamed;
use crate::model::{ModelRequest, Progress, ToolDefinitions};
use crate::transcript::{Message, Role, repair};

/// Reads an answer: streamed, in chunks as large as the first byte says, or whole if that is 255. Its own server gets it back as
/// JSON, and so does another one.
pub fn completion(data: &[u8]) {
    let answer = match data.split_first() {
        Some((255, body)) => Assembler::whole(body, None, &Progress::new(|_| ())).ok(),
        _ => streamed::<Assembler>(data),
    };
    let Some(answer) = answer else { return };
    let role = Role::Assistant;
    let content = answer.signed(&"own".into()).content;
    let messages = [Message::user("?"), Message { role, content }];
    for author in ["own", "other"] {
        let rules = OpenAiRules { author };
        let repaired = repair(&messages, &rules);
        assert!(matches!(repair(&repaired, &rules), Cow::Borrowed(_)));
        let next = ModelRequest {
            system: "",
            messages: &messages,
            tools: &ToolDefinitions::default(),
            max_tokens: 1,
            temperature: None,
            schema: None,
            tools_since: &[],
        };
        let body = request::body("m", author, &next, request::RequestOptions::default()).unwrap_or_default();
        let body = String::from_utf8(body).unwrap_or_default();
        assert!(Json::parse(&body).is_ok(), "{body}");
    }
}
