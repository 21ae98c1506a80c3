//! Answers with status 200 that aren't what they should be.

use cofferdam::events::Ending;
use serde_json::{Value, json};

use super::super::fault::Money::{Exact, Full, Released};
use super::super::fault::{Expect, Fault};
use super::super::wire::{self, ANSWER, LAST_CHUNK, WORDS, http};
use super::wire::{
    DONE, JSON, as_long_as_reported, chunk, data, delta, end, figures, finish, good_events, start, text, whole,
};
use super::{always, once};

/// Errors after status 200. What was read until then may be billed.
pub(super) fn errors() -> Vec<Fault> {
    let after = |name, event: &str, expect| {
        let stream = wire::streamed(start() + &text("Half of") + event);
        match expect {
            None => once(name, stream, Expect::retried(Full)),
            Some(expect) => always(name, stream, expect),
        }
    };
    let error = |error: Value| data(&json!({ "error": error }));
    // It comes with figures, so what it costs is known.
    let ended = |reason: &str| {
        let stream = wire::streamed(start() + &text("Half of") + &end(reason));
        once(format!("the finish_reason {reason}"), stream, Expect::retried(Exact))
    };
    vec![
        after(
            "a chunk with an error",
            &error(json!({ "message": WORDS, "type": "server_error", "param": null, "code": null })),
            None,
        ),
        after(
            "OpenRouter: a chunk with an error and a number",
            &data(&json!({ "id": "gen-1", "error": { "code": 502, "message": WORDS },
                "choices": [{ "index": 0, "delta": { "content": "" }, "finish_reason": "error" }] })),
            None,
        ),
        after(
            "an error whose number is 429",
            &error(json!({ "code": 429, "message": WORDS })),
            None,
        ),
        after(
            "an error whose number is 401",
            &error(json!({ "code": 401, "message": WORDS })),
            Some(Expect::fatal("authentication", Full).says(&[WORDS])),
        ),
        after(
            "an error whose number is 400",
            &error(json!({ "code": 400, "message": WORDS })),
            Some(Expect::fatal("invalid_request", Full).says(&[WORDS])),
        ),
        after(
            "vLLM: a flat error in a chunk",
            &data(&json!({ "object": "error", "message": WORDS, "type": "InternalServerError", "code": 500 })),
            None,
        ),
        after(
            "an event named error",
            &format!("event: error\n{}", data(&json!({ "message": WORDS }))),
            None,
        ),
        ended("error"),
        ended("abort"),
        ended("insufficient_system_resource"),
        once(
            "an error with status 200",
            http(
                200,
                JSON,
                json!({ "error": { "message": WORDS, "code": 503 } }).to_string(),
            ),
            Expect::retried(Full),
        ),
        after(
            "a chunk with an error for ever",
            &error(json!({ "message": WORDS, "type": "server_error" })),
            Some(Expect::gives_up("server_error", Full).says(&["gave up after 3 attempts", WORDS])),
        ),
    ]
}

