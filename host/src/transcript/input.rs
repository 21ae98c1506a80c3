//! The input of a tool call.

use std::fmt;
use std::sync::Arc;

use serde_json::Value;

/// The input of a tool call, parsed once and serialised once. Clones share both.
#[derive(Clone)]
pub struct ToolInput {
    value: Arc<Value>,
    text: Arc<str>,
}

impl ToolInput {
    pub fn value(&self) -> &Value {
        &self.value
    }

    /// The value, shared without a copy.
    pub fn shared_value(&self) -> Arc<Value> {
        Arc::clone(&self.value)
    }

    /// The JSON text that the tool receives and that later requests send back to the model.
    pub fn text(&self) -> &str {
        &self.text
    }
}

impl From<Value> for ToolInput {
    fn from(value: Value) -> Self {
        Self {
            text: value.to_string().into(),
            value: Arc::new(value),
        }
    }
}

/// Compares the values, not the texts.
impl PartialEq for ToolInput {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.value, &other.value) || self.value == other.value
    }
}

impl fmt::Debug for ToolInput {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Display for ToolInput {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn clones_share_value_and_text() {
        let input = ToolInput::from(json!({ "b": 1, "a": [true] }));
        let clone = input.clone();
        assert!(std::ptr::eq(input.value(), clone.value()) && std::ptr::eq(input.text(), clone.text()));
        assert_eq!(input.text(), r#"{"a":[true],"b":1}"#);
        assert_eq!(input, ToolInput::from(json!({ "a": [true], "b": 1 })));
    }
}
