//! The tree of values merged from all sources of a configuration. Every value records its origin, and numbers keep their
//! text, so that money stays exact.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::{Path, PathBuf};

use serde_json::Number;
use toml::Spanned;
use toml::de::{DeInteger, DeTable, DeValue};

use super::problem::{Origin, Problem};
use crate::toml_text::{read_table, read_value};

/// A value and its origin.
#[derive(Clone, Debug)]
pub(super) struct Node {
    pub(super) value: Value,
    pub(super) origin: Origin,
    /// The origin of the value's key; an item of a list has none.
    pub(super) key: Option<Origin>,
    /// The raw text of an environment variable or an argument, from which `value` was parsed.
    pub(super) text: Option<String>,
}

#[derive(Clone, Debug)]
pub(super) enum Value {
    Boolean(bool),
    /// `number` is absent for values that JSON can't represent: `nan`, `inf`.
    Number {
        text: String,
        number: Option<Number>,
    },
    String(String),
    Datetime,
    Array(Vec<Node>),
    Table(BTreeMap<String, Node>),
}

impl Node {
    pub(super) fn table(origin: Origin) -> Self {
        Self {
            value: Value::Table(BTreeMap::new()),
            origin,
            key: None,
            text: None,
        }
    }

    /// The location to report for a problem with the key.
    pub(super) fn key_origin(&self) -> &Origin {
        self.key.as_ref().unwrap_or(&self.origin)
    }

    /// The location to report for a problem with the value: for a table, its key.
    pub(super) fn value_origin(&self) -> &Origin {
        match self.value {
            Value::Table(_) => self.key_origin(),
            _ => &self.origin,
        }
    }

    /// The entries of the table at `path`, which is made where it is missing. `key` finds the key that a segment names.
    pub(super) fn table_at<S: AsRef<str>>(
        &mut self,
        path: &[S],
        origin: &Origin,
        key: impl Fn(&BTreeMap<String, Self>, &str) -> Result<String, Misplaced>,
    ) -> Result<&mut BTreeMap<String, Self>, Misplaced> {
        let mut node = self;
        let mut keys: Vec<String> = Vec::new();
        for segment in path {
            let entries = node.entries(&keys)?;
            let key = key(entries, segment.as_ref())?;
            keys.push(key.clone());
            node = entries.entry(key).or_insert_with(|| Self {
                key: Some(origin.clone()),
                ..Self::table(origin.clone())
            });
        }
        node.entries(&keys)
    }

    fn entries(&mut self, path: &[String]) -> Result<&mut BTreeMap<String, Self>, Misplaced> {
        match &mut self.value {
            Value::Table(entries) => Ok(entries),
            _ => Err(Misplaced {
                key: path.join("."),
                message: "has no keys below it".to_owned(),
            }),
        }
    }

    pub(super) fn child(&self, segment: &str) -> Option<&Self> {
        match &self.value {
            Value::Table(entries) => entries.get(segment),
            Value::Array(items) => items.get(segment.parse::<usize>().ok()?),
            _ => None,
        }
    }

    pub(super) fn find<S: AsRef<str>>(&self, path: &[S]) -> Option<&Self> {
        path.iter().try_fold(self, |node, segment| node.child(segment.as_ref()))
    }

    /// The deepest existing value on the way to `path`.
    pub(super) fn nearest<S: AsRef<str>>(&self, path: &[S]) -> &Self {
        let mut node = self;
        for segment in path {
            match node.child(segment.as_ref()) {
                Some(child) => node = child,
                None => break,
            }
        }
        node
    }

    /// `path` in TOML notation, with indices of lists in brackets.
    pub(super) fn key_of<S: AsRef<str>>(&self, path: &[S]) -> String {
        let mut key = String::new();
        let mut node = Some(self);
        for segment in path {
            let segment = segment.as_ref();
            let is_index = matches!(
                node,
                Some(Self {
                    value: Value::Array(_),
                    ..
                })
            );
            push_segment(&mut key, segment, is_index);
            node = node.and_then(|node| node.child(segment));
        }
        key
    }
}

/// Why a variable or an argument has no place in the tree.
#[derive(Debug)]
pub(super) struct Misplaced {
    pub(super) key: String,
    pub(super) message: String,
}

