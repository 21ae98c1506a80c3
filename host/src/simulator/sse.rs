//! Splits a message into the events of a stream.

use std::time::Duration;

use bytes::Bytes;
use serde_json::json;

use super::answer::{ContentBlock, Message, json_text};
use super::script::StreamOptions;
use crate::messages_api::{Delta, StreamEvent};

/// Maximum number of deltas per block.
const MAX_DELTAS: usize = 20_000;

/// An event and the pause before it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Event {
    pub(super) delay: Duration,
    pub(super) bytes: Bytes,
}

/// Serialises an event. Its name is the `type` of its data.
pub(super) fn event(event: &StreamEvent) -> Bytes {
    Bytes::from(format!("event: {}\ndata: {}\n\n", event.name(), json_text(event)))
}

/// All events of a message, from `message_start` to `message_stop`.
pub(super) fn events(message: &Message, options: &StreamOptions) -> Vec<Event> {
    let mut stream = Stream {
        events: Vec::new(),
        options,
        deltas: 0,
    };
    stream.push(&StreamEvent::MessageStart {
        message: message.started(),
    });
    if options.unknown_events {
        stream.push(&StreamEvent::Unknown(
            json!({ "type": "future_event", "detail": "a client skips what it does not know" }),
        ));
    }
    for (index, block) in (0..).zip(&message.content) {
        stream.push(&StreamEvent::ContentBlockStart {
            index,
            content_block: json!(block.started()),
        });
        if index == 0 {
            stream.push(&StreamEvent::Ping);
            if options.unknown_events {
                stream.push(&delta(
                    index,
                    Delta::Unknown(json!({ "type": "future_delta", "value": 1 })),
                ));
            }
        }
        stream.block(index, block);
        stream.push(&StreamEvent::ContentBlockStop { index });
    }
    stream.push(&message.ended());
    stream.push(&StreamEvent::MessageStop);
    stream.events
}

struct Stream<'a> {
    events: Vec<Event>,
    options: &'a StreamOptions,
    deltas: usize,
}

impl Stream<'_> {
    fn push(&mut self, data: &StreamEvent) {
        self.events.push(Event {
            delay: Duration::ZERO,
            bytes: event(data),
        });
    }

    fn block(&mut self, index: u64, block: &ContentBlock) {
        match block {
            ContentBlock::Text(text) => self.deltas(index, text, |text| Delta::Text { text }),
            ContentBlock::Thinking { text, signature } => {
                self.deltas(index, text, |thinking| Delta::Thinking { thinking });
                let signature = signature.clone();
                self.push(&delta(index, Delta::Signature { signature }));
            }
            ContentBlock::ToolUse { input, .. } => {
                self.deltas(index, input, |partial_json| Delta::InputJson { partial_json });
            }
        }
    }

    fn deltas(&mut self, index: u64, text: &str, kind: impl Fn(String) -> Delta) {
        let characters = text.chars().count();
        let size = self.options.chunk.max(characters.div_ceil(MAX_DELTAS)).max(1);
        for piece in pieces(text, size) {
            let bytes = event(&delta(index, kind(piece.to_owned())));
            self.events.push(Event {
                delay: self.options.chunk_delay,
                bytes,
            });
            self.deltas = self.deltas.saturating_add(1);
            if self.options.ping_every > 0 && self.deltas.is_multiple_of(self.options.ping_every) {
                self.push(&StreamEvent::Ping);
            }
        }
    }
}

fn delta(index: u64, delta: Delta) -> StreamEvent {
    StreamEvent::ContentBlockDelta { index, delta }
}

/// Splits a text after every `size` characters.
fn pieces(text: &str, size: usize) -> impl Iterator<Item = &str> {
    let mut rest = text;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let end = rest.char_indices().nth(size).map_or(rest.len(), |(offset, _)| offset);
        let (piece, after) = rest.split_at(end);
        rest = after;
        Some(piece)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_split_between_characters() {
        assert_eq!(pieces("aäß𝄞x", 2).collect::<Vec<_>>(), ["aä", "ß𝄞", "x"]);
        assert_eq!(pieces("ab", 2).collect::<Vec<_>>(), ["ab"]);
        assert_eq!(pieces("", 2).count(), 0);
    }

    #[test]
    fn a_long_text_has_a_bounded_number_of_deltas() {
        let options = StreamOptions {
            chunk: 1,
            ..StreamOptions::default()
        };
        let mut stream = Stream {
            events: Vec::new(),
            options: &options,
            deltas: 0,
        };
        stream.block(0, &ContentBlock::Text("x".repeat(MAX_DELTAS * 3 + 1)));
        assert!(stream.events.len() <= MAX_DELTAS, "{}", stream.events.len());
    }
}
