//! Estimates the tokens of a request before the API counts them, and of an answer whose count never came.

use super::{DeferredTools, PreparedRequest};
use crate::transcript::{Attachment, AttachmentContent, Block, Content, Image};

/// Bytes per token of text that is expected: prose has four or more, code and JSON about three, digits and base64 nearly two.
const BYTES_PER_TOKEN: u64 = 2;

/// Bytes of names, descriptions and schemas per token, as a rule.
const DEFINITION_BYTES_PER_TOKEN: u64 = 3;

/// Tokens that the model may have written before it noticed that nobody reads on, which is about a second's worth with room to
/// spare. They are billed and never arrive.
const IN_FLIGHT_TOKENS: u64 = 256;

/// Tokens that the API adds invisibly: the prompt that explains tools, and the framing of each turn.
const HIDDEN_TOKENS: u64 = 1_024;

/// The most tokens of an image after the API has scaled it down, including the newest models.
const IMAGE_TOKENS: u64 = 5_000;

/// Tokens of a page of a PDF: up to 3,000 for its text and 1,600 for its picture. Source: the vendor's page on PDFs.
const PAGE_TOKENS: u64 = 5_000;

/// Twice the longest context of any model. Nothing that reports more is a count.
const MOST_TOKENS: u64 = 20_000_000;

/// Whether figures that an API reports, of which this is the largest, can be those of a request. If not, the usage is unknown and the
/// reservation is charged: taken as they are, they would have one faulty server use up the budget of every other for the day.
pub(super) fn are_counts(largest_figure: u64) -> bool {
    largest_figure <= MOST_TOKENS
}

/// The tokens of a prompt, as far as the host can tell. The settlement uses what the API counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PromptTokens {
    /// A high estimate: a token for every two bytes of text.
    pub likely: u64,
    /// What a reservation must suffice for: a token for every byte of text. Rare characters come close to that.
    pub most: u64,
}

impl PromptTokens {
    /// One reading of it. Of tools that the model has to search for, those count that were found, and as many as the searches of the
    /// answer may find.
    pub fn of(request: &PreparedRequest<'_>) -> Self {
        let (mut media_tokens, mut media_bytes) = (0_u64, 0_u64);
        let images = images_in(request).map(|Image { base64, .. }| (IMAGE_TOKENS, base64));
        for (tokens, base64) in images.chain(pdfs_in(request)) {
            media_tokens = media_tokens.saturating_add(tokens);
            media_bytes = media_bytes.saturating_add(base64.len() as u64);
        }
        // Images and pages have a fixed price each, so their data must not count as text.
        let DeferredTools {
            bytes, findable_bytes, ..
        } = request.deferred;
        let text_bytes = (request.body.len() as u64)
            .saturating_sub(media_bytes)
            .saturating_sub(bytes.saturating_sub(findable_bytes));
        let with_text = |tokens: u64| tokens.saturating_add(media_tokens).saturating_add(HIDDEN_TOKENS);
        Self {
            likely: with_text(text_bytes.div_ceil(BYTES_PER_TOKEN)),
            most: with_text(text_bytes),
        }
    }
}

/// What a reservation takes for a prompt that the API has counted: 2 % and 16 tokens more. The API calls its count an estimate that can
/// [differ by a small amount](https://docs.claude.com/en/docs/build-with-claude/token-counting). If the answer can search
/// for tools, what it may find isn't in the count.
pub fn with_count_margin(counted: u64, deferred: DeferredTools) -> u64 {
    counted
        .saturating_add(counted / 50)
        .saturating_add(16)
        .saturating_add(deferred.findable_bytes)
}

/// The likely tokens of so many bytes of tools' definitions. For decisions and for display; a reservation takes more.
pub fn definition_tokens(bytes: u64) -> u64 {
    bytes.div_ceil(DEFINITION_BYTES_PER_TOKEN)
}

/// The least tokens that any request reserves whose prompt isn't counted, given the bytes of text that every request carries.
pub fn least_prompt_tokens(carried_bytes: u64) -> u64 {
    carried_bytes.saturating_add(HIDDEN_TOKENS)
}

/// An upper estimate of the tokens that the model wrote, if `bytes` of its answer arrived before the host hung up. The margin:
/// prose counts about double, and [`IN_FLIGHT_TOKENS`] are added.
pub fn output_tokens(bytes: u64) -> u64 {
    bytes.div_ceil(BYTES_PER_TOKEN).saturating_add(IN_FLIGHT_TOKENS)
}

fn images_in<'a>(request: &PreparedRequest<'a>) -> impl Iterator<Item = &'a Image> {
    let blocks = request.request.messages.iter().flat_map(|message| &message.content);
    blocks.flat_map(|block| {
        let contents = match block {
            Block::ToolResult(result) => &result.content[..],
            _ => &[],
        };
        let attached = match block {
            Block::Attachment(Attachment {
                content: AttachmentContent::Image(image),
                ..
            }) => Some(image),
            _ => None,
        };
        let images = contents.iter().filter_map(|content| match content {
            Content::Image(image) => Some(image),
            Content::Text { .. } => None,
        });
        images.chain(attached)
    })
}

