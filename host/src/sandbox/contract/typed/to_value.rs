//! JSON to the engine's values, read from the text, so that no digit is lost.
//!
//! The text is already known to be JSON that matches the schema. Everything is checked all the same: a caller could skip that
//! check, and base64 can't be expressed in a schema.

use std::borrow::Cow;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use wasmtime::component::Val;

use super::named::Named;
use super::schema::NOT_FINITE;
use super::shape::{Case, Field, Integer, Shape};
use crate::json_text::{Cursor, whole_number};
use crate::sandbox::fairness::{MemoryShare, NoMemory};
use crate::sandbox::limits::LimitValue;
use crate::untrusted::display_untrusted;

/// Characters of an input's own text that a problem repeats.
const SHOWN_CHARS: usize = 60;

/// Bytes of an allocation beyond its content.
const ALLOCATION: usize = 16;

/// Bytes that are taken at once from the memory of all guests, which has a lock.
const STEP: usize = 256 * 1024;

/// Why an input can't be converted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Problem {
    /// What isn't of its type, and where. Reads like a violation of the schema: `/a/0: …`.
    Mismatch {
        /// From the inside out.
        path: Vec<String>,
        text: String,
    },
    NoMemory(NoMemory),
}

impl Problem {
    fn new(text: impl Into<String>) -> Self {
        Self::Mismatch {
            path: Vec::new(),
            text: text.into(),
        }
    }

    fn at(mut self, part: impl ToString) -> Self {
        if let Self::Mismatch { path, .. } = &mut self {
            path.push(part.to_string());
        }
        self
    }
}

impl std::fmt::Display for Problem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Mismatch { path, text } => {
                for part in path.iter().rev() {
                    write!(f, "/{part}")?;
                }
                let between = if path.is_empty() { "" } else { ": " };
                write!(f, "{between}{text}")
            }
            Self::NoMemory(reason) => reason.fmt(f),
        }
    }
}

/// The memory that the values of one input can take. It is taken from all guests' before the values are made.
#[derive(Debug)]
pub(super) struct Room {
    limit: usize,
    taken: usize,
    /// Bytes taken from `share`: a few more than `taken`.
    charged: usize,
    share: MemoryShare,
}

impl Room {
    pub(super) fn new(limit: u64, share: MemoryShare) -> Self {
        Self {
            limit: usize::try_from(limit).unwrap_or(usize::MAX),
            taken: 0,
            charged: 0,
            share,
        }
    }

    /// What was taken, to be held while the values exist.
    pub(super) fn into_share(self) -> MemoryShare {
        self.share
    }

    fn take(&mut self, bytes: usize) -> Result<(), Problem> {
        self.taken = self.taken.saturating_add(bytes);
        if self.taken > self.limit {
            return Err(Problem::new(format!(
                "the input takes more memory than limits.memory allows ({})",
                LimitValue::Bytes(self.limit as u64)
            )));
        }
        if self.taken > self.charged {
            let charged = self.taken.next_multiple_of(STEP);
            self.share.take(charged - self.charged).map_err(Problem::NoMemory)?;
            self.charged = charged;
        }
        Ok(())
    }

    fn take_text(&mut self, text: &str) -> Result<String, Problem> {
        self.take(text.len() + ALLOCATION)?;
        Ok(text.to_owned())
    }

    /// Adds to a list, and pays for its growth.
    fn push<T>(&mut self, list: &mut Vec<T>, item: T) -> Result<(), Problem> {
        if list.len() == list.capacity() {
            let more = list.len().max(4);
            self.take(more.saturating_mul(size_of::<T>()))?;
            list.reserve_exact(more);
        }
        list.push(item);
        Ok(())
    }

    fn boxed(&mut self, value: Val) -> Result<Box<Val>, Problem> {
        self.take(size_of::<Val>() + ALLOCATION)?;
        Ok(Box::new(value))
    }
}

/// The arguments of a function, in the order of its parameters, from an object.
pub(super) fn arguments(text: &str, parameters: &Named<Field>, room: &mut Room) -> Result<Vec<Val>, Problem> {
    let fields = Reader { room }.fields(&mut Cursor::new(text), parameters)?;
    Ok(fields.into_iter().map(|(_, value)| value).collect())
}

