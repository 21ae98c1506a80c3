//! Writing JSON that holds parts which are JSON text already. They are copied as they are, which the JSON crate offers only
//! with a feature that changes how it reads everything else.

use serde::Serialize;

pub(super) type Written = serde_json::Result<()>;

/// Writes an object: its fields in the order in which they are added.
pub(super) struct Object<'a> {
    out: &'a mut Vec<u8>,
    is_empty: bool,
}

impl<'a> Object<'a> {
    pub(super) fn begin(out: &'a mut Vec<u8>) -> Self {
        out.push(b'{');
        Self { out, is_empty: true }
    }

    /// Adds a field with a value that is serialised.
    pub(super) fn field(&mut self, name: &str, value: &(impl Serialize + ?Sized)) -> Written {
        serde_json::to_writer(self.name(name)?, value)
    }

    /// Adds a field whose value is JSON text.
    pub(super) fn raw(&mut self, name: &str, json: &str) -> Written {
        self.name(name)?.extend_from_slice(json.as_bytes());
        Ok(())
    }

    /// Adds a field with a list of what `write` makes of each item.
    pub(super) fn list<T>(
        &mut self,
        name: &str,
        items: impl IntoIterator<Item = T>,
        write: impl FnMut(T, &mut Vec<u8>) -> Written,
    ) -> Written {
        list(self.name(name)?, items, write)
    }

    /// Adds the fields of another object, given as JSON text. Anything but an object adds nothing.
    pub(super) fn fields_of(&mut self, json: &str) {
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

    pub(super) fn end(self) -> Written {
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

/// Writes a list of what `write` makes of each item.
pub(super) fn list<T>(
    out: &mut Vec<u8>,
    items: impl IntoIterator<Item = T>,
    mut write: impl FnMut(T, &mut Vec<u8>) -> Written,
) -> Written {
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
    fn parts_that_are_json_already_are_copied_as_they_are() {
        let mut out = Vec::new();
        let mut object = Object::begin(&mut out);
        object.field("a", "\"").unwrap();
        object.raw("b", "{\"z\": 1.0, \"y\": 1e3}").unwrap();
        object.fields_of("{}");
        object.fields_of(" { \"c\": 2, \"d\": {} } ");
        object.fields_of("7");
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
