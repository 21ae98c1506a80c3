//! The rules of `cache_control` (a cache breakpoint), wherever the API accepts it: at the top level, on tools and on
//! blocks, including blocks of a tool result, but never inside a tool's input or schema.

use std::fmt::Display;

use serde_json::Value;

use super::{ApiError, Checked, known_fields, one_of, tagged};
use crate::messages_api::limits::MAX_CACHE_CONTROL_BLOCKS;

pub(super) fn check(body: &Value) -> Checked {
    let mut breakpoints = Breakpoints(0);
    breakpoints.check(body, "")?;
    for field in ["tools", "system"] {
        for (index, holder) in items(&body[field]).iter().enumerate() {
            breakpoints.check(holder, format_args!("{field}.{index}."))?;
        }
    }
    for (index, message) in items(&body["messages"]).iter().enumerate() {
        for (position, block) in items(&message["content"]).iter().enumerate() {
            let kind = block["type"].as_str().unwrap_or_default();
            breakpoints.check(block, format_args!("messages.{index}.content.{position}.{kind}."))?;
            if kind == "tool_result" {
                for (part, block) in items(&block["content"]).iter().enumerate() {
                    let at = format_args!("messages.{index}.content.{position}.{kind}.content.{part}.");
                    breakpoints.check(block, at)?;
                }
            }
        }
    }
    if breakpoints.0 > MAX_CACHE_CONTROL_BLOCKS {
        return Err(ApiError::invalid(format!(
            "A maximum of {MAX_CACHE_CONTROL_BLOCKS} blocks with cache_control may be provided. Found {}.",
            breakpoints.0
        )));
    }
    Ok(())
}

/// The number of cache breakpoints found so far.
struct Breakpoints(usize);

impl Breakpoints {
    /// Checks and counts the `cache_control` of `holder`, if any. `at` is the path prefix for errors.
    fn check(&mut self, holder: &Value, at: impl Display) -> Checked {
        let control = &holder["cache_control"];
        if control.is_null() {
            return Ok(());
        }
        self.0 = self.0.saturating_add(1);
        let at = format!("{at}cache_control");
        let kind = tagged(control, &at, &["ephemeral"])?;
        let at = format!("{at}.{kind}");
        known_fields(control, &["type", "ttl"], &at)?;
        one_of(&control["ttl"], &format!("{at}.ttl"), &["5m", "1h"])
    }
}

fn items(value: &Value) -> &[Value] {
    value.as_array().map(Vec::as_slice).unwrap_or_default()
}
