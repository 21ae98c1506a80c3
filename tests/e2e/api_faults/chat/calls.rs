//! Calls of tools, and what a server reports of its costs.

use cofferdam::events::Ending;
use serde_json::{Value, json};

use super::super::fault::Money::{Charged, Exact, Full};
use super::super::fault::{Expect, Fault};
use super::super::wire::{self, ANSWER, REPORTED};
use super::wire::{DONE, data, delta, end, figures, finish, start, text};
use super::{always, once};

/// Calls as servers send them. The tool doesn't exist, so the model reads that in the next request.
pub(super) fn tool_calls() -> Vec<Fault> {
    let calls = |calls: Value| delta(&json!({ "tool_calls": calls }));
    let call = |arguments: Value| {
        json!({ "index": 0, "id": "call_1", "type": "function",
        "function": { "name": "nothing", "arguments": arguments } })
    };
    let answered = |name, events: String, reason: &str| {
        once(
            name,
            wire::streamed(start() + &events + &end(reason)),
            Expect::retried(Exact).delays([]),
        )
    };
    vec![
        answered("a call", calls(json!([call(json!("{}"))])), "tool_calls"),
        answered(
            "a call with the finish_reason stop",
            calls(json!([call(json!("{}"))])),
            "stop",
        ),
        answered("arguments as an object", calls(json!([call(json!({}))])), "tool_calls"),
        answered(
            "a call whose arguments aren't JSON",
            calls(json!([call(json!("{\"a\": \"\\d\"}"))])),
            "tool_calls",
        ),
        answered(
            "a call whose arguments are cut off",
            calls(json!([call(json!("{\"a\": \"x"))])),
            "tool_calls",
        ),
        answered(
            "two calls with one index",
            calls(json!([call(json!("{}"))]))
                + &calls(json!([{ "index": 0, "id": "call_2", "function": { "name": "nothing", "arguments": "{}" } }])),
            "tool_calls",
        ),
        always(
            "a call cut off by length",
            wire::streamed(start() + &calls(json!([call(json!("{\"a\": \"x"))])) + &end("length")),
            Expect::answered().ending(Ending::Truncated),
        ),
        // Without a reason for the end, nobody knows whether its arguments are whole.
        once(
            "a call cut off before [DONE]",
            wire::streamed(start() + &calls(json!([call(json!("{\"a\": \"x"))])) + DONE),
            Expect::retried(Full),
        ),
    ]
}

/// What a server reports, and how it is booked.
pub(super) fn usage() -> Vec<Fault> {
    let (prompt, completion) = REPORTED;
    let with = |name, last: String, money| {
        let events = start() + &text(ANSWER) + &last + DONE;
        always(name, wire::streamed(events), Expect::answered().money(&[money]))
    };
    let reported = |usage: Value| finish("stop") + &data(&json!({ "choices": [], "usage": usage }));
    vec![
        with("no usage at all", finish("stop"), Full),
        with("a null for the usage", reported(Value::Null), Full),
        with(
            "no figure for the answer",
            reported(json!({ "prompt_tokens": prompt })),
            Full,
        ),
        with(
            "usage with the finish_reason",
            data(&json!({ "choices": [{ "delta": {}, "finish_reason": "stop" }], "usage": figures() })),
            Exact,
        ),
        with(
            "usage twice",
            reported(figures()) + &data(&json!({ "choices": [], "usage": figures() })),
            Exact,
        ),
        // Vendors that don't count reasoning as part of the completion bill it all the same.
        with(
            "a total that is more than its parts",
            reported(json!({ "prompt_tokens": prompt, "completion_tokens": 1, "total_tokens": prompt + completion })),
            Exact,
        ),
        with(
            "a zero for the prompt",
            reported(json!({ "prompt_tokens": 0, "completion_tokens": completion })),
            Charged,
        ),
    ]
}
