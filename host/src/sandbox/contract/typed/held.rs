//! What lifted values take of memory, against what the engine counts for them.
//!
//! The engine counts 40 bytes for each part of a value and the bytes of names, whatever it allocates: a flag with a name of one
//! letter counts 1 and takes over 50. So the factor depends on the type. It holds for the values that are worst for it.

use super::named::Named;
use super::shape::{Case, Field, Shape};

/// What the engine counts for each part of a list, record, tuple or payload.
pub(super) const VALUE: u64 = size_of::<wasmtime::component::Val>() as u64;

/// Texts: Latin-1 and UTF-16 can take three bytes for each that is counted, until the text is whole.
const LEAST_FACTOR: u64 = 3;
/// Far beyond what a type can need.
const MOST_FACTOR: u64 = 100;

/// What an allocator adds, and the least that it gives.
const ALLOCATION: u64 = 16;
const LEAST_ALLOCATION: u64 = 32;
/// Places that the first allocation of a list has.
const FIRST_PLACES: u64 = 4;

/// Memory of the values of a type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Held {
    /// Bytes for each that the engine counts, at most.
    pub(super) factor: u64,
    /// Bytes beyond that, once.
    pub(super) fixed: u64,
}

impl Held {
    pub(super) fn of(shape: &Shape) -> Self {
        let found = (LEAST_FACTOR..=MOST_FACTOR).find_map(|factor| {
            let excess = Excess { factor: signed(factor) }.of(shape)?;
            Some(Self {
                factor,
                fixed: u64::try_from(excess).unwrap_or(0),
            })
        });
        // Then nothing is lifted beyond what every call can.
        found.unwrap_or(Self {
            factor: u64::MAX,
            fixed: 0,
        })
    }
}

/// The most that a value of a type takes beyond `factor` times its count. `None` for no bound: the value can have any number of
/// parts that take more.
struct Excess {
    factor: i64,
}

impl Excess {
    fn of(&self, shape: &Shape) -> Option<i64> {
        match shape {
            Shape::Bool | Shape::Integer(_) | Shape::Float32 | Shape::Float64 | Shape::Char => Some(0),
            Shape::Text => Some(signed(LEAST_ALLOCATION)),
            Shape::Bytes => self.list(0),
            Shape::List(item) => self.list(self.of(item)?),
            Shape::FixedList(item, length) => {
                let each = self.of(item)?.saturating_add(self.part(list_place()));
                Some(each.saturating_mul((*length).into()).saturating_add(first_places()))
            }
            // The engine reserves exactly what a map takes.
            Shape::Map(key, value) => {
                let parts = self.of(key)?.saturating_add(self.of(value)?);
                let each = parts.saturating_add(2 * self.part(VALUE));
                (each <= 0).then_some(signed(ALLOCATION))
            }
            Shape::Record(fields) => self.record(fields),
            Shape::Tuple(parts) => {
                let places = grown(parts.len(), VALUE).saturating_sub(self.factor * signed(VALUE) * length(parts));
                parts
                    .iter()
                    .try_fold(places, |sum, part| Some(sum.saturating_add(self.of(part)?)))
            }
            Shape::Option(inner) => Some(self.payload(inner)?.max(0)),
            Shape::Enum(names) => names.iter().map(|name| self.name(name)).max(),
            Shape::Flags(names) => Some(self.flags(names)),
            Shape::Variant(cases) => cases
                .iter()
                .map(|case| self.case(case))
                .try_fold(0, |most, case| Some(most.max(case?))),
            Shape::Result { ok, err } => {
                let payload = |shape: &Option<Box<Shape>>| shape.as_ref().map_or(Some(0), |shape| self.payload(shape));
                Some(payload(ok)?.max(payload(err)?))
            }
        }
    }

    /// A part that the engine counts, which takes so many bytes where it is.
    fn part(&self, bytes: u64) -> i64 {
        signed(bytes) - self.factor * signed(VALUE)
    }

    /// A name, copied.
    fn name(&self, name: &str) -> i64 {
        allocation(name.len()) - self.factor * signed(name.len() as u64)
    }

    /// Any number of items.
    fn list(&self, item: i64) -> Option<i64> {
        let each = item.saturating_add(self.part(list_place()));
        let short = first_places().saturating_add(item).saturating_add(self.part(0));
        (each <= 0).then_some(short.max(signed(ALLOCATION)))
    }

