//! How a streamed answer is written.

use std::time::Duration;

use serde::Deserialize;

/// How a streamed answer is split into events and chunks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StreamOptions {
    /// Characters per delta event, default 16. Raised for long texts, so that no block has more than 20,000 deltas.
    pub chunk: usize,
    /// Delay before every delta event, default zero.
    pub chunk_delay: Duration,
    /// Deltas between `ping` events. Default 0: only the one after the first `content_block_start`.
    pub ping_every: usize,
    /// Mixes in an unknown event and an unknown delta type. Default false.
    pub unknown_events: bool,
    /// Bytes per HTTP chunk, which can split lines and characters anywhere. Default 0: one chunk per event.
    pub write_bytes: usize,
    /// Types of events and deltas that are left out, such as `message_stop`.
    pub omit: Vec<String>,
    pub event_names: EventNames,
    pub line_ending: LineEnding,
    /// Texts and pauses between the events.
    pub insert: Vec<Insertion>,
}

/// What the `event:` lines say.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EventNames {
    /// The `type` of the event's data, as the API does.
    #[default]
    Type,
    /// `message`, whatever the event.
    Message,
    /// There are none.
    None,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LineEnding {
    #[default]
    Lf,
    Crlf,
    Cr,
}

/// Something between two events of a stream. It counts as an event for the position of a fault.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Insertion {
    /// Events before it. More than the stream has: at its end.
    pub after_events: usize,
    /// Sent unchanged, so an event needs its blank line.
    pub text: String,
    /// How often the text is sent, one copy after the other.
    pub times: u32,
    /// Pause before the text.
    pub wait: Duration,
}

impl Default for StreamOptions {
    fn default() -> Self {
        Self {
            chunk: 16,
            chunk_delay: Duration::ZERO,
            ping_every: 0,
            unknown_events: false,
            write_bytes: 0,
            omit: Vec::new(),
            event_names: EventNames::default(),
            line_ending: LineEnding::default(),
            insert: Vec::new(),
        }
    }
}

impl StreamOptions {
    /// Leaves out the events and deltas of a type.
    pub fn omitting(mut self, kind: impl Into<String>) -> Self {
        self.omit.push(kind.into());
        self
    }

    /// Sends a text once, unchanged, after so many events.
    pub fn inserting(mut self, after_events: usize, text: impl Into<String>) -> Self {
        self.insert.push(Insertion {
            after_events,
            text: text.into(),
            times: 1,
            wait: Duration::ZERO,
        });
        self
    }
}
