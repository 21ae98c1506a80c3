//! Answers with status 200 that aren't what they should be.

use cofferdam::events::Ending;
use serde_json::{Value, json};

use super::fault::Money::{Charged, Exact, Full};
use super::fault::{Expect, Fault};
use super::server::Step::{self, Fin, Read, Send};
use super::wire::{self, EVENT_STREAM, WORDS, block, delta, end, event, start, stop, streamed, text, tool_use};

fn answer(bytes: Vec<u8>) -> Vec<Step> {
    vec![Read, Send(bytes), Fin]
}

/// Every attempt gets these events.
fn always(name: impl Into<String>, events: impl AsRef<[u8]>, expect: Expect) -> Fault {
    Fault::always(name, answer(streamed(events)), expect)
}

/// The first attempt gets these events.
fn once(name: impl Into<String>, events: impl AsRef<[u8]>, expect: Expect) -> Fault {
    Fault::once(name, answer(streamed(events)), expect)
}

pub(super) fn faults() -> Vec<Fault> {
    [errors(), unusual(), malformed(), stop_reasons(), tool_calls(), usage()]
        .into_iter()
        .flatten()
        .collect()
}

/// Errors after the answer has begun. What was read until then is billed.
fn errors() -> Vec<Fault> {
    let in_stream = |error: &Value| start() + &text(0, "Half of") + &event("error", error);
    let typed = |kind: &str| in_stream(&json!({ "type": "error", "error": { "type": kind, "message": WORDS } }));
    let untyped = start() + &format!("data: {}\n\n", json!({ "error": { "message": WORDS } }));
    vec![
        once(
            "overloaded_error in a stream",
            typed("overloaded_error"),
            Expect::retried(Full),
        ),
        once("api_error in a stream", typed("api_error"), Expect::retried(Full)),
        once(
            "rate_limit_error in a stream",
            typed("rate_limit_error"),
            Expect::retried(Full),
        ),
        once(
            "an unknown error in a stream",
            typed("future_error"),
            Expect::retried(Full),
        ),
        once("an error without a type in a stream", &untyped, Expect::retried(Full)),
        always(
            "overloaded_error for ever",
            typed("overloaded_error"),
            Expect::gives_up("overloaded", Full).says(&["gave up after 3 attempts", WORDS]),
        ),
        always(
            "an error without a type for ever",
            &untyped,
            Expect::gives_up("", Full).says(&[WORDS]),
        ),
        always(
            "invalid_request_error in a stream",
            typed("invalid_request_error"),
            Expect::fatal("invalid_request", Full).says(&[WORDS]),
        ),
        Fault::once(
            "an error with status 200",
            answer(wire::http(
                200,
                "content-type: application/json\r\n",
                json!({ "type": "error", "error": { "type": "overloaded_error", "message": WORDS } }).to_string(),
            )),
            Expect::retried(Full),
        ),
    ]
}

