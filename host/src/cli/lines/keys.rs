//! The keys that aren't the line editor's own.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use rustyline::{
    Cmd, ConditionalEventHandler, Event, EventContext, EventHandler, KeyCode, KeyEvent, Modifiers, RepeatCount,
};

use super::paste::Paste;
use super::terminal::{self, LineEditor, TerminalMode};
use crate::cli::interrupt::Stop;

/// The paste that is being read, shared with the keys.
pub type SharedPaste = Arc<Mutex<Paste>>;

/// Has the terminal mark what is pasted, as the editor does.
pub const MARK_PASTES: &str = "\x1b[?2004h";
/// Has the terminal leave what is pasted as it is.
pub const LEAVE_PASTES: &str = "\x1b[?2004l";

/// What the keys have done to the line.
#[derive(Clone, Debug, Default)]
pub struct KeyState {
    pub continuations: Continuations,
    pub paste: SharedPaste,
    pub given_up: GivenUp,
}

/// Binds the keys. `outside` is how the terminal is set up while no line is edited.
pub fn bind(editor: &mut LineEditor, outside: TerminalMode) -> KeyState {
    let state = KeyState::default();
    let keys = Keys {
        state: state.clone(),
        suspend: Suspend {
            outside,
            stop: Stop::here(),
        },
    };
    editor.bind_sequence(Event::Any, EventHandler::Conditional(Box::new(keys)));
    state
}

/// Sees every key before the editor does, because each may be part of a paste.
struct Keys {
    state: KeyState,
    suspend: Suspend,
}

impl ConditionalEventHandler for Keys {
    fn handle(&self, event: &Event, count: RepeatCount, is_positive: bool, cx: &EventContext<'_>) -> Option<Cmd> {
        let key = *event.get(0)?;
        let mut paste = self.state.paste.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(command) = paste.take(key, count, is_positive) {
            return Some(command);
        }
        match key {
            KeyEvent(KeyCode::Enter, Modifiers::NONE) => self.state.continuations.enter(cx.line(), cx.pos()),
            KeyEvent(KeyCode::Enter, Modifiers::ALT) => Some(new_line()),
            key if key == KeyEvent::ctrl('J') => Some(new_line()),
            key if key == KeyEvent::ctrl('C') => (!cx.line().is_empty()).then(|| self.state.given_up.end_line()),
            key if key == KeyEvent::ctrl('Z') => Some(self.suspend.now()),
            // Ctrl-Space. The editor takes it for the terminal's key that stops a process, which has none meanwhile.
            key if key == KeyEvent::ctrl('@') => Some(Cmd::Noop),
            _ => None,
        }
    }
}

/// Whether the line was ended by Ctrl-C, and isn't sent. It ends as if it were, so that the editor begins again with nothing: a place
/// among earlier lines isn't kept, and what was typed after Ctrl-C is.
#[derive(Clone, Debug, Default)]
pub struct GivenUp(Arc<AtomicBool>);

impl GivenUp {
    fn end_line(&self) -> Cmd {
        self.0.store(true, Ordering::Relaxed);
        Cmd::AcceptLine
    }

    /// Once.
    pub fn take(&self) -> bool {
        self.0.swap(false, Ordering::Relaxed)
    }
}

/// Enter after a backslash begins a new line; after several, it sends the line without the last one. The backslash stays while the line
/// is edited, because a key can't both delete and insert.
///
/// It holds the text before each of these presses of Enter, so that backslashes which were pasted are left alone.
#[derive(Clone, Debug, Default)]
pub struct Continuations(Arc<Mutex<Vec<String>>>);

impl Continuations {
    /// The line without these backslashes. Forgets them.
    pub fn take_from(&self, line: String) -> String {
        let line = self.without(line);
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clear();
        line
    }

    /// The line without these backslashes.
    pub fn without(&self, line: String) -> String {
        let mut line = line;
        let mut befores = self.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
        befores.sort_by_key(|before| std::cmp::Reverse(before.len()));
        befores.dedup();
        for before in befores {
            // It was edited since, if it isn't found.
            let rest = line.strip_prefix(&before);
            if rest.is_some_and(|rest| rest.starts_with('\n') || (rest.is_empty() && is_escaped(&before))) {
                line.remove(before.len() - 1);
            }
        }
        line
    }

    /// What Enter does, if it isn't the end of the line.
    fn enter(&self, line: &str, position: usize) -> Option<Cmd> {
        if !line.ends_with('\\') || position != line.len() {
            return None;
        }
        let mut befores = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        befores.push(line.to_owned());
        (!is_escaped(line)).then(new_line)
    }
}

/// Begins a new line of the prompt. `Cmd::Newline` would print all of it as if it were sent, and for `Cmd::SelfInsert` the editor inserts
/// what was typed last.
fn new_line() -> Cmd {
    Cmd::Insert(1, "\n".to_owned())
}

/// Whether the backslash at the end is meant as one.
fn is_escaped(line: &str) -> bool {
    line.ends_with("\\\\")
}

/// Ctrl-Z stops the process until the shell continues it. The editor's own way is for programs of one thread: it sets the terminal up
/// again before the process has stopped.
struct Suspend {
    outside: TerminalMode,
    stop: Stop,
}

impl Suspend {
    fn now(&self) -> Cmd {
        let editing = TerminalMode::current();
        self.outside.restore();
        terminal::show(LEAVE_PASTES);
        self.stop.until_continued();
        if let Some(editing) = editing {
            editing.restore();
        }
        terminal::show(MARK_PASTES);
        Cmd::Repaint
    }
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
            // At the end, two are one.
            (&["a\\\\"], "a\\\\", "a\\"),
            (&["a\\", "a\\\nb\\\\\\"], "a\\\nb\\\\\\", "a\nb\\\\"),
            (&["a\\"], "a\\", "a\\"),
            (&[], "a\\\\", "a\\\\"),
        ] {
            let continuations = Continuations::default();
            *continuations.0.lock().unwrap_or_else(PoisonError::into_inner) =
                befores.iter().map(|before| (*before).to_owned()).collect();
            assert_eq!(continuations.take_from(line.to_owned()), taken);
            assert_eq!(continuations.take_from("a\\\nb".to_owned()), "a\\\nb");
        }
    }
}
