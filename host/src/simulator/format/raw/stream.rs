//! How a streamed answer is written.

use std::time::Duration;

use serde::Deserialize;

use super::super::super::script::{EventNames, Insertion, LineEnding, StreamOptions};
use super::once;
use super::values::duration;

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawStream {
    chunk: Option<usize>,
    #[serde(default, deserialize_with = "duration")]
    chunk_delay: Duration,
    #[serde(default)]
    ping_every: usize,
    #[serde(default)]
    unknown_events: bool,
    #[serde(default)]
    write_bytes: usize,
    #[serde(default)]
    omit: Vec<String>,
    #[serde(default)]
    event_names: EventNames,
    #[serde(default)]
    line_ending: LineEnding,
    #[serde(default)]
    insert: Vec<RawInsertion>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawInsertion {
    after_events: Option<usize>,
    #[serde(default)]
    text: String,
    #[serde(default = "once")]
    times: u32,
    #[serde(default, deserialize_with = "duration")]
    wait: Duration,
}

impl RawStream {
    pub(super) fn into_options(self) -> StreamOptions {
        let insertions = self.insert.into_iter().map(|insertion| Insertion {
            after_events: insertion.after_events.unwrap_or(usize::MAX),
            text: insertion.text,
            times: insertion.times,
            wait: insertion.wait,
        });
        StreamOptions {
            chunk: self.chunk.unwrap_or(StreamOptions::default().chunk),
            chunk_delay: self.chunk_delay,
            ping_every: self.ping_every,
            unknown_events: self.unknown_events,
            write_bytes: self.write_bytes,
            omit: self.omit,
            event_names: self.event_names,
            line_ending: self.line_ending,
            insert: insertions.collect(),
        }
    }
}