/// Streams in other dialects, all with a good answer.
fn unusual() -> Vec<Fault> {
    let good = wire::good_events();
    let answered = |name, events: String| always(name, events, Expect::answered());
    let unknown = event("future_event", &json!({ "type": "future_event", "x": [1] }));
    let future = block(
        7,
        &json!({ "type": "future_block", "x": 1 }),
        &[json!({ "type": "future_delta", "y": 2 })],
    );
    let typed = |content_type: &str| {
        let head = wire::stream_head(content_type);
        [head, wire::chunk(wire::good_events()), wire::LAST_CHUNK.to_vec()].concat()
    };
    let named = |name: &str| {
        let lines = good.lines().map(|line| {
            if line.starts_with("event: ") {
                format!("event: {name}")
            } else {
                line.to_owned()
            }
        });
        lines.fold(String::new(), |all, line| all + &line + "\n")
    };
    let packed = wire::gzip(good.as_bytes());
    let head = wire::stream_head(&format!("{EVENT_STREAM}content-encoding: gzip\r\n"));
    let gzip = [head, wire::chunk(packed), wire::LAST_CHUNK.to_vec()].concat();
    vec![
        answered(
            "unknown events",
            good.replace(
                "event: content_block_start",
                &format!("{unknown}event: content_block_start"),
            ),
        ),
        answered(
            "unknown blocks and deltas",
            start() + &text(0, wire::ANSWER) + &future + &end("end_turn"),
        ),
        answered("CR LF", good.replace('\n', "\r\n")),
        answered("a byte order mark", format!("\u{feff}{good}")),
        answered("every event is named message", named("message")),
        answered(
            "events without names",
            good.lines()
                .filter(|line| !line.starts_with("event: "))
                .fold(String::new(), |all, line| all + line + "\n"),
        ),
        answered(
            "[DONE] within the stream",
            good.replace("event: message_delta", "data: [DONE]\n\nevent: message_delta"),
        ),
        answered("[DONE] at the end", good.clone() + "data: [DONE]\n\n"),
        answered("empty events", good.replace("event: ", "\n\ndata:\n\nevent: ")),
        Fault::always(
            "a stream called text/plain",
            answer(typed("content-type: text/plain\r\n")),
            Expect::answered(),
        ),
        Fault::always(
            "a stream called JSON",
            answer(typed("content-type: application/json\r\n")),
            Expect::answered(),
        ),
        Fault::always("a stream without a content type", answer(typed("")), Expect::answered()),
        // Read or refused, but not paid for three times.
        Fault::always(
            "gzip that nobody requested",
            answer(gzip),
            Expect::fatal("", Charged).any_ending().attempts(1),
        ),
    ]
}

fn malformed() -> Vec<Fault> {
    let refused = |name, events: String| {
        always(
            name,
            events,
            Expect::fatal("malformed_answer", Charged).says(&["malformed", "base_url"]),
        )
    };
    let deep = format!("{}1{}", "[".repeat(20_000), "]".repeat(20_000));
    vec![
        refused(
            "an event that isn't JSON",
            start() + "event: message_delta\ndata: {\"type\":\n\n",
        ),
        refused(
            "a delta for a block that never started",
            start()
                + &event(
                    "content_block_delta",
                    &json!({ "type": "content_block_delta", "index": 3, "delta": { "type": "text_delta", "text": "x" } }),
                )
                + &end("end_turn"),
        ),
        always(
            "an event deeper than any parser",
            start() + &format!("event: message_delta\ndata: {deep}\n\n"),
            // It has no type, so it is skipped, and the answer ends too early.
            Expect::gives_up("stream_cut", Full),
        ),
        refused(
            "an answer without a stop reason",
            start() + &text(0, "x") + &delta(&json!({ "stop_reason": null }), &json!({ "output_tokens": 5 })) + &stop(),
        ),
        Fault::always(
            "an answer of the Chat Completions API",
            answer(super::chat::good()),
            Expect::fatal("malformed_answer", Full).says(&["Chat Completions API", "[model] provider"]),
        ),
        Fault::always(
            "a document that is a list",
            answer(wire::http(200, "content-type: application/json\r\n", "[]")),
            Expect::fatal("malformed_answer", Full).says(&["base_url"]),
        ),
        Fault::always(
            "a document without content",
            answer(wire::http(
                200,
                "content-type: application/json\r\n",
                "{\"id\":\"msg_1\"}",
            )),
            Expect::fatal("malformed_answer", Full).says(&["base_url"]),
        ),
    ]
}

