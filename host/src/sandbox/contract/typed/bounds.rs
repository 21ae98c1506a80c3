//! How much the engine has to lift for a result of so many bytes of JSON.
//!
//! The engine builds a result as a tree of values before the host sees any of it. It counts 40 bytes for each value, so a
//! result counts for many times the bytes of its JSON, and how many depends on its type. The engine stops at the bound computed
//! here. What the values then take of memory is in [`held`](super::held).

use super::held::{Held, VALUE};
use super::shape::Shape;

/// An upper bound of what the engine counts for a value with `n` bytes of JSON: `fixed + per_byte * n`.
#[derive(Clone, Copy, Debug)]
struct Count {
    fixed: u64,
    per_byte: u64,
    /// The fewest bytes of JSON that a value has.
    min_json: u64,
}

/// What the engine may count while it lifts a result.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::sandbox) struct LiftBound {
    /// For [`set_hostcall_fuel`](wasmtime::Store::set_hostcall_fuel), beyond what every call has.
    pub(in crate::sandbox) extra: usize,
    /// Bytes of memory that this can take.
    pub(in crate::sandbox) memory: usize,
}

impl LiftBound {
    /// The bound for a result of at most `output_bytes` of JSON. What would take more than `memory` bytes is refused as too
    /// large, even if its JSON isn't.
    pub(super) fn of(shape: Option<&Shape>, output_bytes: u64, memory: u64) -> Self {
        let Some(shape) = shape else {
            return Self::default();
        };
        let count = count(shape);
        let held = Held::of(shape);
        let legal = count.fixed.saturating_add(count.per_byte.saturating_mul(output_bytes));
        let extra = legal.min(memory / held.factor).saturating_sub(output_bytes);
        // Every call can lift as much as `output_bytes`, so a result that isn't legal can too.
        let most = match count.per_byte {
            0 => legal.min(output_bytes + extra),
            _ => output_bytes + extra,
        };
        let bytes = |bytes: u64| usize::try_from(bytes).unwrap_or(usize::MAX);
        Self {
            extra: bytes(extra),
            memory: bytes(most.saturating_mul(held.factor).saturating_add(held.fixed)),
        }
    }
}

impl Count {
    const fn flat(min_json: u64) -> Self {
        Self {
            fixed: 0,
            per_byte: 0,
            min_json,
        }
    }

    /// Parts that all occur, with so many bytes of JSON between them.
    fn all(parts: impl IntoIterator<Item = Self>, between: u64) -> Self {
        parts.into_iter().fold(Self::flat(between), |sum, part| Self {
            fixed: sum.fixed.saturating_add(VALUE).saturating_add(part.fixed),
            per_byte: sum.per_byte.max(part.per_byte),
            min_json: sum.min_json.saturating_add(part.min_json),
        })
    }

    /// One of these occurs.
    fn either(self, other: Self) -> Self {
        Self {
            fixed: self.fixed.max(other.fixed),
            per_byte: self.per_byte.max(other.per_byte),
            min_json: self.min_json.min(other.min_json),
        }
    }

    fn with_name(self, name: &str) -> Self {
        Self {
            fixed: self.fixed.saturating_add(name.len() as u64),
            min_json: self.min_json.saturating_add(name.len() as u64),
            ..self
        }
    }

    /// Any number of items, each with a comma.
    fn repeated(item: Self, values: u64) -> Self {
        let each = item.fixed.saturating_add(values * VALUE);
        Self {
            fixed: 0,
            per_byte: item.per_byte.max(each.div_ceil(item.min_json + 1)),
            min_json: 2,
        }
    }
}

