//! The keys that aren't the line editor's own.

use std::io::{self, Write};
use std::sync::{Arc, Mutex, PoisonError};

use rustyline::{
    Cmd, ConditionalEventHandler, Event, EventContext, EventHandler, KeyCode, KeyEvent, Modifiers, Movement,
    RepeatCount,
};

use super::terminal::{LineEditor, TerminalMode};
use crate::cli::interrupt::Stop;

/// Binds the keys. `outside` is how the terminal is set up while no line is edited. The result says which backslashes were for Enter.
pub fn bind(editor: &mut LineEditor, outside: TerminalMode) -> Continuations {
    let enter = KeyEvent(KeyCode::Enter, Modifiers::NONE);
    let alt_enter = KeyEvent(KeyCode::Enter, Modifiers::ALT);
    for key in [alt_enter, KeyEvent::ctrl('J')] {
        editor.bind_sequence(key, Cmd::Newline);
    }
    let continuations = Continuations::default();
    editor.bind_sequence(enter, EventHandler::Conditional(Box::new(continuations.clone())));
    editor.bind_sequence(KeyEvent::ctrl('C'), EventHandler::Conditional(Box::new(Clear)));
    let suspend = Suspend {
        outside,
        stop: Stop::here(),
    };
    editor.bind_sequence(KeyEvent::ctrl('Z'), EventHandler::Conditional(Box::new(suspend)));
    continuations
}

/// Enter after a backslash begins a new line. The backslash stays while the line is edited, because a key can't both delete and insert.
///
/// It holds the text before each of these line breaks, so that backslashes which were pasted are left alone.
#[derive(Clone, Debug, Default)]
pub struct Continuations(Arc<Mutex<Vec<String>>>);

impl Continuations {
    /// The line without these backslashes. Forgets them.
    pub fn take_from(&self, line: String) -> String {
        let mut line = line;
        let mut befores = std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner));
        befores.sort_by_key(|before| std::cmp::Reverse(before.len()));
        befores.dedup();
        for before in befores {
            // It was edited since, if it isn't found.
            if line.strip_prefix(&before).is_some_and(|rest| rest.starts_with('\n')) {
                line.remove(before.len() - 1);
            }
        }
        line
    }
}

impl ConditionalEventHandler for Continuations {
    fn handle(&self, _: &Event, _: RepeatCount, _: bool, cx: &EventContext<'_>) -> Option<Cmd> {
        let line = cx.line();
        (line.ends_with('\\') && cx.pos() == line.len()).then(|| {
            let mut befores = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            befores.push(line.to_owned());
            Cmd::Newline
        })
    }
}

/// Ctrl-C clears a line that isn't empty. Ctrl-Y brings it back.
struct Clear;

impl ConditionalEventHandler for Clear {
    fn handle(&self, _: &Event, _: RepeatCount, _: bool, cx: &EventContext<'_>) -> Option<Cmd> {
        (!cx.line().is_empty()).then_some(Cmd::Kill(Movement::WholeBuffer))
    }
}

/// Ctrl-Z stops the process until the shell continues it. The editor's own way is for programs of one thread: it sets the terminal up
/// again before the process has stopped.
struct Suspend {
    outside: TerminalMode,
    stop: Stop,
}

impl ConditionalEventHandler for Suspend {
    fn handle(&self, _: &Event, _: RepeatCount, _: bool, _: &EventContext<'_>) -> Option<Cmd> {
        let editing = TerminalMode::current();
        self.outside.restore();
        mark_pastes(false);
        self.stop.until_continued();
        if let Some(editing) = editing {
            editing.restore();
        }
        mark_pastes(true);
        Some(Cmd::Repaint)
    }
}

/// Whether the terminal marks what is pasted, as the editor has it do.
fn mark_pastes(marks: bool) {
    let end = if marks { 'h' } else { 'l' };
    let mut stdout = io::stdout();
    let _ = write!(stdout, "\x1b[?2004{end}").and_then(|()| stdout.flush());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_backslashes_before_enter_are_removed() {
        for (befores, line, taken) in [
            (&["a\\", "a\\\nb\\"][..], "a\\\nb\\\nc", "a\nb\nc"),
            (&["a\\", "a\\"], "a\\\nb", "a\nb"),
            (&[], "a\\\nb", "a\\\nb"),
            // The line was edited, or cleared.
            (&["a\\"], "xa\\\nb", "xa\\\nb"),
            (&["a\\"], "", ""),
            (&["a\\"], "a\\b", "a\\b"),
        ] {
            let continuations = Continuations::default();
            *continuations.0.lock().unwrap_or_else(PoisonError::into_inner) =
                befores.iter().map(|before| (*before).to_owned()).collect();
            assert_eq!(continuations.take_from(line.to_owned()), taken);
            assert_eq!(continuations.take_from("a\\\nb".to_owned()), "a\\\nb");
        }
    }
}
