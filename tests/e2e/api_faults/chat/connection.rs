//! Faults of the connection.

use std::time::Duration;

use cofferdam::config::Config;

use super::super::fault::Money::{Full, Released};
use super::super::fault::{Expect, Fault};
use super::super::server::Step::{self, Fin, Flood, Hold, Read, Reset, Send};
use super::super::wire::{self, EVENT_STREAM, http};
use super::once;
use super::wire::{DONE, JSON, start, text};

/// The first attempt of each row loses its connection.
pub(super) fn broken() -> Vec<Fault> {
    let head = || Send(wire::stream_head(EVENT_STREAM));
    let part = |events: String| Send(wire::chunk(events));
    let broken = |name, before: Vec<Step>, end: Step, money| {
        Fault::once(name, [before, vec![end]].concat(), Expect::retried(money)).chat()
    };
    let half = || start() + &text("Half of");
    vec![
        broken("closed before the request", vec![], Fin, Released),
        broken("reset instead of an answer", vec![Read], Reset, Released),
        broken("closed after the head", vec![Read, head()], Fin, Full),
        broken("closed before the text", vec![Read, head(), part(start())], Fin, Full),
        broken("closed in the text", vec![Read, head(), part(half())], Fin, Full),
        broken("reset in the text", vec![Read, head(), part(half())], Reset, Full),
        // The mark at the end counts, not the end of the body.
        once(
            "a proper end without a mark",
            wire::streamed(half()),
            Expect::retried(Full),
        ),
        Fault::always(
            "cut for ever",
            vec![Read, head(), part(half()), Fin],
            Expect::gives_up("stream_cut", Full).says(&["gave up after 3 attempts", "cut off"]),
        )
        .chat(),
        once("an empty 200", http(200, JSON, ""), Expect::retried(Full)),
        once("an empty stream", http(200, EVENT_STREAM, ""), Expect::retried(Full)),
        once(
            "a stream of nothing but [DONE]",
            wire::streamed(DONE),
            Expect::retried(Full),
        ),
    ]
}

fn impatient(config: &mut Config) {
    config.model.idle_timeout = Duration::from_millis(150);
    config.retry.max_attempts = 2;
}

fn hurried(config: &mut Config) {
    config.model.attempt_timeout = Duration::from_millis(300);
    config.retry.max_attempts = 1;
}

pub(super) fn stalled() -> Vec<Fault> {
    let stalls = |name, script: Vec<Step>| {
        let expect = Expect::gives_up("stream_stalled", Full)
            .attempts(2)
            .delays([4..=4])
            .says(&["stalled", "idle_timeout"]);
        let fault = Fault::always(name, [vec![Read], script, vec![Hold]].concat(), expect);
        fault.with(impatient).chat()
    };
    let head = || Send(wire::stream_head(EVENT_STREAM));
    let comment = Flood(wire::chunk(": OPENROUTER PROCESSING\n\n"), Duration::from_millis(1));
    vec![
        stalls("silence instead of an answer", vec![]),
        stalls("silence after the head", vec![head()]),
        stalls(
            "silence in the text",
            vec![head(), Send(wire::chunk(start() + &text("Half of")))],
        ),
        Fault::always(
            "nothing but comments",
            vec![Read, head(), comment],
            Expect::fatal("attempt_timeout", Full).says(&["attempt_timeout"]),
        )
        .with(hurried)
        .chat(),
    ]
}
