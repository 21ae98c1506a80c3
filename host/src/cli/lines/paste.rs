//! What is pasted, without the control sequences in it.
//!
//! The editor reads a paste by itself, but drops what it takes for a key: the letter after an escape, and the mark of the paste's end
//! if an escape stands before it. A log with colours has many, so the paste is put together here, from the keys that it was read as.

use std::fmt::Write;

use rustyline::{Cmd, KeyCode, KeyEvent, Modifiers, RepeatCount};

const ESCAPE: char = '\u{1b}';

/// What is left of the mark of a paste's end after an escape sequence that was cut off and has swallowed the mark's first byte.
const END: &str = "\u{1b}[201~";

/// The paste that is being read, if there is one.
#[derive(Debug, Default)]
pub struct Paste(Option<String>);

impl Paste {
    /// Takes a key if it is part of a paste, and says what the editor does about it. `count` and `is_positive` are the number that
    /// the editor read after an escape and takes for an argument of this key.
    pub fn take(&mut self, key: KeyEvent, count: RepeatCount, is_positive: bool) -> Option<Cmd> {
        let KeyEvent(code, modifiers) = key;
        let Some(text) = &mut self.0 else {
            let begins = code == KeyCode::BracketedPasteStart;
            self.0 = begins.then(String::new);
            return begins.then_some(Cmd::Noop);
        };
        if !is_positive {
            text.push('-');
        }
        if count != 1 {
            let _ = write!(text, "{count}");
        }
        let is_control = modifiers.contains(Modifiers::CTRL);
        match code {
            KeyCode::BracketedPasteEnd => return Some(self.end()),
            KeyCode::Enter => text.push('\r'),
            KeyCode::Tab => text.push('\t'),
            KeyCode::Char('J') if is_control => text.push('\n'),
            KeyCode::Char(letter) if !is_control => text.push(letter),
            KeyCode::Esc | KeyCode::UnknownEscSeq => text.push(ESCAPE),
            // Other control characters, and sequences that are keys: they aren't text.
            _ => {}
        }
        if text.ends_with(END) {
            text.truncate(text.len() - END.len());
            return Some(self.end());
        }
        Some(Cmd::Noop)
    }

    fn end(&mut self) -> Cmd {
        let text = self.0.take().unwrap_or_default();
        let text = text.replace(ESCAPE, "").replace("\r\n", "\n").replace('\r', "\n");
        Cmd::Insert(1, text)
    }
}