/// Appends one segment to a key in TOML notation.
pub(super) fn push_segment(out: &mut String, segment: &str, is_index: bool) {
    if is_index {
        out.push_str(&format!("[{segment}]"));
        return;
    }
    if !out.is_empty() {
        out.push('.');
    }
    let is_bare = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-');
    if !segment.is_empty() && segment.bytes().all(is_bare) {
        out.push_str(segment);
    } else {
        out.push_str(&format!("{segment:?}"));
    }
}

/// A TOML text and the name of its file.
pub(super) struct Source {
    text: String,
    /// `None`: the built-in text.
    path: Option<PathBuf>,
    line_starts: Vec<usize>,
}

impl Source {
    /// `path` is the file's name in messages.
    pub(super) fn file(path: &Path, text: String) -> Self {
        Self::new(text, Some(path.to_owned()))
    }

    pub(super) fn built_in(text: &str) -> Self {
        Self::new(text.to_owned(), None)
    }

    fn new(text: String, path: Option<PathBuf>) -> Self {
        let line_starts = std::iter::once(0)
            .chain(text.match_indices('\n').map(|(at, _)| at + 1))
            .collect();
        Self {
            text,
            path,
            line_starts,
        }
    }

    /// Parses the text. After a syntax error the parser continues, to find other errors too, but returns no tree, because a
    /// partial tree would be misleading.
    pub(super) fn parse(&self, problems: &mut Vec<Problem>) -> Option<Node> {
        let errors = match read_table(&self.text) {
            Ok(table) => {
                return Some(Node {
                    value: self.entries(table),
                    origin: self.origin(0..0),
                    key: None,
                    text: None,
                });
            }
            Err(errors) => errors,
        };
        let mut last_line = None;
        for error in errors {
            let origin = self.origin(error.span.unwrap_or(0..0));
            // After an error the parser also reports the rest of the line, so only the first error per line is kept.
            let line = match &origin {
                Origin::File { line, .. } => Some(*line),
                _ => None,
            };
            if line.is_some() && line == last_line {
                continue;
            }
            last_line = line;
            problems.push(Problem {
                origin,
                key: String::new(),
                message: format!("not valid TOML: {}", error.message),
                hint: None,
            });
        }
        None
    }

    fn entries(&self, table: DeTable<'_>) -> Value {
        let entry = |(key, value): (Spanned<_>, Spanned<_>)| {
            let mut node = self.node(value);
            node.key = Some(self.origin(key.span()));
            let name: std::borrow::Cow<'_, str> = key.into_inner();
            (name.into_owned(), node)
        };
        Value::Table(table.into_iter().map(entry).collect())
    }

    fn node(&self, value: Spanned<DeValue<'_>>) -> Node {
        let origin = self.origin(value.span());
        let value = read(value.into_inner(), &mut |table| self.entries(table), &mut |item| {
            self.node(item)
        });
        Node {
            value,
            origin,
            key: None,
            text: None,
        }
    }

    fn origin(&self, span: Range<usize>) -> Origin {
        let Some(path) = &self.path else { return Origin::BuiltIn };
        let line = self.line_starts.partition_point(|start| *start <= span.start).max(1);
        let line_start = self.line_starts[line - 1];
        let column = self
            .text
            .get(line_start..span.start)
            .map_or(0, |before| before.chars().count())
            + 1;
        Origin::File {
            path: path.clone(),
            line,
            column,
        }
    }
}

/// The value of an environment variable: parsed as TOML if possible, else the raw text.
pub(super) fn read_variable(name: &str, text: &str) -> Node {
    read_text(text, Origin::Env { name: name.to_owned() })
}

/// The same for an argument of the command line.
pub(super) fn read_argument(name: &str, text: &str) -> Node {
    read_text(text, Origin::Argument { name: name.to_owned() })
}

fn read_text(text: &str, origin: Origin) -> Node {
    let value = match read_value(text.trim()) {
        Ok(value) => text_value(&origin, value),
        Err(_) => Value::String(text.to_owned()),
    };
    Node {
        value,
        key: Some(origin.clone()),
        origin,
        text: Some(text.to_owned()),
    }
}

fn text_value(origin: &Origin, value: DeValue<'_>) -> Value {
    let node = |value: Spanned<DeValue<'_>>| Node {
        value: text_value(origin, value.into_inner()),
        origin: origin.clone(),
        key: None,
        text: None,
    };
    let mut table = |table: DeTable<'_>| {
        Value::Table(
            table
                .into_iter()
                .map(|(key, value)| (key.into_inner().into_owned(), node(value)))
                .collect(),
        )
    };
    read(value, &mut table, &mut |item| node(item))
}

