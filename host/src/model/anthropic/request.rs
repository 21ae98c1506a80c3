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
#[path = "request_tests.rs"]
mod tests;
