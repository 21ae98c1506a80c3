//! The lines that Up and Down recall, with what was changed in them since.
//!
//! The editor itself forgets what is changed in a recalled line once another one is recalled.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustyline::Result;
use rustyline::history::{History, MemHistory, SearchDirection, SearchResult};

/// What was typed since the last line was sent: the new line, and those that were recalled and changed. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct Edits(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    /// The line that is being edited, and where it stands among those of before.
    line: String,
    index: usize,
    /// By where they stand.
    changed: BTreeMap<usize, String>,
    /// What a search found last. The editor shows it in the place of the line that is being edited.
    found: Option<String>,
    /// Lines in whose place a search has put another one.
    replaced: Vec<String>,
}

impl Edits {
    /// The line as it was edited last.
    pub fn line(&self) -> String {
        self.lock().line.clone()
    }

    /// A line was recalled or changed.
    pub fn see(&self, line: &str, index: usize, history: &dyn History) {
        let recalled = history.get(index, SearchDirection::Forward).ok().flatten();
        let is_changed = recalled.is_none_or(|recalled| recalled.entry != line);
        let mut state = self.lock();
        line.clone_into(&mut state.line);
        state.index = index;
        // The search was left, or what it did was undone.
        state.replaced.retain(|replaced| replaced != line);
        if state.found.as_deref() == Some(line) {
            state.changed.remove(&index);
        } else if is_changed {
            state.changed.insert(index, line.to_owned());
        }
    }

    /// A search has found a line, which the editor shows next.
    fn find(&self, found: &str) {
        let mut state = self.lock();
        let index = state.index;
        let replaced = state.changed.remove(&index);
        state.replaced.extend(replaced);
        state.found = Some(found.to_owned());
    }

    /// All that was typed, once. What is being edited comes last.
    pub fn take(&self) -> Vec<String> {
        let mut state = std::mem::take(&mut *self.lock());
        let last = state.changed.remove(&state.index);
        let typed = state.changed.into_values().chain(state.replaced).chain(last);
        typed.filter(|line| !line.trim().is_empty()).collect()
    }

    fn at(&self, index: usize) -> Option<String> {
        self.lock().changed.get(&index).cloned()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The lines of before. One that was changed is recalled as changed, until a line is sent.
pub struct Recalled {
    lines: MemHistory,
    edits: Edits,
}

impl Recalled {
    pub fn new(config: &rustyline::Config, edits: Edits) -> Self {
        Self {
            lines: MemHistory::with_config(config),
            edits,
        }
    }
}

impl History for Recalled {
    fn get(&self, index: usize, direction: SearchDirection) -> Result<Option<SearchResult<'_>>> {
        match self.edits.at(index).filter(|_| index < self.lines.len()) {
            Some(changed) => Ok(Some(SearchResult {
                entry: Cow::Owned(changed),
                idx: index,
                pos: 0,
            })),
            None => self.lines.get(index, direction),
        }
    }

    fn add(&mut self, line: &str) -> Result<bool> {
        self.lines.add(line)
    }

    fn add_owned(&mut self, line: String) -> Result<bool> {
        self.lines.add_owned(line)
    }

    fn len(&self) -> usize {
        self.lines.len()
    }

    fn is_empty(&self) -> bool {
        self.lines.is_empty()
    }

    fn set_max_len(&mut self, len: usize) -> Result<()> {
        self.lines.set_max_len(len)
    }

    fn ignore_dups(&mut self, yes: bool) -> Result<()> {
        self.lines.ignore_dups(yes)
    }

    fn ignore_space(&mut self, yes: bool) {
        self.lines.ignore_space(yes);
    }

    fn save(&mut self, path: &Path) -> Result<()> {
        self.lines.save(path)
    }

    fn append(&mut self, path: &Path) -> Result<()> {
        self.lines.append(path)
    }

    fn load(&mut self, path: &Path) -> Result<()> {
        self.lines.load(path)
    }

    fn clear(&mut self) -> Result<()> {
        self.lines.clear()
    }

    fn search(&self, term: &str, start: usize, direction: SearchDirection) -> Result<Option<SearchResult<'_>>> {
        let result = self.lines.search(term, start, direction)?;
        if let Some(result) = &result {
            self.edits.find(&result.entry);
        }
        Ok(result)
    }

    fn starts_with(&self, term: &str, start: usize, direction: SearchDirection) -> Result<Option<SearchResult<'_>>> {
        self.lines.starts_with(term, start, direction)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn what_was_changed_is_recalled_until_a_line_is_sent() {
        let edits = Edits::default();
        let mut history = Recalled::new(&rustyline::Config::default(), edits.clone());
        history.add("one").unwrap();
        history.add("two").unwrap();
        let recalled = |index| {
            history
                .get(index, SearchDirection::Forward)
                .unwrap()
                .unwrap()
                .entry
                .into_owned()
        };
        for (line, index) in [("a draft", 2), ("two", 1), ("two, changed", 1), ("one", 0)] {
            edits.see(line, index, &history);
        }
        assert_eq!((recalled(0).as_str(), recalled(1).as_str()), ("one", "two, changed"));
        assert!(history.get(2, SearchDirection::Forward).unwrap().is_none());
        assert_eq!(edits.line(), "one");
        assert_eq!(edits.take(), ["two, changed", "a draft"]);
        assert_eq!((recalled(1).as_str(), edits.take().len()), ("two", 0));
    }

    #[test]
    fn a_draft_outlives_a_search() {
        let edits = Edits::default();
        let mut history = Recalled::new(&rustyline::Config::default(), edits.clone());
        history.add("one").unwrap();
        history.add("two").unwrap();
        for (seen_after, typed) in [
            // The match was taken as it is, was edited, was edited and restored, and was not taken.
            (&[][..], &["a draft"][..]),
            (&["one!"], &["a draft", "one!"]),
            (&["one!", "one"], &["a draft"]),
            (&["a draft"], &["a draft"]),
            (&["a draft", "a draft!"], &["a draft!"]),
        ] {
            edits.see("a draft", 2, &history);
            for (term, found) in [("t", "two"), ("o", "two"), ("on", "one")] {
                let result = history.search(term, 1, SearchDirection::Reverse).unwrap().unwrap();
                assert_eq!(result.entry, found);
                edits.see(found, 2, &history);
            }
            for line in seen_after {
                edits.see(line, 2, &history);
            }
            assert_eq!(edits.take(), typed);
        }
    }
}
