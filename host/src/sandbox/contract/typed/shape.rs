//! The type of a parameter or a result, read from the engine once per plugin and then independent of it. The schema and both
//! conversions follow this tree, so that they can't disagree.

use wasmtime::component::types::Type;

use super::named::{HasName, Named};
use super::names::snake_case;

/// Nesting of one type.
pub(super) const MAX_DEPTH: usize = 16;
/// Types of one function, each counted where it is used. A name of an enum, a variant or flags counts as one.
pub(super) const MAX_TYPES: usize = 1_000;
/// Bytes of the names of fields, cases and flags of one function.
pub(super) const MAX_NAME_BYTES: usize = 64 * 1024;

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Shape {
    Bool,
    Integer(Integer),
    Float32,
    Float64,
    Char,
    Text,
    /// `list<u8>`: base64 in JSON.
    Bytes,
    List(Box<Shape>),
    FixedList(Box<Shape>, u32),
    Map(Box<Shape>, Box<Shape>),
    Record(Named<Field>),
    Tuple(Box<[Shape]>),
    Option(Box<Shape>),
    Enum(Named<Box<str>>),
    Flags(Named<Box<str>>),
    Variant(Named<Case>),
    Result {
        ok: Option<Box<Shape>>,
        err: Option<Box<Shape>>,
    },
}

/// A field of a record, or a parameter of a function.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Field {
    /// The name in WIT.
    pub(super) name: Box<str>,
    /// The name in JSON.
    pub(super) key: Box<str>,
    pub(super) shape: Shape,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) struct Case {
    pub(super) name: Box<str>,
    pub(super) payload: Option<Shape>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Integer {
    U8,
    S8,
    U16,
    S16,
    U32,
    S32,
    U64,
    S64,
}

impl Integer {
    #[cfg(test)]
    pub(super) const ALL: [Self; 8] = [
        Self::U8,
        Self::S8,
        Self::U16,
        Self::S16,
        Self::U32,
        Self::S32,
        Self::U64,
        Self::S64,
    ];

    pub(super) fn min(self) -> i128 {
        match self {
            Self::U8 | Self::U16 | Self::U32 | Self::U64 => 0,
            Self::S8 => i8::MIN.into(),
            Self::S16 => i16::MIN.into(),
            Self::S32 => i32::MIN.into(),
            Self::S64 => i64::MIN.into(),
        }
    }

    pub(super) fn max(self) -> i128 {
        match self {
            Self::U8 => u8::MAX.into(),
            Self::S8 => i8::MAX.into(),
            Self::U16 => u16::MAX.into(),
            Self::S16 => i16::MAX.into(),
            Self::U32 => u32::MAX.into(),
            Self::S32 => i32::MAX.into(),
            Self::U64 => u64::MAX.into(),
            Self::S64 => i64::MAX.into(),
        }
    }

    /// Whether its values can be beyond ±(2^53 − 1), where many JSON parsers round, so that a decimal string is also accepted.
    pub(super) fn is_wide(self) -> bool {
        matches!(self, Self::U64 | Self::S64)
    }

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::U8 => "u8",
            Self::S8 => "s8",
            Self::U16 => "u16",
            Self::S16 => "s16",
            Self::U32 => "u32",
            Self::S32 => "s32",
            Self::U64 => "u64",
            Self::S64 => "s64",
        }
    }
}

impl HasName for Field {
    fn json_name(&self) -> &str {
        &self.key
    }
}

impl HasName for Case {
    fn json_name(&self) -> &str {
        &self.name
    }
}

impl Field {
    pub(super) fn new(name: &str, shape: Shape) -> Self {
        Self {
            name: name.into(),
            key: snake_case(name).into(),
            shape,
        }
    }

    /// Whether JSON can leave it out, which means `none`.
    pub(super) fn is_optional(&self) -> bool {
        self.shape.is_option()
    }
}

impl Shape {
    pub(super) fn is_option(&self) -> bool {
        matches!(self, Self::Option(_))
    }
}

/// Why a type has no JSON form here. Completes "its type …".
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Unsupported {
    #[error("has a resource, which can't outlive a call")]
    Resource,
    #[error("has a `future`, a `stream` or an error context")]
    Async,
    #[error("is nested more than {MAX_DEPTH} deep")]
    Depth,
    #[error("consists of more than {MAX_TYPES} types")]
    Types,
    #[error("has more than {MAX_NAME_BYTES} bytes of names")]
    Names,
    #[error("has two fields whose names are equal in JSON")]
    SameKey,
    #[error("has an enum, a variant, flags, a record or a tuple with nothing in it")]
    Empty,
}

/// Reads the types of one function, within its bounds.
#[derive(Debug, Default)]
pub(super) struct ShapeReader {
    types: usize,
    name_bytes: usize,
}