/// The only argument of a function: a string.
pub(super) fn only_string<'a>(text: &'a str, parameter: &Field, room: &mut Room) -> Result<Cow<'a, str>, Problem> {
    // What has no escapes is borrowed.
    room.take(text.len())?;
    only_field(text, parameter)
}

/// The only argument of a function: bytes.
pub(super) fn only_bytes(text: &str, parameter: &Field, room: &mut Room) -> Result<Vec<u8>, Problem> {
    let text = only_string(text, parameter, room)?;
    room.take(text.len())?;
    bytes(&text).map_err(|problem| problem.at(&parameter.key))
}

fn only_field<'a>(text: &'a str, parameter: &Field) -> Result<Cow<'a, str>, Problem> {
    let mut cursor = Cursor::new(text);
    let mut found = None;
    if !cursor.take(b'{') {
        return Err(Problem::new("must be an object"));
    }
    while !cursor.take(b'}') {
        match cursor.string() {
            Some(key) if key == *parameter.key && found.is_none() => {
                let value = cursor.string();
                found = Some(value.ok_or_else(|| Problem::new("must be a string").at(&parameter.key))?);
            }
            Some(key) => return Err(unknown_field(&key)),
            None => return Err(Problem::new("must be an object")),
        }
    }
    found.ok_or_else(|| missing(&parameter.key))
}

/// The bytes that a string of base64 stands for: the standard alphabet, with padding.
fn bytes(text: &str) -> Result<Vec<u8>, Problem> {
    STANDARD
        .decode(text)
        .map_err(|error| Problem::new(format!("isn't base64 with the standard alphabet and padding: {error}")))
}

/// One value. Text after it is ignored.
#[cfg(test)]
pub(super) fn value(text: &str, shape: &Shape, room: &mut Room) -> Result<Val, Problem> {
    Reader { room }.value(&mut Cursor::new(text), shape)
}

struct Reader<'r> {
    room: &'r mut Room,
}

