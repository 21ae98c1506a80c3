//! Splits a message into the events of a stream.

use std::time::Duration;

use bytes::Bytes;

use super::json::ObjectText;
use super::message::{DeltaText, Message, delta_kinds, delta_text};
use super::piece::Piece;
use super::script::{EventNames, LineEnding, StreamOptions};

/// Maximum number of deltas per block.
const MAX_DELTAS: usize = 20_000;

pub(super) const PING: &str = "ping";

/// The types of events that a stream can have.
const EVENTS: [&str; 7] = [
    "message_start",
    "content_block_start",
    "content_block_delta",
    "content_block_stop",
    "message_delta",
    "message_stop",
    PING,
];

/// Everything that `stream.omit` can name.
pub(super) fn omittable() -> impl Iterator<Item = &'static str> {
    EVENTS.into_iter().chain(delta_kinds())
}

/// Serialises an event.
pub(super) fn event(kind: &str, data: &str, options: &StreamOptions) -> Bytes {
    let end = line_end(options);
    let name = match options.event_names {
        EventNames::Type => Some(kind),
        EventNames::Message => Some("message"),
        EventNames::None => None,
    };
    let name = name.map(|name| format!("event: {name}{end}")).unwrap_or_default();
    Bytes::from(format!("{name}data: {data}{end}{end}"))
}

/// Serialises an event without a name.
pub(super) fn unnamed(data: &str, options: &StreamOptions) -> Bytes {
    let end = line_end(options);
    Bytes::from(format!("data: {data}{end}{end}"))
}

/// A comment, which clients skip.
pub(super) fn comment(text: &str, options: &StreamOptions) -> Bytes {
    let end = line_end(options);
    Bytes::from(format!(": {text}{end}{end}"))
}

const fn line_end(options: &StreamOptions) -> &'static str {
    match options.line_ending {
        LineEnding::Lf => "\n",
        LineEnding::Crlf => "\r\n",
        LineEnding::Cr => "\r",
    }
}

pub(super) fn ping(options: &StreamOptions) -> Bytes {
    event(PING, &ObjectText::of_type(PING).end(), options)
}

/// All events of a message, from `message_start` to `message_stop`, and what the script inserts between them.
pub(super) fn events(message: &Message<'_>, options: &StreamOptions) -> Vec<Piece> {
    let mut stream = Stream {
        events: Vec::new(),
        options,
        deltas: 0,
    };
    stream.push("message_start", |data| data.raw("message", &message.started()));
    if options.unknown_events {
        stream.push("future_event", |data| {
            data.field("detail", &"a client skips what it does not know")
        });
    }
    for (position, block) in message.blocks.iter().enumerate() {
        let index = block.index;
        stream.push("content_block_start", |data| {
            data.field("index", &index).raw("content_block", &block.started)
        });
        if position == 0 {
            stream.push(PING, |data| data);
            if options.unknown_events {
                let delta = ObjectText::of_type("future_delta").field("value", &1).end();
                stream.delta(index, "future_delta", &delta, Duration::ZERO);
            }
        }
        for text in &block.deltas {
            stream.deltas(index, text);
        }
        stream.push("content_block_stop", |data| data.field("index", &index));
    }
    stream.push_data("message_delta", &message.ended());
    stream.push("message_stop", |data| data);
    insert(stream.events, options)
}

/// Puts the script's insertions between the events.
pub(super) fn insert(events: Vec<Piece>, options: &StreamOptions) -> Vec<Piece> {
    let mut pieces = Vec::new();
    let count = events.len();
    let mut events = events.into_iter();
    for position in 0..=count {
        let here = options
            .insert
            .iter()
            .filter(|insertion| insertion.after_events.min(count) == position);
        pieces.extend(here.map(|insertion| {
            let text = Bytes::from(insertion.text.clone());
            Piece::repeated(text, insertion.times).after(insertion.wait)
        }));
        pieces.extend(events.next());
    }
    pieces
}

struct Stream<'a> {
    events: Vec<Piece>,
    options: &'a StreamOptions,
    deltas: usize,
}

impl Stream<'_> {
    fn push<'t>(&mut self, kind: &str, fields: impl FnOnce(ObjectText<'t>) -> ObjectText<'t>) {
        let data = fields(ObjectText::of_type(kind)).end();
        self.push_data(kind, &data);
    }

    fn push_data(&mut self, kind: &str, data: &str) {
        if !self.omits(kind) {
            self.events.push(Piece::new(event(kind, data, self.options)));
        }
    }

    fn omits(&self, kind: &str) -> bool {
        self.options.omit.iter().any(|omitted| omitted == kind)
    }

    fn deltas(&mut self, index: u64, text: &DeltaText) {
        let size = match text.is_whole {
            true => usize::MAX,
            false => delta_size(&text.text, self.options),
        };
        for piece in pieces(&text.text, size) {
            self.delta(
                index,
                &text.kind,
                &delta_text(&text.kind, piece),
                self.options.chunk_delay,
            );
            self.deltas = self.deltas.saturating_add(1);
            if self.options.ping_every > 0 && self.deltas.is_multiple_of(self.options.ping_every) {
                self.push(PING, |data| data);
            }
        }
    }

    fn delta(&mut self, index: u64, kind: &str, delta: &str, delay: Duration) {
        const KIND: &str = "content_block_delta";
        if self.omits(kind) || self.omits(KIND) {
            return;
        }
        let data = ObjectText::of_type(KIND)
            .field("index", &index)
            .raw("delta", delta)
            .end();
        let event = event(KIND, &data, self.options);
        self.events.push(Piece::new(event).after(delay));
    }
}

/// The characters of each of a text's deltas.
pub(super) fn delta_size(text: &str, options: &StreamOptions) -> usize {
    options.chunk.max(text.chars().count().div_ceil(MAX_DELTAS)).max(1)
}

/// Splits a text after every `size` characters.
pub(super) fn pieces(text: &str, size: usize) -> impl Iterator<Item = &str> {
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
        let text = DeltaText {
            kind: "text_delta".to_owned(),
            text: "x".repeat(MAX_DELTAS * 3 + 1),
            is_whole: false,
        };
        stream.deltas(0, &text);
        assert!(stream.events.len() <= MAX_DELTAS, "{}", stream.events.len());
    }
}
