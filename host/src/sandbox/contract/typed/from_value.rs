//! The engine's values to JSON text.

use std::fmt::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use wasmtime::component::Val;

use super::named::Named;
use super::schema::quoted;
use super::shape::{Case, Field, Integer, Shape};
use crate::sandbox::limits::LimitValue;

/// The largest integer that every JSON parser reads exactly.
const MAX_EXACT: u64 = (1 << 53) - 1;

/// Why a result has no JSON form.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(in crate::sandbox) enum InvalidResult {
    #[error("the result as JSON has more bytes than output_bytes allows ({})", LimitValue::Bytes(*.0))]
    TooLong(u64),
    /// The engine checks types, so this is never seen.
    #[error("the result isn't of the function's type")]
    WrongType,
}

/// A value as JSON of at most `limit` bytes.
pub(super) fn json(value: &Val, shape: &Shape, limit: u64) -> Result<String, InvalidResult> {
    let mut writer = Writer {
        out: String::new(),
        limit,
    };
    writer.value(value, shape)?;
    Ok(writer.out)
}

/// Bytes as base64 of at most `limit` bytes.
pub(super) fn base64(bytes: &[u8], limit: u64) -> Result<String, InvalidResult> {
    let length = bytes.len().div_ceil(3).saturating_mul(4);
    match length as u64 > limit {
        true => Err(InvalidResult::TooLong(limit)),
        false => Ok(STANDARD.encode(bytes)),
    }
}

struct Writer {
    out: String,
    limit: u64,
}

impl Writer {
    fn push(&mut self, text: &str) -> Result<(), InvalidResult> {
        if (self.out.len() + text.len()) as u64 > self.limit {
            return Err(InvalidResult::TooLong(self.limit));
        }
        self.out.push_str(text);
        Ok(())
    }

    fn number(&mut self, number: impl std::fmt::Display) -> Result<(), InvalidResult> {
        // Writing to a string can't fail.
        let _ = write!(self.out, "{number}");
        self.push("")
    }

    /// An integer of 64 bits, as a string if a reader could round it.
    fn wide(&mut self, number: impl std::fmt::Display, magnitude: u64) -> Result<(), InvalidResult> {
        match magnitude > MAX_EXACT {
            true => self.push(&format!("\"{number}\"")),
            false => self.number(number),
        }
    }

    fn string(&mut self, text: &str) -> Result<(), InvalidResult> {
        // A text that is too long isn't escaped first.
        if text.len() as u64 > self.limit {
            return Err(InvalidResult::TooLong(self.limit));
        }
        self.push(&quoted(text))
    }

    /// `finite` is its shortest form if it is finite.
    fn float(&mut self, number: f64, finite: Option<String>) -> Result<(), InvalidResult> {
        match finite.filter(|_| number.is_finite()) {
            Some(finite) => self.push(&finite),
            None if number.is_nan() => self.push("\"NaN\""),
            None if number > 0.0 => self.push("\"Infinity\""),
            None => self.push("\"-Infinity\""),
        }
    }

    fn list<T>(
        &mut self,
        [open, close]: [&str; 2],
        parts: impl IntoIterator<Item = T>,
        mut write: impl FnMut(&mut Self, T) -> Result<(), InvalidResult>,
    ) -> Result<(), InvalidResult> {
        self.push(open)?;
        for (position, part) in parts.into_iter().enumerate() {
            if position > 0 {
                self.push(",")?;
            }
            write(self, part)?;
        }
        self.push(close)
    }

