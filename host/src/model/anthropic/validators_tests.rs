#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
//! Every check that a request's body must pass in the property tests of histories. Add another validator to [`VALIDATORS`].

use std::collections::HashSet;

use serde_json::{Value, json};

use super::acceptance::violations;
use crate::messages_api::headers::VERSION_2026_10_21;
use crate::simulator;

/// Explains what an API would refuse in a body.
pub(crate) type Validator = fn(&Value) -> Result<(), String>;

pub(crate) const VALIDATORS: [(&str, Validator); 3] = [
    ("simulator", simulator::check_request),
    ("acceptance", acceptance),
    ("rules", rules),
];

/// A validator that shares nothing with the simulator.
fn acceptance(body: &Value) -> Result<(), String> {
    match &violations(body, VERSION_2026_10_21)[..] {
        [] => Ok(()),
        found => Err(found.join("; ")),
    }
}

/// Parses the body of a request and checks it with every validator.
#[track_caller]
pub(crate) fn accepted(body: &[u8]) -> Value {
    let body: Value = serde_json::from_slice(body).expect("the body is JSON");
    for (name, validator) in VALIDATORS {
        if let Err(problem) = validator(&body) {
            panic!("{name}: {problem}\n{body:#}");
        }
    }
    body
}

/// The blocks of a body's messages, each with its role and without the marker of a breakpoint.
pub(crate) fn blocks(body: &Value) -> Vec<(String, Value)> {
    let messages = body["messages"].as_array().unwrap().iter();
    let blocks = messages.flat_map(|message| {
        let role = message["role"].as_str().unwrap();
        let blocks = message["content"].as_array().unwrap().iter();
        blocks.map(move |block| {
            let mut block = block.clone();
            block.as_object_mut().unwrap().remove("cache_control");
            (role.to_owned(), block)
        })
    });
    blocks.collect()
}

fn kind_of(block: &Value) -> &str {
    block["type"].as_str().unwrap()
}

fn is_server_tool(kind: &str) -> bool {
    kind == "server_tool_use" || kind == "mcp_tool_use" || kind.ends_with("_tool_result")
}

fn server_ids<'a>(content: &'a [Value], field: &str) -> Vec<&'a str> {
    let server = content.iter().filter(|block| is_server_tool(kind_of(block)));
    server.filter_map(|block| block[field].as_str()).collect()
}

/// Rules of the API that the simulator doesn't check, from errors that users report.
fn rules(body: &Value) -> Result<(), String> {
    let require = |condition: bool, problem: &str| if condition { Ok(()) } else { Err(problem.to_owned()) };
    let messages = body["messages"].as_array().unwrap();
    require(messages.len() <= 100_000, "too many messages")?;
    for pair in messages.windows(2) {
        require(pair[0]["role"] != pair[1]["role"], "roles don't alternate")?;
    }
    let last = messages.len() - 1;
    for (index, message) in messages.iter().enumerate() {
        let content = message["content"].as_array().unwrap();
        let kinds: Vec<&str> = content.iter().map(kind_of).collect();
        require(!content.is_empty(), "an empty message")?;
        if message["role"] == "assistant" {
            let is_paused = index == last && kinds.iter().any(|kind| is_server_tool(kind));
            require(index != last || is_paused, "a prefill")?;
            let ends_thinking = kinds.last().unwrap().ends_with("thinking");
            require(
                !ends_thinking,
                "the final block in an assistant message cannot be `thinking`",
            )?;
            let (calls, results) = (server_ids(content, "id"), server_ids(content, "tool_use_id"));
            let unique = |ids: &[&str]| ids.iter().collect::<HashSet<_>>().len() == ids.len();
            require(
                unique(&calls) && unique(&results),
                "an id of a server tool is used twice",
            )?;
            require(
                results.iter().all(|id| calls.contains(id)),
                "a server tool's result has no call",
            )?;
            let answered = calls.iter().all(|id| results.contains(id));
            require(answered || index == last, "a server tool's call has no result")?;
        }
        for block in content {
            let kind = kind_of(block);
            match (message["role"].as_str().unwrap(), kind) {
                ("assistant", "text" | "tool_use") | ("user", "text" | "tool_result" | "image" | "document") => {}
                ("assistant", "document" | "image" | "search_result" | "tool_result") => {
                    return Err(format!("`{kind}` in an answer"));
                }
                ("user", kind) if is_server_tool(kind) || kind == "tool_use" => {
                    return Err(format!("`{kind}` in a user's message"));
                }
                _ => {}
            }
            let cites = block["citations"]
                .as_array()
                .is_some_and(|citations| !citations.is_empty());
            require(
                message["role"] != "user" || kind != "text" || !cites,
                "citations of a user",
            )?;
            if kind == "tool_use" {
                let name = block["name"].as_str().unwrap();
                let is_part = |byte: u8| byte.is_ascii_alphanumeric() || b"_-".contains(&byte);
                require((1..=200).contains(&name.len()) && name.bytes().all(is_part), "a name")?;
            }
            if kind == "tool_result" && block["is_error"] == true {
                let parts = block["content"].as_array().unwrap();
                require(!parts.is_empty(), "content cannot be empty if `is_error` is true")?;
                require(
                    parts.iter().all(|part| part["type"] == "text"),
                    "an error with an image",
                )?;
            }
        }
    }
    Ok(())
}

#[test]
fn the_rules_refuse_what_users_were_refused() {
    let body = |messages: Value| json!({ "model": "m", "max_tokens": 1, "messages": messages });
    let user = || json!({ "role": "user", "content": [{ "type": "text", "text": "a" }] });
    let answer = |block: Value| json!({ "role": "assistant", "content": [block] });
    let thinking = json!({ "type": "thinking", "thinking": "", "signature": "x" });
    let search = json!({ "type": "server_tool_use", "id": "srvtoolu_s", "name": "web_search", "input": {} });
    assert_eq!(rules(&body(json!([user()]))), Ok(()));
    for refused in [
        json!([user(), user()]),
        json!([user(), answer(json!({ "type": "text", "text": "a" }))]),
        json!([user(), answer(thinking), user()]),
        json!([user(), answer(search), user()]),
        json!([user(), answer(json!({ "type": "document" })), user()]),
    ] {
        assert!(rules(&body(refused.clone())).is_err(), "{refused}");
    }
}