/// The tokens and the data of each PDF.
fn pdfs_in<'a>(request: &PreparedRequest<'a>) -> impl Iterator<Item = (u64, &'a String)> {
    let blocks = request.request.messages.iter().flat_map(|message| &message.content);
    blocks.filter_map(|block| match block {
        Block::Attachment(Attachment {
            content: AttachmentContent::Pdf { base64, pages },
            ..
        }) => Some((u64::from(*pages).saturating_mul(PAGE_TOKENS), base64)),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::super::{ModelRequest, ToolDefinitions, anthropic};
    use super::*;
    use crate::transcript::{Message, Role, ToolResult, ToolUse};

    fn estimate(content: Vec<Block>) -> PromptTokens {
        let call = Block::ToolUse(ToolUse {
            id: "toolu_1".to_owned(),
            name: "t".to_owned(),
            input: serde_json::json!({}).into(),
            extra: None,
        });
        let request = ModelRequest {
            system: "",
            messages: &[
                Message::user("go"),
                Message {
                    role: Role::Assistant,
                    content: vec![call],
                },
                Message {
                    role: Role::User,
                    content,
                },
            ],
            tools: &ToolDefinitions::default(),
            max_tokens: 16,
            temperature: None,
            schema: None,
            tools_since: &[],
        };
        let body = anthropic::request_body(&request).unwrap().into();
        PromptTokens::of(&PreparedRequest::new(&request, body))
    }

    fn result(content: Vec<Content>) -> Vec<Block> {
        vec![Block::ToolResult(ToolResult {
            tool_use_id: "toolu_1".to_owned(),
            content,
            is_error: false,
        })]
    }

    #[test]
    fn text_counts_a_token_per_two_bytes_and_at_most_one_per_byte_plus_the_hidden_ones() {
        let empty = estimate(vec![Block::text("x")]);
        assert!(empty.likely >= HIDDEN_TOKENS);
        let long = estimate(vec![Block::text("x".repeat(30_001))]);
        assert_eq!((long.likely - empty.likely, long.most - empty.most), (15_000, 30_000));
    }

    #[test]
    fn deferred_tools_count_as_far_as_they_can_be_found() {
        let request = ModelRequest {
            system: &"x".repeat(10_000),
            messages: &[Message::user("go")],
            tools: &ToolDefinitions::default(),
            max_tokens: 16,
            temperature: None,
            schema: None,
            tools_since: &[],
        };
        let estimate = |bytes, findable_bytes| {
            let prompt = PromptTokens::of(&PreparedRequest {
                deferred: DeferredTools {
                    bytes,
                    findable_bytes,
                    searches: 4,
                },
                ..PreparedRequest::new(&request, anthropic::request_body(&request).unwrap().into())
            });
            (prompt.likely, prompt.most)
        };
        let (likely, most) = estimate(0, 0);
        assert_eq!(estimate(4_000, 1_000), (likely - 1_500, most - 3_000));
        assert_eq!(estimate(0, 0), estimate(4_000, 4_000));
        let counted = |findable_bytes| {
            let bytes = 4_000;
            with_count_margin(
                1_000,
                DeferredTools {
                    bytes,
                    findable_bytes,
                    searches: 4,
                },
            )
        };
        assert_eq!((counted(0), counted(1_000)), (1_036, 1_036 + 1_000));
    }

    #[test]
    fn attachments_count_by_images_and_pages_and_not_by_their_data() {
        let attach = |file: Vec<u8>| {
            let attachment = Attachment::of("a", &file).unwrap();
            let call = Block::ToolResult(ToolResult {
                tool_use_id: "toolu_1".to_owned(),
                content: vec![],
                is_error: false,
            });
            estimate(vec![call, Block::Attachment(attachment)])
        };
        let padded = |head: &[u8], bytes: usize| [head, &vec![b' '; bytes][..]].concat();
        let none = estimate(result(vec![]));
        for (head, tokens) in [
            (&b"\x89PNG\r\n\x1a\n"[..], IMAGE_TOKENS),
            (b"%PDF-1.4 /Type /Pages /Count 3", 3 * PAGE_TOKENS),
        ] {
            let (small, large) = (attach(padded(head, 0)), attach(padded(head, 1_000_000)));
            assert_eq!(small, large);
            for added in [large.likely - none.likely, large.most - none.most] {
                assert!((tokens..tokens + 200).contains(&added), "{large:?}");
            }
        }
        let text = attach(padded(b"text", 100_000));
        assert!(text.most - none.most >= 100_000, "text counts as text");
    }

    #[test]
    fn an_image_has_a_fixed_ceiling() {
        let image = |bytes: usize| {
            Content::Image(Image {
                media_type: "image/png".to_owned(),
                base64: "A".repeat(bytes),
            })
        };
        let none = estimate(result(vec![]));
        let small = estimate(result(vec![image(10)]));
        let large = estimate(result(vec![image(1_000_000)]));
        assert_eq!(small, large);
        assert!(
            (IMAGE_TOKENS..IMAGE_TOKENS + 50).contains(&(large.likely - none.likely)),
            "{large:?}"
        );
    }
}
