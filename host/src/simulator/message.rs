//! Composes the message that an answer of the script stands for, ready to be sent whole or as a stream.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

use super::answer::RequestContext;
use super::json::{ObjectText, json_text, list_text};
use super::placeholder;
use super::prompt_cache::CachedTokens;
use super::script::{ContentItem, ItemKind, MessageAnswer, ToolCall, ToolInput, UsageAnswer, UsageFigures};
use super::tool_search;
use crate::messages_api::{ASSISTANT, END_TURN, TOOL_USE};

/// A message whose parts are JSON text.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Message<'a> {
    id: String,
    model: String,
    pub(super) blocks: Vec<Block>,
    stop_reason: String,
    stop_sequence: Option<String>,
    stop_details: Option<String>,
    /// `None` omits the field.
    usage: Usage,
    extra: &'a Map<String, Value>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Usage {
    /// In `message_start`.
    start: Option<String>,
    /// In `message_delta`.
    end: Option<String>,
    /// In a whole answer.
    whole: Option<String>,
}

/// A block of a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Block {
    pub(super) index: u64,
    /// The block in `content_block_start`.
    pub(super) started: String,
    pub(super) deltas: Vec<DeltaText>,
    complete: String,
    /// Bytes that the model wrote.
    written: usize,
}

/// What the deltas of a block add up to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct DeltaText {
    pub(super) kind: String,
    pub(super) text: String,
    /// Whether it is sent as one delta.
    pub(super) is_whole: bool,
}

/// The types of deltas and the field that each adds to.
const DELTAS: [(&str, &str); 4] = [
    ("text_delta", "text"),
    ("input_json_delta", "partial_json"),
    ("thinking_delta", "thinking"),
    ("signature_delta", "signature"),
];

/// The types of deltas that an answer can have.
pub(super) fn delta_kinds() -> impl Iterator<Item = &'static str> {
    DELTAS.iter().map(|(kind, _)| *kind)
}

/// The JSON text of a delta.
pub(super) fn delta_text(kind: &str, text: &str) -> String {
    let field = DELTAS
        .iter()
        .find(|(own, _)| *own == kind)
        .map_or("text", |(_, field)| field);
    ObjectText::of_type(kind).field(field, &text).end()
}

pub(super) fn compose<'a>(answer: &'a MessageAnswer, context: &RequestContext<'_>) -> Message<'a> {
    let (items, searches) = tool_search::with_searches(items(answer, context), context);
    let blocks: Vec<_> = (0..)
        .zip(&items)
        .map(|(position, item)| Block::new(item, position, context))
        .collect();
    let default_reason = if answer.calls_tools() { TOOL_USE } else { END_TURN };
    Message {
        id: format!("msg_sim_{:06}", context.number),
        model: answer.model.clone().unwrap_or_else(|| context.view.model().to_owned()),
        stop_reason: answer.stop_reason.clone().unwrap_or_else(|| default_reason.to_owned()),
        stop_sequence: answer.stop_sequence.clone(),
        stop_details: answer.stop_details.as_ref().map(json_text),
        usage: Usage::new(answer, &blocks, context, &searches),
        blocks,
        extra: &answer.extra,
    }
}

/// What the answer consists of.
pub(super) fn items(answer: &MessageAnswer, context: &RequestContext<'_>) -> Vec<ContentItem> {
    match answer.content.is_empty() {
        true => simple_items(answer, context),
        false => answer.content.clone(),
    }
}

/// Thinking, then text, then tool calls.
fn simple_items(answer: &MessageAnswer, context: &RequestContext<'_>) -> Vec<ContentItem> {
    let thinking = answer.thinking.iter().map(ContentItem::thinking);
    // Without this, a text that expands to nothing would become an empty block, which the API never sends.
    let text = (!placeholder::expand(&answer.text, &context.view).is_empty()).then(|| ContentItem::text(&answer.text));
    let tools = answer.tools.iter().cloned().map(ContentItem::tool);
    thinking.chain(text).chain(tools).collect()
}