    fn value(&mut self, value: &Val, shape: &Shape) -> Result<(), InvalidResult> {
        match (shape, value) {
            (Shape::Bool, Val::Bool(value)) => self.push(if *value { "true" } else { "false" }),
            (Shape::Integer(Integer::U8), Val::U8(value)) => self.number(value),
            (Shape::Integer(Integer::S8), Val::S8(value)) => self.number(value),
            (Shape::Integer(Integer::U16), Val::U16(value)) => self.number(value),
            (Shape::Integer(Integer::S16), Val::S16(value)) => self.number(value),
            (Shape::Integer(Integer::U32), Val::U32(value)) => self.number(value),
            (Shape::Integer(Integer::S32), Val::S32(value)) => self.number(value),
            (Shape::Integer(Integer::U64), Val::U64(value)) => self.wide(value, *value),
            (Shape::Integer(Integer::S64), Val::S64(value)) => self.wide(value, value.unsigned_abs()),
            (Shape::Float32, Val::Float32(value)) => self.float((*value).into(), serde_json::to_string(value).ok()),
            (Shape::Float64, Val::Float64(value)) => self.float(*value, serde_json::to_string(value).ok()),
            (Shape::Char, Val::Char(value)) => self.string(value.encode_utf8(&mut [0; 4])),
            (Shape::Text, Val::String(value)) => self.string(value),
            (Shape::Bytes, Val::List(items)) => self.bytes(items),
            (Shape::List(item), Val::List(items)) | (Shape::FixedList(item, _), Val::FixedLengthList(items)) => {
                self.list(["[", "]"], items, |writer, value| writer.value(value, item))
            }
            (Shape::Map(key, item), Val::Map(pairs)) if **key == Shape::Text => self.text_map(pairs, item),
            (Shape::Map(key, item), Val::Map(pairs)) => self.list(["[", "]"], pairs, |writer, (name, value)| {
                writer.push("[")?;
                writer.value(name, key)?;
                writer.push(",")?;
                writer.value(value, item)?;
                writer.push("]")
            }),
            (Shape::Record(fields), Val::Record(values)) if fields.len() == values.len() => self.record(fields, values),
            (Shape::Tuple(parts), Val::Tuple(values)) if parts.len() == values.len() => {
                let values = parts.iter().zip(values);
                self.list(["[", "]"], values, |writer, (part, value)| writer.value(value, part))
            }
            (Shape::Option(_), Val::Option(None)) => self.push("null"),
            (Shape::Option(inner), Val::Option(Some(value))) => match inner.is_option() {
                true => self.wrapped("some", Some(value), Some(inner)),
                false => self.value(value, inner),
            },
            (Shape::Enum(_), Val::Enum(name)) => self.string(name),
            (Shape::Flags(_), Val::Flags(names)) => self.list(["[", "]"], names, |writer, name| writer.string(name)),
            (Shape::Variant(cases), Val::Variant(name, payload)) => self.variant(cases, name, payload.as_deref()),
            (Shape::Result { ok, .. }, Val::Result(Ok(value))) => self.wrapped("ok", value.as_deref(), ok.as_deref()),
            (Shape::Result { err, .. }, Val::Result(Err(value))) => {
                self.wrapped("err", value.as_deref(), err.as_deref())
            }
            _ => Err(InvalidResult::WrongType),
        }
    }

    fn bytes(&mut self, items: &[Val]) -> Result<(), InvalidResult> {
        let bytes: Option<Vec<u8>> = items
            .iter()
            .map(|item| match item {
                Val::U8(byte) => Some(*byte),
                _ => None,
            })
            .collect();
        let text = base64(&bytes.ok_or(InvalidResult::WrongType)?, self.limit)?;
        self.string(&text)
    }

    /// An object. Of equal keys the last one counts, and no name stands there twice.
    fn text_map(&mut self, pairs: &[(Val, Val)], item: &Shape) -> Result<(), InvalidResult> {
        let mut positions = std::collections::HashMap::new();
        for (position, (name, _)) in pairs.iter().enumerate() {
            let Val::String(name) = name else {
                return Err(InvalidResult::WrongType);
            };
            positions.insert(name.as_str(), position);
        }
        let kept = pairs
            .iter()
            .enumerate()
            .filter_map(|(position, (name, value))| match name {
                Val::String(name) if positions.get(name.as_str()) == Some(&position) => Some((name, value)),
                _ => None,
            });
        self.list(["{", "}"], kept, |writer, (name, value)| {
            writer.string(name)?;
            writer.push(":")?;
            writer.value(value, item)
        })
    }

    fn record(&mut self, fields: &[Field], values: &[(String, Val)]) -> Result<(), InvalidResult> {
        let values = fields.iter().zip(values);
        self.list(["{", "}"], values, |writer, (field, (_, value))| {
            // Keys are names of WIT, which need no escapes.
            writer.push("\"")?;
            writer.push(&field.key)?;
            writer.push("\":")?;
            writer.value(value, &field.shape)
        })
    }

    fn variant(&mut self, cases: &Named<Case>, name: &str, payload: Option<&Val>) -> Result<(), InvalidResult> {
        let case = cases.get_named(name);
        let case = case.ok_or(InvalidResult::WrongType)?;
        self.push("{\"tag\":")?;
        self.string(name)?;
        match (&case.payload, payload) {
            (None, None) => {}
            (Some(shape), Some(value)) => {
                self.push(",\"value\":")?;
                self.value(value, shape)?;
            }
            _ => return Err(InvalidResult::WrongType),
        }
        self.push("}")
    }

    /// An object with one field. Without a shape, the field is null.
    fn wrapped(&mut self, key: &str, value: Option<&Val>, shape: Option<&Shape>) -> Result<(), InvalidResult> {
        self.push("{\"")?;
        self.push(key)?;
        self.push("\":")?;
        match (value, shape) {
            (Some(value), Some(shape)) => self.value(value, shape)?,
            (None, None) => self.push("null")?,
            _ => return Err(InvalidResult::WrongType),
        }
        self.push("}")
    }
}
