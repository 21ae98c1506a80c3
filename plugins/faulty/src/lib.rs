//! Tools that misbehave, one per attack or bug that a host of untrusted components must withstand. Only for tests and the
//! demo.
//!
//! Each tool does exactly what its description says, so a test that sees something else has found a bug in the host.
//! [`catalog`] lists them. All code here needs the host, so only the host's tests test it.
//!
//! `list-tools` misbehaves as well if the configuration requests it: see `listing`.

#![cfg(target_family = "wasm")]

mod catalog;
mod component;
mod computing;
mod filing;
mod hosting;
mod keeping;
mod listing;
mod logging;
mod network;
mod replies;

use serde_json::Value;

use component::exports::cofferdam::tool::tools::{Content, Error};

/// The result of a tool, if it returns.
type Outcome = Result<Vec<Content>, Error>;

fn text(text: impl Into<String>) -> Outcome {
    Ok(vec![Content::Text(text.into())])
}

fn json(value: &Value) -> Outcome {
    Ok(vec![Content::Json(value.to_string())])
}

/// An unsigned parameter (the schema guarantees the type), or its default.
fn number(input: &Value, key: &str, default: u64) -> u64 {
    input[key].as_u64().unwrap_or(default)
}

fn size(input: &Value, key: &str, default: usize) -> usize {
    usize::try_from(number(input, key, default as u64)).unwrap_or(usize::MAX)
}

fn string<'a>(input: &'a Value, key: &str, default: &'a str) -> &'a str {
    input[key].as_str().unwrap_or(default)
}