fn read(
    value: DeValue<'_>,
    table: &mut dyn FnMut(DeTable<'_>) -> Value,
    item: &mut dyn FnMut(Spanned<DeValue<'_>>) -> Node,
) -> Value {
    match value {
        DeValue::String(text) => Value::String(text.into_owned()),
        DeValue::Boolean(value) => Value::Boolean(value),
        DeValue::Datetime(_) => Value::Datetime,
        DeValue::Integer(integer) => Value::Number {
            text: integer.to_string(),
            number: number(&integer),
        },
        DeValue::Float(float) => {
            let number = float.as_str().parse().ok().and_then(Number::from_f64);
            Value::Number {
                text: float.as_str().to_owned(),
                number,
            }
        }
        DeValue::Array(items) => Value::Array(items.into_iter().map(item).collect()),
        DeValue::Table(entries) => table(entries),
    }
}

fn number(integer: &DeInteger<'_>) -> Option<Number> {
    let (digits, radix) = (integer.as_str(), integer.radix());
    if let Ok(value) = i64::from_str_radix(digits, radix) {
        return Some(value.into());
    }
    if let Ok(value) = u64::from_str_radix(digits, radix) {
        return Some(value.into());
    }
    digits.parse().ok().and_then(Number::from_f64)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)]
    use super::*;

    fn parse(text: &str) -> Node {
        let mut problems = Vec::new();
        let node = Source::file(Path::new("c.toml"), text.to_owned()).parse(&mut problems);
        assert_eq!(problems, []);
        node.unwrap()
    }

    fn at(line: usize, column: usize) -> Origin {
        Origin::File {
            path: "c.toml".into(),
            line,
            column,
        }
    }

    #[test]
    fn values_record_their_location() {
        let root = parse("# é\n[a.b]\n  k = [1,\n \"é\", 2]\nt = { x = 0x10 }\n");
        assert_eq!(root.find(&["a", "b"]).unwrap().value_origin(), &at(2, 4));
        assert_eq!(root.find(&["a", "b", "k"]).unwrap().key_origin(), &at(3, 3));
        assert_eq!(root.find(&["a", "b", "k"]).unwrap().value_origin(), &at(3, 7));
        assert_eq!(root.find(&["a", "b", "k", "2"]).unwrap().origin, at(4, 7));
        assert_eq!(root.key_of(&["a", "b", "k", "2"]), "a.b.k[2]");
        assert_eq!(root.key_of(&["a", "x y", ""]), "a.\"x y\".\"\"");
        assert_eq!(root.nearest(&["a", "b", "none", "at all"]).value_origin(), &at(2, 4));
        let Value::Number { text, number } = &root.find(&["a", "b", "t", "x"]).unwrap().value else {
            panic!()
        };
        assert_eq!((text.as_str(), number.clone()), ("0x10", Some(16.into())));
    }

    #[test]
    fn numbers_keep_their_text() {
        for text in [
            "0.1",
            "0.10000000000000000000000001",
            "1e400",
            "nan",
            "99999999999999999999",
        ] {
            let root = parse(&format!("x = {text}"));
            let Value::Number { text: kept, .. } = &root.find(&["x"]).unwrap().value else {
                panic!("{text}")
            };
            assert_eq!(kept, text);
        }
    }

    #[test]
    fn syntax_errors_are_reported_together_one_per_line() {
        let mut problems = Vec::new();
        let text = "[model\nx = 1\ny = = = 2\n";
        assert!(
            Source::file(Path::new("c.toml"), text.to_owned())
                .parse(&mut problems)
                .is_none()
        );
        let lines: Vec<_> = problems
            .iter()
            .map(|problem| match problem.origin {
                Origin::File { line, .. } => line,
                _ => 0,
            })
            .collect();
        assert_eq!(lines, [1, 3], "{problems:?}");
    }

    #[test]
    fn a_variable_is_parsed_as_toml_else_kept_as_text() {
        let value = |text: &str| read_variable("X", text).value;
        assert!(matches!(value("5"), Value::Number { .. }));
        assert!(matches!(value(" true "), Value::Boolean(true)));
        assert!(matches!(value("[1, { a = 2 }]"), Value::Array(items) if items.len() == 2));
        for (text, read) in [
            ("claude-x", "claude-x"),
            ("\"quoted\"", "quoted"),
            ("10s", "10s"),
            ("", ""),
            ("[open", "[open"),
        ] {
            assert!(matches!(value(text), Value::String(text) if text == read), "{text}");
        }
    }
}
