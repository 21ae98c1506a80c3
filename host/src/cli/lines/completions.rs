//! What Tab completes.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};

use rustyline::Helper;
use rustyline::completion::Completer;
use rustyline::highlight::Highlighter;
use rustyline::hint::Hinter;
use rustyline::validate::Validator;

/// The lines that can be typed, of which Tab completes a word at a time. Clones share them.
#[derive(Clone, Debug, Default)]
pub struct Completions(Arc<Mutex<Vec<String>>>);

impl Completions {
    pub fn set(&self, lines: impl IntoIterator<Item = String>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = lines.into_iter().collect();
    }
}

impl Completer for Completions {
    type Candidate = String;

    fn complete(
        &self,
        line: &str,
        position: usize,
        _: &rustyline::Context<'_>,
    ) -> rustyline::Result<(usize, Vec<String>)> {
        let typed = line.get(..position).unwrap_or(line);
        let start = typed.rfind(' ').map_or(0, |blank| blank + 1);
        let lines = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let words: BTreeSet<&str> = lines
            .iter()
            .filter(|line| line.starts_with(typed))
            .filter_map(|line| line[start..].split(' ').next())
            .collect();
        Ok((start, words.into_iter().map(str::to_owned).collect()))
    }
}

impl Hinter for Completions {
    type Hint = String;
}

impl Highlighter for Completions {}
impl Validator for Completions {}
impl Helper for Completions {}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use rustyline::history::DefaultHistory;

    use super::*;

    #[test]
    fn the_word_at_the_cursor_is_completed() {
        let completions = Completions::default();
        completions.set(
            [
                "count_letter",
                "count_words",
                "schema",
                "schema count_letter",
                "schema é",
            ]
            .map(str::to_owned),
        );
        let history = DefaultHistory::new();
        let complete = |line: &str| {
            let context = rustyline::Context::new(&history);
            completions.complete(line, line.len(), &context).unwrap()
        };
        assert_eq!(complete("sch"), (0, vec!["schema".to_owned()]));
        assert_eq!(complete("").1.len(), 3);
        assert_eq!(complete("schema count_l"), (7, vec!["count_letter".to_owned()]));
        assert_eq!(complete("schema ").1, ["count_letter", "é"]);
        assert_eq!(complete("count_letter {").1, Vec::<String>::new());
    }
}