fn count(shape: &Shape) -> Count {
    match shape {
        Shape::Bool => Count::flat(4),
        Shape::Integer(_) | Shape::Float32 | Shape::Float64 => Count::flat(1),
        Shape::Char => Count::flat(3),
        Shape::Text => Count {
            per_byte: 1,
            ..Count::flat(2)
        },
        // Four bytes of base64 stand for three.
        Shape::Bytes => Count {
            per_byte: (VALUE * 3).div_ceil(4),
            ..Count::flat(2)
        },
        Shape::List(item) => Count::repeated(count(item), 1),
        Shape::FixedList(item, length) => {
            let (item, length) = (count(item), u64::from(*length));
            Count {
                fixed: item.fixed.saturating_add(VALUE).saturating_mul(length),
                per_byte: item.per_byte,
                min_json: item.min_json.saturating_add(1).saturating_mul(length),
            }
        }
        Shape::Map(key, value) => Count::repeated(Count::all([count(key), count(value)], 0), 0),
        Shape::Record(fields) => {
            let fields_count = fields.iter().map(|field| count(&field.shape).with_name(&field.name));
            // Quotes, a colon and a comma each.
            Count::all(fields_count, 4 * fields.len() as u64)
        }
        Shape::Tuple(parts) => Count::all(parts.iter().map(count), parts.len() as u64),
        Shape::Option(inner) => Count::all([count(inner)], 0).either(Count::flat(4)),
        Shape::Enum(names) => {
            let named = names.iter().map(|name| Count::flat(2).with_name(name));
            named.reduce(Count::either).unwrap_or(Count::flat(2))
        }
        Shape::Flags(names) => Count {
            fixed: names.iter().map(|name| name.len() as u64).sum(),
            ..Count::flat(2)
        },
        Shape::Variant(cases) => {
            let counted = cases.iter().map(|case| {
                let payload = case.payload.as_ref().map(|payload| Count::all([count(payload)], 9));
                // `{"tag":""}`
                Count::all(payload, 0).with_name(&case.name).plus_json(10)
            });
            counted.reduce(Count::either).unwrap_or(Count::flat(10))
        }
        Shape::Result { ok, err } => {
            let payload = |shape: &Option<Box<Shape>>| match shape {
                Some(shape) => Count::all([count(shape)], 7),
                None => Count::flat(11),
            };
            payload(ok).either(payload(err))
        }
    }
}

impl Count {
    fn plus_json(self, bytes: u64) -> Self {
        Self {
            min_json: self.min_json.saturating_add(bytes),
            ..self
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::named::Named;
    use super::super::shape::{Field, Integer};
    use super::*;

    fn per_byte(shape: Shape) -> u64 {
        count(&shape).per_byte
    }

    #[test]
    fn the_bound_follows_the_type() {
        let list = |item| Shape::List(Box::new(item));
        let number = || Shape::Integer(Integer::U32);
        assert_eq!(per_byte(Shape::Text), 1);
        assert_eq!(per_byte(Shape::Bytes), 30);
        assert_eq!(per_byte(list(number())), 20, "`1,` is one value");
        assert_eq!(per_byte(list(Shape::Bool)), 8, "`true,`");
        let record = Shape::Record(Named::from_iter([
            Field::new("first", number()),
            Field::new("second", Shape::Text),
        ]));
        // The engine counts 131 for `{"first":1,"second":""},`.
        assert_eq!(per_byte(list(record)), 6);
        assert_eq!(per_byte(number()), 0);
    }

    #[test]
    fn the_bound_is_that_of_the_memory() {
        const OUTPUT: u64 = 1 << 20;
        let of = |shape: &Shape, memory| LiftBound::of(Some(shape), OUTPUT, memory);
        assert_eq!(LiftBound::of(None, OUTPUT, 1 << 27), LiftBound::default());
        let number = of(&Shape::Bool, 1 << 27);
        assert_eq!(number, LiftBound::default());
        let text = of(&Shape::Text, 1 << 27);
        assert_eq!((text.extra, text.memory / (3 << 20)), (0, 1));
        let bytes = of(&Shape::Bytes, 1 << 27);
        assert_eq!((bytes.extra, bytes.memory >> 20), (29 << 20, 90));
        // Less than every call has: nothing is added to it.
        let bounded = of(&Shape::Bytes, 1 << 20);
        assert_eq!((bounded.extra, bounded.memory >> 20), (0, 3));
        for huge in [
            Shape::FixedList(Box::new(Shape::FixedList(Box::new(Shape::Bytes), u32::MAX)), u32::MAX),
            Shape::List(Box::new(Shape::Flags(
                (0..32).map(|number| format!("f{number}").into()).collect(),
            ))),
        ] {
            let bound = of(&huge, 1 << 27);
            assert!(bound.extra < 1 << 26, "{bound:?}");
        }
        let flags = Shape::Flags((0..32).map(|number| format!("f{number}").into()).collect());
        let bound = of(&Shape::List(Box::new(flags)), 1 << 27);
        assert!(bound.memory >> 10 == 1 << 17 && bound.extra * 24 > 1 << 26, "{bound:?}");
    }
}