impl Reader<'_> {
    fn value(&mut self, cursor: &mut Cursor<'_>, shape: &Shape) -> Result<Val, Problem> {
        match shape {
            Shape::Bool => match cursor.value() {
                "true" => Ok(Val::Bool(true)),
                "false" => Ok(Val::Bool(false)),
                _ => Err(Problem::new("must be true or false")),
            },
            Shape::Integer(integer) => integer_value(cursor, *integer),
            Shape::Float32 => float(cursor, |text| text.parse().ok().filter(|value: &f32| value.is_finite()))
                .map(|value| Val::Float32(value.unwrap_or_else(|other| other as f32))),
            Shape::Float64 => float(cursor, |text| text.parse().ok().filter(|value: &f64| value.is_finite()))
                .map(|value| Val::Float64(value.unwrap_or_else(|other| other))),
            Shape::Char => {
                let text = string(cursor)?;
                let mut characters = text.chars();
                match (characters.next(), characters.next()) {
                    (Some(only), None) => Ok(Val::Char(only)),
                    _ => Err(Problem::new("must be one character")),
                }
            }
            Shape::Text => {
                let text = string(cursor)?;
                self.room.take(text.len() + ALLOCATION)?;
                Ok(Val::String(text.into_owned()))
            }
            Shape::Bytes => {
                let text = string(cursor)?;
                let most = text.len().div_ceil(4) * 3;
                self.room.take(most.saturating_mul(size_of::<Val>()))?;
                let bytes = bytes(&text)?;
                Ok(Val::List(bytes.into_iter().map(Val::U8).collect()))
            }
            Shape::List(item) => self.items(cursor, item).map(Val::List),
            Shape::FixedList(item, length) => {
                let items = self.items(cursor, item)?;
                match items.len() == *length as usize {
                    true => Ok(Val::FixedLengthList(items)),
                    false => Err(Problem::new(format!("must have {length} items"))),
                }
            }
            Shape::Map(key, value) => self.map(cursor, key, value).map(Val::Map),
            Shape::Record(fields) => self.fields(cursor, fields).map(Val::Record),
            Shape::Tuple(parts) => self.tuple(cursor, parts.iter()).map(Val::Tuple),
            Shape::Option(inner) => self.option(cursor, inner),
            Shape::Enum(names) => {
                let name = string(cursor)?;
                match names.position(&name).is_some() {
                    true => Ok(Val::Enum(self.room.take_text(&name)?)),
                    false => Err(not_one_of(&name)),
                }
            }
            Shape::Flags(names) => self.flags(cursor, names),
            Shape::Variant(cases) => self.variant(cursor, cases),
            Shape::Result { ok, err } => self.result(cursor, ok.as_deref(), err.as_deref()),
        }
    }

    fn items(&mut self, cursor: &mut Cursor<'_>, item: &Shape) -> Result<Vec<Val>, Problem> {
        enter(cursor, b'[')?;
        let mut items = Vec::new();
        while !cursor.take(b']') {
            let value = self.value(cursor, item).map_err(|problem| problem.at(items.len()))?;
            self.room.push(&mut items, value)?;
        }
        Ok(items)
    }

    fn tuple<'s>(
        &mut self,
        cursor: &mut Cursor<'_>,
        parts: impl ExactSizeIterator<Item = &'s Shape>,
    ) -> Result<Vec<Val>, Problem> {
        enter(cursor, b'[')?;
        let length = parts.len();
        self.room.take(length * size_of::<Val>() + ALLOCATION)?;
        let mut values = Vec::with_capacity(length);
        for (position, part) in parts.enumerate() {
            if cursor.peek() == Some(b']') {
                return Err(Problem::new(format!("must have {length} items")));
            }
            values.push(self.value(cursor, part).map_err(|problem| problem.at(position))?);
        }
        match cursor.take(b']') {
            true => Ok(values),
            false => Err(Problem::new(format!("must have {length} items"))),
        }
    }

    fn map(&mut self, cursor: &mut Cursor<'_>, key: &Shape, value: &Shape) -> Result<Vec<(Val, Val)>, Problem> {
        let mut pairs = Vec::new();
        if *key == Shape::Text {
            enter(cursor, b'{')?;
            while !cursor.take(b'}') {
                let name = string(cursor)?;
                let value = self.value(cursor, value).map_err(|problem| problem.at(shown(&name)))?;
                let name = Val::String(self.room.take_text(&name)?);
                self.room.push(&mut pairs, (name, value))?;
            }
            return Ok(pairs);
        }
        enter(cursor, b'[')?;
        while !cursor.take(b']') {
            let pair = self.tuple(cursor, [key, value].into_iter());
            let pair = pair.map_err(|problem| problem.at(pairs.len()))?;
            let Ok([key, value]) = <[Val; 2]>::try_from(pair) else {
                return Err(Problem::new("must have 2 items").at(pairs.len()));
            };
            self.room.push(&mut pairs, (key, value))?;
        }
        Ok(pairs)
    }

    /// The fields of an object, in the order of `fields`.
    fn fields(&mut self, cursor: &mut Cursor<'_>, fields: &Named<Field>) -> Result<Vec<(String, Val)>, Problem> {
        enter(cursor, b'{')?;
        self.room.take(fields.len() * size_of::<(String, Val)>() + ALLOCATION)?;
        let mut values: Vec<Option<Val>> = fields.iter().map(|_| None).collect();
        // Models write fields in the order of the schema, so the next one is looked at first.
        let mut next = 0;
        while !cursor.take(b'}') {
            let Some(key) = cursor.string() else {
                return Err(Problem::new("must be an object"));
            };
            let position = match fields.get(next) {
                Some(field) if *field.key == *key => Some(next),
                _ => fields.position(&key),
            };
            let Some(position) = position else {
                return Err(unknown_field(&key));
            };
            let value = self.value(cursor, &fields[position].shape);
            let value = value.map_err(|problem| problem.at(&fields[position].key))?;
            if values[position].replace(value).is_some() {
                return Err(Problem::new("stands there twice").at(&fields[position].key));
            }
            next = position + 1;
        }
        let mut named = Vec::with_capacity(fields.len());
        for (field, value) in fields.iter().zip(values) {
            let value = match value {
                Some(value) => value,
                None if field.is_optional() => Val::Option(None),
                None => return Err(missing(&field.key)),
            };
            named.push((self.room.take_text(&field.name)?, value));
        }
        Ok(named)
    }

    fn option(&mut self, cursor: &mut Cursor<'_>, inner: &Shape) -> Result<Val, Problem> {
        if cursor.peek() == Some(b'n') {
            cursor.value();
            return Ok(Val::Option(None));
        }
        let value = match inner.is_option() {
            false => self.value(cursor, inner)?,
            true => {
                let Tagged { some: Some(some), .. } = tagged(cursor)? else {
                    return Err(Problem::new("must be null or an object with the field `some`"));
                };
                self.value(&mut Cursor::new(some), inner)
                    .map_err(|problem| problem.at("some"))?
            }
        };
        Ok(Val::Option(Some(self.room.boxed(value)?)))
    }

    fn flags(&mut self, cursor: &mut Cursor<'_>, names: &Named<Box<str>>) -> Result<Val, Problem> {
        enter(cursor, b'[')?;
        let mut set = vec![false; names.len()];
        while !cursor.take(b']') {
            let name = string(cursor)?;
            match names.position(&name) {
                Some(position) if set[position] => {
                    return Err(Problem::new(format!("{} stands there twice", shown(&name))));
                }
                Some(position) => set[position] = true,
                None => return Err(not_one_of(&name)),
            }
        }
        let mut flags = Vec::new();
        for (name, _) in names.iter().zip(set).filter(|(_, is_set)| *is_set) {
            let name = self.room.take_text(name)?;
            self.room.push(&mut flags, name)?;
        }
        Ok(Val::Flags(flags))
    }

    fn variant(&mut self, cursor: &mut Cursor<'_>, cases: &Named<Case>) -> Result<Val, Problem> {
        let Tagged {
            tag: Some(tag),
            value,
            ok: None,
            err: None,
            some: None,
        } = tagged(cursor)?
        else {
            return Err(Problem::new("must be an object with a `tag`"));
        };
        let name = string(&mut Cursor::new(tag)).map_err(|problem| problem.at("tag"))?;
        let Some(case) = cases.get_named(&name) else {
            return Err(not_one_of(&name).at("tag"));
        };
        let payload = match (&case.payload, value) {
            (None, None) => None,
            (None, Some(_)) => return Err(unknown_field("value")),
            (Some(payload), Some(value)) => {
                let value = self.value(&mut Cursor::new(value), payload);
                Some(value.map_err(|problem| problem.at("value"))?)
            }
            (Some(payload), None) if payload.is_option() => Some(Val::Option(None)),
            (Some(_), None) => return Err(missing("value")),
        };
        let payload = payload.map(|value| self.room.boxed(value)).transpose()?;
        Ok(Val::Variant(self.room.take_text(&name)?, payload))
    }

    fn result(&mut self, cursor: &mut Cursor<'_>, ok: Option<&Shape>, err: Option<&Shape>) -> Result<Val, Problem> {
        let (key, shape, text) = match tagged(cursor)? {
            Tagged {
                ok: Some(text),
                err: None,
                tag: None,
                value: None,
                some: None,
            } => ("ok", ok, text),
            Tagged {
                ok: None,
                err: Some(text),
                tag: None,
                value: None,
                some: None,
            } => ("err", err, text),
            _ => {
                return Err(Problem::new(
                    "must be an object with either the field `ok` or the field `err`",
                ));
            }
        };
        let payload = match shape {
            None if text == "null" => None,
            None => return Err(Problem::new("must be null").at(key)),
            Some(shape) => {
                let value = self.value(&mut Cursor::new(text), shape);
                let value = value.map_err(|problem| problem.at(key))?;
                Some(self.room.boxed(value)?)
            }
        };
        Ok(Val::Result(match key {
            "ok" => Ok(payload),
            _ => Err(payload),
        }))
    }
}