/// Streams in other dialects, all with a good answer.
pub(super) fn unusual() -> Vec<Fault> {
    let good = good_events();
    let answered = |name, events: String| always(name, wire::streamed(events), Expect::answered());
    let usage = || data(&json!({ "choices": [], "usage": figures() }));
    let typed = |content_type: &str| {
        let head = wire::stream_head(content_type);
        [head, wire::chunk(&good), LAST_CHUNK.to_vec()].concat()
    };
    vec![
        answered("no [DONE]", good.replace(DONE, "")),
        always(
            "[DONE] without a finish_reason",
            wire::streamed(start() + &text(ANSWER) + &usage() + DONE),
            // Figures come once an answer is over, so only the reason is missing.
            Expect::answered(),
        ),
        answered("no role", text(ANSWER) + &end("stop")),
        answered(
            "the reason on the last chunk of text",
            chunk(&json!({ "content": ANSWER }), &json!("stop")) + &usage() + DONE,
        ),
        answered(
            "the reason again with the usage",
            start()
                + &text(ANSWER)
                + &finish("stop")
                + &data(
                    &json!({ "choices": [{ "index": 0, "delta": {}, "finish_reason": "stop" }], "usage": figures() }),
                )
                + DONE,
        ),
        answered(
            "an empty finish_reason before the end",
            start() + &chunk(&json!({ "content": ANSWER }), &json!("")) + &end("stop"),
        ),
        answered(
            "another id for every chunk",
            good.replacen("chatcmpl-1", "chatcmpl-2", 1),
        ),
        answered(
            "comments and empty choices",
            format!(": OPENROUTER PROCESSING\n\n{}{good}", data(&json!({ "choices": [] }))),
        ),
        answered(
            "unknown fields",
            good.replace("\"object\"", "\"timings\":{\"n\":1},\"object\""),
        ),
        answered(
            "reasoning_content before the text",
            start() + &delta(&json!({ "reasoning_content": "hm" })) + &text(ANSWER) + &end("stop"),
        ),
        answered("CR LF", good.replace('\n', "\r\n")),
        always(
            "a stream called text/plain",
            typed("content-type: text/plain\r\n"),
            Expect::answered(),
        ),
        always("a stream called JSON", typed(JSON), Expect::answered()),
        always("a stream without a content type", typed(""), Expect::answered()),
        always(
            "a whole answer where a stream was requested",
            whole(&json!({ "role": "assistant", "content": ANSWER }), "stop"),
            Expect::answered(),
        ),
        always(
            "content as a list of parts",
            whole(&json!({ "content": [{ "type": "text", "text": ANSWER }] }), "stop"),
            Expect::answered(),
        ),
    ]
}

pub(super) fn malformed() -> Vec<Fault> {
    let refused = |money| Expect::fatal("malformed_answer", money).says(&["malformed|JSON", "base_url"]);
    vec![
        always(
            "a chunk that isn't JSON",
            wire::streamed(start() + "data: {\"choices\":\n\n" + &text("x")),
            refused(Full),
        ),
        always(
            "200 with a page",
            http(200, "content-type: text/html\r\n", "<html><body>Welcome</body></html>"),
            refused(Released),
        ),
        always(
            "200 with plain text",
            http(200, "content-type: text/plain\r\n", "upstream connect error"),
            refused(Full),
        ),
        always(
            "a document without choices",
            http(200, JSON, "{\"id\":\"x\"}"),
            refused(Full),
        ),
        always("a document that is a list", http(200, JSON, "[]"), refused(Full)),
        always("an answer of the Messages API", wire::good(), refused(Full)),
        once(
            "half a document",
            http(200, JSON, "{\"choices\":[{\"message\":{\"content\":\"Ha"),
            Expect::retried(Full),
        ),
    ]
}

/// Each reason for the end has a decision of its own.
pub(super) fn ends() -> Vec<Fault> {
    let ended = |name, reason: &str, ending| {
        let events = start() + &text(ANSWER) + &end(reason);
        always(name, wire::streamed(events), Expect::answered().ending(ending))
    };
    let nothing = || wire::streamed(start() + &end("stop"));
    vec![
        ended("stop", "stop", Ending::Completed),
        ended("eos", "eos", Ending::Completed),
        ended("tool_calls without a call", "tool_calls", Ending::Completed),
        ended("length", "length", Ending::Truncated),
        ended("length, at `max_tokens`", "length", Ending::Truncated).with(as_long_as_reported),
        ended("content_filter", "content_filter", Ending::Refused),
        always(
            "a refusal",
            wire::streamed(start() + &delta(&json!({ "refusal": WORDS })) + &end("stop")),
            Expect::answered().ending(Ending::Refused).says(&[WORDS]),
        ),
        always(
            "an unknown finish_reason",
            wire::streamed(start() + &text(ANSWER) + &end("future_reason")),
            Expect::fatal("unknown_stop_reason", Exact).says(&["future_reason"]),
        ),
        once("one empty answer", nothing(), Expect::retried(Exact).delays([])),
        always(
            "only empty answers",
            nothing(),
            Expect::fatal("", Exact)
                .attempts(2)
                .delays([])
                .says(&["empty|nothing|no content"]),
        ),
    ]
}
