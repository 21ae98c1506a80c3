//! The prompt cache of the Messages API: what a request reads from it, and what it writes.
//!
//! A request is compared as text, so that fields in another order or a number written differently miss the cache. Sources: the
//! vendor's page on prompt caching, and what users measured.

use std::borrow::Cow;
use std::collections::HashMap;
use std::time::Duration;

use sha2::{Digest, Sha256};
use tokio::time::Instant;

use super::message::tokens;
use super::models;
use super::tool_search::references;
use crate::json_text::Json;
use crate::messages_api::SYSTEM;

/// How many positions are looked up for each breakpoint: its own and those before it.
const LOOK_BACK: usize = 20;

/// Prefixes in the cache. More aren't kept, until some have expired.
const MAX_ENTRIES: usize = 10_000;

/// A picture or a PDF counts as this many bytes of text, whatever its size.
const MEDIA_BYTES: usize = 6_400;

const CACHE_CONTROL: &str = "cache_control";

/// Tokens of a prompt, by what the cache did with them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct CachedTokens {
    pub(super) read: u64,
    pub(super) written_5m: u64,
    pub(super) written_1h: u64,
}

impl CachedTokens {
    pub(super) const fn written(&self) -> u64 {
        self.written_5m.saturating_add(self.written_1h)
    }