/// The fields of an object that tells cases apart. Their order is the model's, so they are found before they are read.
#[derive(Default)]
struct Tagged<'a> {
    tag: Option<&'a str>,
    value: Option<&'a str>,
    ok: Option<&'a str>,
    err: Option<&'a str>,
    some: Option<&'a str>,
}

fn tagged<'a>(cursor: &mut Cursor<'a>) -> Result<Tagged<'a>, Problem> {
    enter(cursor, b'{')?;
    let mut found = Tagged::default();
    while !cursor.take(b'}') {
        let Some(key) = cursor.string() else {
            return Err(Problem::new("must be an object"));
        };
        let place = match &*key {
            "tag" => &mut found.tag,
            "value" => &mut found.value,
            "ok" => &mut found.ok,
            "err" => &mut found.err,
            "some" => &mut found.some,
            _ => return Err(unknown_field(&key)),
        };
        *place = Some(cursor.value());
    }
    Ok(found)
}

fn enter(cursor: &mut Cursor<'_>, bracket: u8) -> Result<(), Problem> {
    match (cursor.take(bracket), bracket) {
        (true, _) => Ok(()),
        (false, b'{') => Err(Problem::new("must be an object")),
        (false, _) => Err(Problem::new("must be an array")),
    }
}

fn string<'a>(cursor: &mut Cursor<'a>) -> Result<Cow<'a, str>, Problem> {
    cursor.string().ok_or_else(|| Problem::new("must be a string"))
}