/// Each stop reason has a decision of its own.
fn stop_reasons() -> Vec<Fault> {
    let stopped = |reason: &str| start() + &text(0, wire::ANSWER) + &end(reason);
    let ends = |name, reason: &str, ending| always(name, stopped(reason), Expect::answered().ending(ending));
    let details = json!({ "category": "cyber", "explanation": WORDS });
    let refusal = start()
        + &delta(
            &json!({ "stop_reason": "refusal", "stop_details": details }),
            &json!({ "output_tokens": 5 }),
        )
        + &stop();
    let nothing = start() + &end("end_turn");
    let blank = start() + &text(0, " \n") + &end("end_turn");
    let failed = |kind| Expect::fatal(kind, Exact);
    let compaction = || {
        let summary = json!({ "type": "compaction", "content": "What was said." });
        start() + &block(0, &summary, &[]) + &end("compaction")
    };
    vec![
        ends("end_turn", "end_turn", Ending::Completed),
        ends("stop_sequence", "stop_sequence", Ending::Completed),
        ends("max_tokens", "max_tokens", Ending::Truncated),
        ends(
            "model_context_window_exceeded",
            "model_context_window_exceeded",
            Ending::ContextOverflow,
        ),
        ends("refusal", "refusal", Ending::Refused),
        always(
            "refusal with details",
            refusal,
            Expect::answered().ending(Ending::Refused).says(&["cyber", WORDS]),
        ),
        always(
            "an unknown stop reason",
            stopped("future_reason"),
            failed("unknown_stop_reason").says(&["future_reason"]),
        ),
        // A summary in place of earlier messages: the model goes on from it.
        once("one compaction", compaction(), Expect::retried(Exact).delays([])),
        always("six compactions", compaction(), failed("too_many_pauses").attempts(6)),
        always(
            "tool_use without a call",
            stopped("tool_use"),
            failed("malformed_answer"),
        ),
        always(
            "six pauses",
            stopped("pause_turn"),
            failed("too_many_pauses").attempts(6),
        ),
        once(
            "one pause",
            start() + &text(0, "") + &end("pause_turn"),
            Expect::retried(Exact).delays([]),
        ),
        // An answer with nothing in it is no success.
        once("one empty answer", &nothing, Expect::retried(Exact).delays([])),
        always(
            "only empty answers",
            &nothing,
            failed("").attempts(2).delays([]).says(&["empty|nothing|no content"]),
        ),
        once("one blank answer", &blank, Expect::retried(Exact).delays([])),
    ]
}

/// Calls that can't be made as they are: the model reads why, in the next request.
fn tool_calls() -> Vec<Fault> {
    let call = |input: &str, reason: &str| start() + &tool_use(0, input) + &end(reason);
    let answered = |name, input: &str| once(name, call(input, "tool_use"), Expect::retried(Exact).delays([]));
    vec![
        answered("a call of a tool that doesn't exist", "{}"),
        answered("a call with an empty input", ""),
        answered("a call whose input isn't JSON", "{\"a\": \"\\d\"}"),
        answered("a call whose input has a raw tab", "{\"a\": \"x\ty\"}"),
        answered("a call whose input is cut off", "{\"a\": \"x"),
        answered("a call whose input is two documents", "{}{}"),
        answered("a call whose input is a list", "[1]"),
        answered("a call whose input has a lone surrogate", "{\"a\": \"\\ud800\"}"),
        once(
            "a call with end_turn",
            call("{}", "end_turn"),
            Expect::retried(Exact).delays([]),
        ),
        always(
            "a call cut off by max_tokens",
            call("{\"a\": \"x", "max_tokens"),
            Expect::answered().ending(Ending::Truncated),
        ),
    ]
}

/// What the API reports, and how it is booked.
fn usage() -> Vec<Fault> {
    let with = |usage: &Value| {
        start() + &text(0, wire::ANSWER) + &delta(&json!({ "stop_reason": "end_turn" }), usage) + &stop()
    };
    let booked = |name, usage: &Value, money| always(name, with(usage), Expect::answered().money(&[money]));
    let without = wire::good_events()
        .replace(",\"usage\":{\"input_tokens\":25,\"output_tokens\":1}", "")
        .replace("\"usage\":{\"output_tokens\":5}", "\"usage\":{}");
    vec![
        booked(
            "a zero for tokens that are known",
            &json!({ "input_tokens": 0, "output_tokens": 5 }),
            Exact,
        ),
        booked(
            "a null for tokens that are known",
            &json!({ "input_tokens": null, "output_tokens": 5 }),
            Exact,
        ),
        booked(
            "nulls in the usage",
            &json!({ "output_tokens": 5, "cache_read_input_tokens": null, "server_tool_use": null }),
            Exact,
        ),
        booked(
            "usage that is cumulative",
            &json!({ "input_tokens": 25, "output_tokens": 5 }),
            Exact,
        ),
        booked(
            "details of the usage",
            &json!({ "output_tokens": 5, "output_tokens_details": { "thinking_tokens": 3 }, "speed": "standard" }),
            Exact,
        ),
        booked("no figure for the answer", &json!({}), Full),
        always("no usage at all", without, Expect::answered().money(&[Full])),
    ]
}
