//! JSON text whose fields keep their order and may hold text that isn't JSON.

use serde::Serialize;
use serde_json::{Map, Value};

/// Plain data with string keys always serialises, so the default is never used.
pub(super) fn json_text(data: &impl Serialize) -> String {
    serde_json::to_string(data).unwrap_or_default()
}

/// Writes an object.
pub(super) struct ObjectText<'a> {
    text: String,
    /// Fields that replace those of the same name. The others follow at the end.
    extra: Option<&'a Map<String, Value>>,
}

impl<'a> ObjectText<'a> {
    pub(super) fn new() -> Self {
        Self {
            text: String::new(),
            extra: None,
        }
    }

    /// Begins an object with its `type`.
    pub(super) fn of_type(kind: &str) -> Self {
        Self::new().field("type", &kind)
    }

    pub(super) fn extended(kind: &str, extra: Option<&'a Map<String, Value>>) -> Self {
        Self { extra, ..Self::new() }.field("type", &kind)
    }

    /// Begins an object with fields that replace those of the same name, or follow at the end.
    pub(super) fn replaced(extra: &'a Map<String, Value>) -> Self {
        Self {
            extra: Some(extra),
            ..Self::new()
        }
    }

    pub(super) fn field(self, name: &str, value: &impl Serialize) -> Self {
        let json = json_text(value);
        self.raw(name, &json)
    }

    /// Adds a field whose value is JSON text.
    pub(super) fn raw(mut self, name: &str, json: &str) -> Self {
        if !self.extra.is_some_and(|extra| extra.contains_key(name)) {
            self.push(name, json);
        }
        self
    }

    /// Adds a field if there is a value for it.
    pub(super) fn optional(self, name: &str, json: Option<&str>) -> Self {
        match json {
            Some(json) => self.raw(name, json),
            None => self,
        }
    }

    pub(super) fn end(mut self) -> String {
        for (name, value) in self.extra.take().into_iter().flatten() {
            self.push(name, &json_text(value));
        }
        if self.text.is_empty() {
            self.text.push('{');
        }
        self.text.push('}');
        self.text
    }

    fn push(&mut self, name: &str, json: &str) {
        self.text.push(if self.text.is_empty() { '{' } else { ',' });
        self.text.push_str(&json_text(&name));
        self.text.push(':');
        self.text.push_str(json);
    }
}

/// A list of JSON texts.
pub(super) fn list_text<'a>(items: impl IntoIterator<Item = &'a str>) -> String {
    let items: Vec<_> = items.into_iter().collect();
    format!("[{}]", items.join(","))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use serde_json::json;

    use super::*;

    #[test]
    fn fields_keep_their_order_and_can_be_replaced() {
        let extra = json!({ "b": 7, "z": null });
        let text = ObjectText::extended("t", extra.as_object())
            .raw("c", "{\"half")
            .field("b", &1)
            .field("a", &"\"")
            .optional("x", None)
            .end();
        assert_eq!(text, r#"{"type":"t","c":{"half,"a":"\"","b":7,"z":null}"#);
        assert_eq!(
            ObjectText::extended("t", json!({ "type": 1 }).as_object()).end(),
            r#"{"type":1}"#
        );
        assert_eq!(list_text(["1", "{}"]), "[1,{}]");
    }
}