    fn record(&self, fields: &Named<Field>) -> Option<i64> {
        let places = grown(fields.len(), size_of::<(String, wasmtime::component::Val)>() as u64);
        fields.iter().try_fold(places, |sum, field| {
            let counted = self.name(&field.name).saturating_add(self.part(0));
            Some(sum.saturating_add(counted).saturating_add(self.of(&field.shape)?))
        })
    }

    /// In an allocation of its own.
    fn payload(&self, shape: &Shape) -> Option<i64> {
        let place = self.part(VALUE + ALLOCATION);
        Some(self.of(shape)?.saturating_add(place))
    }

    fn case(&self, case: &Case) -> Option<i64> {
        let payload = case.payload.as_ref().map_or(Some(0), |payload| self.payload(payload))?;
        Some(self.name(&case.name).saturating_add(payload))
    }

    /// The flags that are worst, which are those with the shortest names.
    fn flags(&self, names: &Named<Box<str>>) -> i64 {
        let mut shortest: Vec<&str> = names.iter().map(|name| &**name).collect();
        shortest.sort_by_key(|name| name.len());
        let mut sum = 0_i64;
        let counts = shortest.iter().enumerate().map(|(position, name)| {
            sum = sum.saturating_add(self.name(name));
            sum.saturating_add(grown(position + 1, size_of::<String>() as u64))
        });
        counts.max().unwrap_or(0).max(0)
    }
}

/// Bytes that an item takes in a long list: it grows by doubling, and holds the old items and the new places while it does.
fn list_place() -> u64 {
    3 * VALUE
}

/// Bytes of a list that is as short as one item.
fn first_places() -> i64 {
    signed(FIRST_PLACES * VALUE + ALLOCATION)
}

/// Bytes of a list of `length` that grew by doubling, with what it grew from.
fn grown(length: usize, place: u64) -> i64 {
    let length = length as u64;
    let places = match length <= FIRST_PLACES {
        true => FIRST_PLACES,
        false => length.next_power_of_two() / 2 * 3,
    };
    signed(places.saturating_mul(place).saturating_add(ALLOCATION))
}

fn allocation(bytes: usize) -> i64 {
    signed((bytes as u64).saturating_add(ALLOCATION).max(LEAST_ALLOCATION))
}

fn length<T>(parts: &[T]) -> i64 {
    signed(parts.len() as u64)
}

fn signed(bytes: u64) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::super::shape::Integer;
    use super::*;

    fn names(count: usize) -> Named<Box<str>> {
        (0..count).map(|number| format!("f{number}").into()).collect()
    }

    fn list(item: Shape) -> Shape {
        Shape::List(Box::new(item))
    }

    fn tuple(part: Shape) -> Shape {
        Shape::Tuple(Box::new([part]))
    }

    #[test]
    fn the_factor_is_that_of_the_worst_values() {
        let number = || Shape::Integer(Integer::U8);
        let record = Shape::Record(Named::from_iter([Field::new("a", number())]));
        let variant = Shape::Variant(Named::from_iter([
            Case {
                name: "a".into(),
                payload: None,
            },
            Case {
                name: "b".into(),
                payload: Some(Shape::Text),
            },
        ]));
        for (shape, factor) in [
            (Shape::Bool, 3),
            (Shape::Text, 3),
            (Shape::Bytes, 3),
            (list(number()), 3),
            // A list with one item has places for four.
            (list(list(number())), 4),
            (list(record), 6),
            (list(tuple(number())), 4),
            (list(tuple(tuple(tuple(number())))), 5),
            (list(variant), 4),
            (list(Shape::Enum(names(300))), 4),
            (list(Shape::Flags(names(32))), 23),
            (list(Shape::Option(Box::new(Shape::Flags(names(32))))), 16),
            (Shape::Map(Box::new(Shape::Text), Box::new(Shape::Bool)), 3),
            (Shape::FixedList(Box::new(number()), 1_000), 3),
        ] {
            assert_eq!(Held::of(&shape).factor, factor, "{shape:?}");
        }
        assert!(Held::of(&Shape::Flags(names(32))).fixed < 4_096);
    }
}
