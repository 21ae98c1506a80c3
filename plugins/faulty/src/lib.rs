//! Tools that misbehave, one per misdeed that a host of untrusted components must withstand. For tests and the demo; useful
//! to nobody else.
//!
//! Each tool does what its description says and no more, so a test that sees something else has found a bug of the host.
//! [`catalog`] lists them. Everything here needs the host, so there is nothing to test natively: the host's tests are the test.
//!
//! The listing itself misbehaves, too, where the operator's configuration asks for it: see `listing`.

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

/// How a misdeed ends, if it does.
type Outcome = Result<Vec<Content>, Error>;

fn text(text: impl Into<String>) -> Outcome {
    Ok(vec![Content::Text(text.into())])
}

fn json(value: &Value) -> Outcome {
    Ok(vec![Content::Json(value.to_string())])
}

/// An unsigned parameter, which the schema has made sure of, or its default.
fn number(input: &Value, key: &str, default: u64) -> u64 {
    input[key].as_u64().unwrap_or(default)
}

fn size(input: &Value, key: &str, default: usize) -> usize {
    usize::try_from(number(input, key, default as u64)).unwrap_or(usize::MAX)
}

fn string<'a>(input: &'a Value, key: &str, default: &'a str) -> &'a str {
    input[key].as_str().unwrap_or(default)
}
