//! Reads TOML that somebody else wrote, whatever its shape. The parser bounds how deep a value goes and how long a
//! dotted key is, but not both together: a file of 11 KB can name levels by the thousand, more than a stack holds even to
//! let go of them.

use std::ops::Range;
use std::thread;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// More than anybody writes by hand, and less than any reader minds.
pub(crate) const MAX_DEPTH: usize = 100;

/// Room for all levels that the parser lets through, with ten times to spare; pages that are not used cost nothing.
const STACK_BYTES: usize = 64 * 1024 * 1024;

/// What is wrong with a text, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TomlProblem {
    pub(crate) span: Option<Range<usize>>,
    pub(crate) message: String,
}

/// Reads a file. All errors of its syntax are found, as far as the parser can go on behind one.
pub(crate) fn read_table(text: &str) -> Result<DeTable<'_>, Vec<TomlProblem>> {
    on_a_deep_stack(|| {
        let (table, errors) = DeTable::parse_recoverable(text);
        sound(DeValue::Table(table.into_inner()), errors)
    })
    .map(|value| match value {
        DeValue::Table(table) => table,
        _ => DeTable::new(),
    })
}

/// Reads a single value, as it would stand behind a key.
pub(crate) fn read_value(text: &str) -> Result<DeValue<'_>, Vec<TomlProblem>> {
    on_a_deep_stack(|| {
        let (value, errors) = DeValue::parse_recoverable(text);
        sound(value.into_inner(), errors)
    })
}

/// The line of a place in a text, counted from 1.
pub(crate) fn line_of(text: &str, offset: usize) -> usize {
    let before = text.as_bytes().iter().take(offset);
    before.filter(|byte| **byte == b'\n').count() + 1
}

/// What is wrong, behind the key that it is about: that a number was expected does not say where.
pub(crate) fn problem_of(mut cause: toml::de::Error) -> TomlProblem {
    let span = cause.span();
    // Without a text to quote from, the error ends with its key.
    cause.set_input(None);
    let words = cause.to_string();
    let message = match words.trim_end().rsplit_once("\nin ") {
        Some((words, key)) => format!("{key}: {words}"),
        None => words.trim_end().to_owned(),
    };
    TomlProblem { span, message }
}

fn on_a_deep_stack<'a>(
    read: impl FnOnce() -> Result<DeValue<'a>, Vec<TomlProblem>> + Send,
) -> Result<DeValue<'a>, Vec<TomlProblem>> {
    let no_thread = |message: String| vec![TomlProblem { span: None, message }];
    thread::scope(|scope| {
        let reader = thread::Builder::new().stack_size(STACK_BYTES).spawn_scoped(scope, read);
        match reader {
            Ok(reader) => reader
                .join()
                .unwrap_or_else(|_| Err(no_thread("the parser failed".to_owned()))),
            Err(error) => Err(no_thread(format!("no thread could be started to read it: {error}"))),
        }
    })
}

/// The value, unless something is wrong with it: then it ends here, where the stack is deep enough for that.
fn sound(value: DeValue<'_>, errors: Vec<toml::de::Error>) -> Result<DeValue<'_>, Vec<TomlProblem>> {
    if !errors.is_empty() {
        return Err(errors.into_iter().map(problem_of).collect());
    }
    match below(&value, MAX_DEPTH) {
        Some(span) => Err(vec![TomlProblem {
            span: Some(span),
            message: format!("a value is nested deeper than {MAX_DEPTH} levels"),
        }]),
        None => Ok(value),
    }
}

/// Where a value stands that is nested deeper than so many levels below this one.
fn below(value: &DeValue<'_>, levels: usize) -> Option<Range<usize>> {
    let inner = |value: &Spanned<DeValue<'_>>| match levels.checked_sub(1) {
        Some(levels) => below(value.get_ref(), levels),
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

    /// Thousands of levels: dotted keys as long as the parser allows, each holding the next.
    fn deep(end: &str) -> String {
        let path = vec!["a"; 78].join(".");
        let depth = 70;
        format!("{}{end}{}", format!("{path} = {{ ").repeat(depth), " }".repeat(depth))
    }

    #[test]
    fn no_depth_overflows_the_stack() {
        let problem = |text: &str| read_table(text).unwrap_err().remove(0).message;
        assert_eq!(problem(&deep("b = 1")), "a value is nested deeper than 100 levels");
        // What is wrong otherwise is said instead, and what was read till then let go.
        assert!(problem(&deep("b =")).contains("expected"));
        assert!(problem(&format!("{}\nc = ", deep("b = 1"))).contains("expected"));
        let value = read_value(&format!("{{ {} }}", deep("b = 1"))).unwrap_err();
        assert_eq!(value[0].message, "a value is nested deeper than 100 levels");
    }

    #[test]
    fn depth_counts_to_its_limit() {
        let path = |levels: usize| vec!["b"; levels].join(".");
        let mixed = |levels: usize| format!("x = 1\n{} = {{ {} = 1 }}", path(50), path(levels - 50));
        assert!(read_table(&mixed(MAX_DEPTH)).is_ok());
        let problems = read_table(&mixed(MAX_DEPTH + 1)).unwrap_err();
        let place = problems[0].span.clone().unwrap();
        assert_eq!(line_of(&mixed(MAX_DEPTH + 1), place.start), 2);
    }
}
