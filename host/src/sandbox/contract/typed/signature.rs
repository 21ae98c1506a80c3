//! A function's signature, close to how WIT writes it: what the model reads about a tool without documentation.

use super::shape::{Case, Field, Shape};

/// Bytes of a signature. The schema has the rest.
const MAX_BYTES: usize = 1_000;

/// `add: func(a: s32, b: s32) -> s32`. The names of types aren't in a component's types, so records and variants are written
/// out.
pub(super) fn signature(name: &str, parameters: &[Field], result: Option<&Shape>) -> String {
    let mut writer = Writer::default();
    writer.push(name);
    writer.push(": func(");
    writer.fields(parameters);
    writer.push(")");
    if let Some(result) = result {
        writer.push(" -> ");
        writer.shape(result);
    }
    if writer.is_full {
        writer.out.push('…');
    }
    writer.out
}

#[derive(Default)]
struct Writer {
    out: String,
    is_full: bool,
}

impl Writer {
    fn push(&mut self, text: &str) {
        self.is_full |= self.out.len() + text.len() > MAX_BYTES;
        if !self.is_full {
            self.out.push_str(text);
        }
    }

    fn list<T>(&mut self, parts: impl IntoIterator<Item = T>, mut write: impl FnMut(&mut Self, T)) {
        for (position, part) in parts.into_iter().enumerate() {
            if self.is_full {
                return;
            }
            if position > 0 {
                self.push(", ");
            }
            write(self, part);
        }
    }

    fn fields(&mut self, fields: &[Field]) {
        self.list(fields, |writer, field| {
            writer.push(&field.name);
            writer.push(": ");
            writer.shape(&field.shape);
        });
    }

    fn braced<T>(&mut self, kind: &str, parts: impl IntoIterator<Item = T>, write: impl FnMut(&mut Self, T)) {
        self.push(kind);
        self.push(" { ");
        self.list(parts, write);
        self.push(" }");
    }

    fn generic<'s>(&mut self, kind: &str, parts: impl IntoIterator<Item = &'s Shape>) {
        self.push(kind);
        self.push("<");
        self.list(parts, |writer, part| writer.shape(part));
        self.push(">");
    }

    fn shape(&mut self, shape: &Shape) {
        match shape {
            Shape::Bool => self.push("bool"),
            Shape::Integer(integer) => self.push(integer.name()),
            Shape::Float32 => self.push("f32"),
            Shape::Float64 => self.push("f64"),
            Shape::Char => self.push("char"),
            Shape::Text => self.push("string"),
            Shape::Bytes => self.push("list<u8>"),
            Shape::List(item) => self.generic("list", [&**item]),
            Shape::FixedList(item, length) => {
                self.push("list<");
                self.shape(item);
                self.push(&format!(", {length}>"));
            }
            Shape::Map(key, value) => self.generic("map", [&**key, &**value]),
            Shape::Record(fields) => {
                self.push("record { ");
                self.fields(fields);
                self.push(" }");
            }
            Shape::Tuple(parts) => self.generic("tuple", parts),
            Shape::Option(inner) => self.generic("option", [&**inner]),
            Shape::Enum(names) => self.braced("enum", names, |writer, name| writer.push(name)),
            Shape::Flags(names) => self.braced("flags", names, |writer, name| writer.push(name)),
            Shape::Variant(cases) => self.braced("variant", cases, |writer, case: &Case| {
                writer.push(&case.name);
                if let Some(payload) = &case.payload {
                    writer.push("(");
                    writer.shape(payload);
                    writer.push(")");
                }
            }),
            Shape::Result { ok, err } => match (ok, err) {
                (None, None) => self.push("result"),
                (Some(ok), None) => self.generic("result", [&**ok]),
                (ok, Some(err)) => {
                    self.push("result<");
                    match ok {
                        Some(ok) => self.shape(ok),
                        None => self.push("_"),
                    }
                    self.push(", ");
                    self.shape(err);
                    self.push(">");
                }
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::named::Named;
    use super::super::shape::Integer;
    use super::*;

    #[test]
    fn a_signature_reads_as_in_wit() {
        let number = || Shape::Integer(Integer::S32);
        let parameters = [
            Field::new("a", number()),
            Field::new("b-c", Shape::Option(Box::new(Shape::Bytes))),
        ];
        assert_eq!(
            signature("add", &parameters, Some(&number())),
            "add: func(a: s32, b-c: option<list<u8>>) -> s32"
        );
        let err = Shape::Variant(Named::from_iter([
            Case {
                name: "not-found".into(),
                payload: None,
            },
            Case {
                name: "other".into(),
                payload: Some(Shape::Text),
            },
        ]));
        let result = Shape::Result {
            ok: None,
            err: Some(Box::new(err)),
        };
        assert_eq!(
            signature("go", &[], Some(&result)),
            "go: func() -> result<_, variant { not-found, other(string) }>"
        );
        assert_eq!(signature("stop", &[], None), "stop: func()");
    }

    #[test]
    fn a_long_signature_ends_in_dots() {
        let parameters: Vec<Field> = (0..1_000)
            .map(|number| Field::new(&format!("p{number}"), Shape::Bool))
            .collect();
        let text = signature("f", &parameters, None);
        assert!(text.len() <= MAX_BYTES + 3 && text.ends_with('…'), "{text}");
    }
}
