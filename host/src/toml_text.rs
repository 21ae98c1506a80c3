//! Parses untrusted TOML of any shape. The parser bounds the nesting of values and the length of dotted keys, but not their
//! product: a file of 11 KB can nest thousands of levels, and even dropping the result would overflow a normal stack.

use std::ops::Range;
use std::thread;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// The deepest accepted nesting: more than hand-written files need, and safe for every recursive reader.
pub(crate) const MAX_DEPTH: usize = 100;

/// Ten times the stack needed for the deepest value that the parser accepts. Unused pages cost nothing.
const STACK_BYTES: usize = 64 * 1024 * 1024;

/// A problem in a text, and its position.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TomlProblem {
    pub(crate) span: Option<Range<usize>>,
    pub(crate) message: String,
}

/// Parses a file. Reports every syntax error that the parser can recover from.
pub(crate) fn read_table(text: &str) -> Result<DeTable<'_>, Vec<TomlProblem>> {
    on_a_deep_stack(|| {
        let (table, errors) = DeTable::parse_recoverable(text);
        check_parsed(DeValue::Table(table.into_inner()), errors)
    })
    .map(|value| match value {
        DeValue::Table(table) => table,
        _ => DeTable::new(),
    })
}

/// Parses a single value, such as the right-hand side of a key.
pub(crate) fn read_value(text: &str) -> Result<DeValue<'_>, Vec<TomlProblem>> {
    on_a_deep_stack(|| {
        let (value, errors) = DeValue::parse_recoverable(text);
        check_parsed(value.into_inner(), errors)
    })
}

/// The line number at a byte offset, counted from 1.
pub(crate) fn line_of(text: &str, offset: usize) -> usize {
    let before = text.as_bytes().iter().take(offset);
    before.filter(|byte| **byte == b'\n').count() + 1
}

/// Formats a parser error as `KEY: MESSAGE`, because a message such as "expected a number" doesn't name its key.
pub(crate) fn problem_of(mut cause: toml::de::Error) -> TomlProblem {
    let span = cause.span();
    // Without the input to quote, the error ends with its key.
    cause.set_input(None);
    let text = cause.to_string();
    let message = match text.trim_end().rsplit_once("\nin ") {
        Some((message, key)) => format!("{key}: {message}"),
        None => text.trim_end().to_owned(),
    };
    TomlProblem { span, message }
}

fn on_a_deep_stack<'a>(
    read: impl FnOnce() -> Result<DeValue<'a>, Vec<TomlProblem>> + Send,
) -> Result<DeValue<'a>, Vec<TomlProblem>> {
    let problem = |message: String| vec![TomlProblem { span: None, message }];
    thread::scope(|scope| {
        let reader = thread::Builder::new().stack_size(STACK_BYTES).spawn_scoped(scope, read);
        match reader {
            Ok(reader) => reader
                .join()
                .unwrap_or_else(|_| Err(problem("the parser panicked".to_owned()))),
            Err(error) => Err(problem(format!("can't start a thread to parse it: {error}"))),
        }
    })
}

/// Returns the value if it is valid. Otherwise drops it here, where the stack is large enough for that.
fn check_parsed(value: DeValue<'_>, errors: Vec<toml::de::Error>) -> Result<DeValue<'_>, Vec<TomlProblem>> {
    if !errors.is_empty() {
        return Err(errors.into_iter().map(problem_of).collect());
    }
    match find_deeper_than(&value, MAX_DEPTH) {
        Some(span) => Err(vec![TomlProblem {
            span: Some(span),
            message: format!("a value is nested deeper than {MAX_DEPTH} levels"),
        }]),
        None => Ok(value),
    }
}

/// The position of a value nested more than `levels` below this one.
fn find_deeper_than(value: &DeValue<'_>, levels: usize) -> Option<Range<usize>> {
    let inner = |value: &Spanned<DeValue<'_>>| match levels.checked_sub(1) {
        Some(levels) => find_deeper_than(value.get_ref(), levels),
        None => Some(value.span()),
    };
    match value {
        DeValue::Array(items) => items.iter().find_map(inner),
        DeValue::Table(table) => table.values().find_map(inner),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    /// Thousands of levels: nested tables whose dotted keys are as long as the parser allows.
    fn deep(end: &str) -> String {
        let path = vec!["a"; 78].join(".");
        let depth = 70;
        format!("{}{end}{}", format!("{path} = {{ ").repeat(depth), " }".repeat(depth))
    }

    #[test]
    fn no_depth_overflows_the_stack() {
        let problem = |text: &str| read_table(text).unwrap_err().remove(0).message;
        assert_eq!(problem(&deep("b = 1")), "a value is nested deeper than 100 levels");
        // Syntax errors take precedence, and the partial value is dropped safely.
        assert!(problem(&deep("b =")).contains("expected"));
        assert!(problem(&format!("{}\nc = ", deep("b = 1"))).contains("expected"));
        let value = read_value(&format!("{{ {} }}", deep("b = 1"))).unwrap_err();
        assert_eq!(value[0].message, "a value is nested deeper than 100 levels");
    }

    #[test]
    fn values_up_to_the_depth_limit_are_accepted() {
        let path = |levels: usize| vec!["b"; levels].join(".");
        let mixed = |levels: usize| format!("x = 1\n{} = {{ {} = 1 }}", path(50), path(levels - 50));
        assert!(read_table(&mixed(MAX_DEPTH)).is_ok());
        let problems = read_table(&mixed(MAX_DEPTH + 1)).unwrap_err();
        let span = problems[0].span.clone().unwrap();
        assert_eq!(line_of(&mixed(MAX_DEPTH + 1), span.start), 2);
    }
}
