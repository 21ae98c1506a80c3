//! How many tokens a request may come to, before anyone has counted.

use super::{Block, Message, ModelRequest, ResultContent};

/// Bytes of serialised request per token. Prose has four and more, code and JSON about three, digits and base64 come close to
/// two: a reservation must hold for all of them.
const BYTES_PER_TOKEN: u64 = 2;

/// What the API adds out of our sight: the prompt that explains tools, and the frame of each turn.
const HIDDEN_TOKENS: u64 = 1_024;

/// The most an image costs after the API has scaled it down, newest models included.
const IMAGE_TOKENS: u64 = 5_000;

/// An upper estimate of the prompt's tokens, for the reservation only; the settlement uses what the API counted.
///
/// It is no proof: text of rare characters can hold more tokens than half of its bytes. The reservation multiplies it by
/// the dearest input price and by twice the plain one at least; as no request of ours writes to the cache, that leaves
/// room for one token in every byte.
pub fn prompt_tokens(request: &ModelRequest) -> u64 {
    let mut counter = ByteCounter::default();
    let images: u64 = request
        .messages
        .iter()
        .flat_map(|message| &message.content)
        .map(images_in)
        .sum();
    counter.add(&request.system);
    counter.add(&request.tools);
    for Message { content, .. } in &request.messages {
        for block in content {
            counter.add_block(block);
        }
    }
    counter
        .bytes
        .div_ceil(BYTES_PER_TOKEN)
        .saturating_add(images.saturating_mul(IMAGE_TOKENS))
        .saturating_add(HIDDEN_TOKENS)
}

fn images_in(block: &Block) -> u64 {
    match block {
        Block::ToolResult(result) => result
            .content
            .iter()
            .filter(|content| matches!(content, ResultContent::Image { .. }))
            .count() as u64,
        _ => 0,
    }
}

/// Counts what a value would serialise to, without writing it anywhere.
#[derive(Default)]
struct ByteCounter {
    bytes: u64,
}

impl ByteCounter {
    fn add(&mut self, value: &impl serde::Serialize) {
        // Plain data with string keys always serialises, and this writer takes everything.
        let _ = serde_json::to_writer(self, value);
    }

    /// Images are priced by the piece, so their data must not be counted as if it were text.
    fn add_block(&mut self, block: &Block) {
        let Block::ToolResult(result) = block else {
            return self.add(block);
        };
        self.add(&result.tool_use_id);
        for content in &result.content {
            if let ResultContent::Text { text } = content {
                self.add(text);
            }
        }
    }
}

impl std::io::Write for ByteCounter {
    fn write(&mut self, data: &[u8]) -> std::io::Result<usize> {
        self.bytes = self.bytes.saturating_add(data.len() as u64);
        Ok(data.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::{ImageSource, ToolResultBlock};
    use super::*;

    fn request(content: Vec<Block>) -> ModelRequest {
        ModelRequest {
            system: String::new(),
            messages: vec![Message {
                role: super::super::Role::User,
                content,
            }],
            tools: Vec::new(),
            max_tokens: 16,
            temperature: None,
        }
    }

    fn result(content: Vec<ResultContent>) -> Block {
        Block::ToolResult(ToolResultBlock {
            tool_use_id: "toolu_1".to_owned(),
            content,
            is_error: false,
        })
    }

    #[test]
    fn text_counts_half_of_its_bytes_and_the_hidden_part() {
        let empty = prompt_tokens(&request(Vec::new()));
        assert!(empty >= HIDDEN_TOKENS);
        let long = prompt_tokens(&request(vec![Block::text("x".repeat(30_000))]));
        assert!((15_000..15_100).contains(&(long - empty)), "{long}");
    }

    #[test]
    fn an_image_has_a_fixed_ceiling() {
        let image = |bytes: usize| ResultContent::Image {
            source: ImageSource::Base64 {
                media_type: "image/png".to_owned(),
                data: "A".repeat(bytes),
            },
        };
        let none = prompt_tokens(&request(vec![result(vec![])]));
        let small = prompt_tokens(&request(vec![result(vec![image(10)])]));
        let large = prompt_tokens(&request(vec![result(vec![image(1_000_000)])]));
        assert_eq!(small, large);
        assert_eq!(large - none, IMAGE_TOKENS);
    }
}
