//! Serialises a request for the Messages API, with a history that it accepts.

use super::PROVIDER;
use super::history::AnthropicRules;
use crate::messages_api::{
    ASSISTANT, Request, RequestBlock, RequestMessage, ResultBlock, ToolDefinition as WireTool, USER,
};
use crate::model::{ModelRequest, ToolDefinition};
use crate::transcript::{Block, Content, Image, Message, Opaque, Role, ToolResult, ToolUse, is_blank, repair};

pub(crate) fn body(model: &str, request: &ModelRequest<'_>, stream: bool) -> serde_json::Result<Vec<u8>> {
    let tools = request.tools.serialized_for(PROVIDER, tools)?;
    let messages = repair(request.messages, &AnthropicRules { model });
    let body = Request {
        model,
        max_tokens: request.max_tokens,
        temperature: request.temperature,
        stream,
        tools: &tools,
        system: if is_blank(request.system) { "" } else { request.system },
        messages: messages.iter().map(message),
    };
    body.into_json()
}

fn tools(tools: &[ToolDefinition]) -> serde_json::Result<String> {
    WireTool::list(tools.iter().map(|tool| WireTool {
        name: &tool.name,
        description: &tool.description,
        input_schema: &tool.input_schema,
    }))
}

type ResultBlocks<'a> = std::iter::Map<std::slice::Iter<'a, Content>, fn(&'a Content) -> ResultBlock<'a>>;

fn message<'a>(message: &'a Message) -> RequestMessage<impl Iterator<Item = RequestBlock<'a, ResultBlocks<'a>>>> {
    RequestMessage {
        role: match message.role {
            Role::User => USER,
            Role::Assistant => ASSISTANT,
        },
        content: blocks(message),
    }
}

/// The message's blocks, without those that only another provider understands.
fn blocks<'a>(message: &'a Message) -> impl Iterator<Item = RequestBlock<'a, ResultBlocks<'a>>> {
    message.content.iter().filter_map(|block| match block {
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
        Block::Opaque(opaque) => opaque.json_for(PROVIDER).map(RequestBlock::Verbatim),
    })
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

    use super::*;
    use crate::model::ToolDefinitions;

    fn request<'a>(messages: &'a [Message], tools: &'a ToolDefinitions) -> ModelRequest<'a> {
        ModelRequest {
            system: "",
            messages,
            tools,
            max_tokens: 16,
            temperature: None,
        }
    }

    fn text(request: &ModelRequest<'_>) -> String {
        String::from_utf8(body("m", request, true).unwrap()).unwrap()
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
