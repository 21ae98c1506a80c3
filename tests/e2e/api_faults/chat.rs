//! The same with `provider = "openai"`, in the forms that OpenAI, Azure, OpenRouter, vLLM, llama.cpp, Ollama and gateways really
//! send.

mod answers;
mod calls;
mod connection;
mod statuses;
mod wire;

pub(super) use self::wire::good;
use super::fault::{Expect, Fault};
use super::server::Step::{self, Fin, Read, Send};

pub(super) fn faults() -> Vec<Fault> {
    [
        statuses::statuses(),
        statuses::delays(),
        statuses::codes(),
        statuses::forms(),
        connection::broken(),
        connection::stalled(),
        answers::errors(),
        answers::unusual(),
        answers::malformed(),
        answers::ends(),
        calls::tool_calls(),
        calls::usage(),
    ]
    .into_iter()
    .flatten()
    .collect()
}

fn answer(bytes: Vec<u8>) -> Vec<Step> {
    vec![Read, Send(bytes), Fin]
}

/// Every attempt gets this answer.
fn always(name: impl Into<String>, bytes: Vec<u8>, expect: Expect) -> Fault {
    Fault::always(name, answer(bytes), expect).chat()
}

/// The first attempt gets this answer.
fn once(name: impl Into<String>, bytes: Vec<u8>, expect: Expect) -> Fault {
    Fault::once(name, answer(bytes), expect).chat()
}
