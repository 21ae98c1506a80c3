//! What Tab completes, and what else the editor asks for while a line is typed.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use rustyline::Helper;
use rustyline::completion::{Completer, FilenameCompleter, Pair};
use rustyline::highlight::{CmdKind, Highlighter};
use rustyline::hint::Hinter;
use rustyline::validate::Validator;

use super::PROMPT;
use super::recall::Edits;
use super::window::Window;
use crate::cli::attach;

/// The lines that can be typed, of which Tab completes a word at a time. Clones share them.
#[derive(Clone, Debug, Default)]
pub struct Completions {
    lines: Arc<Mutex<Vec<String>>>,
    /// The beginning of a line that goes on with paths.
    before_paths: Option<&'static str>,
    edits: Edits,
    /// Whether the line is printed for the last time.
    is_sent: Arc<AtomicBool>,
}

impl Completions {
    #[must_use]
    pub const fn with_paths_after(mut self, beginning: &'static str) -> Self {
        self.before_paths = Some(beginning);
        self
    }

    /// What is typed on the line that they are for.
    pub const fn edits(&self) -> &Edits {
        &self.edits
    }

    pub fn set(&self, lines: impl IntoIterator<Item = String>) {
        *self.lines.lock().unwrap_or_else(PoisonError::into_inner) = lines.into_iter().collect();
    }
}

impl Completer for Completions {
    type Candidate = Pair;

    fn complete(
        &self,
        line: &str,
        position: usize,
        _: &rustyline::Context<'_>,
    ) -> rustyline::Result<(usize, Vec<Pair>)> {
        let typed = line.get(..position).unwrap_or(line);
        if let Some(paths) = self.before_paths.and_then(|beginning| typed.strip_prefix(beginning)) {
            return complete_path(typed, typed.len() - paths.len());
        }
        let start = typed.rfind(' ').map_or(0, |blank| blank + 1);
        let lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        let words: BTreeSet<&str> = lines
            .iter()
            .filter(|line| line.starts_with(typed))
            .filter_map(|line| line[start..].split(' ').next())
            .collect();
        let words = words.into_iter().map(|word| Pair {
            display: word.to_owned(),
            replacement: word.to_owned(),
        });
        Ok((start, words.collect()))
    }
}

/// Completes the last path of a line whose paths begin at `start`. A first one in the home folder is written out.
fn complete_path(line: &str, start: usize) -> rustyline::Result<(usize, Vec<Pair>)> {
    let path = &line[start..];
    let written_out = attach::in_home(path);
    let written_out = written_out.to_str().filter(|_| path.starts_with("~/"));
    let line = format!("{}{}", &line[..start], written_out.unwrap_or(path));
    let (begins, candidates) = FilenameCompleter::new().complete_path(&line, line.len())?;
    match written_out.is_some() && begins != start {
        true => Ok((start, Vec::new())),
        false => Ok((begins, candidates)),
    }
}

impl Hinter for Completions {
    type Hint = String;

    /// The editor asks for a hint whenever the line has changed. There is none.
    fn hint(&self, line: &str, _: usize, context: &rustyline::Context<'_>) -> Option<String> {
        self.edits.see(line, context.history_index(), context.history());
        None
    }
}

impl Highlighter for Completions {
    fn highlight<'l>(&self, line: &'l str, position: usize) -> Cow<'l, str> {
        /// Removes the prompt, which stands before the first row alone.
        const NO_PROMPT: &str = "\r\x1b[K";
        let is_whole = self.is_sent.swap(false, Ordering::Relaxed);
        match Window::now().and_then(|window| window.part(PROMPT.len(), line, position)) {
            Some(part) if part.start > 0 && !is_whole => Cow::Owned(format!("{NO_PROMPT}{}", &line[part])),
            Some(part) if !is_whole => Cow::Borrowed(&line[part]),
            _ => Cow::Borrowed(line),
        }
    }

    /// Whether the line is printed again although only the cursor moves.
    fn highlight_char(&self, line: &str, position: usize, kind: CmdKind) -> bool {
        let is_part = Window::now().is_some_and(|window| window.part(PROMPT.len(), line, position).is_some());
        // Once it is sent, the editor goes to its end, and all of it stays among what was printed.
        let is_sent = is_part && kind == CmdKind::ForcedRefresh && position == line.len();
        self.is_sent.store(is_sent, Ordering::Relaxed);
        is_part
    }
}

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
            let (start, candidates) = completions.complete(line, line.len(), &context).unwrap();
            let words: Vec<String> = candidates.into_iter().map(|pair| pair.replacement).collect();
            (start, words)
        };
        assert_eq!(complete("sch"), (0, vec!["schema".to_owned()]));
        assert_eq!(complete("").1.len(), 3);
        assert_eq!(complete("schema count_l"), (7, vec!["count_letter".to_owned()]));
        assert_eq!(complete("schema ").1, ["count_letter", "é"]);
        assert_eq!(complete("count_letter {").1, Vec::<String>::new());
    }
}