fn integer_value(cursor: &mut Cursor<'_>, integer: Integer) -> Result<Val, Problem> {
    let is_string = cursor.peek() == Some(b'"');
    let text = match is_string && integer.is_wide() {
        true => string(cursor)?,
        false => Cow::Borrowed(cursor.value()),
    };
    let number: Option<i128> = match is_string {
        true => text.parse().ok().filter(|number: &i128| number.to_string() == *text),
        false => text.parse().ok().or_else(|| whole_number(&text)?.parse().ok()),
    };
    let in_range = number.filter(|number| (integer.min()..=integer.max()).contains(number));
    let value = in_range.and_then(|number| {
        Some(match integer {
            Integer::U8 => Val::U8(number.try_into().ok()?),
            Integer::S8 => Val::S8(number.try_into().ok()?),
            Integer::U16 => Val::U16(number.try_into().ok()?),
            Integer::S16 => Val::S16(number.try_into().ok()?),
            Integer::U32 => Val::U32(number.try_into().ok()?),
            Integer::S32 => Val::S32(number.try_into().ok()?),
            Integer::U64 => Val::U64(number.try_into().ok()?),
            Integer::S64 => Val::S64(number.try_into().ok()?),
        })
    });
    value.ok_or_else(|| {
        Problem::new(format!(
            "{} isn't an integer from {} to {}",
            shown(&text),
            integer.min(),
            integer.max()
        ))
    })
}

/// A finite number, or one of the names of the others.
fn float<T>(cursor: &mut Cursor<'_>, parse: impl Fn(&str) -> Option<T>) -> Result<Result<T, f64>, Problem> {
    if cursor.peek() != Some(b'"') {
        let text = cursor.value();
        let is_number = text.starts_with(|first: char| first.is_ascii_digit() || first == '-');
        let parsed = parse(text).filter(|_| is_number);
        return parsed
            .map(Ok)
            .ok_or_else(|| Problem::new(format!("{} is out of range", shown(text))));
    }
    let name = string(cursor)?;
    let known = NOT_FINITE.into_iter().find(|(known, _)| *known == name);
    known.map(|(_, value)| Err(value)).ok_or_else(|| not_one_of(&name))
}

fn unknown_field(key: &str) -> Problem {
    Problem::new(format!("has the unknown field {}", shown(key)))
}

fn missing(key: &str) -> Problem {
    Problem::new(format!("lacks the field `{key}`"))
}

fn not_one_of(name: &str) -> Problem {
    Problem::new(format!("{} isn't one of the names that it can be", shown(name)))
}

fn shown(text: &str) -> String {
    display_untrusted(text, SHOWN_CHARS)
}
