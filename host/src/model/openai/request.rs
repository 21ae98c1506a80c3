//! Serialises a request for the Chat Completions API, with a history that its servers accept.

use std::borrow::Cow;

use super::history::OpenAiRules;
use super::{PROVIDER, reasoning};
use crate::chat_api::{Part, Request, RequestCall, RequestMessage, ToolDefinition as WireTool};
use crate::model::{Effort, MaxTokensField, ModelRequest, ToolDefinition};
use crate::transcript::{
    Attachment, AttachmentContent, Block, Content, Message, Opaque, Role, ToolResult, is_blank, repair,
};

/// How the result of a call begins that failed. The API has no field for it.
const ERROR: &str = "Error: ";

/// Before the images of a result, which the API accepts only from the user.
const IMAGES: &str = "The images in the result of the call ";

/// What a client's requests have in common.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct RequestOptions {
    pub(super) stream: bool,
    pub(super) max_tokens_field: MaxTokensField,
    pub(super) effort: Option<Effort>,
}

pub(super) fn body(
    model: &str,
    author: &str,
    request: &ModelRequest<'_>,
    options: RequestOptions,
) -> serde_json::Result<Vec<u8>> {
    let tools = request.tools.serialized_for(PROVIDER, tools)?;
    let messages = repair(request.messages, &OpenAiRules { author });
    let system = (!is_blank(request.system)).then_some(RequestMessage::System(request.system));
    let body = Request {
        model,
        max_tokens: request.max_tokens,
        max_tokens_field: options.max_tokens_field.as_str(),
        temperature: request.temperature,
        stream: options.stream,
        reasoning_effort: options.effort.map(Effort::as_str),
        schema: request.schema,
        tools: &tools,
        messages: system
            .into_iter()
            .chain(messages.iter().flat_map(|message| match message.role {
                Role::User => user(message),
                Role::Assistant => vec![assistant(message)],
            })),
    };
    body.into_json()
}

fn tools(tools: &[ToolDefinition]) -> serde_json::Result<String> {
    WireTool::list(tools.iter().map(|tool| WireTool {
        name: &tool.name,
        description: &tool.description,
        parameters: &tool.input_schema,
    }))
}

/// A message per tool result, then one with all that the API accepts only from the user.
fn user(message: &Message) -> Vec<RequestMessage<'_>> {
    let (mut results, mut parts) = (Vec::new(), Vec::new());
    for block in &message.content {
        match block {
            Block::ToolResult(result) => {
                results.push(RequestMessage::Tool {
                    tool_call_id: &result.tool_use_id,
                    content: result_text(result),
                });
                parts.extend(images(result));
            }
            Block::Text { text, .. } => parts.push(Part::Text(text.into())),
            Block::Attachment(Attachment { name, content, .. }) => parts.push(match content {
                AttachmentContent::Image(image) => Part::Image {
                    media_type: &image.media_type,
                    data: &image.base64,
                },
                AttachmentContent::Pdf { base64, .. } => Part::Pdf { name, data: base64 },
                AttachmentContent::Text(text) => Part::Text(text.into()),
            }),
            Block::ToolUse(_) | Block::Opaque(_) => {}
        }
    }
    if !parts.is_empty() {
        results.push(RequestMessage::User(parts));
    }
    results
}

fn result_text(result: &ToolResult) -> Cow<'_, str> {
    let texts = result.content.iter().filter_map(|content| match content {
        Content::Text { text } => Some(text.as_str()),
        Content::Image(_) => None,
    });
    let text = RequestMessage::joined(texts);
    match result.is_error {
        true => format!("{ERROR}{text}").into(),
        false => text,
    }
}

fn images(result: &ToolResult) -> Vec<Part<'_>> {
    let images = result.content.iter().filter_map(|content| match content {
        Content::Text { .. } => None,
        Content::Image(image) => Some(Part::Image {
            media_type: &image.media_type,
            data: &image.base64,
        }),
    });
    let mut parts: Vec<_> = images.collect();
    if !parts.is_empty() {
        parts.insert(0, Part::Text(format!("{IMAGES}{}:", result.tool_use_id).into()));
    }
    parts
}

fn assistant(message: &Message) -> RequestMessage<'_> {
    let calls: Vec<_> = message
        .content
        .iter()
        .filter_map(|block| match block {
            Block::ToolUse(call) => Some(RequestCall {
                id: &call.id,
                name: &call.name,
                arguments: call.input.text(),
                extra: own_json(call.extra.as_ref()),
            }),
            _ => None,
        })
        .collect();
    let texts = message.content.iter().filter_map(|block| match block {
        Block::Text { text, .. } => Some(text.as_str()),
        _ => None,
    });
    // One block, unless an answer was cut in two. The newest one counts.
    let opaque = message.content.iter().rev().find_map(|block| match block {
        Block::Opaque(opaque) => opaque.json_for(PROVIDER),
        _ => None,
    });
    RequestMessage::Assistant {
        text: RequestMessage::joined(texts),
        extra: opaque.and_then(|block| reasoning::sent_back(block, !calls.is_empty())),
        calls,
    }
}

fn own_json(extra: Option<&Opaque>) -> Option<&str> {
    extra?.json_for(PROVIDER)
}

#[cfg(test)]
#[path = "request_tests.rs"]
mod tests;