impl ShapeReader {
    pub(super) fn read(&mut self, ty: &Type) -> Result<Shape, Unsupported> {
        self.read_at(ty, 1)
    }

    /// A name, which counts towards the bound.
    pub(super) fn name(&mut self, name: &str) -> Result<Box<str>, Unsupported> {
        self.name_bytes += name.len();
        match self.name_bytes > MAX_NAME_BYTES {
            true => Err(Unsupported::Names),
            false => Ok(name.into()),
        }
    }

    fn read_at(&mut self, ty: &Type, depth: usize) -> Result<Shape, Unsupported> {
        self.types += 1;
        if self.types > MAX_TYPES {
            return Err(Unsupported::Types);
        }
        if depth > MAX_DEPTH {
            return Err(Unsupported::Depth);
        }
        let below = depth + 1;
        Ok(match ty {
            Type::Bool => Shape::Bool,
            Type::S8 => Shape::Integer(Integer::S8),
            Type::U8 => Shape::Integer(Integer::U8),
            Type::S16 => Shape::Integer(Integer::S16),
            Type::U16 => Shape::Integer(Integer::U16),
            Type::S32 => Shape::Integer(Integer::S32),
            Type::U32 => Shape::Integer(Integer::U32),
            Type::S64 => Shape::Integer(Integer::S64),
            Type::U64 => Shape::Integer(Integer::U64),
            Type::Float32 => Shape::Float32,
            Type::Float64 => Shape::Float64,
            Type::Char => Shape::Char,
            Type::String => Shape::Text,
            Type::List(list) => match list.ty() {
                Type::U8 => Shape::Bytes,
                item => Shape::List(self.boxed(&item, below)?),
            },
            Type::FixedLengthList(list) => Shape::FixedList(self.boxed(&list.ty(), below)?, list.len()),
            Type::Map(map) => Shape::Map(self.boxed(&map.key(), below)?, self.boxed(&map.value(), below)?),
            Type::Record(record) => {
                let mut fields = Vec::new();
                for field in record.fields() {
                    self.name(field.name)?;
                    fields.push(Field::new(field.name, self.read_at(&field.ty, below)?));
                }
                Shape::Record(unique_keys(fields)?)
            }
            Type::Tuple(tuple) => {
                let parts: Result<Vec<_>, _> = tuple.types().map(|part| self.read_at(&part, below)).collect();
                Shape::Tuple(not_empty(parts?)?)
            }
            Type::Option(option) => Shape::Option(self.boxed(&option.ty(), below)?),
            Type::Enum(names) => Shape::Enum(self.names(names.names())?),
            Type::Flags(names) => Shape::Flags(self.names(names.names())?),
            Type::Variant(variant) => {
                let mut cases = Vec::new();
                for case in variant.cases() {
                    let name = self.case(case.name)?;
                    let payload = case.ty.map(|ty| self.read_at(&ty, below)).transpose()?;
                    cases.push(Case { name, payload });
                }
                Shape::Variant(named(cases)?)
            }
            Type::Result(result) => Shape::Result {
                ok: result.ok().map(|ty| self.boxed(&ty, below)).transpose()?,
                err: result.err().map(|ty| self.boxed(&ty, below)).transpose()?,
            },
            Type::Own(_) | Type::Borrow(_) => return Err(Unsupported::Resource),
            Type::Future(_) | Type::Stream(_) | Type::ErrorContext => return Err(Unsupported::Async),
        })
    }

    fn boxed(&mut self, ty: &Type, depth: usize) -> Result<Box<Shape>, Unsupported> {
        self.read_at(ty, depth).map(Box::new)
    }

    fn names<'a>(&mut self, names: impl Iterator<Item = &'a str>) -> Result<Named<Box<str>>, Unsupported> {
        let names: Result<Vec<_>, _> = names.map(|name| self.case(name)).collect();
        named(names?)
    }

    /// A name that a value can be. The engine looks for it one by one, so it costs as much as a type.
    fn case(&mut self, name: &str) -> Result<Box<str>, Unsupported> {
        self.types += 1;
        match self.types > MAX_TYPES {
            true => Err(Unsupported::Types),
            false => self.name(name),
        }
    }
}

/// Refuses fields that JSON couldn't tell apart. WIT's own rules for names already exclude them.
pub(super) fn unique_keys(fields: Vec<Field>) -> Result<Named<Field>, Unsupported> {
    let fields = named(fields)?;
    match fields.has_duplicates() {
        true => Err(Unsupported::SameKey),
        false => Ok(fields),
    }
}

fn named<T: HasName>(parts: Vec<T>) -> Result<Named<T>, Unsupported> {
    not_empty(parts).map(|parts| parts.into_iter().collect())
}

fn not_empty<T>(parts: Vec<T>) -> Result<Box<[T]>, Unsupported> {
    match parts.is_empty() {
        true => Err(Unsupported::Empty),
        false => Ok(parts.into()),
    }
}