impl Block {
    fn new(item: &ContentItem, position: u64, context: &RequestContext<'_>) -> Self {
        let object = |kind: &str| ObjectText::extended(kind, Some(&item.extra));
        let delta = |kind: &str, text: String| DeltaText {
            kind: item.delta.clone().unwrap_or_else(|| kind.to_owned()),
            text,
            is_whole: false,
        };
        let (started, complete, deltas) = match &item.kind {
            ItemKind::Text(text) => {
                let text = placeholder::expand(text, &context.view);
                (
                    object("text").field("text", &"").end(),
                    object("text").field("text", &text).end(),
                    vec![delta("text_delta", text)],
                )
            }
            ItemKind::Thinking { text, signature } => {
                let signature = signature.clone().unwrap_or_else(|| thinking_signature(text));
                let write = |text: &str, signature: &str| {
                    let block = object("thinking").field("thinking", &text);
                    block.field("signature", &signature).end()
                };
                let signed = (!signature.is_empty()).then(|| DeltaText {
                    kind: "signature_delta".to_owned(),
                    text: signature.clone(),
                    is_whole: true,
                });
                let deltas = [delta("thinking_delta", text.clone())].into_iter().chain(signed);
                (write("", ""), write(text, &signature), deltas.collect())
            }
            ItemKind::Tool(call) => {
                let id = call
                    .id
                    .clone()
                    .unwrap_or_else(|| fresh_id(context.dialect.call_id_prefix(), context, position));
                let write = |input: &str| {
                    let block = object(TOOL_USE).field("id", &id).field("name", &call.name);
                    block.raw("input", input).end()
                };
                let input = input_text(call);
                // A whole answer can't hold truncated JSON.
                let is_json = serde_json::from_str::<serde::de::IgnoredAny>(&input).is_ok();
                let complete = write(if is_json { &input } else { "{}" });
                (write("{}"), complete, vec![delta("input_json_delta", input)])
            }
            ItemKind::Block(block) => {
                let whole = with_fields(block, &item.extra);
                let kind = whole["type"].as_str().unwrap_or_default();
                match whole.get("input").filter(|_| kind.ends_with(TOOL_USE)) {
                    Some(input) => {
                        let mut started = whole.clone();
                        started["input"] = json!({});
                        let deltas = vec![delta("input_json_delta", input.to_string())];
                        (started.to_string(), whole.to_string(), deltas)
                    }
                    None => (whole.to_string(), whole.to_string(), Vec::new()),
                }
            }
        };
        let streamed = deltas.iter().filter(|delta| !delta.is_whole);
        let streamed: usize = streamed.map(|delta| delta.text.len()).sum();
        let written = match &item.kind {
            ItemKind::Tool(call) => streamed.saturating_add(call.name.len()),
            ItemKind::Block(_) => complete.len(),
            ItemKind::Text(_) | ItemKind::Thinking { .. } => streamed,
        };
        Self {
            index: item.index.unwrap_or(position),
            started,
            deltas: deltas.into_iter().filter(|delta| !delta.text.is_empty()).collect(),
            complete,
            written,
        }
    }
}

fn with_fields(block: &Value, extra: &Map<String, Value>) -> Value {
    let mut whole = block.clone();
    if let Value::Object(fields) = &mut whole {
        fields.extend(extra.clone());
    }
    whole
}

pub(super) fn input_text(call: &ToolCall) -> String {
    match &call.input {
        ToolInput::Json(value) => value.to_string(),
        ToolInput::Text(text) => text.clone(),
    }
}

/// Generates an id that is the same in every run of a script and that the conversation doesn't contain yet. The
/// conversation may have begun with another simulator.
pub(super) fn fresh_id(prefix: &str, context: &RequestContext<'_>, position: u64) -> String {
    let base = format!("{prefix}_sim_{:06}_{position}", context.number);
    let taken = |id: &String| context.view.has_tool_use(id);
    if !taken(&base) {
        return base;
    }
    (1_u64..)
        .map(|suffix| format!("{base}_{suffix}"))
        .find(|id| !taken(id))
        .unwrap_or(base)
}

/// A checksum that lets the simulator detect thinking blocks that a client changed.
pub(super) fn thinking_signature(text: &str) -> String {
    STANDARD.encode(Sha256::digest(text.as_bytes()))
}

/// Counts one token for every four bytes.
pub(super) fn tokens(bytes: usize) -> u64 {
    bytes.div_ceil(4) as u64
}

impl Usage {
    /// `searches` has the bytes of the definitions that the answer had found after each of its searches.
    fn new(answer: &MessageAnswer, blocks: &[Block], context: &RequestContext<'_>, searches: &[usize]) -> Self {
        let prompt = |part: UsagePart| match part {
            UsagePart::Start { .. } => BilledPrompt::read(context, &[]),
            UsagePart::End | UsagePart::Whole => BilledPrompt::read(context, searches),
        };
        let write = |usage: &UsageAnswer, part: UsagePart| match usage {
            UsageAnswer::Omitted => None,
            UsageAnswer::Json(json) => Some(json.to_string()),
            UsageAnswer::Computed => Some(figures_text(
                &UsageFigures::default(),
                blocks,
                context,
                part,
                prompt(part),
            )),
            UsageAnswer::Given(figures) => Some(figures_text(figures, blocks, context, part, prompt(part))),
        };
        Self {
            start: match (&answer.usage_start, &answer.usage) {
                (Some(own), _) => write(own, UsagePart::Start { is_given: true }),
                // What comes at the end says nothing about the start.
                (None, UsageAnswer::Json(_)) => write(&UsageAnswer::Computed, UsagePart::Start { is_given: false }),
                (None, usage) => write(usage, UsagePart::Start { is_given: false }),
            },
            end: write(&answer.usage, UsagePart::End),
            whole: write(&answer.usage, UsagePart::Whole),
        }
    }
}

