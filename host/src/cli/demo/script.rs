//! The script of the simulated model, turn by turn.

use std::time::Duration;

use serde_json::json;

use crate::simulator::{Answer, MessageAnswer, Script, StreamOptions, ToolCall};

pub const PROMPT: &str = "What is 25 * 17, and what is the weather in Boston?";

/// Tools of the `faulty` plugin that the script calls.
pub const LOOPING: &str = "loop_forever";
pub const CRASHING: &str = "panic";

/// The first attempt fails as overloaded and the second as rate-limited; from the third on, the API answers.
pub fn script() -> Script {
    Script::new()
        .answer(Answer::error(529))
        .answer(Answer::error(429).header("retry-after", "1"))
        .answer(message(
            "Let me calculate that, and look at the sky over Boston.",
            vec![ToolCall::new("calculate", json!({ "expression": "25 * 17" })), weather("Boston")],
        ))
        .answer(message(
            "25 * 17 = {{result:calculate}}. The weather in Boston: {{result:get_weather}}.\n\
             Before I compare it with other cities I try two tools that I was also given.",
            vec![ToolCall::new(LOOPING, json!({})), ToolCall::new(CRASHING, json!({}))],
        ))
        .answer(message(
            "Both were stopped, and I can go on. Now the other cities, Paris first.",
            vec![weather("Paris")],
        ))
        .answer(message(
            "The weather service seems to be down. I try three more.",
            vec![weather("Tokyo"), weather("London"), weather("Berlin")],
        ))
        .answer(message(
            "So 25 * 17 = {{result:calculate}}, and the weather in Boston is what I said above. About the other cities the \
             service says: {{result:get_weather}}",
            Vec::new(),
        ))
}

/// Calculates, and then answers too slowly to be finished, until a process asks again.
pub fn interrupted_script() -> Script {
    let stream = StreamOptions {
        chunk: 4,
        chunk_delay: Duration::from_millis(200),
        ..StreamOptions::default()
    };
    let slow = MessageAnswer {
        text: "You asked what 25 * 17 is. Let me think about how I put this into words, for it deserves ".repeat(20),
        ..MessageAnswer::default()
    };
    Script::new()
        .answer(message(
            "Let me calculate that.",
            vec![ToolCall::new("calculate", json!({ "expression": "25 * 17" }))],
        ))
        .answer(Answer::message(slow).streamed(stream))
        .answer(message("25 * 17 = {{result:calculate}}.", Vec::new()))
}

fn weather(city: &str) -> ToolCall {
    ToolCall::new("get_weather", json!({ "location": city }))
}

fn message(text: &str, tools: Vec<ToolCall>) -> Answer {
    let stream = StreamOptions {
        chunk: 12,
        chunk_delay: Duration::from_millis(25),
        ..StreamOptions::default()
    };
    Answer::message(MessageAnswer {
        text: text.to_owned(),
        tools,
        ..MessageAnswer::default()
    })
    .streamed(stream)
}
