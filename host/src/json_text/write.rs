//! Writes JSON with embedded JSON text, copied verbatim. `serde_json` offers that only with a feature that also changes how
//! it parses.

use serde::Serialize;

pub(crate) type WriteResult = serde_json::Result<()>;

/// Writes an object with its fields in insertion order.
pub(crate) struct Object<'a> {
    out: &'a mut Vec<u8>,
    is_empty: bool,
}

impl<'a> Object<'a> {
    pub(crate) fn begin(out: &'a mut Vec<u8>) -> Self {
        out.push(b'{');
        Self { out, is_empty: true }
    }

    /// Adds a field and serialises its value.
    pub(crate) fn field(&mut self, name: &str, value: &(impl Serialize + ?Sized)) -> WriteResult {
        serde_json::to_writer(self.name(name)?, value)
    }

    /// Adds a field whose value is JSON text.
    pub(crate) fn raw(&mut self, name: &str, json: &str) -> WriteResult {
        self.name(name)?.extend_from_slice(json.as_bytes());
        Ok(())
    }

    /// Adds a field with an object, whose fields `write` adds.
    pub(crate) fn object(&mut self, name: &str, write: impl FnOnce(&mut Object<'_>) -> WriteResult) -> WriteResult {
        let mut object = Object::begin(self.name(name)?);
        write(&mut object)?;
        object.end()
    }

    /// Adds a field with a list, writing each item with `write`.
    pub(crate) fn list<T>(
        &mut self,
        name: &str,
        items: impl IntoIterator<Item = T>,
        write: impl FnMut(T, &mut Vec<u8>) -> WriteResult,
    ) -> WriteResult {
        list(self.name(name)?, items, write)
    }

    /// Adds the fields of another object, given as JSON text. Ignores any other JSON.
    pub(crate) fn raw_fields(&mut self, json: &str) {
        let inner = json
            .trim()
            .strip_prefix('{')
            .and_then(|rest| rest.strip_suffix('}'))
            .map(str::trim)
            .unwrap_or_default();
        if !inner.is_empty() {
            self.separate();
            self.out.extend_from_slice(inner.as_bytes());
        }
    }

    pub(crate) fn end(self) -> WriteResult {
        self.out.push(b'}');
        Ok(())
    }

    fn name(&mut self, name: &str) -> serde_json::Result<&mut Vec<u8>> {
        self.separate();
        serde_json::to_writer(&mut *self.out, name)?;
        self.out.push(b':');
        Ok(self.out)
    }

    fn separate(&mut self) {
        if !self.is_empty {
            self.out.push(b',');
        }
        self.is_empty = false;
    }
}

/// Writes a list, each item with `write`.
pub(crate) fn list<T>(
    out: &mut Vec<u8>,
    items: impl IntoIterator<Item = T>,
    mut write: impl FnMut(T, &mut Vec<u8>) -> WriteResult,
) -> WriteResult {
    out.push(b'[');
    for (index, item) in items.into_iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        write(item, out)?;
    }
    out.push(b']');
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn embedded_json_text_is_copied_verbatim() {
        let mut out = Vec::new();
        let mut object = Object::begin(&mut out);
        object.field("a", "\"").unwrap();
        object.raw("b", "{\"z\": 1.0, \"y\": 1e3}").unwrap();
        object.raw_fields("{}");
        object.raw_fields(" { \"c\": 2, \"d\": {} } ");
        object.raw_fields("7");
        object
            .list("e", [1, 2], |item, out| serde_json::to_writer(out, &item))
            .unwrap();
        object.end().unwrap();
        let text = String::from_utf8(out).unwrap();
        assert_eq!(text, r#"{"a":"\"","b":{"z": 1.0, "y": 1e3},"c": 2, "d": {},"e":[1,2]}"#);
        assert_eq!(serde_json::from_str::<Value>(&text).unwrap()["d"], json!({}));
    }

    #[test]
    fn an_empty_object_has_no_comma() {
        let mut out = Vec::new();
        Object::begin(&mut out).end().unwrap();
        list(&mut out, [(); 0], |(), _| Ok(())).unwrap();
        assert_eq!(out, b"{}[]");
    }
}
