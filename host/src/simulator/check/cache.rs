//! The rules of `cache_control`, wherever the API takes it: at the top, on tools and on blocks, those of a tool result
//! included; never inside a tool's input or schema.

use std::fmt::Display;

use serde_json::Value;

use super::{ApiError, Checked, known_fields, one_of, tagged};
use crate::messages_api::limits::MAX_CACHE_CONTROL_BLOCKS;

pub(super) fn check(body: &Value) -> Checked {
    let mut marks = Marks(0);
    marks.see(body, "")?;
    for field in ["tools", "system"] {
        for (index, holder) in items(&body[field]).iter().enumerate() {
            marks.see(holder, format_args!("{field}.{index}."))?;
        }
    }
    for (index, message) in items(&body["messages"]).iter().enumerate() {
        for (position, block) in items(&message["content"]).iter().enumerate() {
            let kind = block["type"].as_str().unwrap_or_default();
            marks.see(block, format_args!("messages.{index}.content.{position}.{kind}."))?;
            if kind == "tool_result" {
                for (part, block) in items(&block["content"]).iter().enumerate() {
                    let at = format_args!("messages.{index}.content.{position}.{kind}.content.{part}.");
                    marks.see(block, at)?;
                }
            }
        }
    }
    if marks.0 > MAX_CACHE_CONTROL_BLOCKS {
        return Err(ApiError::invalid(format!(
            "A maximum of {MAX_CACHE_CONTROL_BLOCKS} blocks with cache_control may be provided. Found {}.",
            marks.0
        )));
    }
    Ok(())
}

struct Marks(usize);

impl Marks {
    /// Counts the mark that a value may bear; `at` is what stands before the field's name.
    fn see(&mut self, holder: &Value, at: impl Display) -> Checked {
        let mark = &holder["cache_control"];
        if mark.is_null() {
            return Ok(());
        }
        self.0 = self.0.saturating_add(1);
        let at = format!("{at}cache_control");
        let kind = tagged(mark, &at, &["ephemeral"])?;
        let at = format!("{at}.{kind}");
        known_fields(mark, &["type", "ttl"], &at)?;
        one_of(&mark["ttl"], &format!("{at}.ttl"), ["5m", "1h"])
    }
}

fn items(value: &Value) -> &[Value] {
    value.as_array().map(Vec::as_slice).unwrap_or_default()
}