/// What a prompt is billed as.
#[derive(Clone, Copy)]
struct BilledPrompt {
    bytes: usize,
    cached: CachedTokens,
}

impl BilledPrompt {
    /// It is read once, and again after each search: then with what was found so far, and what is cached from the cache.
    fn read(context: &RequestContext<'_>, searches: &[usize]) -> Self {
        let again = searches.iter().map(|found| context.bytes.saturating_add(*found));
        let cached = context.cached;
        Self {
            bytes: again.fold(context.bytes, usize::saturating_add),
            cached: CachedTokens {
                read: cached
                    .read
                    .saturating_add(cached.all().saturating_mul(searches.len() as u64)),
                ..cached
            },
        }
    }
}

impl UsageFigures {
    /// The script's cached tokens. Those of the simulator's cache, if the script says nothing about the prompt.
    fn cached(&self, computed: CachedTokens) -> CachedTokens {
        let given = CachedTokens {
            read: self.cache_read_input_tokens,
            written_5m: self.cache_creation_5m_input_tokens,
            written_1h: self.cache_creation_1h_input_tokens,
        };
        match self.input_tokens.is_none() && given == CachedTokens::default() {
            true => computed,
            false => given,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum UsagePart {
    Start {
        /// Whether the script says what the start reports.
        is_given: bool,
    },
    End,
    Whole,
}

fn figures_text(
    figures: &UsageFigures,
    blocks: &[Block],
    context: &RequestContext<'_>,
    part: UsagePart,
    prompt: BilledPrompt,
) -> String {
    let written = blocks.iter().map(|block| block.written).sum();
    let computed = tokens(written).max(1).min(context.view.max_tokens());
    let output = match part {
        UsagePart::Start { is_given: false } => 1,
        UsagePart::Start { is_given: true } => figures.output_tokens.unwrap_or(1),
        UsagePart::End | UsagePart::Whole => figures.output_tokens.unwrap_or(computed),
    };
    let cached = figures.cached(prompt.cached);
    let uncached = || tokens(prompt.bytes).saturating_sub(cached.all());
    let mut usage = json!({
        "input_tokens": figures.input_tokens.unwrap_or_else(uncached),
        "cache_creation_input_tokens": cached.written(),
        "cache_read_input_tokens": cached.read,
        "output_tokens": output,
    });
    let thought = |block: &&Block| block.started.starts_with(r#"{"type":"thinking""#);
    let thought: usize = blocks.iter().filter(thought).map(|block| block.written).sum();
    if thought > 0 && !matches!(part, UsagePart::Start { .. }) {
        usage["output_tokens_details"] = json!({ "thinking_tokens": tokens(thought).min(output) });
    }
    // `message_delta` has neither of these.
    if part != UsagePart::End {
        usage["cache_creation"] = json!({
            "ephemeral_5m_input_tokens": cached.written_5m,
            "ephemeral_1h_input_tokens": cached.written_1h,
        });
        usage["service_tier"] = json!("standard");
    }
    usage.to_string()
}

impl Message<'_> {
    /// The body of a non-streaming response.
    pub(super) fn complete(&self) -> String {
        self.text(&self.blocks, Some(&self.stop_reason), self.usage.whole.as_deref())
    }

    /// The message in `message_start`: no content yet, and the usage known so far.
    pub(super) fn started(&self) -> String {
        self.text(&[], None, self.usage.start.as_deref())
    }

    fn text(&self, blocks: &[Block], stop_reason: Option<&str>, usage: Option<&str>) -> String {
        let is_complete = stop_reason.is_some();
        ObjectText::extended("message", Some(self.extra))
            .field("id", &self.id)
            .field("role", &ASSISTANT)
            .field("model", &self.model)
            .raw(
                "content",
                &list_text(blocks.iter().map(|block| block.complete.as_str())),
            )
            .field("stop_reason", &stop_reason)
            .field("stop_sequence", &self.stop_sequence.as_ref().filter(|_| is_complete))
            .optional("stop_details", self.stop_details.as_deref().filter(|_| is_complete))
            .optional("usage", usage)
            .end()
    }

    /// The data of `message_delta`, with the cumulative usage.
    pub(super) fn ended(&self) -> String {
        let delta = ObjectText::new()
            .field("stop_reason", &self.stop_reason)
            .field("stop_sequence", &self.stop_sequence)
            .optional("stop_details", self.stop_details.as_deref())
            .end();
        ObjectText::of_type("message_delta")
            .raw("delta", &delta)
            .optional("usage", self.usage.end.as_deref())
            .end()
    }
}