    pub(super) const fn all(&self) -> u64 {
        self.read.saturating_add(self.written())
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Lifetime {
    FiveMinutes,
    OneHour,
}

impl Lifetime {
    fn of(marker: Json<'_>) -> Self {
        match marker.field("ttl").and_then(Json::string).as_deref() {
            Some("1h") => Self::OneHour,
            _ => Self::FiveMinutes,
        }
    }

    const fn duration(self) -> Duration {
        match self {
            Self::FiveMinutes => Duration::from_secs(5 * 60),
            Self::OneHour => Duration::from_secs(60 * 60),
        }
    }
}

/// The prompt of a request, cut wherever a cached prefix can end: after each tool and each block.
#[derive(Debug)]
pub(super) struct Prompt {
    positions: Vec<Position>,
    /// A shorter prefix isn't cached.
    min_tokens: u64,
    uncounted: usize,
}

#[derive(Debug)]
struct Position {
    /// Of all that is before.
    digest: [u8; 32],
    tokens: u64,
    breakpoint: Option<Lifetime>,
}

impl Prompt {
    /// `body` is a request's. Of a body that isn't JSON nothing is cached.
    pub(super) fn of(body: &str) -> Self {
        let body = Json::parse(body).unwrap_or(Json::NULL);
        let mut reader = Reader::default();
        for option in ["model", "speed"] {
            reader.option(body.field(option));
        }
        for tool in items(body.field("tools")) {
            reader.tool(tool);
        }
        // The tools' part of a prompt also begins with the first definition in a message. After a list it has begun.
        if reader.positions.is_empty() && defines_tools(body) {
            reader.so_far.update("tools");
        }
        for block in blocks(body.field("system")) {
            reader.block(&block);
        }
        for option in ["thinking", "tool_choice", "output_config"] {
            reader.option(body.field(option));
        }
        for message in items(body.field("messages")) {
            reader.option(message.field("role"));
            for block in blocks(message.field("content")) {
                reader.block(&block);
            }
        }
        if let Some(marker) = body.field(CACHE_CONTROL).filter(|marker| !marker.is_null()) {
            let lifetime = reader.marker(marker);
            if let Some(last) = reader.positions.last_mut() {
                last.breakpoint.get_or_insert(lifetime);
            }
        }
        let model = body.field("model").and_then(Json::string).unwrap_or_default();
        Self {
            positions: reader.positions,
            min_tokens: models::model(&model).min_cached_tokens,
            uncounted: reader
                .marker_bytes
                .saturating_add(reader.media_bytes)
                .saturating_add(reader.deferred.values().map(|tool| tool.len() + 1).sum()),
        }
    }

    /// Bytes of the body that aren't text of the prompt: its breakpoints, pictures and PDFs beyond what they count, and tools that are
    /// deferred and not found.
    pub(super) const fn uncounted_bytes(&self) -> usize {
        self.uncounted
    }
}

#[derive(Default)]
struct Reader {
    so_far: Sha256,
    bytes: usize,
    positions: Vec<Position>,
    marker_bytes: usize,
    media_bytes: usize,
    /// The tools that nothing before has found, by name.
    deferred: HashMap<String, String>,
}

impl Reader {
    /// A deferred tool is no part of the prompt until a search finds it.
    fn tool(&mut self, tool: Json<'_>) {
        let is_deferred = tool.field("defer_loading").is_some_and(|value| value.text() == "true");
        match tool.field("name").and_then(Json::string).filter(|_| is_deferred) {
            Some(name) => drop(self.deferred.insert(name.into_owned(), tool.text().to_owned())),
            None => self.part(tool),
        }
    }

    /// The definitions that the result of a search, or an addition, refers to first. They stand behind it in the prompt.
    fn found(&mut self, block: Json<'_>) -> String {
        if self.deferred.is_empty() || !block.text().contains("tool_reference") {
            return String::new();
        }
        let block = block.to_value();
        let added = block["tool"]["name"].as_str();
        references(&block)
            .chain(added)
            .filter_map(|name| self.deferred.remove(name))
            .collect()
    }

    /// A setting that the following prefixes depend on.
    fn option(&mut self, value: Option<Json<'_>>) {
        self.so_far.update(value.map_or("null", Json::text));
        self.so_far.update([0]);
    }

    fn block(&mut self, block: &str) {
        self.part(Json::parse(block).unwrap_or(Json::NULL));
    }

    fn part(&mut self, part: Json<'_>) {
        let mut breakpoint = None;
        let text = self.unmarked(part, &mut breakpoint) + &self.found(part);
        self.bytes = self.bytes.saturating_add(text.len());
        self.so_far.update(text.as_bytes());
        self.so_far.update([0]);
        self.positions.push(Position {
            digest: self.so_far.clone().finalize().into(),
            tokens: tokens(self.bytes.saturating_sub(self.media_bytes)),
            breakpoint,
        });
    }

    /// The text of a block or a tool without its marker, and without those of the blocks of a result.
    fn unmarked(&mut self, part: Json<'_>, breakpoint: &mut Option<Lifetime>) -> String {
        if let Some(items) = part.items() {
            let items: Vec<_> = items.map(|item| self.unmarked(item, breakpoint)).collect();
            return format!("[{}]", items.join(","));
        }
        if !part.is_object() {
            return part.minified();
        }
        let mut fields = Vec::new();
        for field in part.fields() {
            if field.is("source") {
                let data = field
                    .value
                    .field("data")
                    .and_then(Json::string_body)
                    .unwrap_or_default();
                let is_media = field.value.field("type").and_then(Json::string).as_deref() == Some("base64");
                let more = data.len().saturating_sub(MEDIA_BYTES);
                self.media_bytes = self.media_bytes.saturating_add(if is_media { more } else { 0 });
            }
            if field.is(CACHE_CONTROL) {
                let lifetime = self.marker(field.value);
                breakpoint.get_or_insert(lifetime);
            } else if field.is("content") {
                fields.push(format!("{}:{}", field.name, self.unmarked(field.value, breakpoint)));
            } else {
                fields.push(format!("{}:{}", field.name, field.value.minified()));
            }
        }
        format!("{{{}}}", fields.join(","))
    }

    fn marker(&mut self, marker: Json<'_>) -> Lifetime {
        // With its name in quotes, a comma and a colon.
        let bytes = marker.text().len() + CACHE_CONTROL.len() + 4;
        self.marker_bytes = self.marker_bytes.saturating_add(bytes);
        Lifetime::of(marker)
    }
}

/// Whether a message of the role `system` defines a tool.
fn defines_tools(body: Json<'_>) -> bool {
    let messages = items(body.field("messages"));
    let mut changes = messages
        .filter(|message| message.field("role").and_then(Json::string).as_deref() == Some(SYSTEM))
        .flat_map(|message| items(message.field("content")));
    changes.any(|change| {
        change
            .field("tool")
            .is_some_and(|tool| tool.field("definition").is_some())
    })
}

fn items(list: Option<Json<'_>>) -> impl Iterator<Item = Json<'_>> {
    list.and_then(Json::items).into_iter().flatten()
}

/// The blocks of a content, which can also be a text.
fn blocks(content: Option<Json<'_>>) -> Vec<Cow<'_, str>> {
    match content {
        Some(text) if text.string_body().is_some() => {
            vec![Cow::Owned(format!("{{\"type\":\"text\",\"text\":{text}}}"))]
        }
        content => items(content).map(|block| Cow::Borrowed(block.text())).collect(),
    }
}

/// What the API has cached, of every model.
#[derive(Debug, Default)]
pub(super) struct PromptCache {
    entries: HashMap<[u8; 32], Entry>,
}

#[derive(Debug)]
struct Entry {
    lifetime: Lifetime,
    expires: Instant,
}

impl PromptCache {
    /// Reads the longest prefix that is cached, and caches the rest up to the last breakpoint.
    pub(super) fn take(&mut self, prompt: &Prompt, now: Instant) -> CachedTokens {
        self.entries.retain(|_, entry| entry.expires > now);
        let positions = &prompt.positions;
        let breakpoints = || {
            positions
                .iter()
                .enumerate()
                .filter(|(_, position)| position.breakpoint.is_some())
        };
        let nearby = breakpoints().flat_map(|(index, _)| (index + 1).saturating_sub(LOOK_BACK)..=index);
        let read = nearby
            .filter(|index| self.entries.contains_key(&positions[*index].digest))
            .max();
        let mut cached = CachedTokens {
            read: read.map_or(0, |index| positions[index].tokens),
            ..CachedTokens::default()
        };
        if let Some(entry) = read.and_then(|index| self.entries.get_mut(&positions[index].digest)) {
            entry.expires = now + entry.lifetime.duration();
        }
        let mut end = cached.read;
        for (_, position) in breakpoints().filter(|(_, position)| position.tokens >= prompt.min_tokens) {
            let Some(lifetime) = position.breakpoint else { continue };
            let written = match lifetime {
                Lifetime::FiveMinutes => &mut cached.written_5m,
                Lifetime::OneHour => &mut cached.written_1h,
            };
            *written = written.saturating_add(position.tokens.saturating_sub(end));
            end = end.max(position.tokens);
            if self.entries.len() < MAX_ENTRIES {
                let expires = now + lifetime.duration();
                self.entries.insert(position.digest, Entry { lifetime, expires });
            }
        }
        cached
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use serde_json::{Value, json};

    use super::*;

    const MODEL: &str = "claude-sonnet-5-5";

    fn ephemeral() -> Value {
        json!({ "type": "ephemeral" })
    }

    fn text(text: &str) -> Value {
        json!({ "type": "text", "text": text })
    }

    fn marked(mut block: Value, marker: Value) -> Value {
        block["cache_control"] = marker;
        block
    }

    fn request(model: &str, system: Value, blocks: &[Value]) -> String {
        json!({ "model": model, "system": system, "messages": [{ "role": "user", "content": blocks }] }).to_string()
    }

    fn long() -> String {
        "word ".repeat(1_000)
    }

    struct Api {
        cache: PromptCache,
        now: Instant,
    }

    impl Api {
        fn new() -> Self {
            Self {
                cache: PromptCache::default(),
                now: Instant::now(),
            }
        }

        /// Tokens read, and written for 5 minutes and for an hour.
        fn send(&mut self, body: &str) -> (u64, u64, u64) {
            let cached = self.cache.take(&Prompt::of(body), self.now);
            (cached.read, cached.written_5m, cached.written_1h)
        }
    }

    #[tokio::test]
    async fn a_longer_conversation_reads_what_the_shorter_one_wrote() {
        let mut api = Api::new();
        let first = request(MODEL, json!(long()), &[marked(text("a"), ephemeral())]);
        let (read, written, _) = api.send(&first);
        assert!(read == 0 && written > 1_200, "{written}");
        assert_eq!(api.send(&first), (written, 0, 0), "the same again");
        let second = request(MODEL, json!(long()), &[text("a"), marked(text(&long()), ephemeral())]);
        let (read, more, _) = api.send(&second);
        assert_eq!(read, written);
        assert!(more > 1_200, "{more}");
        // The marker at the top is one on the last block.
        let whole = json!({ "model": MODEL, "system": long(), "cache_control": ephemeral(),
            "messages": [{ "role": "user", "content": [text("a")] }] });
        assert_eq!(api.send(&whole.to_string()), (written, 0, 0));
    }

    #[tokio::test]
    async fn nothing_is_cached_without_a_breakpoint_or_below_the_models_minimum() {
        let unmarked = request(MODEL, json!(long()), &[text("a")]);
        let short =
            |model: &str, words: usize| request(model, json!("word ".repeat(words)), &[marked(text("a"), ephemeral())]);
        for (body, is_cached) in [
            (unmarked, false),
            (short(MODEL, 300), false),
            (short(MODEL, 500), true),
            (short("claude-sonnet-5", 500), false),
            (short("claude-sonnet-5", 1_000), true),
            (short("claude-haiku-4-5", 3_000), false),
            (short("claude-haiku-4-5", 4_000), true),
            (short("claude-opus-4-7", 1_000), false),
            (short("simulated", 500), false),
        ] {
            let mut api = Api::new();
            let first = api.send(&body);
            assert_eq!((first.1 > 0, first.0), (is_cached, 0), "{}", &body[..40]);
            assert_eq!(api.send(&body).0 > 0, is_cached);
        }
    }

    #[tokio::test]
    async fn what_differs_by_a_byte_or_a_setting_is_not_read() {
        let tool = |schema: &str| format!("{{\"name\":\"t\",\"input_schema\":{schema}}}");
        let body = |model: &str, tool: &str, more: &str| {
            let words = long();
            format!(
                "{{\"model\":\"{model}\",\"tools\":[{tool}],{more}\"messages\":[{{\"role\":\"user\",\"content\":\
                 [{{\"type\":\"text\",\"text\":\"{words}\",\"cache_control\":{{\"type\":\"ephemeral\"}}}}]}}]}}"
            )
        };
        let mut api = Api::new();
        let known = tool("{\"type\":\"object\",\"b\":1.0}");
        assert!(api.send(&body(MODEL, &known, "")).1 > 0);
        assert!(api.send(&body(MODEL, &known, "")).0 > 0);
        for other in [
            body("claude-opus-5-5", &known, ""),
            body(MODEL, &tool("{\"b\":1.0,\"type\":\"object\"}"), ""),
            body(MODEL, &tool("{\"type\":\"object\",\"b\":1}"), ""),
            body(MODEL, &known, "\"thinking\":{\"type\":\"adaptive\"},"),
            body(MODEL, &known, "\"tool_choice\":{\"type\":\"none\"},"),
            body(MODEL, &known, "\"system\":\"x\","),
        ] {
            assert_eq!(api.send(&other).0, 0, "{}", &other[..120]);
        }
    }

    /// So says the vendor: the part of the tools is missing in front of such a conversation.
    #[tokio::test]
    async fn the_first_definition_in_a_conversation_without_tools_costs_its_prompt() {
        let tool = json!({ "name": "t", "input_schema": { "type": "object" } });
        let search = json!({ "type": "tool_search_tool_bm25_20251119", "name": "tool_search_tool_bm25" });
        let mut deferred = tool.clone();
        deferred["defer_loading"] = json!(true);
        for (tools, is_read) in [
            (json!([]), false),
            (json!([deferred]), false),
            (json!([deferred, search]), true),
            (json!([tool]), true),
        ] {
            let body = |definitions: usize| {
                let user = json!({ "role": "user", "content": [marked(text(&long()), ephemeral())] });
                let change = json!({ "role": "system", "content": [{ "type": "tool_addition",
                    "tool": { "type": "tool_definition", "definition": tool } }] });
                let messages: Vec<_> = std::iter::once(user).chain(vec![change; definitions]).collect();
                json!({ "model": MODEL, "tools": tools, "messages": messages }).to_string()
            };
            let mut api = Api::new();
            let (_, written, _) = api.send(&body(0));
            assert_eq!(api.send(&body(1)).0, if is_read { written } else { 0 }, "{tools}");
            assert_eq!(api.send(&body(2)).0, written, "once: {tools}");
        }
    }

    #[tokio::test]
    async fn a_prefix_is_found_up_to_twenty_positions_before_a_breakpoint() {
        for (more, is_found) in [(19, true), (20, false)] {
            let mut api = Api::new();
            let mut blocks = vec![text(&long())];
            *blocks.last_mut().unwrap() = marked(blocks[0].clone(), ephemeral());
            let (_, written, _) = api.send(&request(MODEL, Value::Null, &blocks));
            blocks[0] = text(&long());
            blocks.extend((0..more).map(|number| text(&number.to_string())));
            let last = blocks.pop().unwrap();
            blocks.push(marked(last, ephemeral()));
            let (read, ..) = api.send(&request(MODEL, Value::Null, &blocks));
            assert_eq!(read, if is_found { written } else { 0 }, "{more}");
        }
    }

    #[tokio::test]
    async fn each_lifetime_begins_again_with_every_use() {
        let hour = json!({ "type": "ephemeral", "ttl": "1h" });
        for (marker, minutes) in [(ephemeral(), 5), (hour, 60)] {
            let mut api = Api::new();
            let body = request(MODEL, json!(long()), &[marked(text("a"), marker)]);
            let (_, short, long) = api.send(&body);
            assert_eq!((short > 0, long > 0), (minutes == 5, minutes == 60));
            for _ in 0..2 {
                api.now += Duration::from_secs(minutes * 60 - 1);
                assert!(api.send(&body).0 > 0);
            }
            api.now += Duration::from_secs(minutes * 60);
            assert_eq!(api.send(&body), (0, short, long));
        }
    }

    #[tokio::test]
    async fn a_text_is_the_same_as_its_block() {
        let body = |content: &str| {
            format!(
                "{{\"model\":\"{MODEL}\",\"cache_control\":{{\"type\":\"ephemeral\"}},\
                 \"messages\":[{{\"role\":\"user\",\"content\":{content}}}]}}"
            )
        };
        let text = long();
        let mut api = Api::new();
        let (_, written, _) = api.send(&body(&format!("\"{text}\"")));
        let block = format!("[ {{\"type\": \"text\", \"text\": \"{text}\"}} ]");
        assert_eq!(api.send(&body(&block)), (written, 0, 0));
    }

    #[tokio::test]
    async fn markers_are_no_part_of_the_prompt() {
        let plain = request(MODEL, json!([text("s")]), &[text("a")]);
        let with = request(
            MODEL,
            json!([marked(text("s"), ephemeral())]),
            &[marked(text("a"), json!({ "type": "ephemeral", "ttl": "1h" }))],
        );
        assert_eq!(plain.len(), with.len() - Prompt::of(&with).uncounted_bytes());
        assert_eq!(Prompt::of(&plain).uncounted_bytes(), 0);
        assert_eq!(Prompt::of("{").positions.len(), 0);
    }
}
